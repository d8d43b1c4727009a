"""The metric over a swept number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.outputs import Result, Row, metric, short_key

from ..axes import Axis, axis, keys_of, own, shared_settings, varying
from .intervals import Floats, Interval, metric_interval
from .style import COLOURS, DASHES, MARKERS, MOST_LINES, SIZE, entitle, fixed_at, height, open_frame, stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP_K = "retrieve.rerank.top_k"
WIDE = 8.0
"""A sweep over this ratio or more has a logarithmic axis."""
ROOM = 0.07
"""Of an axis, what a tick with its label takes."""


@dataclass(frozen=True)
class Curves:
    """The primary metric over a swept number, a line for each value of one further axis.

    key: what is swept, by its shortest name. held: what the lines have in common of what the experiment varies.
    mean, low, high: [lines, at], the metric and its 95 % interval over clusters of queries; nan where there is no
    variant. baselines: {name: (metric, low, high)} of what the points are compared with; baseline_of: [lines], the name
    of each line's.
    """

    key: str
    held: str
    metric: str
    lines: Axis
    at: tuple[float, ...]
    mean: Floats
    low: Floats
    high: Floats
    baselines: Mapping[str, Interval] = field(default_factory=dict)
    baseline_of: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[float, float]:
        """Higher where the legend is."""
        entries = [*map(stacked, self.lines.values), *self._baseline_labels.values(), self.lines.name]
        return SIZE[0], max(SIZE[1], 1.0 + sum(height(entry) + 0.03 for entry in entries))

    @property
    def caption(self) -> str:
        return f"{self.metric} over {self.key}{fixed_at(self.held)}"

    @property
    def _baseline_labels(self) -> dict[str, str]:
        """{name of a baseline: what the legend calls it}: that of one line stands below the line."""
        own = len(self.baselines) == len(self.lines.values) > 1
        return {name: "its baseline" if own else stacked(f"baseline: {name}") for name in self.baselines}

    @property
    def best(self) -> NDArray[np.intp]:
        """The index of the best value of each line, the smallest of equals, [lines]."""
        return np.nanargmax(self.mean if metric(self.metric).higher_is_better else -self.mean, axis=1)

    @classmethod
    def of(cls, result: Result, key: str = TOP_K) -> Curves | None:
        """Variants that differ in one number alone make a line, without those whose trials failed; None without such,
        where lines differ in more than one further axis, and where there are more than can be told apart."""
        keys = keys_of(result)
        lines = _lines(result, key, keys)
        firsts = [next(iter(line.values())).variant for line in lines]
        axes = varying(firsts, [other for other in keys if other != key], keys)
        if not lines or len(axes) > 1 or len(lines) > MOST_LINES:
            return None
        values = sorted({value for line in lines for value in line})
        cells = np.full((3, len(lines), len(values)), np.nan)
        for number, line in enumerate(lines):
            for value, row in line.items():
                cells[:, number, values.index(value)] = metric_interval(row, result.primary)
        line_axis = axis(axes[0], [own(first, axes[0], keys) for first in firsts], keys) if axes else Axis("", ("",))
        held = shared_settings(result, firsts, [key, *axes])
        baselines, baseline_of = _levels(result, lines)
        mean, low, high = cells
        drawn = short_key(key, keys), held, result.primary, line_axis, tuple(values), mean, low, high
        return cls(*drawn, baselines=baselines, baseline_of=baseline_of)

    def draw(self, axes: Axes) -> None:
        """A line with its band for each value of the further axis; its baseline dashed, with its band."""
        last = {name: number for number, name in enumerate(self.baseline_of)}
        for number, value in enumerate(self.lines.values):
            self._draw_line(axes, number, stacked(value) or self.metric)
            for name in self.baselines:
                if last[name] == number:
                    self._draw_baseline(axes, name)
        logarithmic = self.at[0] > 0 and self.at[-1] / self.at[0] >= WIDE
        if logarithmic:
            axes.set_xscale("log")
        ticks = _apart(self.at, logarithmic)
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
        axes.minorticks_off()
        open_frame(axes, "y")
        axes.set_xlabel(self.key)
        axes.set_ylabel(self.metric)
        key = "large mark: best of the line; band: 95 % interval of each by itself; broken line: baseline"
        entitle(axes, f"{self.metric} over {self.key}", self.held, key)
        if self.lines.name or self.baselines:
            title = self.lines.name
            axes.legend(
                title=title,
                loc="upper left",
                bbox_to_anchor=(1, 1),
                fontsize=8,
                frameon=False,
                alignment="left",
                handlelength=3.5,
            )

    def _draw_line(self, axes: Axes, number: int, label: str) -> None:
        mean, low, high = (values[number] for values in (self.mean, self.low, self.high))
        there, best = ~np.isnan(mean), self.best[number]
        values = np.array(self.at)[there]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.fill_between(values, low[there], high[there], color=colour, alpha=0.13, linewidth=0)
        axes.plot(values, mean[there], color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)
        axes.plot(self.at[best], mean[best], color=colour, marker=marker, markersize=9, markeredgecolor="black")

    def _draw_baseline(self, axes: Axes, name: str) -> None:
        """Grey where all lines have it, else in the colour of its first line, broken in its own way."""
        level, low, high = self.baselines[name]
        number = self.baseline_of.index(name)
        colour = "0.35" if len(self.baselines) == 1 else COLOURS[number % len(COLOURS)]
        axes.axhspan(low, high, color=colour, alpha=0.08, linewidth=0)
        dashes, label = DASHES[number % len(DASHES)], self._baseline_labels[name]
        axes.axhline(level, color=colour, linewidth=1.5, linestyle=dashes, label=label)


def sweeps(result: Result) -> dict[str, Curves]:
    """{short key: curves} of each number that variants sweep, in the order of the file."""
    keys = keys_of(result)
    figures = {short_key(key, keys): Curves.of(result, key) for key in keys}
    return {name: figure for name, figure in figures.items() if figure is not None}


def _lines(result: Result, key: str, keys: list[str]) -> list[dict[float, Row]]:
    """[{value of the key: row}], each of rows that hold the same under all other keys."""
    lines: dict[str, dict[float, Row]] = {}
    for row in result.rows:
        value = row.variant.value(key)
        if row.whole and isinstance(value, int | float) and not isinstance(value, bool):
            alike = [own(row.variant, other, keys) for other in keys if other != key]
            lines.setdefault(json.dumps(alike, default=str), {})[value] = row
    return [line for line in lines.values() if len(line) > 1]


def _levels(result: Result, lines: list[dict[float, Row]]) -> tuple[dict[str, Interval], tuple[str, ...]]:
    """The baselines' values by name, and the name of each line's; none where a point is not compared with its own."""
    rows = [row for line in lines for row in line.values()]
    if not all(result.primary in row.comparisons for row in rows if not row.is_baseline):
        return {}, ()
    baselines = [result.baseline_of(next(iter(line.values()))) for line in lines]
    return {row.name: metric_interval(row, result.primary) for row in baselines}, tuple(row.name for row in baselines)


def _apart(values: Sequence[float], logarithmic: bool) -> list[float]:
    """Of ascending values the first, and each whose tick does not stand on the one before it."""
    places = np.log(values) if logarithmic else np.asarray(values)
    kept = [0]
    for number, place in enumerate(places):
        if place - places[kept[-1]] >= ROOM * (places[-1] - places[0]) > 0:
            kept.append(number)
    return [values[number] for number in kept]
