"""All that is told of a run: tables, notes, published numbers, verdicts, what would decide claims."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.console import Console

from core.outputs import Published, Result

from ..tables import published_notes, published_table, published_title
from .compared import Line, compared
from .layout import GAP, Column, Write, in_columns, paragraph, wrapped, writing

IN_A_FILE, LEAST = 100, 40
"""Columns where there is no terminal; those that are written where a terminal has fewer."""
TEXT_LEAST = 12
"""Columns of a published text, at least."""
NEEDED = "For a verdict with 80 % power, if true gain and spread are those seen:"


def page(result: Result) -> list[str]:
    console = Console()
    write = writing(getattr(sys.stdout, "encoding", None))
    width = max(LEAST, console.width) if console.is_terminal else IN_A_FILE
    styled = console.is_terminal and console.color_system is not None
    lines = [*map(Line, wrapped(write(f"{result.name}: {result.size}"), width, GAP)), Line("")]
    lines += [*compared(result, width, write), Line(""), *map(Line, _texts(result, width, write))]
    return [f"\x1b[1m{line.text}\x1b[0m" if styled and line.bold else line.text for line in lines]


def _texts(result: Result, width: int, write: Write) -> Iterator[str]:
    """What stands below the tables."""
    for note in result.notes:
        indent = " " * (len(note) - len(note.lstrip(" ")))
        yield from paragraph(write(note), width, indent + GAP)
    for published in result.published:
        yield ""
        yield from _published(published, result.primary.partition("/")[0], width, write)
    for decision in result.decisions:
        yield ""
        yield from paragraph(write(str(decision)), width)
    yield from _needed(result, width, write)


def _needed(result: Result, width: int, write: Write) -> Iterator[str]:
    """What would decide the claims that are not decided."""
    needs = [(decision, decision.needs) for decision in result.decisions if decision.needs is not None]
    if needs:
        yield ""
        yield from paragraph(NEEDED, width)
    for decision, need in needs:
        gain = decision.verdict.evidence.observed
        yield from paragraph(write(f"{GAP}{decision.hypothesis.name} ({gain:+.2f}): {need}"), width, 2 * GAP)


def _published(published: Published, direction: str, width: int, write: Write) -> Iterator[str]:
    """The published rows of one direction, their texts wrapped; each by itself where they do not fit."""
    metrics = [name for name in published.metrics if name.startswith(f"{direction}/")]
    head, rows = published_table(published, metrics)
    heads, cells = [write(name) for name in head], [[write(cell) for cell in row] for row in rows]
    columns = [
        Column(name, [row[place] for row in cells], right=head[place] in metrics, least=_least(head[place], metrics))
        for place, name in enumerate(heads)
    ]
    yield from wrapped(write(f"{published_title(published)}:"), width, GAP)
    yield ""
    blocks = in_columns(columns, width)
    if blocks is None:
        for row in cells:
            told = [f"{name} {cell}" for name, cell in zip(heads[1:], row[1:], strict=True) if cell]
            yield from wrapped(f"{row[0]}: {', '.join(told)}", width, GAP)
    for block in blocks or []:
        yield from block
    for note in published_notes(published):
        yield from paragraph(write(note), width)


def _least(name: str, metrics: list[str]) -> int | None:
    return None if name in metrics else TEXT_LEAST
