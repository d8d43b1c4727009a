"""The metric against what it costs."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.outputs import Result, metric

from ..axes import marked
from ..numbers import COST_WORDS, short_number
from .intervals import Floats, metric_interval
from .style import COLOURS, GREY, entitle, height, open_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 26
"""Each has a letter."""
DRAWN_COSTS = ("cost/online_multiply_adds", "cost/latency_ms", "cost/side_bytes", "cost/training_seconds")
"""Costs that the metric is drawn against, where variants differ in them."""


@dataclass(frozen=True)
class Pareto:
    """The primary metric against a cost: which variants are beaten in neither by another.

    cost, mean, low, high: [rows]. front: [rows], whether no other variant is at least as good in both and better in
    one.
    """

    baselines: tuple[str, ...]
    metric: str
    against: str
    rows: tuple[str, ...]
    cost: Floats
    mean: Floats
    low: Floats
    high: Floats
    front: NDArray[np.bool_]

    @property
    def size(self) -> tuple[float, float]:
        return 6.4, max(4.3, 0.9 + sum(height(label) + 0.03 for label in self._labels))

    @property
    def _labels(self) -> list[str]:
        """What the legend calls each row, long names over several lines."""
        names = [f"{name} (baseline)" if name in self.baselines else name for name in self.rows]
        return [f"{_letter(number)}  {textwrap.fill(name, 32)}" for number, name in enumerate(names)]

    @property
    def caption(self) -> str:
        return f"{self.metric} against {COST_WORDS[self.against]}"

    @classmethod
    def of(cls, result: Result, against: str) -> Pareto | None:
        """None where variants do not differ in that cost, and where there are more points than can be told."""
        rows = [row for row in result.rows if against in row.costs and row.whole]
        cost = np.array([row.costs[against] for row in rows])
        if len(rows) > MOST_POINTS or len({*cost}) < 2:
            return None
        mean, low, high = np.array([metric_interval(row, result.primary) for row in rows]).T
        front = _front(cost, mean, metric(result.primary).higher_is_better)
        names = tuple(marked(row) for row in rows)
        return cls(tuple(map(marked, result.baselines)), result.primary, against, names, cost, mean, low, high, front)

    def draw(self, axes: Axes) -> None:
        """A point a variant with a letter, named at the side; a step line joins those that no other beats in both."""
        order = np.argsort(self.cost[self.front], kind="stable")
        cost, mean = self.cost[self.front][order], self.mean[self.front][order]
        axes.step(cost, mean, where="post", color=COLOURS[0], linewidth=1.2, alpha=0.7)
        for number, name in enumerate(self.rows):
            at, value = self.cost[number], self.mean[number]
            colour = COLOURS[0] if self.front[number] else GREY
            marker = "D" if name in self.baselines else "o"
            spread = [[value - self.low[number]], [self.high[number] - value]]
            axes.errorbar(at, value, spread, color=colour, linewidth=0.8, alpha=0.5)
            label = self._labels[number]
            axes.plot(at, value, marker=marker, markersize=6, color=colour, linestyle="", label=label)
        if self.cost.min() > 0 and self.cost.max() / self.cost.min() >= 8:
            _logarithmic(axes, self.cost.max() / self.cost.min())
        self._write_letters(axes)
        open_frame(axes, "y")
        axes.set_xlabel(f"{COST_WORDS[self.against]}; cheaper is left")
        axes.set_ylabel(self.metric)
        key = "blue, joined: no other variant is as cheap and as good; line at a point: 95 % interval"
        entitle(axes, self.caption, "", key)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, handletextpad=0.2)

    def _write_letters(self, axes: Axes) -> None:
        """One at each point; those of points that lie on one another stand side by side at the first of them."""
        points = axes.transData.transform(np.column_stack([self.cost, self.mean])) * 72 / axes.figure.dpi
        together: dict[int, str] = {}
        for number, point in enumerate(points):
            near = (first for first in together if (np.abs(point - points[first]) < (9, 9)).all())
            first = next(near, number)
            together[first] = together.get(first, "") + _letter(number)
        for first, letters in together.items():
            place = (self.cost[first], self.mean[first])
            axes.annotate(letters, place, xytext=(5, 4), textcoords="offset points", fontsize=8)


def paretos(result: Result) -> dict[str, Pareto]:
    """{cost: figure} of DRAWN_COSTS in which variants differ."""
    figures = {against: Pareto.of(result, against) for against in DRAWN_COSTS}
    return {against: figure for against, figure in figures.items() if figure is not None}


def _front(cost: Floats, mean: Floats, higher_is_better: bool) -> NDArray[np.bool_]:
    gain = mean if higher_is_better else -mean
    no_dearer, no_worse = cost[None] <= cost[:, None], gain[None] >= gain[:, None]
    better = (cost[None] < cost[:, None]) | (gain[None] > gain[:, None])
    beaten: NDArray[np.bool_] = np.any(no_dearer & no_worse & better, axis=1)
    return ~beaten


def _letter(number: int) -> str:
    return chr(ord("a") + number)


def _logarithmic(axes: Axes, ratio: float) -> None:
    """Ticks at 1, 2, 5 of each power of ten, or at the powers only, written as the tables write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
