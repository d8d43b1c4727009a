"""What the store has of an experiment, read without computing anything."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..contract.store import Store
from ..engine.failures import known_failure
from ..engine.plan import Plan, add_trials, plan_of
from ..engine.steps.step import Workspace
from ..errors import UserError
from ..experiment.variants import Described
from .findings import findings
from .ground import run_command
from .results import Result

ARITHMETIC = ("cpu", "cuda")
"""Devices whose results the store may hold, by what they compute with."""


def workspaces(store: str) -> list[Workspace]:
    """The store, seen from each device of ARITHMETIC; none of them need be there."""
    return [Workspace(Store(store), torch.device(device), 0) for device in ARITHMETIC]


def stored_plan(described: Described, places: Sequence[Workspace]) -> Plan:
    """The plan of an experiment for the place that has the results of most trials; of equals, for the first.

    Its trials are laid out where its data are there. Raises ConfigError with every fault of the experiment.
    """
    plans: dict[int, Plan] = {}
    for place in places:
        plan = plan_of(described, place)
        if all(place.is_prepared(variant.experiment.data.dataset) for variant in plan.variants):
            add_trials(plan)
        done = sum(trial.last.ready(place.store) for trial in plan.trials)
        if plan.trials and done == len(plan.trials):
            return plan
        plans.setdefault(done, plan)
    return plans[max(plans)]


def missing_trials(plan: Plan) -> list[str]:
    """Names of a plan's trials of which the store has neither a result nor why they failed."""
    store = plan.workspace.store
    return [trial.name for trial in plan.trials if not (trial.last.ready(store) or known_failure(store, trial))]


def read_stored(described: Described, places: Sequence[Workspace]) -> tuple[Plan, Result | None]:
    """The `stored_plan`, and its findings where the store has the result of every trial but those that failed."""
    plan = stored_plan(described, places)
    some = any(trial.last.ready(plan.workspace.store) for trial in plan.trials)
    return plan, findings(plan) if some and not missing_trials(plan) else None


def stored_result(described: Described, store: str) -> tuple[Plan, Result]:
    """The plan of an experiment and its findings as the store has them.

    Raises ConfigError with every fault of the experiment, UserError where the store lacks results.
    """
    plan, result = read_stored(described, workspaces(store))
    if result is None:
        missing = missing_trials(plan)
        told = f"{len(missing)} of its {len(plan.trials)} trials are missing ({missing[0]}, …)" if missing else ""
        told = told or (f"all of its {len(plan.trials)} trials failed" if plan.trials else "its data set is not there")
        file = described.document.file
        raise UserError(f"{store} lacks results of {file}: {told}; compute them by: {run_command(plan, store)}")
    return plan, result
