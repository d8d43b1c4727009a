"""Drawing panels with cells: gains, a grid of variants, changes of rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from core.outputs import metric

from ..panels import Axis, GainMap, Grid, RankChanges
from .style import entitle, stacked, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = {"better": "▲", "worse": "▼"}


def draw_gain_map(axes: Axes, panel: GainMap) -> None:
    """Cells coloured by the gain, blue for more; each with gain and interval."""
    limit = np.nanmax(np.abs(panel.gain), initial=1e-9)
    shown = np.ma.masked_invalid(panel.gain)
    axes.pcolormesh(shown, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=1.5)
    for row, column in np.ndindex(panel.gain.shape):
        gain, low, high = (float(values[row, column]) for values in (panel.gain, panel.low, panel.high))
        colour = "white" if abs(gain) > 0.6 * limit else "black"
        if np.isnan(gain):
            axes.text(column + 0.5, row + 0.5, "not decided", va="center", ha="center", color="0.4")
            continue
        weight = "bold" if panel.clear[row, column] else "normal"
        axes.text(column + 0.5, row + 0.47, f"{gain:+.1f}", va="bottom", ha="center", color=colour, weight=weight)
        axes.text(
            column + 0.5, row + 0.53, f"{low:+.1f} to {high:+.1f}", va="top", ha="center", color=colour, fontsize=7.5
        )
    _label(axes, panel.rows, panel.columns)
    said = f"gain in {panel.metric}, {unit(panel.metric)}; bold: the 95 % interval excludes 0"
    entitle(axes, panel.claim, panel.held, said)


def draw_grid(axes: Axes, panel: Grid) -> None:
    """Cells coloured by the difference to the baseline, blue for better, pale where intervals are wider; each with
    metric and difference."""
    gain = panel.difference if metric(panel.metric).higher_is_better else -panel.difference
    limit = np.nanmax(np.abs([panel.low, panel.high]), initial=1e-9)
    colours = np.ma.masked_invalid(np.where(np.isnan(panel.mean), np.nan, np.nan_to_num(gain)))
    axes.pcolormesh(colours, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=1.5)
    for row, column in np.ndindex(panel.mean.shape):
        outcome = panel.outcomes[row][column]
        if np.isnan(panel.mean[row, column]):
            if outcome:
                axes.text(column + 0.5, row + 0.5, stacked(outcome), va="center", ha="center", color="0.4")
            continue
        colour = "white" if abs(np.nan_to_num(gain[row, column])) > 0.6 * limit else "black"
        weight = "bold" if outcome in MARKS else "normal"
        value = f"{panel.mean[row, column]:.1f} {MARKS.get(outcome, '')}".strip()
        below = f"{panel.difference[row, column]:+.1f}" if not np.isnan(panel.difference[row, column]) else outcome
        axes.text(column + 0.5, row + 0.47, value, va="bottom", ha="center", color=colour, weight=weight)
        axes.text(column + 0.5, row + 0.53, stacked(below), va="top", ha="center", color=colour, fontsize=7.5)
    _label(axes, panel.rows, panel.columns)
    said = f"below: difference to {panel.baseline}, {unit(panel.metric)}; ▲ better, ▼ worse after correction"
    entitle(axes, panel.metric, panel.held, said)


def draw_rank_changes(axes: Axes, panel: RankChanges) -> None:
    """Cells with the number of queries, blue where the variant ranks better, darker for more."""
    size = len(panel.groups)
    sign = np.sign(np.arange(size)[:, None] - np.arange(size)[None])
    moved = panel.counts[sign != 0].max(initial=1e-9)
    colours = sign * np.sqrt(panel.counts / moved)
    axes.pcolormesh(colours, cmap="RdBu", vmin=-1.6, vmax=1.6, edgecolors="0.85", linewidth=1)
    for row, column in np.ndindex(size, size):
        count = panel.counts[row, column]
        if count > 0:
            weight = "normal" if row == column else "bold"
            axes.text(column + 0.5, row + 0.5, f"{count:.4g}", va="center", ha="center", weight=weight)
    names = panel.groups
    _label(axes, Axis(f"rank in {panel.baseline}", names), Axis(f"rank in {panel.variant}", names))
    axes.set_aspect("equal")
    said = "queries by their rank in both, seeds averaged; blue: better in the variant, red: worse"
    moves = f"{panel.gained} queries rank better in {panel.variant}, {panel.lost} worse ({panel.direction})"
    entitle(axes, moves, "", said)


def _label(axes: Axes, rows: Axis, columns: Axis) -> None:
    axes.set_xticks(np.arange(len(columns.values)) + 0.5, [stacked(value) for value in columns.values])
    axes.set_yticks(np.arange(len(rows.values)) + 0.5, [stacked(value) for value in rows.values])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_xlabel(columns.name)
    axes.set_ylabel(rows.name)
