"""How a report writes numbers: means with their spread, intervals, p-values, counts, costs."""

from __future__ import annotations

import math

from core.outputs import Comparison, Row


def with_spread(row: Row, name: str) -> str:
    """`44.8 ± 0.4`: mean and standard deviation over seeds; where some failed, of how many; `failed` for none."""
    if not row.results:
        return "failed"
    spread, tried = row.spread(name), len(row.results) + len(row.failed)
    seeds = f" ({len(row.results)} of {tried} seeds)" if row.failed else ""
    return f"{row.mean(name):.1f}" + ("" if math.isnan(spread) else f" ± {spread:.1f}") + seeds


def interval(comparison: Comparison) -> str:
    return f"{comparison.low:+.2f} to {comparison.high:+.2f}"


def p_value(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
