"""What a test set can show, before a run and from printed numbers alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .guards import COLLAPSE, effective_number, unseen_loss
from .inversion import LEVEL
from .power import Aim, detectable
from .resampling import Floats


def detectable_difference(
    n: float, discordance: float, seeds: int = 1, seed_sd: float = 0.0, aim: Aim = "two-sided"
) -> float:
    """The smallest difference in R@k, in points, that n queries show with 80 % power at .05.

    `discordance` is the share of queries (0..1) that exactly one of the two arms answers, with every seed the same
    ones; `seed_sd` the standard deviation of the difference over seeds. n counts clusters where queries come in
    clusters, `effective_number` of them where they are unequal. With one seed and many queries this is 2.80
    sqrt(discordance / n) and one query: the sign flip, like McNemar's test, uses less than its level.
    """
    seed_part = seed_sd**2 / seeds if seeds > 1 else 0.0
    grain = 100 / n if aim == "two-sided" and seeds == 1 else 0.0
    return detectable(1e4 * discordance / n, seed_part, seeds, n, aim, exact=True) + grain


def smallest_margin(
    sizes: ArrayLike,
    span: float,
    discordance: float = 0.0,
    seeds: int = 1,
    seed_sd: float = 0.0,
    seeds_as_seen: bool = False,
    level: float = LEVEL,
) -> float:
    """The smallest margin that `no_worse` can show between arms that do not differ: inf where none can be.

    sizes: of the clusters. Without discordance and seed_sd it is the one that the guards let pass when no query loses
    anything; with them the one that is shown with 80 % power, if larger. `span` is the most that a query can lose.
    """
    counts = np.asarray(sizes, dtype=np.float64)
    least = margin_for(counts, span, level)
    if seeds > 1 and not seeds_as_seen:
        share = 1 - level ** (1 / seeds)
        least = max(least, span * share if share > COLLAPSE else 0.0)
    if discordance or seed_sd:
        points = detectable_difference(effective_number(counts), discordance, seeds, seed_sd, "one-sided")
        least = max(least, points * span / 100)
    return least if least < span else float("inf")


def margin_for(sizes: Floats, span: float, level: float = LEVEL) -> float:
    """The margin whose `unseen_loss` is `level`."""
    from scipy.optimize import brentq

    if unseen_loss(span * (1 - 1e-12), sizes, span) > level:
        return float("inf")
    return float(brentq(lambda margin: unseen_loss(margin, sizes, span) - level, 0.0, span * (1 - 1e-12)))


def mcnemar(wins: int, losses: int) -> float:
    """Two-sided p of the exact McNemar test on the queries that exactly one arm answers; 1 where there is none."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def published_difference(a: float, b: float, n: int, discordance: float = 0.15) -> tuple[float, float]:
    """(smallest p, p at `discordance`) that two printed recalls in percent at the same n queries allow.

    The smallest belongs to the pairing in which one system answers all that the other answers, and more. The second
    takes the share of discordant queries as given (0..1), raised where the difference itself needs more.
    """
    net = round(abs(a - b) / 100 * n)
    losses = max(0, round((discordance * n - net) / 2))
    return mcnemar(net, 0), mcnemar(net + losses, losses)
