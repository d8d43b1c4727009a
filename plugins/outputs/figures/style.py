"""What all figures share: size, colours, marks, headings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.outputs import metric

from ..axes import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (4.9, 4.3)
"""Inches. A page of 900 pixels then shows two figures side by side about as large as they are."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Told apart without colour vision (Okabe and Ito)."""
GREY = "0.45"
MARKERS = "osD^vPX"
OUTCOME_COLOURS = {"better": COLOURS[0], "worse": COLOURS[1]}
"""All other outcomes are grey."""
MOST_LINES = len(COLOURS)
"""More cannot be told apart."""


def entitle(axes: Axes, title: str, held: str, key: str) -> None:
    """What a figure shows, what it holds fixed and how to read it, above it at its left."""
    lines = [title, f"at {held}" if held else "", key]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 72)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")


def stacked(value: str, width: int = 18) -> str:
    """The parts of a mixture, one above the other; long ones over several lines."""
    return "\n".join(line for part in value.split(", ") for line in textwrap.wrap(part, width))


def unit(name: str) -> str:
    return "points" if metric(name).unit == "points" else "ranks"


def fixed_at(held: str) -> str:
    """The end of a caption: what is held fixed."""
    return f", at {held}" if held else ""


def open_frame(axes: Axes, grid: Literal["x", "y"]) -> None:
    """No frame above and at the right; a pale grid along one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)


def label_cells(axes: Axes, rows: Axis, columns: Axis) -> None:
    """The values of two axes at the cells of a map, the first row on top."""
    axes.set_xticks(np.arange(len(columns.values)) + 0.5, [stacked(value) for value in columns.values])
    axes.set_yticks(np.arange(len(rows.values)) + 0.5, [stacked(value) for value in rows.values])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_xlabel(columns.name)
    axes.set_ylabel(rows.name)
