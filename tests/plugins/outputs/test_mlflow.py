"""MLflow from stored results. The engine does not run here: results and fits are put into the store by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
import re
import shutil
import sqlite3
import subprocess
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt

from core import Dataset, Encoder, Levels, LevelShape, RunError, Split, Text, Video, hookimpl
from core.contract.store import Store
from core.engine.plan import Plan, PlannedTrial, add_trials, read_plan
from core.engine.steps.step import Workspace
from core.evidence.findings import Result, findings
from core.evidence.ledger import enter
from core.evidence.registration import register
from core.evidence.trials import Trial
from core.outputs import Outputs
from core.plugins import registry
from core.run import main
from plugins.outputs.mlflow import Tracked, experiment, track
from plugins.outputs.mlflow.server import Server, held, tracking_uri
from plugins.outputs.mlflow.trial import TrialRecord, allowed, rounded
from plugins.outputs.tables import header
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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making one takes seconds, copying it does not."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Server(f"sqlite:///{database}").runs("0", "none")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database


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
        return track(result, self.report(result), spec.fields.uri)

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


def test_one_parent_and_one_child_a_trial_named_by_what_varies(tracked: SimpleNamespace) -> None:
    assert tracked.answer.new_runs == 8
    children = tracked.place.runs("trial")
    names = {f"layers={layers} · seed {seed}" for layers in (1, 2, 3) for seed in (0, 1)} | {"untrained"}
    assert {run.info.run_name for run in children} == names
    (parent,) = tracked.place.runs("experiment")
    assert parent.info.run_id == tracked.answer.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}


def test_running_the_same_file_again_adds_nothing(tracked: SimpleNamespace) -> None:
    place = tracked.place

    def everything() -> list[Any]:
        tables = ("runs", "params", "metrics", "latest_metrics", "tags", "experiment_tags")
        runs = place.runs("trial") + place.runs("experiment")
        return [{run.info.run_id: run.data.tags for run in runs}, *(place.count(table) for table in tables)]

    before = everything()
    again = place.track(place.result())
    assert again.new_runs == 0
    assert again.run_id == tracked.answer.run_id
    assert everything() == before


def test_another_version_of_the_file_gets_its_own_parent(place: Place) -> None:
    first, second = place.track(place.result("seeds=[1]")), place.track(place.result("seeds=[0]"))
    assert second.experiment_id == first.experiment_id
    assert second.run_id != first.run_id
    assert second.new_runs == 5
    assert place.client.get_run(second.run_id).data.tags["overrides"] == "seeds=[0]"


def test_where_weights_are_exported_to_does_not_make_another_version(tracked: SimpleNamespace) -> None:
    assert tracked.place.track(tracked.place.result("outputs.export.folder=weights")).new_runs == 0


def test_nothing_is_written_where_the_output_is_left_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    outputs = Outputs(place.result("outputs.mlflow=null").plan, place.folder / "runs")
    outputs.finished(findings(place.plan(place.file, "outputs.mlflow=null")))
    assert outputs.faults == []
    assert place.client.get_experiment_by_name("depth") is None


def test_params_are_what_varies_and_the_seed(tracked: SimpleNamespace) -> None:
    assert tracked.place.run("layers=3 · seed 1").data.params == {"layers": "3", "first_stage": "deep", "seed": "1"}
    assert tracked.place.run("untrained").data.params == {"layers": "1", "first_stage": "plain", "seed": "-"}


def test_params_tell_null_as_written_from_what_does_not_apply(place: Place) -> None:
    variants = "variants={few: {train.epochs: 1}, all: {train.num_frames: null, train.epochs: 2}}"
    place.track(place.result("ablate={}", variants, "baseline=few", "hypotheses={}", "seeds=[7]"))
    assert place.run("few · seed 7").data.params == {"epochs": "1", "num_frames": "-", "seed": "7"}
    assert place.run("all · seed 7").data.params == {"epochs": "2", "num_frames": "none", "seed": "7"}


def test_metrics_bear_the_results_names_rounded(tracked: SimpleNamespace) -> None:
    stored = {found.key: found.metrics for row in tracked.result.rows for found in row.results}
    for run in tracked.place.runs("trial"):
        own = {name: value for name, value in run.data.metrics.items() if name.startswith(("t2v/", "v2t/"))}
        assert (own.pop("t2v/ceiling"), own.pop("t2v/index_recall")) == (97.5, 88.0)
        assert own == {name: rounded(value) for name, value in stored[run.data.tags["trial_key"]].items()}
        assert {"t2v/R1", "t2v/MdR", "v2t/MRR"} <= set(own)


def test_the_training_curve_is_logged_by_epoch(tracked: SimpleNamespace) -> None:
    history = tracked.place.client.get_metric_history
    trained = tracked.place.run("layers=2 · seed 0").info.run_id
    curve = history(trained, "train/loss/contrast")
    assert [(point.step, point.value) for point in curve] == [(1, 2.0), (2, 1.0), (3, 0.6667)]
    assert [(point.step, point.value) for point in history(trained, "validation/t2v/R1")] == [(2, 40.0)]


def test_values_that_are_not_finite_are_left_out(tracked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    row = tracked.result.rows[0]
    values = {"t2v/R1": 3.0, "t2v/R5": math.nan, "v2t/MnR": math.inf}
    monkeypatch.setattr(Trial, "metrics", values)
    points = TrialRecord(tracked.result, row, row.results[0]).points
    assert {name for name, _, step in points if step == 0} == {"t2v/R1", "t2v/ceiling", "t2v/index_recall"}


def test_tags_say_where_a_trial_comes_from_and_how_it_fared(tracked: SimpleNamespace) -> None:
    tags = tracked.place.run("layers=3 · seed 1").data.tags
    trial = next(trial for trial in plan_of(tracked.result).trials if trial.name == "layers=3 · seed 1")
    assert tags["trial_key"] == trial.last.key
    assert "still-life 0.3" in tags["plugins"]
    assert (tags["variant"], tags["seed"], tags["mlflow.source.name"]) == ("layers=3", "1", tracked.place.file)
    assert len(tags["data"]) == 16
    assert tags["outcome"].startswith("▲ better p")
    assert tracked.place.run("untrained").data.tags["outcome"] == "baseline"


def test_artifacts_of_a_trial_hold_its_ranks_and_a_file_that_repeats_it(tracked: SimpleNamespace) -> None:
    run = tracked.place.run("layers=3 · seed 1")
    rows = list(csv.DictReader(io.StringIO((artifacts(tracked.place, run) / "per_query/t2v.csv").read_text())))
    assert len(rows) == QUERIES
    assert list(rows[0]) == ["query", "cluster", "R1", "R5", "R10", "rank", "MRR"]
    assert rows[0]["query"] == "t0"
    mean = sum(float(row["R1"]) for row in rows) / QUERIES
    assert mean == pytest.approx(run.data.metrics["t2v/R1"], abs=5e-3)
    assert len((artifacts(tracked.place, run) / "per_query/v2t.csv").read_text().splitlines()) == VIDEOS + 1
    again = tracked.place.plan(str(artifacts(tracked.place, run) / "config.yaml"))
    assert [trial.last.key for trial in again.trials] == [run.data.tags["trial_key"]]


def test_artifacts_of_the_parent_hold_report_table_and_files(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    folder = artifacts(tracked.place, parent)
    assert (folder / "experiment" / "depth.yaml").read_text() == EXPERIMENT
    assert "depth_helps" in (folder / "report/report.md").read_text()
    assert {"report.html", "table.csv", "table.tex"} <= {path.name for path in (folder / "report").iterdir()}
    assert (folder / "report/figures/differences.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "hypotheses.json").read_text())[0]["verdict"] == "supported"
    table = json.loads((folder / "ablation_table.json").read_text())
    assert [row[0] for row in table["data"]] == ["layers=1", "layers=2", "layers=3", "untrained"]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"])[0]["path"] == "ablation_table.json"
    assert list(tracked.place.plan(str(folder / "experiment" / "baseline_resolved.yaml")).experiment.seeds) == [0, 1]


def test_the_parents_note_begins_with_the_verdicts(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    first, _, third, *_ = parent.data.tags["mlflow.note.content"].splitlines()
    assert first.startswith("**1 hypothesis: 1 supported. 3 variants against `untrained` on t2v/R1: ")
    assert "SUPPORTED: depth_helps" in third
    assert parent.data.tags["verdict/depth_helps"] == "supported"


def test_the_parents_note_has_question_table_figures_and_how_to_repeat_it(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    note = parent.data.tags["mlflow.note.content"]
    figure = "![](get-artifact?path=report/figures/"
    parts = ["Question: Does depth help?", "| layers=3 |", figure, "python -m core.run"]
    places = [note.index(part) for part in parts]
    assert places == sorted(places)
    shown = re.findall(r"path=(\S+)&run_uuid=(\w+)\)", note)
    assert shown
    assert all(run == parent.info.run_id and (artifacts(tracked.place, parent) / path).is_file() for path, run in shown)


def test_a_long_note_is_cut_at_a_line(tracked: SimpleNamespace) -> None:
    note = experiment.note(replace(tracked.result, notes=1000 * ["one more line"]), "#/", [])
    assert len(note) <= 8000
    assert note.endswith("one more line\n\nThe rest is in the artifact report/report.html.")


def test_the_note_of_many_variants_shows_the_first_and_counts_the_rest(
    tracked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ["x", *[""] * (len(header(tracked.result)) - 1)]
    monkeypatch.setattr(experiment, "table", lambda result: [row] * 53)
    note = experiment.note(tracked.result, "#/", [])
    assert note.count("| x |") == experiment.ROWS_IN_NOTE
    assert "33 more variants: [table](#/)" in note


def test_a_trial_names_the_data_that_it_was_trained_and_scored_on(tracked: SimpleNamespace) -> None:
    def data(run: Any) -> dict[str, Any]:
        inputs = tracked.place.client.get_run(run.info.run_id).inputs.dataset_inputs
        return {one.tags[0].value: one.dataset for one in inputs}

    trained, untrained = data(tracked.place.run("layers=2 · seed 0")), data(tracked.place.run("untrained"))
    assert set(trained) == {"train", "test"}
    assert set(data(*tracked.place.runs("experiment"))) == {"test"}
    assert set(untrained) == {"test"}
    assert trained["test"].name == "still test"
    assert trained["test"].digest == untrained["test"].digest
    assert json.loads(trained["test"].profile) == {"videos": VIDEOS, "texts": QUERIES}


def test_saved_views_show_the_trials_and_the_means_over_seeds_best_first(tracked: SimpleNamespace) -> None:
    place, answer = tracked.place, tracked.answer
    tags = place.client.get_experiment(answer.experiment_id).tags
    views = {
        name.rpartition(".")[2]: json.loads(value)
        for name, value in tags.items()
        if name.startswith("mlflow.sharedViewState.")
    }
    (trials_key, trials), (_, means) = sorted(views.items())
    assert trials["name"].startswith("Trials · file ")
    assert means["name"].startswith("Means over seeds · file ")
    states = [json.loads(view["state"]) for view in (trials, means)]
    params = ["params.`layers`", "params.`first_stage`", "params.`seed`"]
    assert states[0]["selectedColumns"][:6] == ["metrics.`t2v/R1`", "tags.`outcome`", "tags.`difference`", *params]
    assert states[1]["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "variant"}]
    for state in states:
        assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`t2v/R1`", False)
        assert len(place.client.search_runs([answer.experiment_id], state["searchFilter"])) == 7
    assert any(f"viewStateShareKey={trials_key}" in line for line in answer.lines)
    assert any(f"--backend-store-uri {place.uri}" in line for line in answer.lines)
    assert "does depth help?" in tags["mlflow.note.content"]


def test_one_seed_needs_no_view_of_means(place: Place) -> None:
    answer = place.track(place.result("seeds=[0]"))
    tags = place.client.get_experiment(answer.experiment_id).tags
    assert len([name for name in tags if name.startswith("mlflow.sharedViewState.")]) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [(42.973612, 42.97), (0.66666, 0.6667), (1.23456e-5, 1.235e-5), (0.0, 0.0), (1234567.0, 1234567.0)],
)
def test_numbers_are_rounded_to_what_a_column_shows(value: float, shown: float) -> None:
    assert rounded(value) == shown


def test_a_child_that_was_interrupted_is_completed_in_place(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.track(result)
    broken = place.runs("trial")[0]
    shutil.rmtree(artifacts(place, broken))
    place.client.update_run(broken.info.run_id, status="RUNNING")
    points = place.count("metrics")
    assert place.track(result).new_runs == 0
    assert place.client.get_run(broken.info.run_id).info.status == "FINISHED"
    assert (artifacts(place, broken) / "config.yaml").is_file()
    assert place.count("metrics") == points


def test_a_parent_that_was_interrupted_is_completed(place: Place) -> None:
    result = place.result("seeds=[0]")
    parent = place.track(result).run_id
    for name in ("content", "mlflow.note.content"):
        place.client.delete_tag(parent, name)
    place.client.update_run(parent, status="RUNNING")
    assert place.track(result).run_id == parent
    found = place.client.get_run(parent)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.note.content"]


def test_an_outcome_that_changed_is_brought_up_to_date(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.track(result)
    next(row for row in result.rows if row.name == "layers=3").outcome = "n.s."
    assert place.track(result).new_runs == 0
    assert place.run("layers=3 · seed 0").data.tags["outcome"].startswith("— n.s. p")


def test_results_of_changed_code_replace_the_old_ones_in_the_table(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.track(place.result("seeds=[0]"))
    old = {run.info.run_id for run in place.runs("trial")}
    half_done = next(iter(old))
    place.client.update_run(half_done, status="RUNNING")
    monkeypatch.setattr(Constant, "fingerprint", lambda self: "changed")
    assert place.track(place.result("seeds=[0]")).new_runs == 4
    assert {run.info.run_id for run in place.runs("superseded")} == old
    assert len(place.runs("trial")) == 4
    assert place.client.get_run(half_done).info.status == "KILLED"


def test_a_deleted_experiment_comes_back(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.client.delete_experiment(place.track(result).experiment_id)
    assert place.track(result).new_runs == 0
    assert len(place.runs("trial")) == 4


def test_the_database_is_write_ahead_and_artifacts_lie_beside_it(tracked: SimpleNamespace) -> None:
    with sqlite3.connect(tracked.place.folder / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    (parent,) = tracked.place.runs("experiment")
    assert artifacts(tracked.place, parent).is_dir()


def test_four_processes_may_make_one_new_database_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    uri, ready, outputs = f"sqlite:///{tmp_path}/new folder/mlflow.db", context.Barrier(4), context.Queue()

    def make_one() -> None:
        ready.wait()
        with held(uri, tmp_path):
            outputs.put(Server(uri).experiment("one"))

    processes = [context.Process(target=make_one) for _ in range(4)]
    for process in processes:
        process.start()
    assert [outputs.get(timeout=60) for _ in processes] == ["1"] * 4
    for process in processes:
        process.join()


def test_a_server_that_cannot_be_reached_costs_no_result(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = place.result("outputs.mlflow.uri=http://someone:secret@127.0.0.1:9", "seeds=[0, 1]")
    with pytest.raises(RunError) as caught:
        place.track(result)
    message = str(caught.value)
    assert "could not be written" in message
    assert "No result is lost" in message
    assert f"python -m core.run {place.file} " in message
    assert f" --store {place.folder / 'store'} --stored --only mlflow\n" in message
    assert "'seeds=[0, 1]'" in message
    assert "secret" not in message


def test_the_uri_is_the_files_then_the_environments_then_a_database_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(None) == "http://tracking:5000"
    assert tracking_uri("sqlite:///sub/a.db") == f"sqlite:///{tmp_path}/sub/a.db"


def test_the_command_writes_from_the_store_and_names_trials_that_lack_a_result(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    result = place.result("seeds=[0]")
    arguments = [place.file, "seeds=[0]", f"outputs.mlflow.uri={place.uri}", "--stored", "--only", "mlflow"]
    arguments += ["--store", str(place.folder / "store"), "--runs", str(place.folder / "runs")]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("5 new runs in MLflow\nTo open MLflow: ")
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("0 new runs in MLflow")
    gone = plan_of(result).trials[0]
    store = plan_of(result).workspace.store
    assert store.remove(store.root / "evaluate" / gone.last.key)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert f"1 of its 4 trials are missing ({gone.name}" in error
    assert f"python -m core.run {place.file}" in error


@pytest.mark.parametrize("anonymous", [False, True])
def test_an_anonymous_experiment_names_neither_person_machine_folder_nor_repository(
    tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch, anonymous: bool
) -> None:
    home = tmp_path / "erika_mustermann"
    home.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "commit.gpgsign=false"]
    for command in (["init"], ["remote", "add", "origin", "https://tok3n@forge.example/erika"]):
        subprocess.run([*git, *command], cwd=home, check=True, capture_output=True)
    subprocess.run([*git, "commit", "--allow-empty", "-m", "a"], cwd=home, check=True, capture_output=True)
    monkeypatch.chdir(home)
    monkeypatch.setattr("getpass.getuser", lambda: "erika_mustermann")
    monkeypatch.setattr("socket.gethostname", lambda: "lab-host-17")
    place = new_place(home, template)
    extra = ["seeds=[0]", f"outputs.export.folder={home}/weights", f"anonymous={str(anonymous).lower()}"]
    result = place.result(*extra)
    write(result, home / "runs")
    place.track(result)
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    files = [home / "mlflow.db", *(path for path in (home / "mlartifacts").rglob("*") if path.is_file())]
    told = b"".join(path.read_bytes() for path in files)
    secrets = [b"erika_mustermann", b"lab-host-17", b"forge.example", str(tmp_path).encode()]
    assert [secret in told for secret in secrets] == 4 * [not anonymous]
    assert b"tok3n" not in told
    assert b"does depth help?" in told
    assert place.track(place.result(*extra)).new_runs == 0


def test_a_password_in_the_experiment_file_reaches_no_artifact(place: Place) -> None:
    Path(place.file).write_text(f"{EXPERIMENT}references: []\n# postgresql://me:s3cret@host/db\n")
    place.track(place.result("seeds=[0]"))
    (parent,) = place.runs("experiment")
    written = (artifacts(place, parent) / "experiment/depth.yaml").read_text()
    assert "postgresql://***@host/db" in written
    assert not [path for path in (place.folder / "mlartifacts").rglob("*.*") if b"s3cret" in path.read_bytes()]


@pytest.mark.parametrize(
    "written",
    [
        "outputs: {mlflow: {uri: 'http://me:s3 cr/e@t@host'}}",
        "outputs:\n  mlflow:\n    uri: >-\n      http://me:s3\n      cr/e@t@host",
        'outputs: {mlflow: {"uri": "http://me:s3\\x20cr/e@t@host"}}',
        "outputs.mlflow.uri: http://me:s3 cr/e@t@host",
        "outputs.mlflow: {uri: http://me:s3 cr/e@t@host}",
        "outputs: {mlflow: {uri: &u 'http://me:s3 cr/e@t@host'}}",
        "outputs: {other: {name: theirs, servers: [{at: 'http://me:s3 cr/e@t@host'}]}}",
    ],
)
def test_the_addresses_of_a_files_outputs_are_safe_to_show_however_yaml_spells_them(written: str) -> None:
    shown = experiment.closed_yaml(f"name: x\n{written}\nseeds: [0]  # one\n")
    assert yaml.safe_load(shown).keys() >= {"name", "seeds"}
    assert 'http://***@host"' in shown
    assert shown.endswith("\nseeds: [0]  # one\n")
    assert "s3" not in shown
    assert "cr" not in shown


def test_an_experiment_file_that_tells_nothing_is_kept_as_it_is_written() -> None:
    plain = [
        "outputs: {mlflow: {uri: 'sqlite:///a.db'}}\n",
        "outputs: {mlflow: {uri: null}}",
        "outputs: {report: null}",
    ]
    for text in (EXPERIMENT, *plain, "", "- a"):
        assert experiment.closed_yaml(text) == text


# ------------------------------------------------------------------------------------------------ only what is ours


HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) <script>b</script> ![](http://evil.example/x)"


def test_texts_of_others_make_no_html_and_no_links_in_mlflows_notes(place: Place) -> None:
    question = f"# Question: does {HOSTILE.replace('?', '')} help?\n# {HOSTILE}\n"
    Path(place.file).write_text(question + EXPERIMENT.partition("\n")[2].replace("depth_helps", f"'{HOSTILE}'"))
    beware = [f"Beware: {HOSTILE}", "`a` <b>"]
    answer = place.track(replace(place.result("seeds=[0]"), notes=beware, facts={"Data set": HOSTILE}))
    notes = [
        place.client.get_run(answer.run_id).data.tags["mlflow.note.content"],
        place.client.get_experiment(answer.experiment_id).tags["mlflow.note.content"],
    ]
    for note, times in zip(notes, (4, 2), strict=True):
        assert note.count("onerror") == times
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(note)
        pieces = [piece for token in tokens for piece in (token, *(token.children or []))]
        assert not [piece for piece in pieces if piece.type.startswith("html")]
        targets = [str(piece.attrs.get("href") or piece.attrs.get("src") or "") for piece in pieces]
        assert {target.partition("?")[0].partition("/")[0] for target in targets} <= {"", "#", "get-artifact"}


@pytest.mark.parametrize(
    "name", ["a//b", "../a", "/a", "a/", ".", "..", "", "./a", "a@b", "x" * 300, "größe", "t2v/R1"]
)
def test_every_name_is_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_tag_name

    _validate_tag_name(f"verdict/{allowed(name)}")
    _validate_metric_name(allowed(name))
    if name == "t2v/R1":
        assert allowed(name) == name


def test_only_files_of_the_report_reach_mlflow(place: Place) -> None:
    result = place.result("seeds=[0]")
    folder = place.report(result)
    (folder / "figures").mkdir()
    kept = {"report.html", "table.csv", "published_2.csv", "figures/depth.svg", "figures/größe.pdf"}
    left = {
        ".report.md.123",
        "figures/.123.depth.svg",
        "figures/drawn.json",
        "notes.txt",
        "figures/.hidden.png",
        "x.part",
    }
    for name in kept | left:
        (folder / name).write_text("x")
    answer = place.track(result)
    uploaded = artifacts(place, place.client.get_run(answer.run_id)) / "report"
    assert {str(path.relative_to(uploaded)) for path in uploaded.rglob("*") if path.is_file()} == kept
    note = place.client.get_run(answer.run_id).data.tags["mlflow.note.content"]
    assert note.count("get-artifact") == 1


def test_what_a_killed_report_left_is_removed_by_the_next(place: Place) -> None:
    result = place.result("seeds=[0]")
    gone = subprocess.Popen(["true"])
    gone.wait()
    figures = place.folder / "runs" / "depth" / "figures"
    figures.mkdir(parents=True)
    left = [figures.parent / f".table.csv.{gone.pid}", figures / f".{gone.pid}.depth.svg"]
    kept = [figures.parent / f".table.csv.{os.getppid()}", figures.parent / ".notes.1", figures / ".mine.svg"]
    young = figures / f".{gone.pid}.other.png"
    for path in (*left, *kept, young):
        path.write_text("x")
        os.utime(path, (0, 0))
    young.touch()
    write(result, place.folder / "runs", ["report"])
    assert not [path for path in left if path.exists()]
    assert all(path.exists() for path in (*kept, young))


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_report_and_mlflow_may_be_read_and_written_by_those_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        (tmp_path / "lab").mkdir()
        place = Place(tmp_path / "lab")
        Path(place.file).write_text(EXPERIMENT)
        result = place.result("seeds=[0]")
        write(result, place.folder / "runs")
        place.track(result)
    finally:
        os.umask(before)
    written = [path for path in place.folder.rglob("*") if not path.is_relative_to(place.folder / "store")]
    modes = {path: path.stat().st_mode & 0o777 for path in written}
    places = {path.relative_to(place.folder).parts[0] for path in written}
    assert {"runs", "mlflow.db", "mlartifacts", ".mlflow.lock"} <= places
    deviating = {str(p): oct(mode) for p, mode in modes.items() if mode != (0o777 if p.is_dir() else 0o666) & ~umask}
    assert deviating == {}


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hun/ter@TWO@127.0.0.1:9",
        "http://hunterTWO@127.0.0.1:9/?token=hunterTWO",
        "postgresql+psycopg://me:hun#ter/TWO@127.0.0.1:9/db?connect_timeout=1",
        "postgresql+psycopg://127.0.0.1:9/db?user=me&password=hunter@TWO&connect_timeout=1",
    ],
)
def test_what_opens_a_server_that_cannot_be_reached_is_written_and_printed_nowhere(
    uri: str, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(place.folder)
    for given in (uri, None):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        result = place.result(f"outputs.mlflow.uri={json.dumps(given)}", "seeds=[0]")
        write(result, place.folder / "runs")
        with pytest.raises(RunError, match="No result is lost") as caught:
            place.track(result)
        assert "TWO" not in "".join(traceback.format_exception(caught.value))
        assert "hun" not in str(caught.value)
    place.track(place.result(f"outputs.mlflow.uri={place.uri}", "seeds=[0]"))
    assert "TWO" not in "".join(capfd.readouterr())
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert [path for path in files if b"TWO" in path.read_bytes() or b"hun" in path.read_bytes()] == []
