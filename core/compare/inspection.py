"""What is odd about a score matrix: ties, rows in another order, a transposed matrix, scores that were rescaled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.transduction import moderate
from ..measure.metrics import Relevance, evaluate, query_relevance

LARGEST = 1500
"""Rows and columns that are looked at where a look at all of them would take long."""


def doubts(values: NDArray[Any], relevance: Relevance, direction: str) -> list[str]:
    """Signs that scores [texts, videos] are not what they are taken for, in one direction: all are the same, R@1 is no
    better than chance, or it is much better when the matrix is transposed."""
    from scipy.stats import binom

    if _constant(values):
        return ["holds one value only (constant): nothing is ranked"]
    asked = query_relevance(relevance, direction)
    n, gallery = asked.shape
    share = evaluate(values, relevance, ["R1"], [direction]).metrics[f"{direction}/R1"] / 100
    chance = float(asked.degree.mean()) / gallery
    lines = []
    could_tell = binom.sf(n - 1, n, chance) <= 0.01  # else chance may answer all n queries
    if could_tell and binom.sf(round(share * n) - 1, n, chance) > 0.01:
        lines.append(
            f"R@1 is {100 * share:.1f}, by chance it would be {100 * chance:.1f}: rows and columns may stand in "
            "another order than is assumed (give --rows, --cols, --relevance)"
        )
    if values.shape[0] == values.shape[1] and np.all(relevance.degree == 1) and relevance.T.degree.min() == 1:
        turned = evaluate(values.T, relevance, ["R1"], [direction]).metrics[f"{direction}/R1"] / 100
        error = np.sqrt((share * (1 - share) + turned * (1 - turned)) / n)
        if turned - share > max(0.05, 3 * error):
            lines.append(
                f"R@1 is {100 * share:.1f} as it stands and {100 * turned:.1f} transposed: are the rows the texts?"
            )
    return lines


def ties(values: NDArray[Any], direction: str) -> list[str]:
    """Sentences on queries whose best score several items share, and on queries that score everything the same.

    values: scores [texts, videos].
    """
    if _constant(values):
        return []
    scores = values if direction == "t2v" else values.T
    best = scores.max(axis=1)
    constant = np.flatnonzero(best == scores.min(axis=1))
    shared = float((np.count_nonzero(scores == best[:, None], axis=1) > 1).mean())
    kind = "rows" if direction == "t2v" else "columns"
    lines = []
    if constant.size and scores.shape[1] > 1:
        lines.append(f"{constant.size:,} {kind} hold one value only (the first is {constant[0]})")
    if shared >= 0.01 and scores.shape[1] > 1:
        lines.append(
            f"{100 * shared:.1f} % of the queries have a tie for the best score; ties count as broken at random"
        )
    return lines


def _constant(values: NDArray[Any]) -> bool:
    return bool(values.size > 1 and values.max() == values.min())


# ------------------------------------------------------------------------------------------------ two matrices


def transposed(first: NDArray[Any], second: NDArray[Any]) -> str | None:
    """That one of two matrices [texts, videos] of the same texts and videos looks transposed; None where not."""
    if first.shape[0] != first.shape[1] or first.shape[0] < 3:
        return None
    first_sample, second_sample = (moderate(matrix[:LARGEST, :LARGEST]) for matrix in (first, second))
    agree, turned = _agreement(first_sample, second_sample), _agreement(first_sample, second_sample.T)
    if turned <= agree + 0.1:
        return None
    return f"agree better with one of them transposed (correlation {turned:.2f}, as they stand {agree:.2f})"


def rescaled(first: NDArray[Any], second: NDArray[Any], direction: str) -> str | None:
    """That two matrices [texts, videos] order the queries of each item alike, and not the items of each query; None
    where not. A sample of rows and columns is looked at."""
    queries = (first, second) if direction == "t2v" else (first.T, second.T)
    if min(first.shape) < 3 or not _alike(queries[0].T, queries[1].T) or _alike(*queries):
        return None
    kind = "texts" if direction == "t2v" else "videos"
    return (
        f"order the {kind} of each item of the gallery alike, but not the items of each query: one is the other with "
        "each item's scores rescaled, as dual softmax does; if by the other queries, the difference is that of a "
        "transductive transform"
    )


def _agreement(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of what stands beside the diagonal."""
    beside = ~np.eye(len(first), dtype=bool)
    first_values, second_values = first[beside], second[beside]
    if not (np.ptp(first_values) and np.ptp(second_values)):
        return 0.0  # a constant has no correlation
    return float(np.corrcoef(first_values, second_values)[0, 1])


def _alike(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Whether the second orders each row as the first does."""
    picked = np.unique(np.linspace(0, len(first) - 1, 50).astype(int))
    for row in picked:
        order = np.argsort(first[row], kind="stable")
        sorted_row = moderate(second[row][order])
        # a step down that rounding explains does not count
        if (np.diff(sorted_row) < -1e-6 * np.abs(sorted_row).max()).any():
            return False
    return True
