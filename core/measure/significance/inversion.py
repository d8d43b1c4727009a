"""Sign flips of clusters: p of a difference, and the interval of all differences that the same flips do not reject."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from .resampling import DRAWS, Alternative, Floats, blocks, cluster_sums, unrounded

EXACT_CLUSTERS = 12
LEVEL = 0.05
_ROWS = 128
"""Rows whose flips are held at once."""


def sign_flip(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    alternative: Alternative = "two-sided",
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """p of the paired randomisation test for differences [Q] or [V, Q], as an array [] or [V].

    Under the null the sign of each cluster's summed difference is arbitrary. p = (hits + 1) / (draws + 1) over random
    flips; with at most 12 clusters that differ at all, p is the share of all 2^k flips, the observed one among them,
    that are at least as extreme. On R@k with one query a cluster this is McNemar's test.
    """
    values = np.asarray(differences, dtype=np.float64)
    sums, sizes = cluster_sums(np.atleast_2d(values), clusters)
    return flip_test(sums, sizes, 0.0, alternative, draws, seed)[0].reshape(values.shape[:-1])


def flip_test(
    sums: Floats, sizes: Floats, null: float, alternative: Alternative, draws: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """(p at `null`, low, high), each [V], of sum / size over clusters, sums [V, C], sizes [C]; the interval is 95 %.

    Both come from one set of flips, all 2^C of them with at most 12 clusters. Only at the null can most clusters
    differ by nothing; p is then exact where the interval's ends have the noise of the draws.
    """
    parts = []
    for start in range(0, len(sums), _ROWS):
        rows = sums[start : start + _ROWS]
        away = unrounded(rows - null * sizes, np.abs(rows) + abs(null) * sizes)
        means, counts = flips(rows, sizes, draws, seed)
        p = _p(away, means - null * counts[:, None], alternative, sizes.size <= EXACT_CLUSTERS)
        for row in np.flatnonzero((away != 0).sum(axis=1) <= EXACT_CLUSTERS):
            own = away[row, away[row] != 0]
            p[row] = _p(own[None], (_all_signs(own.size) @ own)[:, None], alternative, exact=True)[0]
        parts.append((p, *_accepted(rows.sum(axis=1), sizes.sum(), means, counts, sizes.size <= EXACT_CLUSTERS)))
    p, low, high = (np.concatenate(part) for part in zip(*parts, strict=True))
    return p, low, high


def flips(sums: Floats, sizes: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """(sums of flipped sums [draws, V], sums of sizes with the same signs [draws])."""
    columns = np.column_stack([sums.T, sizes])
    flipped = np.concatenate([signs @ columns for signs in _signs(sizes.size, draws, seed)])
    return flipped[:, :-1], flipped[:, -1]


def _signs(clusters: int, draws: int, seed: int) -> Iterator[Floats]:
    if clusters <= EXACT_CLUSTERS:
        yield _all_signs(clusters)
        return
    rng = np.random.default_rng(seed)
    for block in blocks(draws, clusters):
        yield np.asarray(rng.integers(0, 2, size=(block, clusters), dtype=np.int8) * 2.0 - 1.0)


def _all_signs(k: int) -> Floats:
    """[2^k, k]: every way to sign k clusters; bit j of a row's number is the sign of cluster j."""
    return np.asarray(1.0 - 2.0 * (np.arange(2**k)[:, None] >> np.arange(k) & 1))


def _p(away: Floats, flipped: Floats, alternative: Alternative, exact: bool) -> Floats:
    """Share of flips [draws, V] at least as extreme as the clusters' distances from the null, away [V, C]."""
    observed, slack = away.sum(axis=1), 1e-12 * np.abs(away).sum(axis=1)
    if alternative == "two-sided":
        hits = (np.abs(flipped) >= np.abs(observed) - slack).sum(axis=0)
    else:
        way = 1 if alternative == "greater" else -1
        hits = (way * flipped >= way * observed - slack).sum(axis=0)
    return np.asarray(hits / len(flipped) if exact else (hits + 1) / (len(flipped) + 1))


def _accepted(total: Floats, size: float, means: Floats, counts: Floats, exact: bool) -> tuple[Floats, Floats]:
    """(low, high) of the nulls that have p >= .05.

    A flip is as extreme as the data, |flipped - m count| >= |total - m size|, exactly for m between the two roots below
    and at the estimate, total / size, always: p falls on either side of it.
    """
    below, above = size - counts, size + counts
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (total - means) / below[:, None], (total + means) / above[:, None]
    always = (below == 0) | (above == 0)
    lows, highs = np.minimum(first, second), np.maximum(first, second)
    lows[always], highs[always] = -np.inf, np.inf
    needed = LEVEL * len(counts) if exact else LEVEL * (len(counts) + 1) - 1
    least = int(np.ceil(needed - 1e-9))
    if least < 1:
        return np.full(total.size, -np.inf), np.full(total.size, np.inf)
    lows.partition(least - 1, axis=0)
    highs.partition(len(counts) - least, axis=0)
    return lows[least - 1], highs[len(counts) - least]
