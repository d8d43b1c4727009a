"""A variant against the baseline: difference, interval, test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .parametric import Finding, crossed, paired_t, spread_of
from .planning import mcnemar
from .resampling import (
    DRAWS,
    Z_ONE_SIDED,
    Z_TWO_SIDED,
    Alternative,
    Floats,
    bca_interval,
    cluster_labels,
    cluster_sums,
    flip_p,
    paired_arms,
    resampled_medians,
    resamples,
    unrounded,
)

MEDIAN_DRAWS = 2_000
Z_POWER = 0.841621


@dataclass(frozen=True)
class Comparison:
    """A variant against the baseline on one metric, in the metric's unit (points or ranks).

    difference       variant minus baseline, mean over seeds and queries (for MdR: of the medians)
    low, high        95 % interval of the difference
    standard_error   of the difference; carries the seeds where there are two or more
    p, p_corrected   raw, and corrected for `family` comparisons; nan where not tested, or not yet corrected
    correction       how it was corrected, as in `correct`; "" where not yet
    p_t              paired t over clusters, a cross-check of p when there is one seed; else nan
    p_mcnemar        exact McNemar, a cross-check of p where all clusters that differ do so by the same amount (R@k, one
                     query each) and there is one seed; else nan
    seed_sd          standard deviation over seeds of the difference; nan for one seed
    wins, ties, losses   clusters in which the variant is better, equal, worse, seeds averaged
    d_z              mean over standard deviation of the clusters' differences, seeds averaged
    detectable       the smallest true distance from the null that an uncorrected test at .05 would show with 80 %
                     power; nan where nothing is tested
    method, warning  what was done and what it covers; what to beware of, or ""
    """

    difference: float
    low: float
    high: float
    standard_error: float
    p: float
    p_t: float
    n_clusters: int
    n_queries: int
    seeds: int
    seed_sd: float
    wins: int
    ties: int
    losses: int
    d_z: float
    detectable: float
    method: str
    warning: str = ""
    higher_is_better: bool = True
    p_corrected: float = float("nan")
    correction: str = ""
    family: int = 0
    p_mcnemar: float = float("nan")

    @property
    def gain(self) -> tuple[float, float, float]:
        """(difference, low, high) turned so that larger is better."""
        if self.higher_is_better:
            return self.difference, self.low, self.high
        return -self.difference, -self.high, -self.low

    @property
    def odds(self) -> float:
        """Wins for one loss, among the clusters that differ; nan where none does."""
        return self.wins / self.losses if self.losses else (np.inf if self.wins else np.nan)

    def size(self, name: str, single: bool = True) -> str:
        """`670 videos (27,763 captions)`: the independent units and, where they are others, the queries of `name`.

        single: whether each text has one video, so that texts that share an answer are captions of one video.
        """
        texts = name.startswith("t2v/")
        kind = "texts" if texts else "videos"
        if self.n_clusters == self.n_queries:
            return f"{self.n_queries:,} {kind}"
        if texts and single and self.n_clusters > 1:
            return f"{self.n_clusters:,} videos ({self.n_queries:,} captions)"
        groups = "group" if self.n_clusters == 1 else "groups"
        return f"{self.n_clusters:,} {groups} of {kind} that share answers ({self.n_queries:,} {kind})"


def paired_test(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    higher_is_better: bool = True,
    trained: bool = True,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Test and interval of one variant's differences [S, Q] or [Q]: S seeds (the same in both arms), Q queries.

    `clusters` [Q] labels queries that are not independent; by default each stands alone. An arm without training enters
    by broadcasting over the other's seeds; with `trained=False` neither arm has seeds. `null` is the difference
    tested against. Raises DataError for shapes that do not fit and for values that are not finite.
    """
    values = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    return paired_tests(
        values[None],
        clusters,
        higher_is_better=higher_is_better,
        trained=trained,
        null=null,
        alternative=alternative,
        draws=draws,
        seed=seed,
    )[0]


