"""Differences of all variants to the baseline."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.outputs import Result, metric

from ..axes import compared_with, marked
from .intervals import Floats, drawn_interval
from .style import GREY, OUTCOME_COLOURS, entitle, height, open_frame, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 60


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
    def size(self) -> tuple[float, float]:
        return 6.4, 1.5 + sum(max(0.26, height(name) + 0.05) for name in self._names)

    @property
    def _names(self) -> list[str]:
        """Of the rows, long ones over several lines."""
        return [textwrap.fill(name, 38) for name in self.rows]

    @property
    def caption(self) -> str:
        return f"Difference to {self.baseline} in {self.metric}, with 95 % intervals"

    @classmethod
    def of(cls, result: Result) -> Forest | None:
        """None where nothing is compared, or more than can be read."""
        rows = [row for row in result.rows if result.primary in row.comparisons]
        if not 0 < len(rows) <= MOST_ROWS:
            return None
        difference, low, high = np.array([drawn_interval(row.comparisons[result.primary]) for row in rows]).T
        names, outcomes = tuple(marked(row) for row in rows), tuple(row.outcome for row in rows)
        return cls(compared_with(result), result.primary, names, difference, low, high, outcomes)

    def draw(self, axes: Axes) -> None:
        """A line an interval, the first variant on top; filled where the difference is significant after correction."""
        places = np.arange(len(self.rows))
        axes.axvline(0, color="0.35", linewidth=1.2, linestyle="--")
        for place, difference, low, high, outcome in zip(
            places, self.difference, self.low, self.high, self.outcomes, strict=True
        ):
            colour = OUTCOME_COLOURS.get(outcome, GREY)
            face = colour if outcome in OUTCOME_COLOURS else "white"
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            axes.plot(difference, place, marker="o", markersize=6, color=colour, markerfacecolor=face)
            text = f"{difference:+.2f}  {outcome}"
            axes.annotate(
                text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour
            )
        axes.set_yticks(places, self._names)
        axes.set_ylim(len(places) - 0.4, -0.6)
        open_frame(axes, "x")
        better = "right" if metric(self.metric).higher_is_better else "left"
        axes.set_xlabel(f"difference in {self.metric}, {unit(self.metric)}; better is {better}")
        key = "line: 95 % interval; filled: significant after correction"
        entitle(axes, f"differences to {self.baseline}", "", key, width=52)
