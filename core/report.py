"""Tables of a run: on the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv as csv_module
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .findings import Claim, Result, Row
from .hypotheses import configuration
from .published import Published, PublishedRow
from .significance import Comparison
from .store import write_atomically

if TYPE_CHECKING:
    from rich.table import Table as RichTable


def header(result: Result) -> list[str]:
    """Column names of the table: the primary metric with its test, then the others."""
    others = [name for name in result.metrics if name != result.primary]
    return ["variant", result.primary, "difference", "95 % interval", "p (Holm)", "outcome", *others]


def table(result: Result) -> list[list[str]]:
    """The rows below `header`, as text."""
    return [_row(result, row) for row in result.rows]


def _row(result: Result, row: Row) -> list[str]:
    tested = row.comparisons.get(result.primary)
    shown = [f"{tested.difference:+.2f}", interval(tested), p_value(tested.p_corrected)] if tested else ["", "", ""]
    others = [f"{row.mean(name):.1f}" for name in result.metrics if name != result.primary]
    return [row.name, with_spread(row, result.primary), *shown, row.outcome, *others]


def with_spread(row: Row, name: str) -> str:
    """`44.8 ± 0.4`: mean and standard deviation over seeds."""
    spread = row.spread(name)
    return f"{row.mean(name):.1f}" + ("" if math.isnan(spread) else f" ± {spread:.1f}")


def interval(comparison: Comparison) -> str:
    return f"{comparison.low:+.2f} to {comparison.high:+.2f}"


def p_value(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def claim_line(claim: Claim) -> str:
    """`SUPPORTED  name: what was claimed. Why.`, with a mark where it was claimed after the fact."""
    late = " [post hoc: claimed or changed after the split had been scored]" if claim.post_hoc else ""
    return (
        f"{claim.verdict.verdict.upper()}: {claim.hypothesis.name}: {claim.hypothesis} ({claim.verdict.reason}){late}"
    )


def notes(result: Result) -> list[str]:
    """How the numbers were made, what they cover, what to beware of."""
    settings = result.plan.experiment
    tested = [row.comparisons[result.primary] for row in result.rows if result.primary in row.comparisons]
    lines = [
        f"{settings.evaluate.split} split: {result.size}; ties: {settings.evaluate.ties}; "
        f"data set `{settings.data.dataset.name}`.",
        f"Differences are to `{result.baseline.name}` on {result.primary}, in the metric's unit; ± is the standard "
        "deviation over seeds.",
    ]
    if tested:
        methods = "; ".join(dict.fromkeys(comparison.method for comparison in tested))
        family = _counted(tested[0].family, "variant")
        lines.append(f"Test: {methods}. Holm over {family}; the baseline is not among them.")
        lines += [f"Beware: {text}." for text in dict.fromkeys(c.warning for c in tested if c.warning)]
        seen = [c.detectable for c, row in zip(tested, _tested_rows(result), strict=True) if row.outcome == "n.s."]
        seen = [value for value in seen if not math.isnan(value)]
        if seen:
            smallest, largest = min(seen), max(seen)
            size = f"{smallest:.1f}" + (f" to {largest:.1f}" if f"{largest:.1f}" != f"{smallest:.1f}" else "")
            lines.append(
                f"Where it says n.s., a true difference of {size} would have been seen with 80 % power; a smaller one "
                "is not excluded."
            )
    chosen = [row.name for row in result.rows if row.selected_on_test]
    if chosen:
        lines.append(
            f"Selected on test, therefore shown and not compared: {', '.join(chosen)}. Of the weights of each training "
            "those were kept that did best on the test split."
        )
    if result.claims:
        scored = max(claim.times_scored for claim in result.claims)
        lines.append(
            f"{_counted(len(result.claims), 'hypothesis', 'hypotheses')} in one Holm family, registered as "
            f"{result.registration}; this store saw {_counted(scored, 'trial')} scored on this split."
        )
    lines += _ceiling(result)
    lines += [f"Withdrawn after it was registered: {claim}" for claim in result.withdrawn]
    lines += [f"Not decided, because {reason}: {claim.name}: {claim}" for claim, reason in result.incomparable]
    if result.skipped:
        lines.append(f"{len(result.skipped)} unreadable videos were left out:")
        lines += [f"  {path}: {reason}" for path, reason in sorted(result.skipped.items())]
    return lines


def _ceiling(result: Result) -> list[str]:
    """How far re-ranking could go, in the primary direction, and what an approximate index lost before."""
    direction = result.primary.partition("/")[0]
    trials = [found for row in result.rows for found in row.results]
    limits = _span([found.ceilings[direction] for found in trials if direction in found.ceilings])
    recalls = _span([found.index_recalls[direction] for found in trials if direction in found.index_recalls])
    lines = []
    if limits:
        lines += [
            f"Re-ranking could reach a {direction}/R1 of {limits}: queries with an answer among their candidates."
        ]
    if recalls:
        lines += [f"The index found {recalls} % of the candidates that an exact search finds ({direction})."]
    return lines


def _span(values: list[float]) -> str:
    """`90.1`, `90.1 to 93.0`; empty where there is none."""
    if not values:
        return ""
    return f"{min(values):.1f}" + (f" to {max(values):.1f}" if max(values) - min(values) >= 0.05 else "")


def _counted(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _tested_rows(result: Result) -> list[Row]:
    return [row for row in result.rows if result.primary in row.comparisons]


def markdown(result: Result) -> str:
    """The report: verdicts first, then the table, how it was made and how to repeat it, and what others published."""
    lines = [f"# {result.name}", ""]
    lines += [f"- {claim_line(claim)}" for claim in result.claims] + [""] * bool(result.claims)
    lines += markdown_table(header(result), table(result))
    lines += ["", *notes(result), "", f"Repeat: `python -m core.run {result.plan.document.file}`", ""]
    for published in result.published:
        lines += [f"## {published_title(published)}", ""]
        lines += markdown_table(*published_table(published, published.metrics), texts=PUBLISHED_TEXTS)
        lines += ["", *[f"- {note}" for note in published_notes(published)], ""]
    return "\n".join(lines)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: Sequence[str] = ()) -> list[str]:
    """Lines of a Markdown table. The first column and those called one of `texts` are set left, the others right."""
    rules = ["---" if index == 0 or name in texts else "---:" for index, name in enumerate(head)]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    return ["| " + " | ".join(row) + " |" for row in [cells[0], rules, *cells[1:]]]


def csv(result: Result) -> str:
    """One line a variant and metric, with everything that the comparison holds."""
    columns = ["difference", "low", "high", "p", "p_corrected", "family", "n_clusters", "n_queries", "seed_sd"]
    columns += ["wins", "ties", "losses", "d_z", "detectable", "method"]
    out = io.StringIO()
    writer = csv_module.writer(out)
    writer.writerow(["variant", "baseline", "metric", "mean", "sd_over_seeds", "seeds", "outcome", *columns])
    for row in result.rows:
        for name in result.metrics:
            comparison = row.comparisons.get(name)
            outcome = row.outcome if name == result.primary else ""
            facts = [_blank(getattr(comparison, column)) if comparison else "" for column in columns]
            spread = _blank(row.spread(name))
            writer.writerow([row.name, row.is_baseline, name, row.mean(name), spread, len(row.seeds), outcome, *facts])
    return out.getvalue()


def _blank(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def write_report(result: Result, root: Path) -> Path:
    """Write report.md, table.csv and the resolved configurations to `<root>/<experiment>`; the folder."""
    folder = root / slug(result.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "report.md", markdown(result))
    write_atomically(folder / "table.csv", csv(result))
    resolved = {variant.name: configuration(variant) for variant in result.plan.variants}
    write_atomically(folder / "resolved.json", json.dumps(resolved, indent=1))
    return folder


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "experiment"


def show_report(result: Result) -> None:
    """Print the table and the verdicts. The other direction's metrics stand in the files."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=200)
    direction = result.primary.partition("/")[0]
    head = header(result)
    kept = [i for i, name in enumerate(head) if "/" not in name or name.startswith(f"{direction}/")]
    shown = Table(title=f"{result.name}: {result.size}", title_justify="left")
    for index in kept:
        shown.add_column(head[index], justify="left" if index in (0, 5) else "right", no_wrap=index <= 5)
    for row, cells in zip(result.rows, table(result), strict=True):
        shown.add_row(*[cells[index] for index in kept], style="bold" if row.is_baseline else None)
    console.print(shown)
    for line in notes(result):
        console.print(line)
    for published in result.published:
        console.print()
        console.print(_published_shown(published, direction))
        for line in published_notes(published):
            console.print(line)
    for claim in result.claims:
        console.print(f"\n{claim_line(claim)}")


# ------------------------------------------------------------------------------------------------ published numbers


PUBLISHED_TEXTS = ("backbone", "post-processing", "source")
"""Columns that hold no number."""


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
    return f"{row.values[name]:.1f}{'?' * (name in row.uncertain)}" if name in row.values else ""


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


def _published_shown(published: Published, direction: str) -> RichTable:
    """The published rows of one direction, as a table for the terminal."""
    from rich.table import Table

    metrics = [name for name in published.metrics if name.startswith(f"{direction}/")]
    head, rows = published_table(published, metrics)
    shown = Table(title=published_title(published), title_justify="left")
    for name in head:
        shown.add_column(name, justify="right" if name in metrics else "left", no_wrap=name in metrics)
    for row in rows:
        shown.add_row(*row)
    return shown
