"""Text in columns, and wrapped at words, by the cells that its characters take on a terminal."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from core.outputs import plain_line

GAP = "  "
PLAIN = str.maketrans({"±": "+-", "…": "...", "–": "-", "—": "-", "−": "-", "½": "1/2", "¼": "1/4", "¾": "3/4"})
"""What stands for signs of ours that an encoding lacks."""
WHOLE = "\u00a0"
"""Stands for a space at which no line is broken."""
TOGETHER = re.compile(r"(?<=\d) (?=%)|(?<=[±<=]) (?=\d)|(?<=\bp) (?=[<=])")
"""Spaces of sentences of ours within a number: `80 %`, `p = 0.477`."""
Write = Callable[[str], str]


def writing(encoding: str | None) -> Write:
    """What makes of a text a line that is visible, all of it, and that this encoding can hold."""

    def written(text: str) -> str:
        line = plain_line(text)
        try:
            line.encode(encoding or "utf-8")
        except UnicodeEncodeError:
            return line.translate(PLAIN).encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
        return line

    return written


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` cells, broken at spaces, and in a word only where it is wider than a line; all but the
    first begin with `indent`."""
    lines, empty = [""], True
    for number, word in enumerate(text.split(" ")):
        gap = " " if number and not (empty and len(lines) > 1) else ""
        if not empty and cell_len(f"{lines[-1]}{gap}{word}") > width >= cell_len(f"{indent}{word}"):
            lines.append(indent)
            gap = ""
        lines[-1] += gap
        for part in [word] if cell_len(lines[-1] + word) <= width else word:
            if cell_len(lines[-1] + part) > width and lines[-1] != indent:
                lines.append(indent)
            lines[-1] += part
        empty = not lines[-1].strip()
    return [line.rstrip() for line in lines]


def paragraph(text: str, width: int, indent: str = GAP) -> list[str]:
    """The same of a sentence, whose numbers stay whole."""
    return [line.replace(WHOLE, " ") for line in wrapped(TOGETHER.sub(WHOLE, text), width, indent)]


@dataclass(frozen=True)
class Column:
    """A head and the cells below it. right: they stand at the right, as numbers do. least: how narrow they may be
    wrapped; None: not at all."""

    head: str
    cells: Sequence[str]
    right: bool = False
    least: int | None = None

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.head, *self.cells)))


def in_columns(columns: Sequence[Column], width: int) -> list[list[str]] | None:
    """The lines of the head, then those of each row; None where whole columns are wider than the width."""
    widths = [column.width for column in columns]
    while sum(widths) + len(GAP) * (len(widths) - 1) > width:
        wide = [place for place, column in enumerate(columns) if widths[place] > (column.least or widths[place])]
        if not wide:
            return None
        widths[max(wide, key=lambda place: widths[place])] -= 1
    rows = zip(*([column.head, *column.cells] for column in columns), strict=True)
    return [_row(columns, widths, cells) for cells in rows]


def _row(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> list[str]:
    lines = itertools.zip_longest(
        *(wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)), fillvalue=""
    )
    return [
        GAP.join(_set(*part) for part in zip(line, widths, (column.right for column in columns), strict=True)).rstrip()
        for line in lines
    ]


def _set(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
