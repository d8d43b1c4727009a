"""Whether scores depend on the other queries: signs of a softmax over the queries, or of a product with one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 1500
"""Rows that are looked at where a look at all of them would take long."""


def transductive_trace(values: NDArray[Any], direction: str) -> str:
    """The sign that the scores [texts, videos] of a query depend on the other queries; "" where there is none.

    What is normalised over the queries shows in sums over them: those of a softmax are equal, those of its logarithm
    after exp, and of the square root of the product of both softmaxes (a dual softmax) the largest singular value is 1.
    Scores times a softmax have sums that are nearly equal although each is one or few large entries. A very soft one
    leaves no trace.

    >>> import core, numpy
    >>> scores = numpy.array([[9.0, 1.0, 2.0], [1.0, 8.0, 3.0], [2.0, 2.0, 7.0]])
    >>> core.transductive_trace(scores / scores.sum(axis=0), "t2v")
    'the scores of each video sum to 1: a softmax over the texts'
    >>> core.transductive_trace(scores, "t2v")
    ''
    """
    scores = moderate(values if direction == "t2v" else values.T)
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


def moderate(values: NDArray[Any]) -> NDArray[np.float64]:
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
    """Whether the largest singular value is 1, by power iteration, whose values grow towards it."""
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
