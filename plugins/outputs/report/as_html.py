"""The report as one HTML file: what was compared, on what, how sure, at what cost, how to repeat it."""

from __future__ import annotations

import dataclasses
import datetime
import math
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from core.outputs import Comparison, Decision, Published, Result, Row, counted

from ..axes import compared_with, distinct, keys_of, marked, own, words
from ..numbers import interval, p_value
from ..pages import Cell, Table, embedded, render
from ..tables import PUBLISHED_TEXTS, cost_table, header, published_notes, published_table, published_title, table
from .glossary import explained
from .order import grouped

LIBRARIES = ("torch", "numpy", "scipy", "transformers", "decord", "safetensors")
PICTURES = "pictures.html"
EXPLAINED = ("in_short", "verdicts", "results", "comparisons", "notes")
"""Facts of the page whose words its glossary explains."""
MARKS = {"better": "▲ better", "worse": "▼ worse"}


@dataclass(frozen=True)
class Verdict:
    """A hypothesis with its verdict first, then the claim, then the numbers or why there are none."""

    kind: str
    word: str
    claim: str
    reason: str


@dataclass(frozen=True)
class Figure:
    """A picture of the page. source: an address that holds it."""

    source: str
    caption: str


def html(result: Result, figures: Mapping[Path, str], pictures: bool) -> str:
    """The page. figures: {SVG file: caption}, which become part of it. pictures: whether a page of them lies beside
    it. Rows of several data sets stand under the baseline of each."""
    result = grouped(result)
    facts: dict[str, Any] = {
        "title": result.name,
        "question": result.question,
        "in_short": result.in_short,
        "pictures": PICTURES if pictures else None,
        "verdicts": _verdicts(result),
        "compared": _compared(result),
        "results": _results(result),
        "comparisons": _all_metrics(result),
        "notes": result.notes,
        "costs": Table.of(*cost_table(result)),
        "figures": [Figure(embedded(file.read_bytes(), "image/svg+xml"), text) for file, text in figures.items()],
        "published": [_published(published) for published in result.published],
        "command": result.command,
        "circumstances": _circumstances(result, pictures),
        "baseline": result.baseline.name,
        "configuration": _configuration(result),
    }
    return render("report", **facts, glossary=explained(_texts([facts[name] for name in EXPLAINED])))


def _texts(fact: object) -> Iterator[str]:
    """Every text of a fact of the page, however deep it lies."""
    if isinstance(fact, str):
        yield fact
    elif isinstance(fact, list | tuple):
        for part in fact:
            yield from _texts(part)
    elif dataclasses.is_dataclass(fact):
        yield from _texts([getattr(fact, part.name) for part in dataclasses.fields(fact)])


def _verdicts(result: Result) -> list[Verdict]:
    """Every hypothesis, decided or refused."""
    refused = [
        Verdict("open", "not decided", f"{hypothesis.name}: {hypothesis}", f"Because {reason}.")
        for hypothesis, reason in result.incomparable
    ]
    return [*map(_decided, result.decisions), *refused]


def _decided(decision: Decision) -> Verdict:
    verdict, late = decision.verdict.verdict, decision.lateness
    sentences = [f"{text[:1].upper()}{text[1:]}." for text in (decision.verdict.reason, late) if text]
    kind = "open" if verdict == "not decided" else verdict
    return Verdict(kind, verdict, f"{decision.hypothesis.name}: {decision.hypothesis}", " ".join(sentences))


def _compared(result: Result) -> dict[str, str]:
    claim, keys = result.experiment.claim, keys_of(result)
    told = {"Statement": claim.text, "Source": claim.source} if claim else {}
    told |= {"Variants": f"{len(result.variants)}, with these values:"}
    for key in keys:
        values = distinct(own(variant, key, keys) for variant in result.variants)
        told[f"`{key}`"] = " · ".join(map(words, values))
    seeds = max(len(row.seeds) for row in result.rows)
    exception = " but where trials failed" if result.failed else ""
    told |= {
        "Baseline": " and ".join(f"`{row.name}`" for row in result.baselines),
        "Seeds": f"{seeds}, the same for every variant{exception}" if seeds else "none",
    }
    return told | result.facts


def _kind(row: Row) -> str:
    if row.is_baseline:
        return "baseline"
    return "apart" if row.selected_on_test or row.transductive else ""


