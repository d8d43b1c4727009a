"""t-tests of a mean over clusters of queries, and over clusters and seeds together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .resampling import Z_TWO_SIDED, Alternative, Floats, unrounded


@dataclass(frozen=True)
class Finding:
    """p, the 95 % interval, the standard error, the test's critical ratio at .05 and, where it is a cross-check, p of a
    t."""

    p: float
    low: float
    high: float
    standard_error: float
    critical: float
    p_t: float = float("nan")


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


def crossed(influence: Floats, null: float, alternative: Alternative) -> Finding:
    """The mean of [S, C] values whose rows (seeds) and columns (clusters) are both samples.

    With the mean squares of clusters, seeds and residual, the variance of the mean is the sum of
    a = max(MS_cluster - MS_residual, 0) / SC, the clusters' share, and b = MS_seed / SC, the seeds' and the residual's.
    The critical value is that of Cochran and Cox (1950), (a t(C - 1) + b t(S - 1)) / (a + b): Satterthwaite's degrees
    of freedom let a seed variance that 2 to 4 seeds underestimate by chance buy a small critical value as well, and
    exceed 6 % false positives; so do the requirement that a test over queries and one over seeds agree, with 4 seeds
    or more, and the plain bootstrap over both. p is the level whose critical value is the observed ratio.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    S, C = influence.shape
    by_seed, by_cluster = influence.mean(axis=1), influence.mean(axis=0)
    mean = float(by_seed.mean())
    if C < 2:
        return Finding(1.0, -np.inf, np.inf, np.nan, np.nan)
    residual = influence - by_seed[:, None] - by_cluster + mean
    ms_residual = float((residual**2).sum()) / ((S - 1) * (C - 1))
    a = max(S * spread_of(by_cluster) ** 2 - ms_residual, 0.0) / (S * C)
    b = C * spread_of(by_seed) ** 2 / (S * C)
    error = float(np.sqrt(a + b))
    if error <= 1e-9 * np.abs(influence).max():
        p = 1.0 if abs(mean - null) <= 1e-9 * max(abs(mean), abs(null)) else 2.0 ** (1 - C)
        return Finding(directed(p, mean - null, alternative), mean, mean, 0.0, Z_TWO_SIDED)

    def critical(log_level: float) -> float:
        half = np.exp(log_level) / 2
        return -(a * stdtrit(C - 1, half) + b * stdtrit(S - 1, half)) / (a + b)

    ratio, least = abs(mean - null) / error, np.log(1e-15)
    log_p = least if critical(least) <= ratio else brentq(lambda level: critical(level) - ratio, least, 0.0, xtol=1e-10)
    reach = critical(np.log(0.05))
    p = directed(float(np.exp(log_p)), mean - null, alternative)
    tested = reach if alternative == "two-sided" else critical(np.log(0.10))
    return Finding(p, mean - reach * error, mean + reach * error, error, tested)
