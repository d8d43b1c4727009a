"""Tests and intervals that were not chosen, or no longer are: what the chosen ones are measured against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from core.measure.significance.resampling import resamples

Floats = NDArray[np.float64]


def both_agree(differences: NDArray[Any]) -> Floats:
    """p [runs] of the rule that a test over queries and a paired t over seeds must both find a difference."""
    _, seeds, queries = differences.shape
    by_query, by_seed = differences.mean(axis=1), differences.mean(axis=2)
    z = by_query.mean(axis=1) / by_query.std(axis=1, ddof=1) * np.sqrt(queries)
    t = by_seed.mean(axis=1) / np.maximum(by_seed.std(axis=1, ddof=1), 1e-9) * np.sqrt(seeds)
    return np.maximum(2 * special.ndtr(-np.abs(z)), 2 * special.stdtr(seeds - 1, -np.abs(t)))


def joint_bootstrap(differences: NDArray[Any], rng: np.random.Generator, draws: int = 400) -> Floats:
    """p [runs] of the percentile bootstrap that draws queries and, independently, seeds."""
    runs, seeds, queries = differences.shape
    times = rng.multinomial(queries, np.full(queries, 1 / queries), size=draws).astype(np.float32) / queries
    means = (differences.reshape(-1, queries) @ times.T).reshape(runs, seeds, draws)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws).astype(np.float32) / seeds
    drawn = np.einsum("rsd,ds->rd", means, weights)
    tails = np.stack([(drawn <= 0).sum(axis=1), (drawn >= 0).sum(axis=1)]).min(axis=0)
    return np.minimum(1.0, 2 * (tails + 1) / (draws + 1))


def bca_interval(sums: Floats, sizes: Floats, draws: int, seed: int) -> tuple[Floats, Floats]:
    """95 % BCa interval (Efron 1987) over clusters of sum / size for each row of sums [V, C]: (low [V], high [V])."""
    estimate = sums.sum(axis=1) / sizes.sum()
    if sizes.size < 2:
        return np.full(len(sums), -np.inf), np.full(len(sums), np.inf)
    rng = np.random.default_rng(seed)
    boot = np.concatenate([c @ sums.T / (c @ sizes)[:, None] for c in resamples(sizes.size, draws, rng)])
    slack = 1e-12 * np.abs(sums).sum(axis=1) / sizes.sum()
    below = ((boot < estimate - slack).mean(axis=0) + (boot <= estimate + slack).mean(axis=0)) / 2
    bias = special.ndtri(np.clip(below, 0.5 / draws, 1 - 0.5 / draws))
    left_out = (sums.sum(axis=1, keepdims=True) - sums) / (sizes.sum() - sizes)
    deviation = left_out.mean(axis=1, keepdims=True) - left_out
    power = (deviation**2).sum(axis=1) ** 1.5
    acceleration = np.divide((deviation**3).sum(axis=1), 6 * power, out=np.zeros(len(sums)), where=power > 0)
    ends = []
    for z in (-1.959964, 1.959964):
        levels = special.ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))
        ends.append(np.array([np.quantile(column, level) for column, level in zip(boot.T, levels, strict=True)]))
    return ends[0], ends[1]


def plainly_crossed(differences: NDArray[Any], null: float = 0.0) -> NDArray[np.bool_]:
    """Whether the crossed test without a correction for skewness rejects, [runs]; each query stands alone."""
    _, seeds, queries = differences.shape
    by_seed, by_query = differences.mean(axis=2), differences.mean(axis=1)
    mean = by_seed.mean(axis=1)
    residual = differences - by_seed[:, :, None] - by_query[:, None] + mean[:, None, None]
    rest = (residual**2).sum(axis=(1, 2)) / ((seeds - 1) * (queries - 1))
    a = np.maximum(seeds * by_query.var(axis=1, ddof=1) - rest, 0) / (seeds * queries)
    b = by_seed.var(axis=1, ddof=1) / seeds
    bar = (a * special.stdtrit(queries - 1, 0.975) + b * special.stdtrit(seeds - 1, 0.975)) / np.sqrt(a + b + 1e-12)
    return np.asarray(np.abs(mean - null) > bar)


def equal_clusters(gain: Floats, margin: float, clusters: int, span: float) -> Floats:
    """p of `rare_loss` as if all clusters were of one size."""
    lost = np.ceil(np.maximum(0, -gain) * clusters / span - 1e-9)
    return np.asarray(stats.binom.cdf(lost, clusters, min(1.0, margin / span)))
