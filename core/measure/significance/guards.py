"""Bounds where a test on the differences is blind: losses that few units pay, none of which is in the sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .resampling import Floats

COLLAPSE = 0.1
"""The share of training runs that may collapse without a mark in the runs seen."""


def effective_number(sizes: ArrayLike) -> float:
    """Clusters of equal size with as much information: (sum of sizes)^2 / sum of squares."""
    counts = np.asarray(sizes, dtype=np.float64)
    return float(counts.sum() ** 2 / (counts**2).sum())


def variance_units(sizes: ArrayLike) -> float:
    """Clusters of equal size whose variance would be as well known: (sum of squares)^2 / sum of fourth powers."""
    return effective_number(np.asarray(sizes, dtype=np.float64) ** 2)


def unseen_loss(margin: float, sizes: ArrayLike, span: float) -> float:
    """The largest chance that clusters of these sizes show no loss where the mean loss is `margin`.

    Each cluster loses `span` a query, the most that one can lose, or nothing. The chance is largest where the large
    clusters pay: size n with probability 1 - t / n above a size t that makes the mean loss the margin. With equal sizes
    it is (1 - margin / span) ** clusters, 0.55 for a margin of 1 point of 100 and 60 clusters.
    """
    counts = np.sort(np.asarray(sizes, dtype=np.float64))[::-1]
    lost = counts.sum() * margin / span
    if lost >= counts.sum():
        return 0.0
    # where the k largest clusters pay, t is (their total size - lost) / k: the smallest k whose next one is below t
    bars = (np.cumsum(counts) - lost) / np.arange(1, counts.size + 1)
    paying = int(np.flatnonzero(bars >= np.append(counts[1:], 0.0))[0]) + 1
    return float(np.exp(np.log(bars[paying - 1] / counts[:paying]).sum()))


def rare_loss(gain: ArrayLike, margin: float, sizes: ArrayLike, span: float) -> Floats:
    """How often a mean loss of `margin` would show as a mean gain of `gain` or more, if few clusters pay it in full.

    The test of the null of `unseen_loss`, exact for clusters of equal size; unequal ones count as so many equal ones
    as show no loss with the same chance.
    """
    from scipy.special import betainc

    share, none = min(1.0, margin / span), unseen_loss(margin, sizes, span)
    if none <= 0:
        return np.zeros(np.shape(gain))
    clusters = np.log(none) / np.log1p(-share)
    seen = np.ceil(np.maximum(0, -np.asarray(gain, dtype=np.float64)) * clusters / span - 1e-9)
    rest = clusters - seen
    return np.asarray(np.where(rest > 0, betainc(np.maximum(rest, 1e-9), seen + 1, 1 - share), 1.0))


def unseen_collapse(seeds: int, margin: float, span: float | None) -> float:
    """The chance that so many runs show no collapse, where runs that collapse break the margin on average.

    One run in ten does, and more where the margin is wider than what one in ten can lose.
    """
    share = max(COLLAPSE, margin / span) if span else COLLAPSE
    return float(max(0.0, 1 - share) ** seeds)
