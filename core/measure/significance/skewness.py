"""The t-test of skewed differences: Hall's correction (1992), and a measure of when no correction helps.

Where few clusters win much and many lose little, a sample without the few looks both worse and less varied than it is.
Sign flips and t then find losses that are not there. The transformed ratio is that of a mean without skewness, to
second order; flips and corrected t are each asked, and the less certain one is believed.
"""

from __future__ import annotations

import numpy as np

from .resampling import Alternative, Floats

LARGEST, CARRY_HALF, LONG = 0.01, 0.5, 0.3
"""The largest 1 % of the differences, and two shares of the sum of squares that they may carry. From the first share on
the result hangs on them. From the second on tails are long: where they were not symmetric, more than 6.5 % of simulated
intervals missed the truth."""
HANGS_ON = "p and interval hang on them"


def skewness(values: Floats) -> Floats:
    """The skewness of the mean of each row of values [..., C]: that of the row over the root of C; 0 where all values
    are equal."""
    away = values - values.mean(axis=-1, keepdims=True)
    spread = np.sqrt((away**2).mean(axis=-1))
    still = spread <= 1e-12 * np.abs(values).max(axis=-1)
    cubes = (away**3).mean(axis=-1) / np.where(still, 1.0, spread) ** 3
    return np.asarray(np.where(still, 0.0, cubes) / np.sqrt(values.shape[-1]))


def unskewed(ratio: Floats, skew: Floats) -> Floats:
    """Mean over standard error, corrected for the skewness of the mean; increases with the ratio."""
    return ratio + skew * ratio**2 / 3 + skew**2 * ratio**3 / 27 + skew / 6


def skewed(ratio: Floats, skew: Floats) -> Floats:
    """The ratio whose `unskewed` is the one given."""
    shifted, safe = ratio - skew / 6, np.where(np.abs(skew) < 1e-6, 1.0, skew)
    return np.asarray(np.where(np.abs(skew) < 1e-6, shifted, 3 / safe * (np.cbrt(1 + safe * shifted) - 1)))


def skewed_t(influence: Floats, error: Floats, null: float, alternative: Alternative) -> tuple[Floats, Floats, Floats]:
    """(p, low, high), each [V], of the corrected t over clusters, influence [V, C] with the error [V] of its mean."""
    from scipy.special import stdtr, stdtrit

    clusters, mean = influence.shape[1], influence.mean(axis=1)
    if clusters < 2:
        return np.ones(len(mean)), np.full(len(mean), -np.inf), np.full(len(mean), np.inf)
    skew, still = skewness(influence), error <= 0
    distance = np.where(np.abs(mean - null) <= 1e-12 * (np.abs(mean) + abs(null)), 0.0, mean - null)
    ratio = unskewed(distance / np.where(still, 1.0, error), skew)
    below = np.where(still, np.sign(distance) / 2 + 0.5, stdtr(clusters - 1, ratio))
    sides = {"greater": 1 - below, "less": below, "two-sided": 2 * np.minimum(below, 1 - below)}
    reach = -stdtrit(clusters - 1, 0.025)
    low, high = (mean - skewed(np.full(len(mean), side * reach), skew) * error for side in (1, -1))
    return np.where(still & (distance == 0), 1.0, sides[alternative]), low, high


def beware_of_tails(influence: Floats) -> str | None:
    """A warning where a test on the clusters' influences [C] hangs on few of them or needs a symmetry that they lack;
    None where neither is so."""
    squares = np.sort((influence - influence.mean()) ** 2)[::-1]
    few = max(1, int(np.ceil(LARGEST * squares.size)))
    carried = squares[:few].sum() / (squares.sum() or 1.0)
    if not influence.any():
        return "nothing differs: the interval cannot say how rare a difference may be"
    if carried >= CARRY_HALF:
        return f"{few:,} of {squares.size:,} differences carry half of the squares: {HANGS_ON}"
    if carried >= LONG:
        told = f"{few:,} of {squares.size:,} differences carry {LONG:.0%} of the squares"
        return f"long tails, {told}: unless they are as long both ways, p and interval err more often than they say"
    return None
