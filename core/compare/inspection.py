"""What is odd about a score matrix: scores that look at the other queries, ties, another order, another orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import Relevance, evaluate, query_relevance

LARGEST = 1500
"""Rows and columns that are looked at where a look at all of them would take long."""


def doubts(values: NDArray[Any], relevance: Relevance, direction: str) -> list[str]:
    """Whether scores [texts, videos] are what they are taken for, in one direction: not where they are all the same,
    R@1 is as by chance, or much better when the matrix is transposed."""
    from scipy.stats import binom

    if _constant(values):
        return ["holds one value only (constant): nothing is ranked"]
    asked = query_relevance(relevance, direction)
    n, gallery = asked.shape
    share = evaluate(values, relevance, ["R1"], [direction]).metrics[f"{direction}/R1"] / 100
    chance = float(asked.degree.mean()) / gallery
    lines = []
    could_tell = binom.sf(n - 1, n, chance) <= 0.01
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
    """Queries of scores [texts, videos] whose best score several items share, and that score everything the same."""
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


# ------------------------------------------------------------------------------------------------ transductive scores


def transductive(values: NDArray[Any], direction: str) -> str:
    """How scores [texts, videos] show that a query's depend on the other queries; "" where nothing does.

    What is normalised over the queries shows in sums over them: those of a softmax are equal, those of its logarithm
    after exp, and of the square root of the product of both softmaxes (a dual softmax) the largest singular value is 1.
    Scores times a softmax have sums that are nearly equal although each is one or few large entries. A very soft one
    leaves no trace.
    """
    scores = _moderate(values if direction == "t2v" else values.T)
    kind, item = ("texts", "video") if direction == "t2v" else ("videos", "text")
    if min(scores.shape) < 3 or _same_in_every_column(scores):
        return ""
    from scipy.special import logsumexp

    if scores.min() >= 0 and _normalised(scores, axis=0):
        return f"the scores of each {item} sum to {scores[:, 0].sum():.4g}: a softmax over the {kind}"
    if np.ptp(logsumexp(scores, axis=0)) <= 1e-3 * scores.std() and scores.std() > 1e-9:
        return f"exp of the scores of each {item} sums to the same: a logarithm of a softmax over the {kind}"
    if scores.min() >= 0 and not _normalised(scores, axis=1) and _unit(np.sqrt(scores)):
        return f"a product of the softmaxes over the {kind} and over each query's items (a dual softmax)"
    if scores.max() <= 0 and _unit(np.exp(scores / 2)):
        return f"the logarithm of a product of the softmaxes over the {kind} and over each query's items"
    return f"looks like scores times a softmax over the {kind} (a dual softmax)" if _weighted(scores) else ""


def _moderate(values: NDArray[Any]) -> NDArray[np.float64]:
    """float64 [rows, columns], in units of the largest where squares would leave the range of numbers."""
    scores = np.asarray(values, dtype=np.float64)
    largest = float(max(scores.max(), -scores.min()))
    return scores if 1e-100 < largest < 1e100 or not largest else scores / largest


def _same_in_every_column(scores: NDArray[np.float64]) -> bool:
    """Whether each column holds the same values in another order: equal sums then mean nothing."""
    some = np.sort(scores[:, :LARGEST], axis=0)
    return bool(np.ptp(some, axis=1).max() <= 1e-6 * np.abs(some).max())


def _normalised(scores: NDArray[np.float64], axis: int) -> bool:
    """Whether all sums are equal, and more so than independent scores of this spread could make them."""
    sums = scores.sum(axis=axis)
    return bool(np.ptp(sums) <= min(1e-3 * np.abs(sums).mean(), 0.01 * np.sqrt(scores.shape[axis]) * scores.std()))


def _unit(root: NDArray[np.float64]) -> bool:
    """Whether the largest singular value is 1, by power iteration, which comes to it from below."""
    vector, value = np.ones(root.shape[1]), 0.0
    for _ in range(100):
        vector /= np.linalg.norm(vector)
        left = root @ vector
        value = float(np.linalg.norm(left))
        if not 0 < value < 1.01:
            return False
        vector = left @ root
    return value > 0.99


def _weighted(scores: NDArray[np.float64]) -> bool:
    """Few large entries a column, and sums of columns that vary far less than those of rows."""
    size = np.abs(scores)
    columns, rows = size.sum(axis=0), size.sum(axis=1)
    if not (columns.all() and rows.all()):
        return False
    peaked = np.median(size.max(axis=0) / size.mean(axis=0)) > 10
    spread, other = columns.std() / columns.mean(), rows.std() / rows.mean()
    return bool(peaked and spread < 0.2 and spread < other / 3)


# ------------------------------------------------------------------------------------------------ two matrices


def transposed(one: NDArray[Any], other: NDArray[Any]) -> str:
    """Whether one of two matrices [texts, videos] of the same texts and videos looks transposed; "" where not."""
    if one.shape[0] != one.shape[1] or one.shape[0] < 3:
        return ""
    first, second = (_moderate(matrix[:LARGEST, :LARGEST]) for matrix in (one, other))
    agree, turned = _agreement(first, second), _agreement(first, second.T)
    if turned <= agree + 0.1:
        return ""
    return f"agree better with one of them transposed (correlation {turned:.2f}, as they stand {agree:.2f})"


def rescaled(one: NDArray[Any], other: NDArray[Any], direction: str) -> str:
    """Whether two matrices [texts, videos] order the queries of each item alike, and not the items of each query; ""
    where not. A sample of rows and columns is looked at."""
    queries = (one, other) if direction == "t2v" else (one.T, other.T)
    if min(one.shape) < 3 or not _alike(queries[0].T, queries[1].T) or _alike(*queries):
        return ""
    kind = "texts" if direction == "t2v" else "videos"
    return (
        f"order the {kind} of each item of the gallery alike, but not the items of each query: one is the other with "
        "each item's scores rescaled, as dual softmax does; if by the other queries, the difference is that of a "
        "transductive transform"
    )


def _agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Correlation of what stands beside the diagonal."""
    beside = ~np.eye(len(one), dtype=bool)
    a, b = one[beside], other[beside]
    if not (np.ptp(a) and np.ptp(b)):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether the second orders each row as the first does."""
    picked = np.unique(np.linspace(0, len(one) - 1, 50).astype(int))
    for row in picked:
        order = np.argsort(one[row], kind="stable")
        sorted_row = _moderate(other[row][order])
        if (np.diff(sorted_row) < -1e-6 * np.abs(sorted_row).max()).any():
            return False
    return True