def _results(result: Result) -> list[Table]:
    """The table of the report, the uncorrected p beside the corrected; the other direction in a table of its own."""
    head, rows = header(result), [list[str | Cell](texts) for texts in table(result)]
    outcome = head.index("outcome")
    corrected = outcome - 1
    for row, cells in zip(result.rows, rows, strict=True):
        tested = row.comparisons.get(result.primary)
        if row.outcome in MARKS:
            cells[outcome] = Cell(MARKS[row.outcome], row.outcome)
        cells.insert(corrected, p_value(tested.p) if tested else "")
    head.insert(corrected, "p, raw")
    direction, columns = result.primary.partition("/")[0], range(len(head))
    others = [column for column in columns if "/" in head[column] and not head[column].startswith(f"{direction}/")]
    first = [column for column in columns if column not in others]
    kinds = [_kind(row) for row in result.rows]

    def part(columns: list[int], left: tuple[int, ...], caption: str) -> Table:
        chosen = [[cells[column] for column in columns] for cells in rows]
        return Table.of([head[column] for column in columns], chosen, left=left, row_kinds=kinds, caption=caption)

    caption = f"{result.primary}: mean ± standard deviation over seeds; difference to {_baselines(result)}."
    tables = [part(first, (0, outcome + 1), caption)]
    if others:
        tables.append(part([0, *others], (0,), "The other direction: means over seeds."))
    return tables


def _baselines(result: Result) -> str:
    """What differences are to, by name."""
    if len(result.baselines) == 1:
        return compared_with(result)
    names = " or ".join(f"`{marked(row)}`" for row in result.baselines)
    return f"{compared_with(result)}, {names}, which stands above the variants that are compared with it"


def _all_metrics(result: Result) -> Table:
    """Every comparison on every metric."""
    head = ["variant", "metric", "difference", "95 % interval", "p, raw", "wins", "ties", "losses", "odds", "d_z"]
    head += ["detectable"]
    rows = [
        [row.name, name, *_compared_cells(comparison)]
        for row in result.rows
        for name, comparison in row.comparisons.items()
    ]
    caption = "p is not corrected here. Wins, ties and losses count clusters of queries, seeds averaged: the captions "
    caption += "of one video are one cluster, so the three add up to videos, where figures of ranks count every query. "
    caption += "The odds are wins for one loss; d_z is the mean over the standard deviation of their differences; "
    caption += "detectable: with 80 % power at .05, uncorrected."
    return Table.of(head, rows, left=(0, 1), caption=caption)


def _compared_cells(comparison: Comparison) -> list[str]:
    counts = [f"{count:,}" for count in (comparison.wins, comparison.ties, comparison.losses)]
    values = comparison.odds, comparison.d_z, comparison.detectable
    sizes = ["" if math.isnan(value) else f"{value:.2f}" for value in values]
    return [f"{comparison.difference:+.2f}", interval(comparison), p_value(comparison.p), *counts, *sizes]


def _published(published: Published) -> tuple[Table, list[str]]:
    """A table of published numbers, and what to beware of in them."""
    head, rows = published_table(published, published.metrics)
    texts = [column for column, name in enumerate(head) if name in PUBLISHED_TEXTS]
    numbers = Table.of(head, rows, left=(0, *texts), prose=(len(head) - 1,), caption=published_title(published))
    return numbers, published_notes(published)


def _circumstances(result: Result, pictures: bool) -> dict[str, str]:
    """When and with what the results were computed, and what lies beside the page."""
    stored = [trial.ended for row in result.rows for trial in row.results]
    moments = [datetime.datetime.fromtimestamp(moment, datetime.UTC) for moment in (min(stored), max(stored))]
    days = dict.fromkeys(f"{moment:%Y-%m-%d}" for moment in moments)
    beside = [
        "`report.md`",
        "`table.csv`",
        "`table.tex`",
        "`resolved.json` (all variants)",
        "`registration.json`",
        "`figures/`",
    ]
    if pictures:
        beside.append(f"`{PICTURES}`")
    return {
        "Computed": " to ".join(days) + f", {counted(len(stored), 'trial')}",
        "Registered as": result.registration if result.decisions else "",
        "Code": str(result.code) if result.code else "",
        "Versions": ", ".join(versions(result)),
        "Beside this file": ", ".join(beside),
    }


def _configuration(result: Result) -> str:
    """The baseline's, as it would stand in a file."""
    from yaml import safe_dump

    return safe_dump(result.baseline.variant.configuration, sort_keys=False, allow_unicode=True, width=100)


def versions(result: Result) -> list[str]:
    """Python, the packages that offer components, and the libraries that numbers depend on, as installed now."""
    lines = [f"Python {platform.python_version()}", *result.packages]
    for name in LIBRARIES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return lines
