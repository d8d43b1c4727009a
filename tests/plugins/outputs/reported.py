"""An experiment that was run and reported once, for tests of what a report holds: two axes beside a baseline."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.evidence.findings import Result, findings
from core.outputs import Outputs
from tests.engine import Lab, plan_of, registered_toys

TEMPERATURE = "model.interactions.linear.temperature"
EXPERIMENT = {
    "ablate": {"retrieve.rerank.top_k": [1, 3, 24], TEMPERATURE: [0.5, 2.0]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {"a_<b>_&_c": {"better": {"retrieve.rerank.top_k": 3, TEMPERATURE: 0.5}, "than": "baseline"}},
}


def write(result: Result, runs: Path, only: Sequence[str] = ("figures", "pictures", "report")) -> Path:
    """Have these outputs write under `runs`; the folder that they wrote to."""
    outputs = Outputs(plan_of(result), runs, only=only)
    outputs.replay(result)
    assert not outputs.faults
    return outputs.folder


@pytest.fixture(scope="session")
def reported_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with registered_toys():
        lab = Lab(tmp_path_factory.mktemp("reported"), {"train": 6, "val": 4, "test": 24})
        write(lab.result(EXPERIMENT), lab.folder / "runs")
    return lab.folder


@pytest.fixture
def reported(toys: None, reported_folder: Path) -> Lab:
    """The lab with its report under runs/; nothing more is run in it."""
    return Lab(reported_folder)


@pytest.fixture
def result(reported: Lab) -> Result:
    return findings(reported.plan(EXPERIMENT))


@pytest.fixture
def copied(toys: None, reported_folder: Path, tmp_path: Path) -> Lab:
    """The same in a folder of its own, where more can be run."""
    return Lab(shutil.copytree(reported_folder, tmp_path / "copied"))
