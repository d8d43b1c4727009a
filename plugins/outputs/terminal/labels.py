"""What tells the rows of a table apart: the values that they vary, their names, or numbers with a legend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from core.outputs import Result, Row, Variant, short_key, short_value

from ..axes import distinct, keys_of, marked, settings_in_words, words
from .layout import Column, Write

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Group:
    """Rows that are scored on the same data, and what these are; None where all rows are."""

    rows: list[Row]
    heading: str | None = None


@dataclass(frozen=True)
class Labels:
    """Columns that stand in front, and the names that numbers stand for."""

    columns: list[Column]
    legend: list[str] = field(default_factory=list)


def groups(result: Result) -> list[Group]:
    """The rows in the order of the file, those of each data set together where there are several with a baseline."""
    if len(result.baselines) == 1:
        return [Group(result.rows)]
    together: list[tuple[Row, list[Row]]] = []
    rest = list(result.rows)
    for baseline in result.baselines:
        rows = [row for row in rest if row.variant.scores_the_data_of(baseline.variant)]
        rest = [row for row in rest if not row.variant.scores_the_data_of(baseline.variant)]
        together.append((baseline, rows))
    keys = _apart(result, [rows for _, rows in together])
    headed = [Group(rows, _heading(result, baseline, keys)) for baseline, rows in together]
    return [*headed, Group(rest, "On other data:")] if rest else headed


def _apart(result: Result, together: list[list[Row]]) -> list[str]:
    """Keys that tell groups apart, and no two rows of one."""
    keys = keys_of(result)
    alike = [key for key in keys if all(len(distinct(_cell(row, key) for row in rows)) == 1 for rows in together)]
    return [key for key in alike if len(distinct(_cell(rows[0], key) for rows in together)) > 1]


def _heading(result: Result, baseline: Row, keys: list[str]) -> str:
    told = settings_in_words(baseline.variant, keys, keys_of(result)) or f"compared with {marked(baseline)}"
    return f"{told}: {baseline.size}" if baseline.results else f"{told}:"


def labels(result: Result, together: list[Group], write: Write) -> Iterator[Labels]:
    """Ways to tell the rows apart, the one that reads best first; the last fits wherever any does."""
    rows = [row for group in together for row in group.rows]
    names = [write(marked(row)) for row in rows]
    if columns := _axes(result, together, write):
        yield Labels(columns)
    yield Labels([Column("variant", names)])
    yield Labels([Column("#", [str(number) for number in range(1, len(rows) + 1)], right=True)], names)


def _axes(result: Result, together: list[Group], write: Write) -> list[Column] | None:
    """A column for each key that rows of a group vary; None where names say more, and where rows would look alike."""
    keys, rows = keys_of(result), [row for group in together for row in group.rows]
    if any(row.name != _name(row.variant, keys) for row in rows):
        return None
    varied = [key for key in keys if any(len(distinct(_cell(row, key) for row in g.rows)) > 1 for g in together)]
    heads = [write(short_key(key, keys)) for key in varied]
    columns = {head: [write(_cell(row, key)) for row in rows] for head, key in zip(heads, varied, strict=True)}
    if any(row.transductive for row in rows):
        columns["scores"] = ["transductive" if row.transductive else "" for row in rows]
    lines = iter(zip(*columns.values(), strict=True))
    alike = any(len({next(lines, ()) for _ in group.rows}) < len(group.rows) for group in together)
    if alike or len(columns) != len(varied) + any(row.transductive for row in rows):
        return None
    return [
        Column(head, cells, right=all(NUMBER.fullmatch(cell) for cell in cells if cell))
        for head, cells in columns.items()
    ]


def _name(variant: Variant, keys: list[str]) -> str:
    """The name of a variant that was given none."""
    return " ".join(f"{short_key(key, keys)}={short_value(value)}" for key, value in variant.assignments.items())


def _cell(row: Row, key: str) -> str:
    """What a row assigns; where it assigns nothing, the number or word that it holds all the same."""
    if key in row.variant.assignments:
        return words(row.variant.assignments[key])
    value = row.variant.value(key)
    return "" if value is None or isinstance(value, dict | list) else words(value)
