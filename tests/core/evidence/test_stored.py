"""What the store has of an experiment: the place that has most is read, and what lacks is told."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.contract.store import Store
from core.engine.execute import execute
from core.engine.plan import add_trials, read_plan
from core.engine.steps.step import Workspace
from core.evidence.stored import missing_trials, read_stored, run_command, stored_plan
from core.experiment.config import read_document
from core.experiment.variants import Described, check_core
from tests.engine import COUNTS, Lab

CHANGES = {"ablate": {"retrieve.rerank.top_k": [1, 2]}, "baseline": {"retrieve.rerank": None}, "seeds": [0]}


def place(folder: Path) -> Workspace:
    return Workspace(Store(folder), torch.device("cpu"), workers=0)


def described(file: str, overrides: Sequence[str] = ()) -> Described:
    return check_core(read_document(file, overrides))


def test_the_place_with_the_results_of_most_trials_is_read(lab: Lab, tmp_path: Path) -> None:
    file = str(lab.write(CHANGES))
    lab.run(CHANGES)
    some = shutil.copytree(lab.store, tmp_path / "some")
    entries = sorted((some / "evaluate").iterdir())
    assert len(entries) == 3
    shutil.rmtree(entries[0])
    none, most, all_there = (place(folder) for folder in (tmp_path / "none", some, lab.store))
    COUNTS.clear()
    plan, result = read_stored(described(file), [none, most])
    assert (plan.workspace, result, len(missing_trials(plan))) == (most, None, 1)
    plan, result = read_stored(described(file), [none, most, all_there])
    assert plan.workspace is all_there
    assert result is not None
    assert [row.name for row in result.rows] == ["top_k=1", "top_k=2", "rerank=none"]
    assert not missing_trials(plan)
    assert stored_plan(described(file), [none, place(tmp_path / "neither")]).workspace is none
    assert not COUNTS


def test_a_plan_without_its_data_has_no_trials_and_no_result(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.run(CHANGES)
    monkeypatch.setattr("core.contract.components.Dataset.ready", lambda *_: False)
    plan, result = read_stored(described(str(lab.write(CHANGES))), [lab.workspace()])
    assert (plan.trials, result) == ([], None)


@pytest.mark.parametrize(
    ("given", "store", "device", "more"),
    [
        ([], "store", "cpu", []),
        (["train.epochs=3", "outputs.mlflow=null"], "store", "cpu", ["train.epochs=3"]),
        (["seeds=[0, 1]"], "else where", "cpu", ["seeds=[0, 1]", "--store", "else where"]),
        (["data.frame_order=normal"], "store", "cuda:1", ['data.frame_order="normal"', "--device", "cuda"]),
    ],
)
def test_the_command_that_computes_it_again_runs_as_it_stands(
    lab: Lab, given: list[str], store: str, device: str, more: list[str]
) -> None:
    file = str(lab.write(CHANGES))
    plan = read_plan(file, given, replace(lab.workspace(), device=torch.device(device)))
    words = shlex.split(run_command(plan, store))
    assert words == ["python", "-m", "core.run", file, *more]


def test_what_the_command_gives_is_what_was_computed(lab: Lab) -> None:
    file = str(lab.write(CHANGES))
    plan = read_plan(file, ["train.epochs=1", "ablate[retrieve.rerank.top_k]=[1]"], lab.workspace())
    add_trials(plan)
    execute(plan, lambda trial: None)
    given = shlex.split(run_command(plan))[4:]
    assert read_stored(described(file, given), [lab.workspace()])[1] is not None
    assert read_stored(described(file), [lab.workspace()])[1] is None
