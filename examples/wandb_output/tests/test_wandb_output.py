"""A tiny experiment, written to offline runs: what wandb wrote is read again, from its own files."""

from __future__ import annotations

import json
import socket
import struct
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from core import (
    ConfigError,
    Dataset,
    Encoder,
    EncoderSettings,
    Levels,
    LevelShape,
    Split,
    Text,
    TextFeatures,
    Video,
    VideoFeatures,
    hookimpl,
    run_experiment,
    setting,
)
from core.plugins import registry

pytest.importorskip("wandb")
from wandb.proto.wandb_internal_pb2 import Record

HYPOTHESIS = "a <higher> temperature is no worse"


class Colours(Dataset):
    """Videos of one colour each, with captions that say which."""

    name = "colours"

    @dataclass(frozen=True)
    class Config:
        folder: str = setting(doc="where the pictures are put")

    def prepare(self, folder: Path) -> dict[str, Split]:
        return {name: self._split(name, count) for name, count in {"train": 6, "val": 4, "test": 5}.items()}

    def _split(self, name: str, count: int) -> Split:
        videos, texts = [], []
        for number in range(count):
            colour = (40 * number, 255 - 40 * number, 30 * len(name))
            video = Path(self.config.folder, name, str(number))
            video.mkdir(parents=True, exist_ok=True)
            for frame in range(2):
                Image.new("RGB", (4, 4), colour).save(video / f"{frame}.png")
            videos.append(Video(f"{name}{number}", str(video)))
            texts.append(Text(f"{name}{number}-0", " ".join(map(str, colour)), number))
        return Split(tuple(videos), tuple(texts))


class ColourReader(Encoder):
    """Colours through one linear layer: `sentence` and `frames` of width 4."""

    name = "colour_reader"
    Config = EncoderSettings

    def __init__(self, config: Any):
        super().__init__(config)
        self.frame_size = 4
        self.shapes = {"sentence": LevelShape(None, 4), "frames": LevelShape(None, 4)}
        self.levels = Levels(("sentence",), ("frames",))
        self.layer = nn.Linear(3, 4)

    def load(self, seed: int) -> None:
        nn.init.orthogonal_(self.layer.weight, generator=torch.Generator().manual_seed(0))
        nn.init.zeros_(self.layer.bias)
        self.requires_grad_(False)

    def fingerprint(self) -> str:
        return "orthogonal, 0"

    def prepare_texts(self, texts: Any) -> dict[str, torch.Tensor]:
        return {"colour": torch.tensor([[float(word) for word in text.split()] for text in texts])}

    def prepare_frames(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.movedim(-1, -3)

    def forward_text(self, tokens: Any, levels: Any) -> TextFeatures:
        return TextFeatures(sentence=self.layer(tokens["colour"] / 255))

    def forward_video(self, frames: torch.Tensor, mask: torch.Tensor, levels: Any) -> VideoFeatures:
        return VideoFeatures(frames=self.layer(frames.float().mean((-1, -2)) / 255), frame_mask=mask)


class Toys:
    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(Colours)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(ColourReader)


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    plugin = Toys()
    registry().add_plugin(plugin, "toys")
    yield
    registry().remove_plugin(plugin, "toys")


class Lab:
    """A folder with an experiment of two variants and two seeds, whose only output is wandb's."""

    def __init__(self, folder: Path, **settings: Any):
        self.folder = folder
        self.values = {
            "name": "lab",
            "data": {"dataset": {"name": "colours", "folder": str(folder / "videos")}, "num_frames": 2},
            "encoder": {"name": "colour_reader"},
            "model": {
                "interactions": {"mean": {"name": "mean_pooling", "text_projection": True}},
                "losses": {"contrast": {"name": "info_nce", "of": "mean"}},
            },
            "train": {"epochs": 2, "batch_size": 3, "learning_rate": 0.01, "keep": "best"},
            "retrieve": {"first_stage": "mean"},
            "evaluate": {"metrics": ["R1", "MnR"], "efficiency": True},
            "seeds": [0, 1],
            "ablate": {"train.learning_rate": [0.01, 0.1]},
            "baseline": {"train.learning_rate": 0.01},
            "hypotheses": {HYPOTHESIS: {"no_worse": {"train.learning_rate": 0.1}, "than": "baseline", "margin": 50}},
            "outputs": dict.fromkeys(("terminal", "figures", "pictures", "report", "mlflow")),
        }
        self.values["outputs"]["wandb"] = {"name": "wandb", "project": "x", "mode": "offline", **settings}

    def run(self, **changes: Any) -> Any:
        file = self.folder / "lab.yaml"
        file.write_text(yaml.safe_dump(self.values | changes))
        return run_experiment(str(file), store=f"{self.folder}/store", runs=f"{self.folder}/runs", workers=0)

    @property
    def runs(self) -> list[Path]:
        return sorted(self.folder.glob("runs/lab/wandb/offline-run-*"))


@dataclass
class Read:
    """What a run's file holds. history: {name: [value, …]}."""

    id: str
    name: str
    group: str
    project: str
    kind: str
    config: dict[str, Any]
    summary: dict[str, Any]
    history: dict[str, list[float]]


def records(file: Path) -> Iterator[Record]:
    """wandb's records: LevelDB's log format, blocks of 32 KiB with parts of records, after a head of 7 bytes."""
    data, at, begun = file.read_bytes(), 7, b""
    while at < len(data):
        if (left := -at % 32768) and left < 7:
            at += left
        size, part = struct.unpack("<HB", data[at + 4 : at + 7])
        begun += data[at + 7 : at + 7 + size]
        at += 7 + size
        if part in (1, 4):  # whole, or the last part
            yield Record.FromString(begun)
            begun = b""


def read(folder: Path) -> Read:
    runs, config, summary, history, over = [], {}, {}, defaultdict(list), False
    for record in records(next(folder.glob("*.wandb"))):
        over |= record.HasField("exit")
        if record.HasField("run"):
            runs.append(record.run)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for item in record.history.item:
            history[item.key or "/".join(item.nested_key)].append(json.loads(item.value_json))
    (run,) = runs
    assert over
    return Read(run.run_id, run.display_name, run.run_group, run.project, run.job_type, config, summary, dict(history))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("lab"))
    made.result = made.run()
    return made


