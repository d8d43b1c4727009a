"""Pages of panels, written as SVG, PNG or PDF. The same panels give the same file, byte for byte."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..panels import Curves, Forest, GainMap, Grid, Panel, Pareto, RankChanges, Training
from .lines import draw_curves, draw_training
from .maps import draw_gain_map, draw_grid, draw_rank_changes
from .rows import draw_forest, draw_pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (4.9, 4.3)
"""Inches. A page of 900 pixels then shows two panels side by side about as large as they are."""
TIMES = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": None}
"""Metadata by format: without the time of writing."""


def draw(title: str, panels: Sequence[Panel], notes: Sequence[str], *files: Path) -> None:
    """Write the panels, two in a row, to each file, as SVG, PNG or PDF by its suffix."""
    from matplotlib import style
    from matplotlib.figure import Figure

    columns, rows = min(len(panels), 2), -(-len(panels) // 2)
    width, height = (max(sizes) for sizes in zip(*map(_size, panels), strict=True))
    with style.context(["default", {"svg.hashsalt": "core.figures", "font.size": 9.0, "text.parse_math": False}]):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(places, panels, strict=False):
            _draw_panel(axes, panel)
        for axes in places[len(panels) :]:
            axes.remove()
        if title:
            figure.suptitle(textwrap.fill(title, 70 * columns), x=0.01, ha="left", fontsize=12, fontweight="bold")
        lines = [line for note in notes for line in textwrap.wrap(note, 88 * columns)]
        if lines:
            figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color="0.3")
        for file in files:
            drawn = io.BytesIO()  # where a disk is full, matplotlib's own clearing up hides why
            figure.savefig(drawn, format=file.suffix[1:], dpi=180, metadata=TIMES[file.suffix])
            draft = file.with_name(f".{os.getpid()}.{file.name}")
            draft.write_bytes(drawn.getbuffer())
            os.replace(draft, file)


def _size(panel: Panel) -> tuple[float, float]:
    """Inches: wider where names stand at the side, higher where there are many rows."""
    if isinstance(panel, Forest):
        return 6.4, 1.5 + 0.26 * len(panel.rows)
    if isinstance(panel, Pareto):
        return 6.4, 4.3
    if isinstance(panel, Training):
        return 5.6, 3.6
    return PANEL


def _draw_panel(axes: Axes, panel: Panel) -> None:
    drawers: dict[type, Any] = {
        GainMap: draw_gain_map,
        Grid: draw_grid,
        Curves: draw_curves,
        Training: draw_training,
        Forest: draw_forest,
        Pareto: draw_pareto,
        RankChanges: draw_rank_changes,
    }
    drawers[type(panel)](axes, panel)
