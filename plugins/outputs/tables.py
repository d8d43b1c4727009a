"""The table of a run and those of published numbers, as rows of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from core.outputs import Comparison, Published, PublishedRow, Result, Row

from .axes import marked
from .numbers import COST_WORDS, interval, p_value, short_number, with_spread

PUBLISHED_TEXTS = ("backbone", "post-processing", "source")
"""Columns of published numbers that hold no number."""
SHORT = {"holm": "Holm", "benjamini_hochberg": "BH"}
"""Corrections, as the head of a column names them."""
DETECTABLE = "detectable"
"""Stands after `n.s.`, before the true difference that would have been seen with 80 % power."""


def header(result: Result) -> list[str]:
    """Column names of the table: the primary metric with its test, then the others."""
    others = [name for name in result.metrics if name != result.primary]
    return ["variant", result.primary, "difference", "95 % interval", corrected_head(result), "outcome", *others]


def corrected_head(result: Result) -> str:
    """The head of the column of p: `p (Holm)`."""
    return f"p ({SHORT[result.correction]})"


def table(result: Result) -> list[list[str]]:
    """The rows below `header`, as text."""
    return [_row(result, row) for row in result.rows]


def _row(result: Result, row: Row) -> list[str]:
    tested = row.comparisons.get(result.primary)
    test = [f"{tested.difference:+.2f}", interval(tested), p_value(tested.p_corrected)] if tested else ["", "", ""]
    others = [f"{row.mean(name):.1f}" if row.results else "" for name in result.metrics if name != result.primary]
    return [marked(row), with_spread(row, result.primary), *test, outcome_in_words(row, tested), *others]


def outcome_in_words(row: Row, tested: Comparison | None) -> str:
    """The outcome; after `n.s.` the true difference that would have been seen with 80 % power."""
    if tested is None or row.outcome != "n.s." or math.isnan(tested.detectable):
        return row.outcome
    return f"n.s. ({DETECTABLE}: {tested.detectable:.1f})"


def cost_table(result: Result) -> tuple[list[str], list[list[str]]]:
    """Column names with units, and one row for each variant with measured costs; no rows where there is none."""
    names = [name for name in COST_WORDS if any(name in row.costs for row in result.rows)]
    rows = [
        [marked(row), *(short_number(row.costs[name]) if name in row.costs else "" for name in names)]
        for row in result.rows
        if row.costs
    ]
    return ["variant", *(COST_WORDS[name] for name in names)], rows


def published_title(published: Published) -> str:
    return f"Published, not measured here: {published.title}"


def published_table(published: Published, metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Column names, and one row for each published one that has any of these metrics."""
    sources = published.sources
    head = ["system", "backbone", "post-processing", *metrics, "source"]
    rows = [
        [row.name, row.backbone, row.post_processing, *(_printed(row, m) for m in metrics), str(sources[row.source])]
        for row in published.rows
        if row.values.keys() & set(metrics)
    ]
    return head, rows


def _printed(row: PublishedRow, name: str) -> str:
    """A published figure, with a question mark where it may be wrong; nothing where there is none."""
    if name not in row.values:
        return ""
    return f"{row.values[name]:.1f}" + ("?" if name in row.uncertain else "")


def published_notes(published: Published) -> list[str]:
    """What the published rows were made with, and what to beware of in them."""
    lines = [
        f"Protocol: {published.protocol}. This run measured none of it; videos, encoder and training may be others. No "
        "test, rank or verdict knows of these rows."
    ]
    if any(row.uncertain for row in published.rows):
        lines.append("A question mark follows a figure that may be wrong.")
    lines += [f"{source.publication}: {source.note}." for source in published.sources.values() if source.note]
    lines += [f"{row.name} in {published.sources[row.source]}: {row.note}." for row in published.rows if row.note]
    return lines
