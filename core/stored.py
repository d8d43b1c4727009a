"""What the store has of an experiment: its findings, read without computing anything."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import torch

from .findings import Result, findings
from .plan import Plan, add_trials, read_plan
from .steps.step import Workspace
from .store import Store

ARITHMETIC = ("cpu", "cuda")
"""Devices whose results the store may hold, by what they compute with; the first that has them all is read."""


def workspaces(store: str) -> list[Workspace]:
    """The store, seen from each device of ARITHMETIC; none of them need be there."""
    return [Workspace(Store(store), torch.device(device), 0) for device in ARITHMETIC]


def read_stored(file: str, places: Sequence[Workspace], overrides: Sequence[str] = ()) -> tuple[Plan, Result | None]:
    """The plan of an experiment file, and its findings where one of the places has the result of every trial.

    Raises ConfigError with every fault of the file.
    """
    plans = [read_plan(file, overrides, place) for place in places]
    for plan in plans:
        if _complete(plan):
            return plan, findings(plan)
    return plans[0], None


def _complete(plan: Plan) -> bool:
    """Lay out the trials of a plan whose data are there; whether the store has the result of each."""
    workspace = plan.workspace
    if not all(workspace.is_prepared(variant.experiment.data.dataset) for variant in plan.variants):
        return False
    add_trials(plan)
    return all(trial.last.ready(workspace.store) for trial in plan.trials)


def run_command(plan: Plan, store: str) -> str:
    """What computes the results of a plan; with the device where that is what they were computed on."""
    device = plan.workspace.device.type
    words = ["python", "-m", "core.run", plan.document.file]
    words += ["--store", store] if store != "store" else []
    words += ["--device", device] if device != "cpu" else []
    return shlex.join(words)
