"""Two score matrices of the same queries and gallery, compared without an experiment."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from ..metrics import Relevance, Ties, evaluate, metric
from .comparison import Comparison, paired_medians, paired_test


def compare_scores(
    variant: Any,
    baseline: Any,
    relevance: Relevance,
    name: str = "t2v/R1",
    ties: Ties = "expected",
    clusters: ArrayLike | None = None,
) -> Comparison:
    """The variant's scores [B_t, B_v] against the baseline's on one metric: difference, interval, test.

    Rows and columns of both must mean the same texts and videos. `clusters` [queries] labels queries that are not
    independent, such as the captions of one video; by default those that share a relevant item.
    Raises DataError where shapes differ, RunError for scores that are NaN or infinite.

    >>> import core, numpy
    >>> right = core.Relevance.of(None, (20, 20))  # text i belongs to video i
    >>> comparison = core.compare_scores(numpy.eye(20), numpy.eye(20)[::-1], right, "t2v/R1")
    >>> comparison.difference, comparison.p < 0.05
    (100.0, True)
    """
    direction, _, short = name.rpartition("/")
    direction = direction or "t2v"
    first, second = (evaluate(scores, relevance, [short], [direction], ties) for scores in (variant, baseline))
    values, reference = first.per_query[direction][short], second.per_query[direction][short]
    higher = metric(short).higher_is_better
    units = first.clusters[direction] if clusters is None else clusters
    if metric(short).summary == "median":
        return paired_medians(values, reference, units, higher_is_better=higher)
    return paired_test(values - reference, units, higher_is_better=higher).on(name)
