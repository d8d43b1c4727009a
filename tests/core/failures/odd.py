"""Components that fail where a test wants it, an experiment that holds them, and what a run leaves of it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from core import LossInputs, Output, Split, hookimpl, setting
from core.plugins import registry
from core.run import main
from tests.engine import Lab, ToyDot, ToyEncoder, ToyMatching, ToyVideos

TRIED: Counter[str] = Counter()
FAULTS = {
    "raise": r"ValueError: the loss is odd",
    "nan": r"the loss is not finite in epoch 1, step 1",
    "exit": r"sys\.exit\(0\) was called",
    "memory": r"MemoryError: no more of it",
    "gpu": r"OutOfMemoryError: CUDA out of memory",
}


class OddLoss(ToyMatching):
    """Fails in training or at construction, of one seed or of every one, unless it is mended."""

    name = "odd_loss"
    mended: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Config(ToyMatching.Config):
        fault: str = setting("none", "how it fails", choices=("none", "construction", *FAULTS))
        seed: int = setting(-1, "the seed that fails; -1: every one")

    def __init__(self, config: Any):
        super().__init__(config)
        if config.fault == "construction":
            raise KeyError("constructed")

    def forward(self, inputs: LossInputs) -> Tensor:
        loss, fault = super().forward(inputs), self.config.fault
        if fault == "none" or self.mended or self.config.seed not in (-1, torch.initial_seed() // 1_000_003):
            return loss
        TRIED[fault] += 1
        if fault == "exit":
            sys.exit(0)
        if fault == "memory":
            raise MemoryError("no more of it")
        if fault == "gpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 PiB")
        if fault == "raise":
            raise ValueError("the loss is odd\nin more than one line")
        return loss * torch.nan


class OddDot(ToyDot):
    """Fails at one temperature in scoring; of a `level` that it cannot take at construction, by sys.exit."""

    name = "odd_dot"

    @dataclass(frozen=True)
    class Config(ToyDot.Config):
        start: str = setting("well", "how it starts", choices=("well", "exit", "raise"))

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        if config.start == "exit":
            sys.exit("I do not want to")
        if config.start == "raise":
            raise AttributeError("constructed\nin two lines")

    def score(self, text: Any, video: Any) -> Tensor:
        TRIED["score"] += 1
        return super().score(text, video) * (torch.nan if self.config.temperature == 13 else 1)

    def score_settings(self, text: Any, video: Any, configs: Any, *, lists: bool = False) -> list[Tensor]:
        if any(config.temperature == 7 for config in configs):
            raise ValueError("7 is unlucky")
        return super().score_settings(text, video, configs, lists=lists)


class OddVideos(ToyVideos):
    """Fails at construction or when it is read."""

    name = "odd_videos"

    @dataclass(frozen=True)
    class Config(ToyVideos.Config):
        fault: str = setting("none", "when it fails", choices=("none", "construction", "reading"))

    def __init__(self, config: Any):
        super().__init__(config)
        if config.fault == "construction":
            raise KeyError("constructed")

    def prepare(self, folder: Path) -> dict[str, Split]:
        if self.config.fault == "reading":
            raise KeyError("read")
        return super().prepare(folder)


class OddEncoder(ToyEncoder):
    """Cannot be constructed."""

    name = "odd_encoder"

    def __init__(self, config: Any):
        raise TypeError("constructed")


class OddOutput(Output):
    """Fails when a trial is finished: by what `fault` raises."""

    name = "odd_output"

    @staticmethod
    def fault(name: str) -> None:
        """Called with the name of a trial."""

    def trial_finished(self, trial: Any) -> None:
        type(self).fault(trial.name)


class OddPlugin:
    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(OddVideos)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(OddEncoder)

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register(OddLoss)

    @hookimpl
    def register_interactions(self, register: Any) -> None:
        register(OddDot)

    @hookimpl
    def register_outputs(self, register: Any) -> None:
        register(OddOutput)


FAULT, SEED, WEIGHT = "model.losses.odd.fault", "model.losses.odd.seed", "model.losses.odd.weight"
SOUND: dict[str, Any] = {"light": {WEIGHT: 0.5}, "heavy": {WEIGHT: 2.0}}
CLAIMS = {
    "light_helps": {"better": "light", "than": "base"},
    "odd_helps": {"better": "odd", "than": "base"},
    "odd_is_as_good": {"no_worse": "odd", "than": "light", "margin": 5},
}


def variants(**more: Any) -> dict[str, Any]:
    """Changes of the laboratory's experiment: a baseline, two sound variants, and more."""
    return {
        "model.losses.odd": {"name": "odd_loss", "of": "linear"},
        "retrieve.rerank": None,
        "retrieve.first_stage": "linear",
        "evaluate": {"metrics": ["R1", "MnR"], "directions": ["t2v"]},
        "train.epochs": 1,
        "variants": {"base": {}, **SOUND, **more},
        "baseline": "base",
        "seeds": [0, 1, 2],
        "outputs": {"mlflow": None},
    }


ONE_SEED = variants(odd={FAULT: "nan", SEED: 1}) | {"hypotheses": CLAIMS}
HOLE = variants(odd={FAULT: "raise"}) | {"hypotheses": CLAIMS}


@contextmanager
def registered_odd() -> Iterator[None]:
    plugin = OddPlugin()
    registry().add_plugin(plugin, "odd-package", "1")
    TRIED.clear()
    try:
        yield
    finally:
        OddLoss.mended = False
        registry().remove_plugin(plugin, "odd-package")


@pytest.fixture
def odd(toys: None) -> Iterator[None]:
    with registered_odd():
        yield


def new_lab(folder: Path) -> Lab:
    return Lab(folder, {"train": 6, "val": 4, "test": 24})


@pytest.fixture
def wide(odd: None, undrawn: None, tmp_path: Path) -> Lab:
    return new_lab(tmp_path)


@pytest.fixture
def drawn(odd: None, tmp_path: Path) -> Lab:
    """The same, with its figures drawn."""
    return new_lab(tmp_path)


def command(lab: Lab, changes: dict[str, Any], *more: str) -> int:
    places = ["--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0", "--device", "cpu"]
    return main([str(lab.write(changes)), *places, *more])


def report(lab: Lab, name: str) -> str:
    return (lab.folder / "runs" / "lab" / name).read_text()


def table(lab: Lab) -> dict[tuple[str, str], dict[str, str]]:
    lines = csv.DictReader(io.StringIO(report(lab, "table.csv")))
    return {(line["variant"], line["metric"]): line for line in lines}


def written(lab: Lab) -> list[str]:
    """Files among the reports: what was registered comes before the first score."""
    return sorted(path.name for path in (lab.folder / "runs").rglob("*") if path.is_file())


def records(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted((lab.store / "failures").glob("*.json"))]


ODD_PLACE = r"\(odd-package, odd\.py line \d+\)"
