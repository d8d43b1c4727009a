"""Pages of figures, written as SVG, PNG or PDF. The same figures give the same file, byte for byte."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from .figure import Figure

TIMES = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": None}
"""Metadata by format: without the time of writing."""


def draw(title: str, figures: Sequence[Figure], notes: Sequence[str], *files: Path) -> None:
    """Write the figures, two in a row, to each file, as SVG, PNG or PDF by its suffix."""
    from matplotlib import style
    from matplotlib.figure import Figure as Page

    columns, rows = min(len(figures), 2), -(-len(figures) // 2)
    width, height = (max(sizes) for sizes in zip(*(figure.size for figure in figures), strict=True))
    with style.context(["default", {"svg.hashsalt": "core.figures", "font.size": 9.0, "text.parse_math": False}]):
        page = Page(figsize=(width * columns, height * rows), layout="constrained")
        places = page.subplots(rows, columns, squeeze=False).ravel()
        for axes, figure in zip(places, figures, strict=False):
            figure.draw(axes)
        for axes in places[len(figures) :]:
            axes.remove()
        if title:
            page.suptitle(textwrap.fill(title, 70 * columns), x=0.01, ha="left", fontsize=12, fontweight="bold")
        lines = [line for note in notes for line in textwrap.wrap(note, 88 * columns)]
        if lines:
            page.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color="0.3")
        for file in files:
            content = io.BytesIO()  # where a disk is full, matplotlib's own clearing up hides why
            page.savefig(content, format=file.suffix[1:], dpi=180, metadata=TIMES[file.suffix])
            draft = file.with_name(f".{os.getpid()}.{file.name}")
            draft.write_bytes(content.getbuffer())
            os.replace(draft, file)
