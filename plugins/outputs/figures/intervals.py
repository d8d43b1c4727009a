"""The 95 % intervals that figures draw."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from core.outputs import Comparison, Row, metric, paired_medians, paired_test

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]


def metric_interval(row: Row, name: str) -> Interval:
    """(metric, low, high): those of the difference to an arm that has 0 everywhere."""
    values, clusters = row.per_query(name), row.results[0].tensors[f"{name.partition('/')[0]}/clusters"]
    if metric(name).summary == "median":
        comparison = paired_medians(values, np.zeros_like(values), clusters)
    else:
        comparison = paired_test(values, clusters, trained=bool(row.seeds))
    return drawn_interval(comparison)


def drawn_interval(comparison: Comparison) -> Interval:
    """(difference, low, high); nan for ends that too few units leave open, which nothing can be drawn to."""
    low, high = (end if math.isfinite(end) else math.nan for end in (comparison.low, comparison.high))
    return comparison.difference, low, high
