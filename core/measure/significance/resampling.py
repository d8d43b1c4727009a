"""Clusters of queries as units: their sums and sizes, and bootstrap samples of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError

Alternative = Literal["two-sided", "greater", "less"]
Floats = NDArray[np.float64]
DRAWS = 10_000
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
    # unique sorts by name; argsort of argsort is the rank of each by its first appearance
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


def blocks(draws: int, width: int) -> Iterator[int]:
    """Sizes of blocks of draws, each of bounded memory."""
    step = max(1, _BLOCK_ELEMENTS // width)
    for start in range(0, draws, step):
        yield min(step, draws - start)


def resamples(n: int, draws: int, rng: np.random.Generator) -> Iterator[Floats]:
    """How often each of n units is drawn in bootstrap samples of n, in blocks [block, n]."""
    for block in blocks(draws, n):
        # sample b draws from b * n on: one bincount counts all samples
        picks = rng.integers(n, size=(block, n)) + n * np.arange(block)[:, None]
        yield np.bincount(picks.ravel(), minlength=block * n).reshape(block, n).astype(np.float64)


def resampled_medians(values: Floats, label: NDArray[np.intp], counts: Floats) -> Floats:
    """Medians [arms, S, draws] of values [arms, S, Q] whose clusters, label [Q], count as often as [draws, C] says."""
    from scipy.sparse import coo_array

    weights = np.ascontiguousarray(counts.T)
    drawn = counts @ np.bincount(label, minlength=counts.shape[1])
    medians = np.empty((*values.shape[:2], len(counts)))
    # values are sorted once: a sample's median is where the weights of its clusters, added up, pass half of its size
    for arm, seed in np.ndindex(values.shape[:2]):
        distinct, level, repeats = np.unique(values[arm, seed], return_inverse=True, return_counts=True)
        held = coo_array((np.ones(label.size), (level, label)), shape=(distinct.size, counts.shape[1])).tocsr()
        until = int(np.searchsorted(np.cumsum(repeats), 0.55 * label.size)) + 1  # a median is seldom found beyond
        reached = np.cumsum(held[:until] @ weights, axis=0)
        if not (reached[-1] > drawn // 2).all():
            reached = np.cumsum(held @ weights, axis=0)
        middle = [distinct[(reached <= half).sum(axis=0)] for half in ((drawn - 1) // 2, drawn // 2)]
        medians[arm, seed] = (middle[0] + middle[1]) / 2
    return medians
