"""Drawing panels of lines: sweeps and training curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..panels import Curves, Training
from .style import COLOURS, MARKERS, entitle, open_frame, stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 8.0
"""A sweep over this ratio or more has a logarithmic axis."""
ROOM = 0.07
"""Of an axis, what a tick with its label takes."""


def draw_curves(axes: Axes, panel: Curves) -> None:
    """A line with its band for each value of the further axis; the baseline dashed, with its band."""
    for number, name in enumerate(panel.lines.values):
        mean, low, high = (values[number] for values in (panel.mean, panel.low, panel.high))
        there, best = ~np.isnan(mean), panel.best[number]
        at = np.array(panel.at)[there]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.fill_between(at, low[there], high[there], color=colour, alpha=0.13, linewidth=0)
        label = stacked(name) or panel.metric
        axes.plot(at, mean[there], color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=label)
        axes.plot(panel.at[best], mean[best], color=colour, marker=marker, markersize=9, markeredgecolor="black")
    if panel.baseline is not None:
        level, low, high = panel.baseline
        axes.axhspan(low, high, color="0.5", alpha=0.13, linewidth=0)
        label = stacked(f"baseline: {panel.baseline_name}")
        axes.axhline(level, color="0.35", linewidth=1.2, linestyle="--", label=label)
    logarithmic = panel.at[0] > 0 and panel.at[-1] / panel.at[0] >= WIDE
    if logarithmic:
        axes.set_xscale("log")
    ticks = _apart(panel.at, logarithmic)
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.minorticks_off()
    open_frame(axes, "y")
    axes.set_xlabel(panel.key)
    axes.set_ylabel(panel.metric)
    said = "large mark: best of the line; band: 95 % interval of each by itself"
    entitle(axes, f"{panel.metric} over {panel.key}", panel.held, said)
    if panel.lines.name or panel.baseline is not None:
        axes.legend(
            title=panel.lines.name, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, alignment="left"
        )


def _apart(values: Sequence[float], logarithmic: bool) -> list[float]:
    """Of ascending values the first, and each whose tick does not stand on the one before it."""
    places = np.log(values) if logarithmic else np.asarray(values)
    kept = [0]
    for at, place in enumerate(places):
        if place - places[kept[-1]] >= ROOM * (places[-1] - places[0]) > 0:
            kept.append(at)
    return [values[at] for at in kept]


def draw_training(axes: Axes, panel: Training) -> None:
    """Validation, where there is one, by epoch, the kept epochs marked; the loss dotted, with an axis of its own."""
    epochs = np.arange(1, panel.loss.shape[2] + 1)
    validated = not np.isnan(panel.validation).all()
    below = axes.twinx() if validated else axes
    for number, name in enumerate(panel.lines):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style = {"linestyle": ":", "linewidth": 1.0} if validated else {"linewidth": 1.4}
        for seed, (loss, measured) in enumerate(zip(panel.loss[number], panel.validation[number], strict=True)):
            label = stacked(name, 36) if seed == 0 else None
            below.plot(epochs, loss, color=colour, alpha=0.8, label=None if validated else label, **style)
            if validated:
                axes.plot(epochs, measured, color=colour, alpha=0.8, linewidth=1.4, label=label)
                kept = panel.best[number, seed]
                axes.plot(kept, measured[kept - 1], color=colour, marker=marker, markersize=7, markeredgecolor="black")
    axes.spines["top"].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{panel.metric} on the validation split" if validated else "loss")
    said = "a line for each seed"
    if validated:
        below.spines["top"].set_visible(False)
        below.set_ylabel("loss (dotted)")
        said += "; mark: the epoch whose weights were kept"
    entitle(axes, f"training of the {panel.part}", "", said)
    if len(panel.lines) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=8, frameon=False, ncols=2)
