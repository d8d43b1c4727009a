"""The report as one HTML file: what was compared, on what, how sure, at what cost, how to repeat it."""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from core.outputs import Comparison, Decision, Result, Row, counted

from ..axes import distinct, keys_of, own, words
from ..numbers import interval, p_value
from ..tables import PUBLISHED_TEXTS, cost_table, header, published_notes, published_table, published_title
from ..tables import table as text_table
from . import page

LIBRARIES = ("torch", "numpy", "scipy", "transformers", "decord", "safetensors")
SECTIONS = {
    "verdicts": "Verdicts",
    "compared": "What was compared, on what",
    "results": "Results",
    "sure": "How sure",
    "costs": "At what cost",
    "figures": "Figures",
    "published": "Published numbers, not measured here",
    "repeat": "How to repeat it",
}
PICTURES = "pictures.html"
MARKS = {"better": "▲ better", "worse": "▼ worse"}


def html(result: Result, figures: Mapping[Path, str], pictures: bool) -> str:
    """The page. figures: {SVG file: caption}, which become part of it. pictures: whether a page of them lies beside
    it."""
    asked = result.question or ""
    parts = {
        "verdicts": _verdicts(result),
        "compared": _compared(result),
        "results": [*_results(result), _all_metrics(result), _pictures() if pictures else ""],
        "sure": [page.listed(result.notes)],
        "costs": _costs(result),
        "figures": _figures(figures),
        "published": _published(result),
        "repeat": _repeat(result, pictures),
    }
    sections = {name: page.section(name, SECTIONS[name], *shown) for name, shown in parts.items()}
    targets = {f"#{name}": SECTIONS[name] for name, text in sections.items() if text}
    targets |= {PICTURES: "Pictures"} if pictures else {}
    links = "".join(page.link(target, words) for target, words in targets.items())
    opening = [f"<h1>{page.inline(result.name)}</h1>", page.paragraph(asked, "lead"), page.paragraph(result.in_short)]
    return page.page(result.name, [*opening, f"<nav>{links}</nav>", *filter(None, sections.values())])


def _verdicts(result: Result) -> list[str]:
    """Every hypothesis, decided or refused."""
    shown = [_decision(decision) for decision in result.decisions]
    for hypothesis, reason in result.incomparable:
        said = f"<b>NOT DECIDED</b> {page.inline(f'{hypothesis.name}: {hypothesis}')}"
        why = page.paragraph(f"Because {reason}.", "soft")
        shown.append(f'<div class="claim open"><p>{said}</p>{why}</div>')
    return shown or [page.paragraph("No hypothesis was stated.", "soft")]


def _decision(decision: Decision) -> str:
    """A hypothesis with its verdict first, then the claim, then the numbers."""
    verdict = decision.verdict.verdict
    mark = decision.lateness
    late = f" {mark[:1].upper()}{mark[1:]}." if mark else ""
    said = f"<b>{verdict.upper()}</b> {page.inline(f'{decision.hypothesis.name}: {decision.hypothesis}')}"
    kind = "open" if verdict == "not decided" else verdict
    reason = page.paragraph(decision.verdict.reason[:1].upper() + decision.verdict.reason[1:] + "." + late, "soft")
    return f'<div class="claim {kind}"><p>{said}</p>{reason}</div>'


def _compared(result: Result) -> list[str]:
    claim, keys = result.experiment.claim, keys_of(result)
    told = {"Statement": claim.text, "Source": claim.source} if claim else {}
    told |= {"Variants": f"{len(result.variants)}, with these values:"}
    for key in keys:
        values = distinct(own(variant, key, keys) for variant in result.variants)
        told[f"`{key}`"] = " · ".join(map(words, values))
    seeds, but = max(len(row.seeds) for row in result.rows), " but where trials failed" * bool(result.failed)
    told |= {
        "Baseline": f"`{result.baseline.name}`",
        "Seeds": f"{seeds}, the same for every variant{but}" if seeds else "none",
    }
    return [page.terms(told | result.facts)]


def _kind(row: Row) -> str:
    if row.is_baseline:
        return "baseline"
    return "apart" if row.selected_on_test or row.transductive else ""


