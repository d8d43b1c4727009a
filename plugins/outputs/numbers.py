"""How tables, figures and notes write numbers: means with their spread, intervals, p-values, costs."""

from __future__ import annotations

import math

from core.outputs import Comparison, Row

UNITS = {3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
COST_WORDS = {
    "cost/parameters": "parameters",
    "cost/side_bytes": "stored bytes a video",
    "cost/offline_multiply_adds": "multiply-adds a video, offline",
    "cost/online_multiply_adds": "multiply-adds a query",
    "cost/latency_ms": "ms a query, median",
    "cost/latency_p95_ms": "ms a query, 95th percentile",
    "cost/throughput": "queries a second",
    "cost/peak_bytes": "peak bytes",
    "cost/training_seconds": "seconds of training",
    "cost/training_peak_bytes": "peak bytes in training",
}
"""What each cost counts, with its unit."""


def with_spread(row: Row, name: str) -> str:
    """`44.8 ± 0.4`: mean and standard deviation over seeds; where some failed, of how many; `failed` for none."""
    seeds = f" ({len(row.results)} of {len(row.trials)} seeds)" if row.results and row.failed else ""
    return mean_with_spread(row, name) + seeds


def mean_with_spread(row: Row, name: str) -> str:
    """The same without the number of seeds."""
    if not row.results:
        return "failed"
    spread = row.spread(name)
    return f"{row.mean(name):.1f}" + ("" if math.isnan(spread) else f" ± {spread:.1f}")


def interval(comparison: Comparison) -> str:
    return f"{comparison.low:+.2f} to {comparison.high:+.2f}"


def p_value(p: float) -> str:
    return "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def short_number(value: float) -> str:
    """Three digits and a unit of a thousand: `1.23 M`, `0.0123`, `850`."""
    exponent = min(15, 3 * (math.floor(math.log10(abs(value))) // 3)) if abs(value) >= 1000 else 0
    scaled = float(f"{value:.3g}") / 10**exponent
    if abs(scaled) >= 1000 and exponent + 3 in UNITS:
        scaled, exponent = scaled / 1000, exponent + 3
    return f"{scaled:.3g}" + (f" {UNITS[exponent]}" if exponent else "")
