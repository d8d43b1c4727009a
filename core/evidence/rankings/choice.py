"""Which trial is looked at, and which texts of it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import numpy as np

from ...engine.plan import Plan, PlannedTrial
from ...engine.steps.split import Kept
from ...errors import ConfigError, Problem, UserError
from ...experiment.selection import reference_fault, select
from ...experiment.variants import Variant
from ...measure.metrics import metric
from ..ground import run_command
from .stages import stage_count

KEYS = ("outputs.pictures.variant", "outputs.pictures.seed")
"""Where a variant and a seed are named, as faults tell it, where nobody says otherwise."""
ALIKE = ("", " of several stages", " that re-rank")
"""What variants have in common whose `_depth` is 0, 1, 2."""


def chosen_trial(
    plan: Plan, name: str | None = None, seed: int | None = None, keys: tuple[str, str] = KEYS
) -> tuple[PlannedTrial, str | None]:
    """A finished trial of a variant, the first or that of a seed, and why it is this variant: None where its name was
    given.

    Without a name: of the variants that re-rank more than one candidate the best by the mean of the primary metric over
    seeds; where none does, of those with several stages; where there are none, of all. The first of equals.
    keys: where name and seed come from.
    Raises ConfigError for a name or a seed that is not there, and UserError for results that the store lacks.
    """
    variants = plan.variants if name is None else select(plan.variants, name)[:1]
    if not variants:
        raise ConfigError(Problem(keys[0], reference_fault(plan.variants, str(name))))
    seeds = variants[0].experiment.seeds
    if seed is not None and seed not in seeds:
        there = ", ".join(map(str, seeds))
        raise ConfigError(Problem(keys[1], f"there is no seed {seed}; there are: {there}"))
    finished = [trial for variant in variants for trial in plan.trials_of(variant) if _finished(plan, trial)]
    if not finished:
        raise lacking(plan, f"results of {plan.document.file if name is None else f'`{variants[0].name}`'}")
    chosen, why = (variants[0].name, None) if name is not None else _best(plan, finished)
    for trial in finished:
        if trial.variant.name == chosen and (seed is None or trial.seed in (None, seed)):
            return trial, why
    raise lacking(plan, f"the result of `{chosen}` with seed {seed}")


def _best(plan: Plan, finished: list[PlannedTrial]) -> tuple[str, str]:
    """The best variant of those that do most, by name, and why it is this one."""
    most = max(_depth(trial.variant) for trial in finished)
    values: dict[str, list[float]] = {}
    primary = plan.experiment.evaluate.primary
    for trial in finished:
        if _depth(trial.variant) == most:
            value = plan.workspace.read(trial.last).json()["metrics"][primary]
            values.setdefault(trial.variant.name, []).append(value)
    sign = 1 if metric(primary).higher_is_better else -1
    best = max(values, key=lambda name: sign * float(np.mean(values[name])))
    return best, f"Of the variants{ALIKE[most]}, {best} is the best by {primary} (of equals the first)."


def reranks(variant: Variant) -> bool:
    """Whether the order of some candidates may change."""
    return _depth(variant) == 2


def _finished(plan: Plan, trial: PlannedTrial) -> bool:
    return trial.last.ready(plan.workspace.store)


def _depth(variant: Variant) -> int:
    """2 where the order of some candidates may change, 1 where there are several stages, 0 for a single one."""
    retrieve = variant.experiment.retrieve
    if retrieve.rerank is not None and retrieve.rerank.fields.top_k > 1:
        return 2
    return int(stage_count(retrieve) > 1)


def lacking(plan: Plan, what: str) -> UserError:
    """That the store lacks something, and the command that computes it."""
    store, split = str(plan.workspace.store.root), plan.experiment.evaluate.split
    return UserError(f"{store} lacks {what} on the {split} split; compute them by: {run_command(plan, store)}")


def chosen_rows(queries: Sequence[str], rows: Kept) -> list[int]:
    """Rows of the texts with these ids. Raises UserError for one that is not there, with the nearest."""
    rows_by_id = {name: row for row, name in enumerate(rows.text_ids)}
    for query in queries:
        if query not in rows_by_id:
            near = ", ".join(f"`{name}`" for name in get_close_matches(query, rows_by_id, n=3, cutoff=0))
            why = f"the scored split has no text `{query}`; of its {len(rows_by_id):,} the nearest are {near}"
            raise UserError(f"outputs.pictures.queries: {why}")
    return [rows_by_id[query] for query in queries]
