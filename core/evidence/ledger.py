"""Which trials this store saw scored on a test split, and by which experiments.

Lines of JSON that are only ever added to, in `ledger.jsonl` and a copy: nothing else could tell again what stood in a
damaged one. Comparisons of stored trials that `core.compare` made stand there too.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext, suppress
from itertools import combinations
from pathlib import Path
from typing import Any

from ..contract.store import append_twice, read_twice
from ..engine.plan import Plan, PlannedTrial
from ..experiment.selection import Variant
from .recognition import SAME_SPLIT, arm_of, is_same_arm, is_same_split, known_content, share_of, split_scored

Line = dict[str, Any]
LEDGER = "ledger.jsonl"


def enter(plan: Plan, trial: PlannedTrial) -> None:
    """Count one scoring of a test split. What the store gave again is the same scoring.

    One of a store from before, which does not tell the arm, is written down once more, if the store can be written.
    """
    if trial.variant.experiment.evaluate.split != "test":
        return
    name, key = plan.experiment.name, trial.last.key
    entered = plan.workspace.once(("entered", name), lambda: _entered(plan, name))
    if not entered.get(key):
        line = {"experiment": name, "trial": key, "variant": trial.variant.name, "arm": arm_of(plan, trial.variant)}
        split = split_scored(plan, trial.variant.name)
        with suppress(OSError) if key in entered else nullcontext():
            append_twice(_ledger(plan), [line | {"split": split, "time": time.time()}])
        entered[key] = True


def _entered(plan: Plan, experiment: str) -> dict[str, bool]:
    """{key of an experiment's trial in the ledger: whether its arm is told}. Another process may add one of them again:
    `times_scored` counts keys, not lines."""
    lines = [line for line in scorings(plan) if line["experiment"] == experiment]
    told = {line["trial"] for line in lines if "arm" in line}
    return {line["trial"]: line["trial"] in told for line in lines}


def scorings(plan: Plan) -> list[Line]:
    """What `enter` wrote, oldest first."""
    return read_twice(_ledger(plan), "experiment", "trial", "split")


def moment(line: Line) -> float:
    """When a line was written; the beginning of time for one that does not tell."""
    return float(line.get("time", 0.0))


def on_split(plan: Plan, variant: str, lines: Iterable[Line]) -> list[Line]:
    """The lines of the split that a variant is scored on, or of one that shares half of it."""
    return [line for line in lines if is_same_split(plan, variant, line["split"])]


def on_baselines(plan: Plan, lines: Iterable[Line]) -> list[Line]:
    """The lines of the splits that baselines are scored on: the variants that are compared are scored there."""
    return [line for line in lines if any(is_same_split(plan, v.name, line["split"]) for v in plan.baselines)]


def times_scored(plan: Plan, variant: str, experiment: str | None = None) -> int:
    """How many trials, of one experiment or of any, this store saw scored on the split that a variant is tested on."""
    lines = on_split(plan, variant, scorings(plan))
    return len({line["trial"] for line in lines if experiment in (None, line["experiment"])})


def scored_by_others(plan: Plan) -> dict[str, int]:
    """{experiment: trials} of all other experiments that were scored on a baseline's split, by their names."""
    lines = on_baselines(plan, scorings(plan))
    names = sorted({line["experiment"] for line in lines} - {plan.experiment.name})
    return {name: len({line["trial"] for line in lines if line["experiment"] == name}) for name in names}


def splits_alike(plan: Plan) -> dict[float, int]:
    """{share of a baseline's split: trials} of scorings on splits that are not the same to the byte, nor those of
    another variant of this plan."""
    own, trials_by_share = {split_scored(plan, variant.name) for variant in plan.variants}, dict[float, set[str]]()
    for line in on_baselines(plan, scorings(plan)):
        if line["split"] not in own:
            share = max(share_of(plan, variant.name, line["split"]) for variant in plan.baselines)
            trials_by_share.setdefault(share, set()).add(line["trial"])
    return {share: len(trials) for share, trials in sorted(trials_by_share.items(), reverse=True)}


def arms_scored(plan: Plan, arms: Sequence[Variant], lines: Sequence[Line]) -> bool:
    """Whether each of the arms was scored on its split, under whatever name and with whichever seeds.

    Arms that are near twins of each other are told apart: there only the very same ones count.
    """
    near = not any(is_same_arm(plan, arm, arm_of(plan, other)) for arm, other in combinations(arms, 2))
    return all(_arm_scored(plan, arm, lines, near) for arm in arms)


def _arm_scored(plan: Plan, variant: Variant, lines: Sequence[Line], near: bool) -> bool:
    arms: Collection[str] = {line["arm"] for line in on_split(plan, variant.name, lines) if "arm" in line}
    return any(is_same_arm(plan, variant, arm, near) for arm in sorted(arms))


def _ledger(plan: Plan) -> Path:
    return plan.workspace.store.root / LEDGER


# ------------------------------------------------------------------------------------------------ pairs of trials


def enter_comparisons(
    root: Path, splits: Collection[str], pairs: Iterable[tuple[str, str]], metrics: Iterable[str]
) -> int:
    """Enter comparisons of pairs of trials on some metrics; how many different ones these splits have seen, with these.

    Raises OSError where the ledger cannot be written.
    """
    lines = [{"compared": sorted(pair), "metric": name, "splits": sorted(splits)} for pair in pairs for name in metrics]
    seen = compared(root, splits)
    fresh = [line for line in lines if _comparison(line) not in seen]
    if fresh:
        append_twice(root / LEDGER, [line | {"time": time.time()} for line in fresh])
    return len(seen | {_comparison(line) for line in lines})


def compared(root: Path, splits: Collection[str]) -> set[tuple[str, ...]]:
    """The different comparisons of two trials on a metric that were made on any of these splits."""
    lines = read_twice(root / LEDGER, "compared", "metric", "splits")
    contents = {split: known_content(root, split) for line in lines for split in line["splits"]}
    own = [(split, known_content(root, split)) for split in splits]

    def alike(other: str) -> bool:
        there = contents[other]
        return any(split == other or (c and there and c.share(there) >= SAME_SPLIT) for split, c in own)

    return {_comparison(line) for line in lines if any(map(alike, line["splits"]))}


def pairs_compared(plan: Plan) -> int:
    """How many comparisons of two trials `core.compare` made on a baseline's split."""
    splits = {split_scored(plan, variant.name) for variant in plan.baselines}
    return len(compared(plan.workspace.store.root, splits))


def _comparison(line: Line) -> tuple[str, ...]:
    return (*line["compared"], line["metric"])
