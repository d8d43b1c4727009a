"""A comparison on the terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from ..contract.escaping import plain_line
from ..measure.metrics import metric
from . import Compared, Line

HEAD = (
    "",
    "metric",
    "value",
    "difference",
    "95 % interval",
    "p",
    "wins / ties / losses",
    "outcome",
    "could have shown",
)


def show(compared: Compared) -> None:
    """Print what puts the comparison in doubt, the table, the verdict on each comparison, what the numbers rest on."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200)
    table = Table(box=None, pad_edge=False)
    family = _family(compared)
    for index, name in enumerate(HEAD):
        if name == "p" and family > 1:
            name = f"p (Holm, {family})"
        table.add_column(plain_line(name), justify="left" if index in (0, 1, 7) else "right", no_wrap=index > 0)
    for line in compared.lines:
        table.add_row(*map(plain_line, _cells(line)), style="bold" if line.comparison is None else None)
    for doubt in compared.doubts:
        console.print(plain_line(_beware(doubt)), soft_wrap=True)
    if compared.doubts:
        console.print()
    console.print(table)
    console.print()
    for text in sentences(compared):
        console.print(plain_line(text), soft_wrap=True)


def sentences(compared: Compared) -> Iterator[str]:
    """Verdicts, what else to beware of, sample sizes and test, what was assumed, what was found while reading."""
    for line in compared.lines:
        if line.comparison is not None:
            yield verdict(line, _baseline(compared, line))
    for warning in compared.warnings:
        yield _beware(warning)
    for name in dict.fromkeys(line.metric for line in compared.lines):
        line = next(line for line in compared.lines if line.metric == name and line.comparison)
        method = "" if line.untested or line.comparison is None else f"; {line.comparison.method}"
        yield f"{name}: n = {line.size}{method}."
    if any(line.transductive for line in compared.lines):
        yield "* transductive: these scores look at the other queries."
    yield from compared.assumptions
    yield from compared.remarks


def verdict(line: Line, baseline: Line) -> str:
    """`B is better than A on t2v/R1: +2.10 points (95 % interval +0.50 to +3.70, p = 0.012).`"""
    comparison = line.comparison
    assert comparison is not None
    unit = "points" if metric(line.metric).unit == "points" else "ranks"
    if line.untested:
        pair = f"{_marked(line)} and {_marked(baseline)} differ by {comparison.difference:+.2f} {unit} on {line.metric}"
        return f"{pair}: not tested: {line.untested}."
    p = "" if math.isnan(comparison.p) else f", p {_p(comparison.p_corrected, '= ')}"
    facts = f"{comparison.difference:+.2f} {unit} (95 % interval {comparison.low:+.2f} to {comparison.high:+.2f}{p})"
    outcome = line.outcome.partition(" ")[0]
    if outcome in ("better", "worse"):
        return f"{_marked(line)} is {outcome} than {_marked(baseline)} on {line.metric}: {facts}."
    if comparison.ties == comparison.n_clusters:
        power = " They are equal on every query."
    elif math.isnan(comparison.detectable):
        power = ""
    else:
        power = f" This test shows {comparison.detectable:.1f} {unit} with 80 % power."
    return f"{_marked(line)} and {_marked(baseline)} are not shown to differ on {line.metric}: {facts}.{power}"


def as_json(compared: Compared) -> dict[str, Any]:
    """Everything as plain JSON data, null for what is not a number."""
    return _plain(
        {
            "lines": [asdict(line) | {"outcome": line.outcome} for line in compared.lines],
            "verdicts": [verdict(line, _baseline(compared, line)) for line in compared.lines if line.comparison],
            "doubts": compared.doubts,
            "assumptions": compared.assumptions,
            "remarks": compared.remarks,
            "warnings": compared.warnings,
        }
    )


def _baseline(compared: Compared, line: Line) -> Line:
    lines = (other for other in compared.lines if other.metric == line.metric)
    return next(other for other in lines if other.comparison is None)


def _family(compared: Compared) -> int:
    return max((line.comparison.family for line in compared.lines if line.comparison), default=0)


def _beware(text: str) -> str:
    return f"Beware: {text.rstrip('.')}."


def _marked(line: Line) -> str:
    return f"{line.name}*" if line.transductive else line.name


def _cells(line: Line) -> list[str]:
    head = [_marked(line), line.metric, f"{line.value:.2f}"]
    comparison = line.comparison
    if comparison is None:
        return [*head, "", "", "", "", line.outcome, ""]
    counts = f"{comparison.wins:,} / {comparison.ties:,} / {comparison.losses:,}"
    if line.untested:
        return [*head, f"{comparison.difference:+.2f}", "", "", counts, line.outcome, ""]
    distance = "" if math.isnan(comparison.detectable) else f"{comparison.detectable:.1f}"
    interval = f"{comparison.low:+.2f} to {comparison.high:+.2f}"
    difference, p = f"{comparison.difference:+.2f}", _p(comparison.p_corrected)
    return [*head, difference, interval, p, counts, line.outcome, distance]


def _p(p: float, equals: str = "") -> str:
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{equals}{p:.3f}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
