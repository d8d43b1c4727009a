"""Drawing panels of the table's rows: differences with intervals, the metric against a cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.outputs import metric

from ..panels import COST_WORDS, Forest, Pareto, short_number
from .style import COLOURS, OUTCOME_COLOURS, entitle, open_frame, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "0.45"


def draw_forest(axes: Axes, panel: Forest) -> None:
    """A line an interval, the first variant on top; filled where the difference is significant after correction."""
    places = np.arange(len(panel.rows))
    axes.axvline(0, color="0.35", linewidth=1.2, linestyle="--")
    for place, difference, low, high, outcome in zip(
        places, panel.difference, panel.low, panel.high, panel.outcomes, strict=True
    ):
        colour = OUTCOME_COLOURS.get(outcome, GREY)
        face = colour if outcome in OUTCOME_COLOURS else "white"
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(difference, place, marker="o", markersize=6, color=colour, markerfacecolor=face)
        text = f"{difference:+.2f}  {outcome}"
        axes.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=colour)
    axes.set_yticks(places, panel.rows)
    axes.set_ylim(len(places) - 0.4, -0.6)
    open_frame(axes, "x")
    better = "right" if metric(panel.metric).higher_is_better else "left"
    axes.set_xlabel(f"difference to {panel.baseline} in {panel.metric}, {unit(panel.metric)}; better is {better}")
    said = "line: 95 % interval; filled: significant after correction"
    entitle(axes, f"differences to {panel.baseline}", "", said)


def draw_pareto(axes: Axes, panel: Pareto) -> None:
    """A numbered point a variant, named at the side; a step line joins those that no other beats in both."""
    order = np.argsort(panel.cost[panel.front], kind="stable")
    cost, mean = panel.cost[panel.front][order], panel.mean[panel.front][order]
    axes.step(cost, mean, where="post", color=COLOURS[0], linewidth=1.2, alpha=0.7)
    for number, name in enumerate(panel.rows):
        at, value = panel.cost[number], panel.mean[number]
        colour = COLOURS[0] if panel.front[number] else GREY
        marker = "D" if name == panel.baseline else "o"
        spread = [[value - panel.low[number]], [panel.high[number] - value]]
        axes.errorbar(at, value, spread, color=colour, linewidth=0.8, alpha=0.5)
        label = f"{chr(ord('a') + number)}  {name}" + (" (baseline)" if name == panel.baseline else "")
        axes.plot(at, value, marker=marker, markersize=6, color=colour, linestyle="", label=label)
    if panel.cost.min() > 0 and panel.cost.max() / panel.cost.min() >= 8:
        _logarithmic(axes, panel.cost.max() / panel.cost.min())
    _letter(axes, panel)
    open_frame(axes, "y")
    axes.set_xlabel(f"{COST_WORDS[panel.against]}; cheaper is left")
    axes.set_ylabel(panel.metric)
    said = "blue, joined: no other variant is as cheap and as good; line at a point: 95 % interval"
    entitle(axes, panel.caption, "", said)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, handletextpad=0.2)


def _logarithmic(axes: Axes, ratio: float) -> None:
    """Ticks at 1, 2, 5 of each power of ten, or at the powers only, written as the tables write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if ratio < 100 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))


def _letter(axes: Axes, panel: Pareto) -> None:
    """A letter at each point; those of points that lie on one another stand side by side at the first of them."""
    points = axes.transData.transform(np.column_stack([panel.cost, panel.mean])) * 72 / axes.figure.dpi
    together: dict[int, str] = {}
    for number, point in enumerate(points):
        near = (first for first in together if (np.abs(point - points[first]) < (9, 9)).all())
        first = next(near, number)
        together[first] = together.get(first, "") + chr(ord("a") + number)
    for first, letters in together.items():
        at = (panel.cost[first], panel.mean[first])
        axes.annotate(letters, at, xytext=(5, 4), textcoords="offset points", fontsize=8)
