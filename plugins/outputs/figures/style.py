"""What all panels share: colours, marks, headings."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Literal

from core.outputs import metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Told apart without colour vision (Okabe and Ito)."""
MARKERS = "osD^vPX"
OUTCOME_COLOURS = {"better": COLOURS[0], "worse": COLOURS[1]}
"""All other outcomes are grey."""


def entitle(axes: Axes, shown: str, held: str, key: str) -> None:
    """What a panel shows, what it holds fixed and how to read it, above it at its left."""
    lines = [shown, f"at {held}" if held else "", key]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 72)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")


def stacked(value: str, width: int = 18) -> str:
    """The parts of a mixture, one above the other; long ones over several lines."""
    return "\n".join(line for part in value.split(", ") for line in textwrap.wrap(part, width))


def unit(name: str) -> str:
    return "points" if metric(name).unit == "points" else "ranks"


def open_frame(axes: Axes, grid: Literal["x", "y"]) -> None:
    """No frame above and at the right; a pale grid along one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="0.9")
    axes.set_axisbelow(True)
