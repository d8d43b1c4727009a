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
DASHES = ("--", "-.", (0, (1, 1.5)), (0, (6, 2, 1, 2, 1, 2)), (0, (8, 3)), (0, (3, 4)), (0, (5, 1, 1, 1)))
"""Of baselines, one for each line: told apart without colour too."""
LINE = 0.15
"""Inches that a line of small text takes."""
OUTCOME_COLOURS = {"better": COLOURS[0], "worse": COLOURS[1]}
"""All other outcomes are grey."""
LABEL = 40
"""Letters in a line of what an axis is called."""
MOST_LINES = len(COLOURS)
"""More cannot be told apart."""


def entitle(axes: Axes, title: str, held: str, key: str, width: int = 72) -> None:
    """What a figure shows, what it holds fixed and how to read it, above it at its left. width: letters in a line."""
    lines = [title, f"at {held}" if held else "", key]
    wrapped = [part for line in lines for part in textwrap.wrap(line, width)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")


def stacked(value: str, width: int = 18) -> str:
    """The parts of a mixture, one above the other; long ones over several lines."""
    return "\n".join(line for part in value.split(", ") for line in textwrap.wrap(part, width))


def height(label: str) -> float:
    """Inches that a label takes, over all its lines."""
    return LINE * (1 + label.count("\n"))


def size_of_cells(rows: Axis, columns: Axis, width: float) -> tuple[float, float]:
    """Inches of a map whose cells are so wide, with the labels of `label_cells`; no less than `SIZE`."""
    tallest = max(height(label) for label in map(stacked, rows.values))
    below = max(height(stacked(value, _letters(columns))) for value in columns.values)
    return max(SIZE[0], 1.9 + width * len(columns.values)), max(
        SIZE[1], 1.2 + below + max(0.42, tallest + 0.1) * len(rows.values)
    )


def _letters(columns: Axis) -> int:
    """In a line of a column's label: fewer where there are many columns."""
    return min(18, max(8, 60 // len(columns.values)))


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
    axes.set_xticks(
        np.arange(len(columns.values)) + 0.5, [stacked(value, _letters(columns)) for value in columns.values]
    )
    axes.set_yticks(np.arange(len(rows.values)) + 0.5, [stacked(value) for value in rows.values])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_xlabel(textwrap.fill(columns.name, LABEL))
    axes.set_ylabel(textwrap.fill(rows.name, LABEL))
