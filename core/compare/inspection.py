"""What is odd about a score matrix: scores that look at the other queries, ties, another order, another orientation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..metrics import Relevance, evaluate, query_relevance

LARGEST = 1500
"""Rows and columns that are looked at where a look at all of them would take long."""


def beware(values: NDArray[Any], relevance: Relevance, direction: str) -> list[str]:
    """Warnings on scores [texts, videos] in one direction; what `transductive` says is not among them."""
    asked = query_relevance(relevance, direction)
    scores = values if direction == "t2v" else values.T
    return [*_order_lines(values, relevance, asked, direction), *_tie_lines(scores, direction)]


def _order_lines(values: NDArray[Any], relevance: Relevance, asked: Relevance, direction: str) -> list[str]:
    """R@1 as by chance, or much better when the matrix is transposed."""
    from scipy.stats import binom

    n, gallery = asked.shape
    share = evaluate(values, relevance, ["R1"], [direction]).metrics[f"{direction}/R1"] / 100
    chance = float(asked.degree.mean()) / gallery
    lines = []
    if binom.sf(round(share * n) - 1, n, chance) > 0.01:
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


def _tie_lines(scores: NDArray[Any], direction: str) -> list[str]:
    """Queries [rows] whose best score several items share, and those that score everything the same."""
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


# ------------------------------------------------------------------------------------------------ transductive scores


def transductive(values: NDArray[Any], direction: str) -> str:
    """How scores [texts, videos] show that a query's depend on the other queries; "" where nothing does.

    What is normalised over the queries shows in sums over them: those of a softmax are equal, those of its logarithm
    after exp, and of the square root of the product of both softmaxes (a dual softmax) the largest singular value is 1.
    Scores times a softmax have sums that are nearly equal although each is one or few large entries.
    """
    scores = np.asarray(values if direction == "t2v" else values.T, dtype=np.float64)
    kind, item = ("texts", "video") if direction == "t2v" else ("videos", "text")
    if min(scores.shape) < 3 or _same_in_every_column(scores):
        return ""
    from scipy.special import logsumexp

    if scores.min() >= 0 and _normalised(scores, axis=0):
        return f"the scores of each {item} sum to {scores[:, 0].sum():.4g}: a softmax over the {kind}"
    if np.ptp(logsumexp(scores, axis=0)) <= 1e-3 * scores.std():
        return f"exp of the scores of each {item} sums to the same: a logarithm of a softmax over the {kind}"
    if scores.min() >= 0 and not _normalised(scores, axis=1) and _unit(np.sqrt(scores)):
        return f"a product of the softmaxes over the {kind} and over each query's items (a dual softmax)"
    if scores.max() <= 0 and _unit(np.exp(scores / 2)):
        return f"the logarithm of a product of the softmaxes over the {kind} and over each query's items"
    return f"looks like scores times a softmax over the {kind} (a dual softmax)" if _weighted(scores) else ""


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


def beware_together(one: NDArray[Any], other: NDArray[Any], direction: str) -> list[str]:
    """Warnings on two matrices [texts, videos] of the same texts and videos."""
    lines = []
    if one.shape[0] == one.shape[1] and one.shape[0] > 2:
        first, second = (matrix[:LARGEST, :LARGEST] for matrix in (one, other))
        agree, turned = _agreement(first, second), _agreement(first, second.T)
        if turned > agree + 0.1:
            lines.append(
                f"agree better with one of them transposed (correlation {turned:.2f}, as they stand {agree:.2f})"
            )
    queries = (one, other) if direction == "t2v" else (one.T, other.T)
    if min(one.shape) > 2 and _rescaled(*queries):
        kind = "texts" if direction == "t2v" else "videos"
        lines.append(
            f"order the {kind} of each item of the gallery alike, but not the items of each query: one is the other "
            "with each item's scores rescaled, as dual softmax does; if by the other queries, the difference is "
            "that of a transductive transform"
        )
    return lines


def _agreement(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Correlation of what stands beside the diagonal."""
    beside = ~np.eye(len(one), dtype=bool)
    a, b = (np.asarray(matrix[beside], dtype=np.float64) for matrix in (one, other))
    if not (np.ptp(a) and np.ptp(b)):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _rescaled(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two matrices order each column alike, and not each row. A sample of rows and columns is looked at."""
    return _alike(one.T, other.T) and not _alike(one, other)


def _alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    picked = np.unique(np.linspace(0, len(one) - 1, 50).astype(int))
    for row in picked:
        order = np.argsort(one[row], kind="stable")
        steps = np.diff(np.asarray(other[row][order], dtype=np.float64))
        if (steps < -1e-6 * np.abs(other[row]).max()).any():
            return False
    return True
