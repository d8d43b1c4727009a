"""What a test set can show, before a run and from printed numbers alone."""

from __future__ import annotations

import numpy as np


def detectable_difference(n: int, discordance: float) -> float:
    """The smallest difference in R@k, in points, that n queries show with 80 % power: 2.80 sqrt(discordance / n).

    `discordance` is the share of queries (0..1) that exactly one of the two arms answers. Two-sided at .05; n counts
    clusters where queries come in clusters.
    """
    return float(280 * np.sqrt(discordance / n))


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
