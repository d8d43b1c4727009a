"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from core.outputs import Result, code
from core.outputs import markdown as escaped
from core.outputs import markdown_sentence as sentence

from ..tables import PUBLISHED_TEXTS, cost_table, header, published_notes, published_table, published_title, table
from .order import grouped


def markdown(result: Result) -> str:
    """The report: verdicts first, then the table, how it was made and how to repeat it, and what others published.

    Rows of several data sets stand under the baseline of each.
    """
    result = grouped(result)
    lines = [f"# {escaped(result.name)}", ""]
    if result.decisions:
        lines += [*(f"- {sentence(str(decision))}" for decision in result.decisions), ""]
    lines += markdown_table(header(result), table(result), cell=escaped)
    head, rows = cost_table(result)
    if rows:
        lines += ["", *markdown_table(head, rows, cell=escaped)]
    lines += ["", *map(sentence, result.notes), "", f"Repeat: {code(result.command)}", ""]
    for published in result.published:
        lines += [f"## {escaped(published_title(published))}", ""]
        lines += markdown_table(*published_table(published, published.metrics), texts=PUBLISHED_TEXTS, cell=escaped)
        lines += ["", *[f"- {sentence(note)}" for note in published_notes(published)], ""]
    return "\n".join(lines)


def _without_bars(cell: str) -> str:
    return cell.replace("|", "\\|")


def markdown_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    texts: Sequence[str] = (),
    cell: Callable[[str], str] = _without_bars,
) -> list[str]:
    """Lines of a Markdown table. The first column and those called one of `texts` are set left, the others right.

    cell: what makes a text the content of a cell.
    """
    rules = ["---" if index == 0 or name in texts else "---:" for index, name in enumerate(head)]
    cells = [list(map(cell, row)) for row in (head, *rows)]
    return ["| " + " | ".join(row) + " |" for row in [cells[0], rules, *cells[1:]]]
