"""The report on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core import Output
from core.outputs import Published, Result, plain_line

from .tables import header, published_notes, published_table, published_title, table

if TYPE_CHECKING:
    from rich.table import Table as RichTable


class Terminal(Output):
    """The table and the verdicts. The other direction's metrics stand in the files."""

    name = "terminal"
    by_default = True

    def finished(self, result: Result, folder: Path) -> list[str]:
        return report_text(result).splitlines()


def report_text(result: Result) -> str:
    """Table, notes and verdicts, as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200)
    direction = result.primary.partition("/")[0]
    head = header(result)
    kept = [i for i, name in enumerate(head) if "/" not in name or name.startswith(f"{direction}/")]
    rows = Table(title=plain_line(f"{result.name}: {result.size}"), title_justify="left")
    for index in kept:
        rows.add_column(plain_line(head[index]), justify="left" if index in (0, 5) else "right", no_wrap=index <= 5)
    for row, cells in zip(result.rows, table(result), strict=True):
        rows.add_row(*[plain_line(cells[index]) for index in kept], style="bold" if row.is_baseline else None)
    with console.capture() as captured:
        console.print(rows)
        for line in result.notes:
            console.print(plain_line(line))
        for published in result.published:
            console.print()
            console.print(_published_table(published, direction))
            for line in published_notes(published):
                console.print(plain_line(line))
        for decision in result.decisions:
            console.print(f"\n{plain_line(str(decision))}")
    return captured.get()


def _published_table(published: Published, direction: str) -> RichTable:
    """The published rows of one direction, as a table for the terminal."""
    from rich.table import Table

    metrics = [name for name in published.metrics if name.startswith(f"{direction}/")]
    head, rows = published_table(published, metrics)
    rich_table = Table(title=plain_line(published_title(published)), title_justify="left")
    for name in head:
        rich_table.add_column(name, justify="right" if name in metrics else "left", no_wrap=name in metrics)
    for row in rows:
        rich_table.add_row(*map(plain_line, row))
    return rich_table
