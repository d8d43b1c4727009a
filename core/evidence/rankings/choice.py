"""Which trial is looked at, and which texts of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from ...engine.plan import Plan, PlannedTrial
from ...engine.steps.split import Kept
from ...errors import UserError
from ...experiment.selection import reference_fault, select
from ...experiment.variants import Variant
from ...measure.metrics import metric
from ..ground import run_command
from .stages import stage_count

ALIKE = ("", " of several stages", " that re-rank")
"""What variants have in common whose `_depth` is 0, 1, 2."""


def chosen_trial(plan: Plan, name: str | None = None) -> tuple[PlannedTrial, str | None]:
    """The first finished trial of a variant, and why it is this variant: None where its name was given.

    Without a name: of the variants that re-rank more than one candidate the best by the mean of the primary metric over
    seeds; where none does, of those with several stages; where there are none, of all. The first of equals.
    Raises UserError for a name that no variant has, and for results that the store lacks.
    """
    variants = plan.variants if name is None else select(plan.variants, name)[:1]
    if not variants:
        raise UserError(f"outputs.pictures.variant: {reference_fault(plan.variants, str(name))}")
    finished = [trial for variant in variants for trial in plan.trials_of(variant) if _finished(plan, trial)]
    if not finished:
        raise UserError(_lacking(plan, f"results of {plan.document.file if name is None else f'`{variants[0].name}`'}"))
    if name is not None:
        return finished[0], None
    most = max(_depth(trial.variant) for trial in finished)
    values: dict[str, list[float]] = {}
    primary = plan.experiment.evaluate.primary
    for trial in finished:
        if _depth(trial.variant) == most:
            value = plan.workspace.read(trial.last).json()["metrics"][primary]
            values.setdefault(trial.variant.name, []).append(value)
    sign = 1 if metric(primary).higher_is_better else -1
    best = max(values, key=lambda name: sign * float(np.mean(values[name])))
    why = f"Of the variants{ALIKE[most]}, {best} is the best by {primary} (of equals the first)."
    return next(trial for trial in finished if trial.variant.name == best), why


def _finished(plan: Plan, trial: PlannedTrial) -> bool:
    return trial.last.ready(plan.workspace.store)


def _depth(variant: Variant) -> int:
    """2 where the order of some candidates may change, 1 where there are several stages, 0 for a single one."""
    retrieve = variant.experiment.retrieve
    if retrieve.rerank is not None and retrieve.rerank.fields.top_k > 1:
        return 2
    return int(stage_count(retrieve) > 1)


def _lacking(plan: Plan, what: str) -> str:
    """What the store lacks, and the command that computes it."""
    store, split = str(plan.workspace.store.root), plan.experiment.evaluate.split
    return f"{store} lacks {what} on the {split} split; compute them by: {run_command(plan, store)}"


def chosen_rows(queries: Sequence[str], rows: Kept) -> list[int]:
    """Rows of the texts with these ids. Raises UserError for one that is not there, with the nearest."""
    rows_by_id = {name: row for row, name in enumerate(rows.text_ids)}
    for query in queries:
        if query not in rows_by_id:
            near = ", ".join(f"`{name}`" for name in get_close_matches(query, rows_by_id, n=3, cutoff=0))
            raise UserError(f"outputs.pictures.queries: the scored split has no text `{query}`; the nearest are {near}")
    return [rows_by_id[query] for query in queries]
