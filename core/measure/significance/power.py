"""How large a true difference must be to be shown, from the distribution of the test itself.

A test whose critical value was estimated from few seeds is not a normal one with a larger critical value: the error
that it divides by is drawn anew with every run. After a run, its own estimates of the variances are uncertain as well.
Both are integrated over here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np

from .inversion import LEVEL
from .resampling import Floats
from .skewness import skewed

Aim = Literal["two-sided", "one-sided", "both"]
"""A difference from the null; from one side of it; both one-sided tests, of arms that do not differ."""
POWER = 0.80
NORMAL, NORMAL_ONE_SIDED = 1.959964, 1.644854
_SHARES = np.linspace(0.0, 1.0, 13) ** 2
_MANY = 2_000


def critical(cluster_part: Floats, seed_part: Floats, seeds: float, clusters: float, tail: float) -> Floats:
    """The critical distance from the null at which one tail has `tail`: Cochran and Cox (1950), the two parts of the
    variance of the mean weighing the t of their degrees of freedom."""
    from scipy.special import stdtrit

    weighed = cluster_part * -stdtrit(max(clusters - 1, 1), tail)
    if seeds > 1:
        weighed = weighed + seed_part * -stdtrit(seeds - 1, tail)
    total = cluster_part + seed_part
    return np.asarray(weighed / np.sqrt(np.where(total > 0, total, 1.0)))


def detectable(
    cluster_part: float,
    seed_part: float,
    seeds: int,
    clusters: float,
    aim: Aim = "two-sided",
    skew: float = 0.0,
    exact: bool = False,
    level: float = LEVEL,
) -> float:
    """The true distance from the null that a test at `level` shows with 80 % power; nan where there is no variance.

    The parts of the variance of the mean are estimates from so many seeds and clusters, or `exact`. Estimated from
    2 seeds the distance is 20 times what it is with the same variance from many. What the skewness costs is that of a
    test at .05.
    """
    total = cluster_part + seed_part
    if not total > 0 or not np.isfinite(total) or clusters < 2:
        return np.nan
    rounded = min(round(clusters, 1), _MANY)
    factors = _factors(seeds if seed_part > 0 else 1, rounded, aim, exact, level)
    factor = np.interp(seed_part / total, _SHARES[: len(factors)], factors)
    reach = NORMAL if aim == "two-sided" else NORMAL_ONE_SIDED
    cost = np.maximum(skewed(np.array([reach, reach]), np.array([skew, -skew])) - reach, 0).mean()
    return float((factor + cost) * np.sqrt(total))


@lru_cache(maxsize=256)
def _factors(seeds: int, clusters: float, aim: Aim, exact: bool, level: float) -> Floats:
    """`detectable` in standard errors, for each share of the seeds in the variance."""
    shares = _SHARES if seeds > 1 else _SHARES[:1]
    return np.array([_solved(_chance(share, seeds, clusters, aim, exact, level)) for share in shares])


def _solved(chance: Callable[[float], float]) -> float:
    from scipy.optimize import brentq

    above = 3.0
    while chance(above) < POWER:
        above *= 2
        if above > 1e6:
            return float("inf")
    return float(brentq(lambda distance: chance(distance) - POWER, 0.0, above, xtol=1e-3))


def _chance(share: float, seeds: int, clusters: float, aim: Aim, exact: bool, level: float) -> Callable[[float], float]:
    """The chance to succeed at a distance in estimated standard errors, averaged over what is drawn anew."""
    from scipy.special import ndtr

    by_cluster = 48 if seeds == 1 else 6
    drawn = [_spreads(clusters - 1, by_cluster), _spreads(seeds - 1, 48 if seeds > 1 else 1)]
    true = [np.ones(1) if exact else 1 / spreads for spreads in drawn]
    a_true, b_true, a, b = np.meshgrid(*true, *drawn, indexing="ij")
    parts, noise = ((1 - share) * a_true, share * b_true), np.sqrt((1 - share) * a_true + share * b_true)
    bar = critical(parts[0] * a, parts[1] * b, seeds, clusters, level / 2 if aim == "two-sided" else level)

    def chance(distance: float) -> float:
        reached = ndtr((distance - bar) / noise)
        if aim == "both":
            return float(np.maximum(2 * reached - 1, 0).mean())
        return float((reached + (ndtr((-distance - bar) / noise) if aim == "two-sided" else 0)).mean())

    return chance


def _spreads(freedom: float, count: int) -> Floats:
    """Estimates of a variance of 1 with so many degrees of freedom: `count` equally likely ones."""
    from scipy.special import gammaincinv

    if count == 1 or freedom <= 0:
        return np.ones(1)
    return np.asarray(gammaincinv(freedom / 2, (np.arange(count) + 0.5) / count) * 2 / freedom)
