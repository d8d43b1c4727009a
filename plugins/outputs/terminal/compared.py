"""The table of a run on a terminal: what tells its rows apart, then numbers, none of which is ever cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from core.outputs import Result, Row

from ..axes import marked
from ..numbers import interval, mean_with_spread, p_value
from ..tables import DETECTABLE, corrected_head, outcome_in_words
from .labels import Group, Labels, groups, labels
from .layout import GAP, WHOLE, Column, Write, in_columns, wrapped


@dataclass(frozen=True)
class Line:
    text: str
    bold: bool = False


def compared(result: Result, width: int, write: Write) -> list[Line]:
    """The variants with the primary metric and its test; further metrics beside it, below it, or left to the report."""
    together = groups(result)
    rows = [row for group in together for row in group.rows]
    direction = result.primary.partition("/")[0]
    further = [name for name in result.metrics if name.startswith(f"{direction}/") and name != result.primary]
    columns = [Column(write(name), [_mean(row, name) for row in rows], right=True) for name in further]
    front, lines, beside = _first(result, together, columns, width, write)
    lines += [Line(text) for text in _legend(front, width)]
    below = 0 if beside else _fitting(front, columns, width)
    if below:
        blocks = in_columns([*front.columns, *columns[:below]], width)
        lines += [Line(""), *_under_headings(blocks or [], together, width, write)]
    left = [name for name in result.metrics if name != result.primary and name not in further[: below or beside]]
    return [*lines, *([Line(_left(left, width, write))] if left else [])]


def _first(
    result: Result, together: list[Group], further: list[Column], width: int, write: Write
) -> tuple[Labels, list[Line], int]:
    """(labels of the first table, its lines, how many of the further columns stand in it)"""
    rows = [row for group in together for row in group.rows]
    tested, shorter = (list(_tested(result, rows, short, write)) for short in (False, True))
    for front in labels(result, together, write):
        for columns, beside in (([*tested, *further], len(further)), (tested, 0), (shorter, 0)):
            if blocks := in_columns([*front.columns, *columns], width):
                return front, _under_headings(blocks, together, width, write), beside
    return Labels(front.columns), _records(result, together, width, write), 0


def _tested(result: Result, rows: Sequence[Row], short: bool, write: Write) -> Iterator[Column]:
    """The primary metric, its difference to the baseline, interval, p, outcome; `short`: with heads in few letters."""
    tests = [row.comparisons.get(result.primary) for row in rows]
    outcomes = [write(outcome_in_words(row, tested)) for row, tested in zip(rows, tests, strict=True)]
    yield Column(write(result.primary), [write(mean_with_spread(row, result.primary)) for row in rows], right=True)
    if any(tests):
        cells = {
            ("difference", "diff"): [f"{tested.difference:+.2f}" if tested else "" for tested in tests],
            ("95 % interval", "95 % interval"): [interval(tested) if tested else "" for tested in tests],
            (corrected_head(result), "p"): [p_value(tested.p_corrected) if tested else "" for tested in tests],
        }
        for heads, column in cells.items():
            yield Column(heads[short], column, right=True)
    whole = [text if DETECTABLE in text else word for text in outcomes for word in text.split(" ")]
    yield Column("outcome", outcomes, least=max(map(cell_len, ("outcome", *whole))))


def _mean(row: Row, name: str) -> str:
    return f"{row.mean(name):.1f}" if row.results else ""


def _fitting(front: Labels, columns: Sequence[Column], width: int) -> int:
    """How many of the columns fit beside the labels."""
    counts = (count for count in range(len(columns), 0, -1) if in_columns([*front.columns, *columns[:count]], width))
    return next(counts, 0)


def _under_headings(blocks: list[list[str]], together: list[Group], width: int, write: Write) -> list[Line]:
    """Head, rule and rows; before the rows of each group what its data are."""
    head, *rows = blocks
    rule = "-" * max(cell_len(line) for block in blocks for line in block)
    lines = [*(Line(text, bold=True) for text in head), Line(rule)]
    left = iter(rows)
    for group in together:
        if group.heading is not None:
            lines += [Line(text) for text in wrapped(write(group.heading), width, GAP)]
        lines += [Line(text, row.is_baseline) for row in group.rows for text in next(left)]
    return lines


def _legend(front: Labels, width: int) -> list[str]:
    """Which name each number stands for."""
    digits = len(str(len(front.legend)))
    numbered = [(f"{number:>{digits}}{GAP}", name) for number, name in enumerate(front.legend, 1)]
    lines = [line for number, name in numbered for line in wrapped(number + name, width, " " * len(number))]
    return ["", *lines] if lines else []


def _records(result: Result, together: list[Group], width: int, write: Write) -> list[Line]:
    """The same where no table fits: each row by itself, number and name first, and lines broken between numbers."""
    lines: list[Line] = []
    numbers = iter(range(1, len(result.rows) + 1))
    for group in together:
        if group.heading is not None:
            lines += [Line(text) for text in wrapped(write(group.heading), width, GAP)]
        for row in group.rows:
            named = wrapped(f"{next(numbers)}{GAP}{write(marked(row))}", width, GAP)
            told = wrapped(GAP + _sentence(result, row, write), width, GAP)
            lines += [Line(text.replace(WHOLE, " "), row.is_baseline) for text in (*named, *told)]
    return lines


def _sentence(result: Result, row: Row, write: Write) -> str:
    """The numbers of a row, with spaces in them at which no line is broken."""
    tested = row.comparisons.get(result.primary)
    numbers = [f"{write(result.primary)} {write(mean_with_spread(row, result.primary))}"]
    if tested:
        p = p_value(tested.p_corrected)
        numbers += [f"difference {tested.difference:+.2f}", interval(tested), *([f"p {p}"] if p else [])]
    outcome = write(outcome_in_words(row, tested))
    last = outcome.replace(" ", WHOLE) if DETECTABLE in outcome else outcome
    return ", ".join([*(text.replace(" ", WHOLE) for text in numbers), last])


def _left(names: Sequence[str], width: int, write: Write) -> str:
    """One line on the metrics that no table here has."""
    line = write(f"Left to the report: {', '.join(names)}")
    return line if cell_len(line) <= width else f"Left to the report: {len(names)} further metrics"
