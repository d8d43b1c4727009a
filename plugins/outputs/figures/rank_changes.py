"""How ranks of single queries change from the baseline to another variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.outputs import Result

from ..axes import Axis, marked
from .intervals import Floats
from .style import SIZE, entitle, label_cells

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RANKS = (1, 2, 6, 11, 51)
"""The lowest rank of each group of ranks."""


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

    size = SIZE

    @property
    def caption(self) -> str:
        caption = f"Ranks of the same queries ({self.direction}) in {self.baseline} and in {self.variant}. A query "
        caption += "that moves within one group of ranks stands on the diagonal and still counts as better or worse"
        if np.allclose(self.counts, self.counts.round()):
            return f"{caption}."
        return f"{caption}; a cell holds a fraction where the seeds of a query put it into different ones."

    @classmethod
    def of(cls, result: Result) -> RankChanges | None:
        """The baseline against the compared variant that differs most; None where ranks are not among the metrics."""
        direction = result.primary.partition("/")[0]
        name = next((name for name in (f"{direction}/MnR", f"{direction}/MdR") if name in result.metrics), None)
        compared = [row for row in result.rows if result.primary in row.comparisons]
        if name is None or not compared:
            return None
        other = max(compared, key=lambda row: abs(row.comparisons[result.primary].difference))
        baseline = result.baseline_of(other)
        before, after = baseline.per_query(name), other.per_query(name)
        seeds = max(len(before), len(after))
        before, after = (np.broadcast_to(ranks, (seeds, ranks.shape[1])) for ranks in (before, after))
        starts = [start for start in RANKS if start <= max(before.max(), after.max())]
        places = [np.searchsorted(starts, np.floor(ranks), side="right") - 1 for ranks in (before, after)]
        counts = np.zeros((len(starts), len(starts)))
        np.add.at(counts, tuple(place.ravel() for place in places), 1 / seeds)
        change = before.mean(axis=0) - after.mean(axis=0)
        moves = int((change > 1e-9).sum()), int((change < -1e-9).sum())
        return cls(marked(baseline), marked(other), direction, _groups(starts), counts, *moves)

    def draw(self, axes: Axes) -> None:
        """Cells with the number of queries, blue where the variant ranks better, darker for more."""
        size = len(self.groups)
        sign = np.sign(np.arange(size)[:, None] - np.arange(size)[None])
        most = self.counts[sign != 0].max(initial=1e-9)
        colours = sign * np.sqrt(self.counts / most)
        axes.pcolormesh(colours, cmap="RdBu", vmin=-1.6, vmax=1.6, edgecolors="0.85", linewidth=1)
        for row, column in np.ndindex(size, size):
            count = self.counts[row, column]
            if count > 0:
                weight = "normal" if row == column else "bold"
                axes.text(column + 0.5, row + 0.5, f"{count:.4g}", va="center", ha="center", weight=weight)
        rows, columns = (Axis(f"rank in {name}", self.groups) for name in (self.baseline, self.variant))
        label_cells(axes, rows, columns)
        axes.set_aspect("equal")
        key = "cells: queries by their rank in both, averaged over seeds; blue: better in the variant, red: worse"
        moves = f"{self.gained} queries rank better in {self.variant}, {self.lost} worse ({self.direction}), "
        entitle(axes, f"{moves}moves within a group among them", "", key, width=64)


def _groups(starts: Sequence[int]) -> tuple[str, ...]:
    """`1`, `2-5`, …, `51+`"""
    ends = [*(start - 1 for start in starts[1:]), None]
    pairs = zip(starts, ends, strict=True)
    return tuple(f"{a}+" if b is None and a > 1 else f"{a}" if b in (a, None) else f"{a}-{b}" for a, b in pairs)
