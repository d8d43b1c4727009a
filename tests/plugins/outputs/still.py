"""An experiment on data that stand still: its results and fits are put into the store by hand, and no engine runs."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core import Dataset, Encoder, Levels, LevelShape, Split, Text, Video, hookimpl
from core.contract.store import Store
from core.engine.plan import Plan, PlannedTrial, add_trials, read_plan
from core.engine.steps.step import Workspace
from core.evidence.findings import Result, findings
from core.evidence.hiding import hiding
from core.evidence.ledger import enter
from core.evidence.registration import register
from core.plugins import registry
from plugins.outputs.mlflow import Tracked, track
from tests.engine import plan_of

from .reported import write

QUERIES, VIDEOS = 60, 30
EXPERIMENT = """\
# Question: does depth help?
# Command:  python -m core.run depth.yaml
name: depth
data: {dataset: {name: still}, num_frames: 2}
encoder: {name: constant}
model:
  transforms: {temporal: {name: temporal_transformer, layers: 1, into: temporal}}
  interactions: {plain: {name: mean_pooling}, deep: {name: mean_pooling, level: temporal}}
  losses: {contrast: {name: info_nce, of: deep}}
train: {epochs: 3, keep: last}
retrieve: {first_stage: deep}
ablate: {model.transforms.temporal.layers: [1, 2, 3]}
variants: {untrained: {retrieve.first_stage: plain}}
baseline: untrained
seeds: [0, 1]
hypotheses:
  depth_helps: {better: {model.transforms.temporal.layers: 3}, than: baseline}
"""


class Still(Dataset):
    """Empty files: nothing decodes them here."""

    name = "still"

    def prepare(self, folder: Path) -> dict[str, Split]:
        paths = [folder / f"{row}.mp4" for row in range(VIDEOS)]
        for path in paths:
            path.touch()
        videos = tuple(Video(path.stem, str(path)) for path in paths)
        texts = tuple(Text(f"t{row}", f"caption {row}", row % VIDEOS) for row in range(QUERIES))
        return dict.fromkeys(("train", "val", "test"), Split(videos, texts))


class Constant(Encoder):
    name = "constant"
    frame_size = 8
    shapes = {"sentence": LevelShape(None, 8), "frames": LevelShape(1, 8)}
    levels = Levels(("sentence",), ("frames",))

    def fingerprint(self) -> str:
        return "constant"


class StillLife:
    @hookimpl
    def register_datasets(self, register: Callable[[type], None]) -> None:
        register(Still)

    @hookimpl
    def register_encoders(self, register: Callable[[type], None]) -> None:
        register(Constant)


@pytest.fixture(scope="module", autouse=True)
def _plugin() -> Iterator[None]:
    plugin = StillLife()
    registry().add_plugin(plugin, "still-life", "0.3")
    yield
    registry().remove_plugin(plugin, "still-life")


@dataclass
class Place:
    """A folder with the experiment file, its store and its MLflow database."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def file(self) -> str:
        return str(self.folder / "depth.yaml")

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def result(self, *overrides: str) -> Result:
        """Findings of the experiment, its trials' results drawn and put into the store."""
        plan = self.plan(self.file, f"outputs.mlflow.uri={self.uri}", *overrides)
        register(plan)
        for number, trial in enumerate(plan.trials):
            put_fit(plan.workspace.store, trial)
            put_result(plan.workspace.store, trial, np.random.default_rng(number))
            enter(plan, trial)
        return findings(plan)

    def plan(self, file: str, *overrides: str) -> Plan:
        plan = read_plan(file, overrides, Workspace(Store(self.folder / "store"), torch.device("cpu"), 1))
        add_trials(plan)
        return plan

    def track(self, result: Result) -> Tracked:
        spec = plan_of(result).experiment.outputs["mlflow"]
        assert spec is not None
        hidden = result.hidden_by(hiding(plan_of(result)))
        return track(hidden, self.report(result), spec.fields.uri)

    def report(self, result: Result) -> Path:
        """The folder of the report; where a test did not write one, which takes seconds, with something in it."""
        folder = self.folder / "runs" / result.name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            (folder / "report.html").write_text("<p>written by hand</p>")
        return folder

    def runs(self, role: str) -> list[Any]:
        experiment = self.client.get_experiment_by_name("depth")
        return list(self.client.search_runs([experiment.experiment_id], f"tags.role = '{role}'"))

    def run(self, name: str) -> Any:
        return next(run for run in self.runs("trial") if run.info.run_name == name)

    def count(self, table: str) -> int:
        with sqlite3.connect(self.folder / "mlflow.db") as connection:
            return connection.execute(f"select count(*) from {table}").fetchone()[0]


def put_fit(store: Store, trial: PlannedTrial) -> None:
    """A training curve that was validated once."""
    fit = next((step for step in trial.last.walk() if step.name == "fit"), None)
    if fit is None or store.has("fit", fit.key):
        return
    curve = [{"epoch": epoch, "loss": 1 / epoch, "loss/contrast": 2 / epoch} for epoch in (1, 2, 3)]
    with store.write("fit", fit.key, {}) as draft:
        draft.json([curve[0], curve[1] | {"validation": 40.0}, curve[2]], "history.json")
        draft.info |= {"best_epoch": 2}


def put_result(store: Store, trial: PlannedTrial, rng: np.random.Generator) -> None:
    """Ranks that get better with the number of layers."""
    if store.has("evaluate", trial.last.key):
        return
    layers = 0 if trial.seed is None else trial.variant.value("model.transforms.temporal.layers")
    tensors: dict[str, torch.Tensor] = {}
    for direction, size in (("t2v", QUERIES), ("v2t", VIDEOS)):
        first = rng.random(size) < 0.2 + 0.15 * layers
        ranks = torch.from_numpy(np.where(first, 1.0, rng.integers(2, VIDEOS, size)))
        values = {f"R{k}": 100.0 * (ranks <= k) for k in (1, 5, 10)}
        values |= {"MdR": ranks, "MnR": ranks.clone(), "MRR": 100 / ranks, "clusters": torch.arange(size) % VIDEOS}
        tensors |= {f"{direction}/{name}": tensor.double() for name, tensor in values.items()}
        tensors[f"{direction}/clusters"] = values["clusters"]
    metrics = {n: float(v.median() if "MdR" in n else v.mean()) for n, v in tensors.items() if "clusters" not in n}
    ids = {"texts": [f"t{row}" for row in range(QUERIES)], "videos": [str(row) for row in range(VIDEOS)]}
    with store.write("evaluate", trial.last.key, {}) as draft:
        draft.save(tensors)
        facts = {"ceilings": {"t2v": 97.5}, "index_recalls": {"t2v": 88.0}}
        draft.json({"metrics": metrics, **facts, "texts": QUERIES, "videos": VIDEOS})
        draft.json({**ids, "skipped": {}}, "items.json")


def new_place(folder: Path, template: Path) -> Place:
    shutil.copy(template, folder / "mlflow.db")
    (folder / "depth.yaml").write_text(EXPERIMENT)
    return Place(folder)


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Place:
    return new_place(tmp_path, template)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, template: Path) -> SimpleNamespace:
    """A place whose experiment was tracked once, for tests that only look."""
    place = new_place(tmp_path_factory.mktemp("tracked"), template)
    result = place.result()
    write(result, place.folder / "runs")
    return SimpleNamespace(place=place, result=result, answer=place.track(result))


def artifacts(place: Place, run: Any) -> Path:
    return place.folder / "mlartifacts" / run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
