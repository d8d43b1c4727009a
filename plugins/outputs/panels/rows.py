"""Panels of the table's rows: differences, metric against cost, ranks of single queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.outputs import Result, metric

from .axes import marked
from .lines import drawn_interval, interval

MOST_ROWS = 60
MOST_POINTS = 26
COST_WORDS = {
    "cost/parameters": "parameters",
    "cost/side_bytes": "stored bytes a video",
    "cost/offline_multiply_adds": "multiply-adds a video, offline",
    "cost/online_multiply_adds": "multiply-adds a query",
    "cost/latency_ms": "ms a query, median",
    "cost/latency_p95_ms": "ms a query, 95th percentile",
    "cost/throughput": "queries a second",
    "cost/peak_bytes": "peak bytes",
    "cost/training_seconds": "seconds of training",
    "cost/training_peak_bytes": "peak bytes in training",
}
DRAWN_COSTS = ("cost/online_multiply_adds", "cost/latency_ms", "cost/side_bytes", "cost/training_seconds")
"""Costs that the metric is drawn against, where variants differ in them."""
RANKS = (1, 2, 6, 11, 51)
"""The lowest rank of each group of ranks."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Forest:
    """Differences to the baseline with their 95 % intervals, in the order of the table.

    difference, low, high: [rows], in the unit of the metric. outcomes: [rows].
    """

    baseline: str
    metric: str
    rows: tuple[str, ...]
    difference: Floats
    low: Floats
    high: Floats
    outcomes: tuple[str, ...]

    @property
    def caption(self) -> str:
        return f"Difference to {self.baseline} in {self.metric}, with 95 % intervals"


@dataclass(frozen=True)
class Pareto:
    """The primary metric against a cost: which variants are beaten in neither by another.

    cost, mean, low, high: [rows]. front: [rows], whether no other variant is at least as good in both and better in
    one.
    """

    baseline: str
    metric: str
    against: str
    rows: tuple[str, ...]
    cost: Floats
    mean: Floats
    low: Floats
    high: Floats
    front: NDArray[np.bool_]

    @property
    def caption(self) -> str:
        return f"{self.metric} against {COST_WORDS[self.against]}"


@dataclass(frozen=True)
class RankChanges:
    """How many queries have which rank in the baseline and in another variant, seeds averaged.

    groups: ranks in words. counts: [groups, groups], queries; row: in the baseline, column: in the variant.
    gained, lost: queries whose rank is better, worse, seeds averaged.
    """

    baseline: str
    variant: str
    direction: str
    groups: tuple[str, ...]
    counts: Floats
    gained: int
    lost: int

    @property
    def caption(self) -> str:
        return f"Ranks of the same queries ({self.direction}) in {self.baseline} and in {self.variant}"


def forest(result: Result) -> Forest | None:
    """None where nothing is compared, or more than can be read."""
    rows = [row for row in result.rows if result.primary in row.comparisons]
    if not 0 < len(rows) <= MOST_ROWS:
        return None
    found = [row.comparisons[result.primary] for row in rows]
    values = np.array([drawn_interval(one) for one in found]).T
    outcomes = tuple(row.outcome for row in rows)
    names = tuple(marked(row) for row in rows)
    return Forest(marked(result.baseline), result.primary, names, values[0], values[1], values[2], outcomes)


def paretos(result: Result) -> dict[str, Pareto]:
    """{cost: panel} of DRAWN_COSTS in which variants differ; nothing where there are more points than can be told."""
    made = {}
    for against in DRAWN_COSTS:
        rows = [row for row in result.rows if against in row.costs and row.whole]
        cost = np.array([row.costs[against] for row in rows])
        if len(rows) <= MOST_POINTS and len({*cost}) > 1:
            values = np.array([interval(row, result.primary) for row in rows]).T
            front = _front(cost, values[0], metric(result.primary).higher_is_better)
            names = tuple(marked(row) for row in rows)
            who = marked(result.baseline), result.primary, against, names
            made[against] = Pareto(*who, cost, values[0], values[1], values[2], front)
    return made


def _front(cost: Floats, mean: Floats, higher_is_better: bool) -> NDArray[np.bool_]:
    gain = mean if higher_is_better else -mean
    no_dearer, no_worse = cost[None] <= cost[:, None], gain[None] >= gain[:, None]
    better = (cost[None] < cost[:, None]) | (gain[None] > gain[:, None])
    beaten: NDArray[np.bool_] = np.any(no_dearer & no_worse & better, axis=1)
    return ~beaten


def rank_changes(result: Result) -> RankChanges | None:
    """The baseline against the compared variant that differs most; None where ranks are not among the metrics."""
    direction = result.primary.partition("/")[0]
    name = next((name for name in (f"{direction}/MnR", f"{direction}/MdR") if name in result.metrics), None)
    compared = [row for row in result.rows if result.primary in row.comparisons]
    if name is None or not compared:
        return None
    other = max(compared, key=lambda row: abs(row.comparisons[result.primary].difference))
    before, after = result.baseline.per_query(name), other.per_query(name)
    seeds = max(len(before), len(after))
    before, after = (np.broadcast_to(ranks, (seeds, ranks.shape[1])) for ranks in (before, after))
    starts = [start for start in RANKS if start <= max(before.max(), after.max())]
    places = [np.searchsorted(starts, np.floor(ranks), side="right") - 1 for ranks in (before, after)]
    counts = np.zeros((len(starts), len(starts)))
    np.add.at(counts, tuple(place.ravel() for place in places), 1 / seeds)
    change = before.mean(axis=0) - after.mean(axis=0)
    moved = int((change > 1e-9).sum()), int((change < -1e-9).sum())
    return RankChanges(marked(result.baseline), marked(other), direction, _groups(starts), counts, *moved)


def _groups(starts: Sequence[int]) -> tuple[str, ...]:
    """`1`, `2-5`, …, `51+`"""
    ends = [*(start - 1 for start in starts[1:]), None]
    pairs = zip(starts, ends, strict=True)
    return tuple(f"{a}+" if b is None and a > 1 else f"{a}" if b in (a, None) else f"{a}-{b}" for a, b in pairs)
