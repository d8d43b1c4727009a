"""What it would take to decide a claim that is not decided: more seeds, or more videos."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .comparison import Comparison
from .inversion import LEVEL
from .power import Aim, detectable
from .verdicts import Evidence, Verdict

MOST_SEEDS, MOST_TIMES = 50, 100
"""Beyond so many seeds, and so many times the clusters, no number is told."""


@dataclass(frozen=True)
class Needed:
    """What decides a claim with 80 % power in its family, if true gain and spreads are those seen.

    gain       the gain that was seen, larger is better
    seeds      the fewest seeds; None where more than MOST_SEEDS are needed or no number is enough, and where there is
               one, whose test is about queries alone
    clusters   the fewest independent units of queries with the seeds that there are; None where that is more than
               MOST_TIMES as many, and where seeds are enough
    """

    gain: float
    seeds: int | None
    clusters: int | None


def needed(verdict: Verdict) -> Needed | None:
    """None for a claim that is decided, or has no test, or of which nothing varies.

    Every claim of a family of m is asked for a p below .05 / m, the most that Holm can ask.
    """
    evidence, comparison = verdict.evidence, verdict.evidence.comparison
    if verdict.verdict != "not decided" or comparison is None:
        return None
    level = LEVEL / verdict.family
    unseen, collapse = (
        _growth(chance, level) if evidence.as_claimed else 1.0 for chance in (evidence.unseen, evidence.collapse)
    )
    if unseen == collapse == 1 and not np.isfinite(comparison.detectable):
        return None
    gain = comparison.gain[0]
    if comparison.seeds > 1 and unseen == 1:
        seeds = max(_seeds(evidence, comparison, level) or np.inf, np.ceil(comparison.seeds * collapse))
        if seeds <= MOST_SEEDS:
            return Needed(gain, int(seeds), None)
    clusters = max(_clusters(evidence, comparison, level) or np.inf, np.ceil(comparison.n_clusters * unseen))
    return Needed(gain, None, int(clusters) if clusters <= MOST_TIMES * comparison.n_clusters else None)


def _growth(chance: float, level: float) -> float:
    """How many times as many units let something pass unseen with a chance of `level`, where these do with `chance`;
    1 where they are enough."""
    return float(np.log(level) / np.log(chance)) if level < chance < 1 else 1.0


def _seeds(evidence: Evidence, comparison: Comparison, level: float) -> int | None:
    now, (by_cluster, by_seed) = comparison.seeds, _parts(comparison)

    def distance(seeds: int, aim: Aim, exact: bool, level: float) -> float:
        clusters = float(comparison.n_clusters)
        return detectable(by_cluster, by_seed * now / seeds, seeds, clusters, aim, exact=exact, level=level)

    return _fewest(evidence, comparison, distance, level, now, MOST_SEEDS)


def _clusters(evidence: Evidence, comparison: Comparison, level: float) -> int | None:
    now, (by_cluster, by_seed) = comparison.n_clusters, _parts(comparison)

    def distance(clusters: int, aim: Aim, exact: bool, level: float) -> float:
        part, seeds = by_cluster * now / clusters, comparison.seeds
        return detectable(part, by_seed, seeds, float(clusters), aim, exact=exact, level=level)

    return _fewest(evidence, comparison, distance, level, now, MOST_TIMES * now)


def _parts(comparison: Comparison) -> tuple[float, float]:
    """What clusters and seeds bring to the variance of the mean."""
    by_seed = comparison.seed_sd**2 / comparison.seeds if comparison.seeds > 1 else 0.0
    return max(comparison.standard_error**2 - by_seed, 0.0), by_seed


def _fewest(
    evidence: Evidence,
    comparison: Comparison,
    distance: Callable[[int, Aim, bool, float], float],
    level: float,
    now: int,
    most: int,
) -> int | None:
    """The fewest units, from `now` to `most`, with which a test would show the distance that was seen; None for more.

    distance: what so many units show, for an aim, with variances that are exact or estimated, at a level. Skewness and
    unequal clusters weigh as much as they do in what the comparison itself would have shown.
    """
    if not np.isfinite(comparison.detectable):  # nothing varies, and a guard alone is in the way
        return now
    wanted, own, aim = _asked(evidence)
    weight = comparison.detectable / distance(now, own, False, LEVEL)

    def shown(units: int) -> bool:
        return bool(weight * distance(units, aim, True, level) <= wanted)

    if not shown(most):
        return None
    return now + bisect_left(range(now, most), True, key=shown)


def _asked(evidence: Evidence) -> tuple[float, Aim, Aim]:
    """(distance of the gain from the null that its verdict rejects, aim of the claim's test, aim of that verdict's)."""
    gain, bound = evidence.observed, evidence.bound
    if evidence.kind == "no_worse":
        return abs(gain + bound), "one-sided", "one-sided" if evidence.as_claimed else "two-sided"
    if evidence.kind == "equivalent":
        return abs(bound - abs(gain)), "both", "both" if evidence.as_claimed else "two-sided"
    return abs(gain - bound), "two-sided", "two-sided"
