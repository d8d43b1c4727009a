"""A table of a page as facts: texts, each with what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A text, and the CSS classes of its cell."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Line:
    """A row, whose first cell names it, and its CSS class."""

    cells: list[Cell]
    kind: str


@dataclass(frozen=True)
class Table:
    """What `table` of parts.html.j2 lays out."""

    head: list[Cell]
    lines: list[Line]
    caption: str

    @classmethod
    def of(
        cls,
        head: Sequence[str],
        rows: Sequence[Sequence[str | Cell]],
        *,
        left: Iterable[int] = (0,),
        prose: Iterable[int] = (),
        row_kinds: Sequence[str] = (),
        caption: str = "",
    ) -> Table:
        """Rows of texts. left, prose: columns set left, and left over several lines. row_kinds: of all rows or none."""
        columns = dict.fromkeys(left, "left") | dict.fromkeys(prose, "left prose")

        def cells(row: Sequence[str | Cell]) -> list[Cell]:
            return [_placed(content, columns.get(column, "")) for column, content in enumerate(row)]

        kinds = row_kinds or [""] * len(rows)
        return cls(cells(head), [Line(cells(row), kind) for row, kind in zip(rows, kinds, strict=True)], caption)


def _placed(content: str | Cell, column: str) -> Cell:
    """A cell of a column that has CSS classes of its own."""
    cell = Cell(content) if isinstance(content, str) else content
    return Cell(cell.text, f"{column} {cell.kind}".strip())