def test_a_run_a_trial_holds_what_was_measured_and_by_what(lab: Lab) -> None:
    written = {run.name: run for run in map(read, lab.runs) if run.kind == "trial"}
    assert len(written) == 4
    for row in lab.result.rows:
        for trial in row.results:
            run = written[trial.name]
            assert (run.group, run.project) == ("lab", "x")
            assert run.config["train.learning_rate"] == row.variant.value("train.learning_rate")
            assert (run.config["seed"], run.config["trial_key"]) == (trial.seed, trial.key)
            measured = trial.metrics | trial.costs
            assert {"t2v/R1", "cost/latency_ms"} <= measured.keys()
            assert {name: run.summary[name] for name in measured} == pytest.approx(measured)
            told = trial.fits["train"].history
            assert run.history["_step"] == [1, 2]
            assert run.history["train/loss"] == pytest.approx([epoch["loss"] for epoch in told])
            assert run.history["train/validation"] == pytest.approx([epoch["validation"] for epoch in told])


def test_the_summary_run_holds_verdicts_and_the_table(lab: Lab) -> None:
    (folder,) = (folder for folder in lab.runs if read(folder).kind == "summary")
    run = read(folder)
    assert run.config["registration"] == lab.result.registration
    assert run.summary[f"verdict/{HYPOTHESIS}"] == lab.result.decisions[0].verdict.verdict
    page = (folder / "files" / run.summary["page"]["path"]).read_text()
    assert "a &lt;higher&gt; temperature" in page
    for row in lab.result.rows:
        assert f"<td>{row.name}<td>{row.mean('t2v/R1'):.2f}" in page


def test_writing_again_adds_nothing_and_a_further_seed_what_is_new(lab: Lab) -> None:
    before = lab.runs
    lab.run()
    assert lab.runs == before
    lab.run(seeds=[0, 1, 2])
    added = [read(folder) for folder in lab.runs if folder not in before]
    assert sorted((run.kind, run.config.get("seed")) for run in added) == [
        ("summary", None),
        ("trial", 2),
        ("trial", 2),
    ]
    ids = [read(folder).id for folder in lab.runs]
    assert len(ids) == len(set(ids)) == 8
    assert not list(lab.folder.glob("runs/lab/wandb/.*/*"))


def test_what_other_experiments_find_in_the_same_store_adds_nothing_to_this_one(lab: Lab) -> None:
    lab.run()
    before = lab.runs
    lab.run(name="other", ablate={"train.learning_rate": [0.01, 0.5]}, seeds=[0], hypotheses={})  # 0.01 is shared
    lab.run()
    assert lab.runs == before
    others = {read(folder).id for folder in lab.folder.glob("runs/other/wandb/offline-run-*")}
    assert len(others) == 3
    assert not others & {read(folder).id for folder in lab.runs}


def test_a_run_that_was_cut_off_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    def killed(*_: object, **__: object) -> None:
        raise OSError("killed")

    made = Lab(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(wandb.Run, "log", killed)
        with pytest.warns(RuntimeWarning, match="output `wandb`.*killed"):
            made.run(seeds=[0])
    assert not made.runs
    made.run(seeds=[0])
    assert len(made.runs) == 3


def test_an_anonymous_experiment_tells_neither_folders_nor_machine(tmp_path: Path) -> None:
    made = Lab(tmp_path)
    made.run(anonymous=True, seeds=[0])
    files = [file for folder in made.runs for file in folder.rglob("*") if file.is_file()]
    assert len(made.runs) == 3
    told = b"\n".join(file.read_bytes() for file in files)
    for place in (tmp_path, tempfile.gettempdir(), Path.cwd(), Path.home(), sys.prefix):
        assert str(place).encode() + b"/" not in told
    machine = [record.run.host for folder in made.runs for record in records(next(folder.glob("*.wandb")))]
    assert socket.gethostname() not in machine


def test_a_project_that_wandb_refuses_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"outputs\.wandb\.project: Invalid project name 'a/b'"):
        Lab(tmp_path, project="a/b").run()
    assert not list(tmp_path.glob("store/evaluate/*"))


def test_nobody_logged_in_ends_an_online_run_before_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"outputs\.wandb: .*wandb login"):
        Lab(tmp_path, mode="online").run()
