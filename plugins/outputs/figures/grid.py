"""The metric at each setting of two axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from core.outputs import Result, Row, metric

from ..axes import Axis, axis, compared_with, distinct, keys_of, own, shared_settings, varying
from .intervals import Floats
from .style import entitle, fixed_at, label_cells, size_of_cells, stacked, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {"better": "▲", "worse": "▼"}


@dataclass(frozen=True)
class Grid:
    """The primary metric at each setting of two axes, and how it stands to the baseline.

    mean, difference, low, high: [rows, columns], the difference with its 95 % interval; nan where there is no variant,
    or none that is compared; the mean where its trials failed too.
    outcomes: [rows][columns], as the table has them; "" where there is no variant.
    """

    baseline: str
    held: str
    metric: str
    rows: Axis
    columns: Axis
    mean: Floats
    difference: Floats
    low: Floats
    high: Floats
    outcomes: tuple[tuple[str, ...], ...]

    @property
    def size(self) -> tuple[float, float]:
        return size_of_cells(self.rows, self.columns, 0.52)

    @property
    def caption(self) -> str:
        return f"{self.metric} at each {self.rows.name} and {self.columns.name}{fixed_at(self.held)}"

    @classmethod
    def of(cls, result: Result) -> Grid | None:
        """The variants as a grid of two axes, the baseline left out where it alone differs in more; None for others."""
        keys = keys_of(result)
        for rows in (result.rows, [row for row in result.rows if not row.is_baseline]):
            axes = varying([row.variant for row in rows], keys, keys)
            if len(axes) == 2:
                return cls._of(result, rows, axes, keys)
        return None

    @classmethod
    def _of(cls, result: Result, table_rows: list[Row], axes: list[str], keys: list[str]) -> Grid | None:
        settings = [[own(row.variant, key, keys) for key in axes] for row in table_rows]
        values = [distinct(column) for column in zip(*settings, strict=True)]
        shape = len(values[0]), len(values[1])
        if len(table_rows) < sum(shape):  # axes that were varied one at a time make a cross
            return None
        cells = np.full((4, *shape), np.nan)
        outcomes = [[""] * shape[1] for _ in range(shape[0])]
        for table_row, (row, column) in zip(table_rows, settings, strict=True):
            place = values[0].index(row), values[1].index(column)
            comparison = table_row.comparisons.get(result.primary)
            cells[0, *place] = table_row.mean(result.primary)
            if comparison:
                cells[1:, *place] = comparison.difference, comparison.low, comparison.high
            outcomes[place[0]][place[1]] = table_row.outcome
        held = shared_settings(result, [row.variant for row in table_rows], axes)
        rows, columns = (axis(key, taken, keys) for key, taken in zip(axes, values, strict=True))
        mean, difference, low, high = cells
        compared = compared_with(result), held, result.primary
        return cls(*compared, rows, columns, mean, difference, low, high, tuple(map(tuple, outcomes)))

    def draw(self, axes: Axes) -> None:
        """Cells coloured by the difference to the baseline, blue for better, pale where intervals are wider; each with
        metric and difference."""
        gain = self.difference if metric(self.metric).higher_is_better else -self.difference
        limit = np.nanmax(np.abs([self.low, self.high]), initial=1e-9)
        colours = np.ma.masked_invalid(np.where(np.isnan(self.mean), np.nan, np.nan_to_num(gain)))
        axes.pcolormesh(colours, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=1.5)
        for row, column in np.ndindex(self.mean.shape):
            x, outcome = column + 0.5, self.outcomes[row][column]
            if np.isnan(self.mean[row, column]):
                if outcome:
                    axes.text(x, row + 0.5, stacked(outcome), va="center", ha="center", color="0.4")
                continue
            colour = "white" if abs(np.nan_to_num(gain[row, column])) > 0.6 * limit else "black"
            weight = "bold" if outcome in MARKS else "normal"
            value = f"{self.mean[row, column]:.1f} {MARKS.get(outcome, '')}".strip()
            below = f"{self.difference[row, column]:+.1f}" if not np.isnan(self.difference[row, column]) else outcome
            axes.text(x, row + 0.47, value, va="bottom", ha="center", color=colour, weight=weight)
            axes.text(x, row + 0.53, stacked(below), va="top", ha="center", color=colour, fontsize=7.5)
        label_cells(axes, self.rows, self.columns)
        key = f"below: difference to {self.baseline}, {unit(self.metric)}; ▲ better, ▼ worse after correction"
        entitle(axes, self.metric, self.held, key)