def _results(result: Result) -> list[str]:
    """The table of the report, the uncorrected p beside the corrected; the other direction in a table of its own."""
    head, cells = header(result), text_table(result)
    outcome, first = head.index("outcome"), result.primary.partition("/")[0]
    at = outcome - 1  # the corrected p stands before the outcome
    rows, kinds, row_kinds = [], {}, [_kind(row) for row in result.rows]
    shown = [index for index, name in enumerate(head) if "/" not in name or name.startswith(f"{first}/")]
    for number, (row, texts) in enumerate(zip(result.rows, cells, strict=True)):
        tested = row.comparisons.get(result.primary)
        told = [MARKS.get(texts[index], texts[index]) if index == outcome else texts[index] for index in shown]
        rows.append([*told[:at], p_value(tested.p) if tested else "", *told[at:]])
        kinds[number, outcome + 1] = row.outcome if row.outcome in MARKS else ""
    named = [head[index] for index in shown]
    said = f"{result.primary}: mean ± standard deviation over seeds; difference to `{result.baseline.name}`."
    columns = [*named[:at], "p, raw", *named[at:]]
    tables = [page.table(columns, rows, left=(0, outcome + 1), row_kinds=row_kinds, cell_kinds=kinds, caption=said)]
    others = [index for index in range(len(head)) if index not in shown]
    if others:
        chosen = [[texts[0], *(texts[index] for index in others)] for texts in cells]
        said = "The other direction: means over seeds."
        tables.append(page.table(["variant", *(head[i] for i in others)], chosen, row_kinds=row_kinds, caption=said))
    return tables


def _all_metrics(result: Result) -> str:
    """Every comparison on every metric, folded."""
    head = ["variant", "metric", "difference", "95 % interval", "p, raw", "wins", "ties", "losses", "odds", "d_z"]
    head += ["detectable"]
    rows = [
        [row.name, name, *_compared_cells(comparison)]
        for row in result.rows
        for name, comparison in row.comparisons.items()
    ]
    if not rows:
        return ""
    caption = "p is not corrected here. Wins, ties and losses count clusters of queries, seeds averaged; the odds are "
    caption += "wins for one loss; d_z is the mean over the standard deviation of their differences; detectable: with "
    caption += "80 % power at .05, uncorrected."
    return page.folded(f"All {len(rows)} comparisons", page.table(head, rows, left=(0, 1), caption=caption))


def _compared_cells(found: Comparison) -> list[str]:
    counts = [f"{count:,}" for count in (found.wins, found.ties, found.losses)]
    sizes = ["" if math.isnan(value) else f"{value:.2f}" for value in (found.odds, found.d_z, found.detectable)]
    return [f"{found.difference:+.2f}", interval(found), p_value(found.p), *counts, *sizes]


def _pictures() -> str:
    """Where single queries are shown."""
    said = "beside this file: what stands on top at each stage, for the texts whose right video moved most."
    return f"<p>{page.link(PICTURES, 'Pictures of single queries')} lie {page.inline(said)}</p>"


def _costs(result: Result) -> list[str]:
    head, rows = cost_table(result)
    how = "Not measured: `evaluate.efficiency=true` adds memory, latency, multiply-adds and training of each variant."
    return [page.table(head, rows) if rows else page.paragraph(how, "soft")]


def _figures(figures: Mapping[Path, str]) -> list[str]:
    shown = "\n".join(page.figure(file, caption) for file, caption in figures.items())
    return [f'<div class="figures">{shown}</div>'] if shown else []


def _published(result: Result) -> list[str]:
    parts = []
    for published in result.published:
        head, rows = published_table(published, published.metrics)
        texts = [index for index, name in enumerate(head) if name in PUBLISHED_TEXTS]
        told = page.listed(published_notes(published))
        shown = page.table(head, rows, left=(0, *texts), prose=(len(head) - 1,), caption=published_title(published))
        parts.append(shown + told)
    return parts


def _repeat(result: Result, pictures: bool) -> list[str]:
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
    beside += [f"`{PICTURES}`"] * pictures
    facts = {
        "Computed": " to ".join(days) + f", {counted(len(stored), 'trial')}",
        "Registered as": result.registration if result.decisions else "",
        "Code": str(result.code) if result.code else "",
        "Versions": ", ".join(versions(result)),
        "Beside this file": ", ".join(beside),
    }
    from yaml import safe_dump

    baseline = safe_dump(result.baseline.variant.configuration, sort_keys=False, allow_unicode=True, width=100)
    named = f"The baseline's configuration in full ({result.baseline.name})"
    return [
        page.preformatted(result.command),
        page.terms(facts),
        page.folded(named, page.preformatted(baseline)),
    ]


def versions(result: Result) -> list[str]:
    """Python, the packages that offer components, and the libraries that numbers depend on, as installed now."""
    found = [f"Python {platform.python_version()}", *result.packages]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
