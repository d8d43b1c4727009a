"""t-tests of a mean over clusters of queries, and over clusters and seeds together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .power import critical
from .resampling import Alternative, Floats, unrounded
from .skewness import skewed, skewness, unskewed


@dataclass(frozen=True)
class Finding:
    """p, the 95 % interval, the parts of the variance of the mean that clusters and seeds bring, p of a t where it is a
    cross-check, and the skewness of the mean."""

    p: float
    low: float
    high: float
    cluster_part: float
    seed_part: float = 0.0
    p_t: float = float("nan")
    skew: float = 0.0

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(self.cluster_part + self.seed_part))


def spread_of(values: Floats) -> float:
    """Sample standard deviation; 0 for one value and for values that differ by rounding alone."""
    if values.size < 2:
        return 0.0
    spread = float(values.std(ddof=1))
    return spread if spread > 1e-12 * np.abs(values).max() else 0.0


def paired_t(influence: Floats, null: float, alternative: Alternative) -> tuple[Floats, Floats]:
    """(p, standard error), each [V], of the t-test over clusters, influence [V, C]."""
    from scipy.special import stdtr

    clusters = influence.shape[1]
    error = np.array([spread_of(row) for row in influence]) / np.sqrt(clusters)
    mean = influence.mean(axis=1)
    distance = unrounded(mean - null, np.abs(mean) + abs(null))
    t = np.divide(distance, error, out=np.zeros_like(distance), where=error > 0)
    two_sided = np.where(error > 0, 2 * stdtr(max(clusters - 1, 1), -np.abs(t)), np.where(distance == 0, 1.0, np.nan))
    return np.array([directed(p, d, alternative) for p, d in zip(two_sided, distance, strict=True)]), error


def directed(two_sided: float, distance: float, alternative: Alternative) -> float:
    """The p of `alternative` from the two-sided p of a symmetric test and the distance from the null."""
    if alternative == "two-sided":
        return two_sided
    return two_sided / 2 if (distance > 0) == (alternative == "greater") else 1 - two_sided / 2


def crossed(influence: Floats, null: float, alternative: Alternative, units: float) -> Finding:
    """The mean of [S, C] values whose rows (seeds) and columns (clusters) are both samples.

    With the mean squares of clusters, seeds and residual, the variance of the mean is the sum of
    a = max(MS_cluster - MS_residual, 0) / SC, the clusters' share, and b = MS_seed / SC, the seeds' and the residual's.
    The critical value is that of Cochran and Cox (1950), (a t(C - 1) + b t(S - 1)) / (a + b): Satterthwaite's degrees
    of freedom let a seed variance that 2 to 4 seeds underestimate by chance buy a small critical value as well, and
    exceed 6 % false positives; so do the requirement that a test over queries and one over seeds agree, with 4 seeds
    or more, and the plain bootstrap over both. Where few clusters hold most queries, C in t(C - 1) is `units`, the
    number of clusters that the variance rests on. p is the level whose critical value is the observed ratio, or that
    of the ratio corrected for the clusters' skewness, the larger of the two.
    """
    S, C = influence.shape
    by_seed, by_cluster = influence.mean(axis=1), influence.mean(axis=0)
    mean = float(by_seed.mean())
    if C < 2:
        return Finding(1.0, -np.inf, np.inf, np.nan)
    residual = influence - by_seed[:, None] - by_cluster + mean
    ms_residual = float((residual**2).sum()) / ((S - 1) * (C - 1))
    a = max(S * spread_of(by_cluster) ** 2 - ms_residual, 0.0) / (S * C)
    b = C * spread_of(by_seed) ** 2 / (S * C)
    b = b or (ms_residual / (S * C) if a == 0 else 0.0)  # seeds that tie by chance, or clusters, are not without error
    error = float(np.sqrt(a + b))
    if error <= 1e-9 * np.abs(influence).max():
        p = 1.0 if abs(mean - null) <= 1e-9 * max(abs(mean), abs(null)) else 2.0 ** (1 - C)
        return Finding(directed(p, mean - null, alternative), mean, mean, 0.0)

    def ratio_at(tail: float) -> float:
        return float(critical(np.array(a), np.array(b), S, units, tail)) / error

    skew = skewness(by_cluster) * (a / (a + b)) ** 1.5
    ratio, ends = np.array((mean - null) / error), np.array([1, -1]) * ratio_at(0.025)
    ratios = (float(ratio), float(unskewed(ratio, skew)))
    p = max(directed(_level(abs(distance), ratio_at), distance, alternative) for distance in ratios)
    ends = mean - error * np.concatenate([ends, skewed(ends, skew)])
    return Finding(p, float(ends.min()), float(ends.max()), a, b, skew=float(skew))


def _level(ratio: float, ratio_at: Callable[[float], float]) -> float:
    """The two-sided level whose critical ratio is the one given."""
    from scipy.optimize import brentq

    least = np.log(1e-15)
    if ratio_at(np.exp(least) / 2) <= ratio:
        return 1e-15
    return float(np.exp(brentq(lambda log_level: ratio_at(np.exp(log_level) / 2) - ratio, least, 0.0, xtol=1e-10)))