def paired_tests(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    higher_is_better: bool = True,
    trained: bool = True,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Comparison]:
    """`paired_test` for V variants at once, differences [V, S, Q]; they share the random flips and resamples."""
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 3 or not values.size:
        raise DataError(f"differences of shape {list(values.shape)}, expected [variants, seeds, queries], none empty")
    sums, sizes = cluster_sums(values, clusters)
    _, S, C = sums.shape
    means = unrounded(sums.sum(axis=2), np.abs(sums).sum(axis=2)) / sizes.sum()
    influence = means[..., None] + (sums - means[..., None] * sizes) * (C / sizes.sum())
    if S == 1:
        label = "covers query sampling only" if trained else "no training in either arm"
        method = f"sign-flip, BCa interval; {label}"
        distance = unrounded(sums[:, 0] - null * sizes, np.abs(sums[:, 0]) + abs(null) * sizes)
        tested = zip(
            flip_p(distance, alternative, draws, seed),
            *bca_interval(sums[:, 0], sizes, draws, seed),
            *paired_t(influence[:, 0], null, alternative),
            strict=True,
        )
        critical = Z_TWO_SIDED if alternative == "two-sided" else Z_ONE_SIDED
        found = [Finding(p, low, high, se, critical, p_t) for p, low, high, p_t, se in tested]
    else:
        method = "crossed seeds and clusters, t; covers query sampling and training"
        found = [crossed(block, null, alternative) for block in influence]
    made = [
        _comparison(test, block, sums_of, values.shape[2], method, higher_is_better)
        for test, block, sums_of in zip(found, influence, sums, strict=True)
    ]
    if S > 1 or null or alternative != "two-sided":
        return made
    return [replace(one, p_mcnemar=_mcnemar(row[0], one)) for one, row in zip(made, sums, strict=True)]


def _mcnemar(sums: Floats, found: Comparison) -> float:
    """p of the exact McNemar test of clusters' sums [C]; nan where they differ by more than the sign."""
    sizes = np.abs(sums[sums != 0])
    return mcnemar(found.wins, found.losses) if not sizes.size or np.allclose(sizes, sizes[0]) else np.nan


def _comparison(
    test: Finding, influence: Floats, sums: Floats, queries: int, method: str, higher_is_better: bool
) -> Comparison:
    seeds, clusters = influence.shape
    by_cluster, by_seed = influence.mean(axis=0), influence.mean(axis=1)
    spread = spread_of(by_cluster)
    total = sums.mean(axis=0) * (1 if higher_is_better else -1)
    slack = 1e-9 * max(np.abs(sums).max(), 1e-300)
    warnings = []
    if clusters == 1 < queries:
        warnings.append(f"shared answers link the {queries:,} queries into one group: nothing can be tested")
    elif clusters < 20:
        warnings.append(f"only {clusters} independent {'unit' if clusters == 1 else 'units'} of queries")
    if 1 < seeds < 4:
        warnings.append(f"with {seeds} seeds only large differences can be shown")
    return Comparison(
        difference=float(by_seed.mean()),
        low=float(test.low),
        high=float(test.high),
        standard_error=float(test.standard_error),
        p=float(test.p),
        p_t=float(test.p_t),
        n_clusters=clusters,
        n_queries=queries,
        seeds=seeds,
        seed_sd=float(by_seed.std(ddof=1)) if seeds > 1 else np.nan,
        wins=int((total > slack).sum()),
        ties=int((np.abs(total) <= slack).sum()),
        losses=int((total < -slack).sum()),
        d_z=float(by_cluster.mean() / spread) if spread > 0 else np.nan,
        detectable=float((test.critical + Z_POWER) * test.standard_error) if test.standard_error > 0 else np.nan,
        method=method,
        warning="; ".join(warnings),
        higher_is_better=higher_is_better,
    )


def paired_medians(
    variant: ArrayLike,
    baseline: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    higher_is_better: bool = False,
    draws: int = MEDIAN_DRAWS,
    seed: int = 0,
) -> Comparison:
    """The difference of medians (MdR) of values [S, Q] or [Q], with a percentile bootstrap interval and no p.

    Clusters and, independently, seeds are resampled; of S seeds S - 1 are drawn, which makes the variance of their mean
    come out right. Raises DataError for shapes that do not fit and for values that are not finite.
    """
    both = paired_arms(variant, baseline)
    _, seeds, queries = both.shape
    per_seed = np.median(both[0], axis=1) - np.median(both[1], axis=1)
    sums, sizes = cluster_sums(both[0] - both[1], clusters)
    label = cluster_labels(clusters, queries)
    rng = np.random.default_rng(seed)
    medians = np.concatenate([resampled_medians(both, label, c) for c in resamples(sizes.size, draws, rng)], axis=2)
    boot = medians[0] - medians[1]
    if seeds > 1:
        picked = rng.integers(seeds, size=(seeds - 1, draws))
        boot = np.take_along_axis(boot, picked, axis=0)
    boot = boot.mean(axis=0)
    low, high = np.quantile(boot, [0.025, 0.975]) if sizes.size > 1 else (-np.inf, np.inf)
    covered = "query sampling and training" if seeds > 1 else "query sampling only"
    test = Finding(np.nan, low, high, float(boot.std(ddof=1)), Z_TWO_SIDED)
    method = f"bootstrap interval of the medians, no test; covers {covered}"
    found = _comparison(test, sums, sums, queries, method, higher_is_better)
    spread = float(per_seed.std(ddof=1)) if seeds > 1 else np.nan
    return replace(found, difference=float(per_seed.mean()), seed_sd=spread, d_z=np.nan, detectable=np.nan)
