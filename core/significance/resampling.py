"""Randomisation and the bootstrap over clusters of queries, for many variants at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import DataError

Alternative = Literal["two-sided", "greater", "less"]
Floats = NDArray[np.float64]
DRAWS = 10_000
EXACT_CLUSTERS = 12
Z_TWO_SIDED = 1.959964
Z_ONE_SIDED = 1.644854
_BLOCK_ELEMENTS = 1 << 22


def paired_arms(first: ArrayLike, second: ArrayLike) -> Floats:
    """Values [S, Q] or [Q] of two arms as [2, S, Q]; an arm without seeds is repeated over those of the other."""
    arms = [np.atleast_2d(np.asarray(arm, dtype=np.float64)) for arm in (first, second)]
    (seeds, queries), (other_seeds, other_queries) = arms[0].shape, arms[1].shape
    if queries != other_queries or (seeds != other_seeds and 1 not in (seeds, other_seeds)):
        raise DataError(
            f"{seeds} seeds x {queries} queries cannot be paired with {other_seeds} seeds x {other_queries} queries"
        )
    return np.stack(np.broadcast_arrays(*arms))


def cluster_labels(clusters: ArrayLike | None, queries: int) -> NDArray[np.intp]:
    """0, 1, … in the order in which the clusters first appear, [queries]; their names have no influence."""
    if clusters is None:
        return np.arange(queries)
    names = np.asarray(clusters)
    if names.shape != (queries,):
        raise DataError(f"clusters of shape {list(names.shape)} do not label {queries} queries")
    _, first, label = np.unique(names, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[label]


def cluster_sums(values: Floats, clusters: ArrayLike | None) -> tuple[Floats, Floats]:
    """(sums [..., C] of values [..., Q], sizes [C]) of the clusters; values that cancel but for rounding sum to 0."""
    if not np.isfinite(values).all():
        raise DataError(f"the value of query {int(np.argwhere(~np.isfinite(values))[0][-1])} is NaN or infinite")
    if clusters is None:
        return values, np.ones(values.shape[-1])
    label = cluster_labels(clusters, values.shape[-1])
    sizes = np.bincount(label)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ordered = values[..., np.argsort(label, kind="stable")]
    sums, scale = (np.add.reduceat(part, starts, axis=-1) for part in (ordered, np.abs(ordered)))
    return unrounded(sums, scale), sizes.astype(np.float64)


def unrounded(sums: Floats, scale: Floats) -> Floats:
    """Sums of terms whose sizes add up to `scale`; 0 where rounding alone keeps them from it."""
    return np.where(np.abs(sums) <= 1e-12 * scale, 0.0, sums)


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
    sums, _ = cluster_sums(np.atleast_2d(values), clusters)
    return flip_p(sums, alternative, draws, seed).reshape(values.shape[:-1])


def flip_p(sums: Floats, alternative: Alternative, draws: int, seed: int) -> Floats:
    """Sign-flip p of each row of sums [V, C]."""
    observed, slack = sums.sum(axis=1), 1e-12 * np.abs(sums).sum(axis=1)

    def hits(flipped: Floats, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        if alternative == "two-sided":
            extreme = np.abs(flipped) >= np.abs(observed[rows]) - slack[rows]
        else:
            way = 1 if alternative == "greater" else -1
            extreme = way * flipped >= way * observed[rows] - slack[rows]
        return extreme.sum(axis=0)

    p, differing = np.empty(len(sums)), (sums != 0).sum(axis=1)
    for row in np.flatnonzero(differing <= EXACT_CLUSTERS):
        own, k = sums[row, sums[row] != 0], differing[row]
        signs = 1.0 - 2 * (np.arange(2**k)[:, None] >> np.arange(k) & 1)
        p[row] = hits((signs @ own)[:, None], np.array([row]))[0] / 2**k
    rows = np.flatnonzero(differing > EXACT_CLUSTERS)
    if rows.size:
        rng, count, columns = np.random.default_rng(seed), np.zeros(rows.size), np.ascontiguousarray(sums[rows].T)
        for block in _blocks(draws, sums.shape[1]):
            signs = rng.integers(0, 2, size=(block, sums.shape[1]), dtype=np.int8) * 2.0 - 1.0
            count += hits(signs @ columns, rows)
        p[rows] = (count + 1) / (draws + 1)
    return p


def _blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes of blocks of draws, each of bounded memory."""
    step = max(1, _BLOCK_ELEMENTS // width)
    for start in range(0, draws, step):
        yield min(step, draws - start)


def resamples(n: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each of n units is drawn in bootstrap samples of n, in blocks [block, n]."""
    for block in _blocks(draws, n):
        picks = rng.integers(n, size=(block, n)) + n * np.arange(block)[:, None]
        yield np.bincount(picks.ravel(), minlength=block * n).reshape(block, n).astype(np.float64)


def bca_interval(sums: Floats, sizes: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """95 % BCa interval (Efron 1987) over clusters of sum / size for each row of sums [V, C]: (low [V], high [V])."""
    from scipy.special import ndtr, ndtri

    estimate = sums.sum(axis=1) / sizes.sum()
    if sizes.size < 2:
        return np.full(len(sums), -np.inf), np.full(len(sums), np.inf)
    rng = np.random.default_rng(seed)
    boot = np.concatenate([c @ sums.T / (c @ sizes)[:, None] for c in resamples(sizes.size, draws, rng)])
    slack = 1e-12 * np.abs(sums).sum(axis=1) / sizes.sum()
    below = ((boot < estimate - slack).mean(axis=0) + (boot <= estimate + slack).mean(axis=0)) / 2
    bias = ndtri(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    left_out = (sums.sum(axis=1, keepdims=True) - sums) / (sizes.sum() - sizes)
    deviation = left_out.mean(axis=1, keepdims=True) - left_out
    power = (deviation**2).sum(axis=1) ** 1.5
    acceleration = np.divide((deviation**3).sum(axis=1), 6 * power, out=np.zeros(len(sums)), where=power > 0)
    ends = []
    for z in (-Z_TWO_SIDED, Z_TWO_SIDED):
        levels = ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append(np.array([np.quantile(column, level) for column, level in zip(boot.T, levels, strict=True)]))
    return ends[0], ends[1]


def resampled_medians(values: Floats, label: NDArray[np.intp], counts: Floats) -> Floats:
    """Medians [arms, S, draws] of values [arms, S, Q] whose clusters, label [Q], count as often as [draws, C] says."""
    from scipy.sparse import coo_array

    weights = np.ascontiguousarray(counts.T)
    drawn = counts @ np.bincount(label, minlength=counts.shape[1])
    medians = np.empty((*values.shape[:2], len(counts)))
    for arm, seed in np.ndindex(values.shape[:2]):
        distinct, level, found = np.unique(values[arm, seed], return_inverse=True, return_counts=True)
        held = coo_array((np.ones(label.size), (level, label)), shape=(distinct.size, counts.shape[1])).tocsr()
        until = int(np.searchsorted(np.cumsum(found), 0.55 * label.size)) + 1  # a median is seldom found beyond
        reached = np.cumsum(held[:until] @ weights, axis=0)
        if not (reached[-1] > drawn // 2).all():
            reached = np.cumsum(held @ weights, axis=0)
        middle = [distinct[(reached <= half).sum(axis=0)] for half in ((drawn - 1) // 2, drawn // 2)]
        medians[arm, seed] = (middle[0] + middle[1]) / 2
    return medians
