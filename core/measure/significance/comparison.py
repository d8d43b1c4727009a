"""A variant against the baseline: difference, interval, test."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from html import escape

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DataError
from ..metrics import metric
from .guards import effective_number, unseen_collapse, variance_units
from .inversion import LEVEL, flip_test
from .parametric import Finding, crossed, paired_t, spread_of
from .planning import mcnemar
from .power import Aim, detectable
from .resampling import (
    DRAWS,
    Alternative,
    Floats,
    cluster_labels,
    cluster_sums,
    paired_arms,
    resampled_medians,
    resamples,
    unrounded,
)
from .skewness import HANGS_ON, beware_of_tails, skewed_t, skewness

MEDIAN_DRAWS = 2_000
FEW = 20
_LESS_CERTAIN = (np.maximum, np.minimum, np.maximum)
"""How two tests become one, for (p, low, high): the larger p, the wider interval."""


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
                     power, as `power.detectable`; nan where nothing is tested
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

    def __repr__(self) -> str:
        """`Comparison(+0.31, 95 % interval -1.47 to +2.12, p = 0.412; 700 units, 5 seeds)`"""
        facts = [f"{self.difference:+.2f}", f"95 % interval {self.low:+.2f} to {self.high:+.2f}"]
        if not np.isnan(self.p):
            facts.append(f"p = {self.p:.3f}")
        if not np.isnan(self.p_corrected):
            facts.append(f"{self.p_corrected:.3f} corrected for {self.family}")
        return f"Comparison({', '.join(facts)}; units: {self.n_clusters:,}, seeds: {self.seeds})"

    def _repr_html_(self) -> str:
        """Every field, a row each, for a notebook."""
        cells = [(item.name, getattr(self, item.name)) for item in fields(self)]
        told = [(name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in cells]
        rows = "".join(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in told)
        return f"<table><tbody>{rows}</tbody></table>"

    @property
    def gain(self) -> tuple[float, float, float]:
        """(difference, low, high) turned so that larger is better."""
        if self.higher_is_better:
            return self.difference, self.low, self.high
        return -self.difference, -self.high, -self.low

    @property
    def odds(self) -> float:
        """Wins for one loss, among the clusters that differ; nan where none does."""
        if self.losses:
            return self.wins / self.losses
        return np.inf if self.wins else np.nan

    def on(self, name: str) -> Comparison:
        """With the metric that hangs less on few queries, where `name` is of ranks and hangs on them."""
        if metric(name).unit != "rank" or HANGS_ON not in self.warning:
            return self
        return replace(self, warning=f"{self.warning}; MRR is the smoother metric")

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
    aim: Aim | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Comparison:
    """Test and interval of one variant's differences [S, Q] or [Q]: S seeds (the same in both arms), Q queries.

    `clusters` [Q] labels queries that are not independent; by default each stands alone. An arm without training enters
    by broadcasting over the other's seeds; with `trained=False` neither arm has seeds. `null` is the difference
    tested against, `aim` what `detectable` is to be about, by default the test. Raises DataError for shapes that do not
    fit and for values that are not finite.
    """
    values = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    return paired_tests(
        values[None],
        clusters,
        higher_is_better=higher_is_better,
        trained=trained,
        null=null,
        alternative=alternative,
        aim=aim,
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
    aim: Aim | None = None,
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
    # the mean is a ratio, sum of sums over sum of sizes: what each cluster contributes, linearised at the means
    influence = means[..., None] + (sums - means[..., None] * sizes) * (C / sizes.sum())
    if S == 1:
        label = "covers query sampling only" if trained else "no training in either arm"
        method = f"sign-flip and skewness-corrected t, inverted for the interval; {label}"
        findings = _over_clusters(sums[:, 0], sizes, influence[:, 0], null, alternative, draws, seed)
    else:
        unseen = unseen_collapse(S, 0.0, None)
        method = "crossed seeds and clusters, t; covers query sampling and training"
        method += f", but for a collapse of one run in ten, which {unseen:.0%} of such sets of seeds do not show"
        units = variance_units(sizes)
        findings = [crossed(block, null, alternative, units) for block in influence]
    power_aim = aim or ("two-sided" if alternative == "two-sided" else "one-sided")
    comparisons = [
        _wary(_comparison(test, block, sums_of, sizes, method, higher_is_better, power_aim), block, sizes)
        for test, block, sums_of in zip(findings, influence, sums, strict=True)
    ]
    if S > 1 or null or alternative != "two-sided":
        return comparisons
    return [_like_mcnemar(comparison, row[0], sizes.sum()) for comparison, row in zip(comparisons, sums, strict=True)]


def _over_clusters(
    sums: Floats, sizes: Floats, influence: Floats, null: float, alternative: Alternative, draws: int, seed: int
) -> list[Finding]:
    """The sign flip and the t corrected for skewness, of which both must reject: the larger p, the wider interval."""
    p_t, error = paired_t(influence, null, alternative)
    flipped = flip_test(sums, sizes, null, alternative, draws, seed)
    corrected = skewed_t(influence, error, null, alternative)
    p, low, high = (pick(flip, skewed) for pick, flip, skewed in zip(_LESS_CERTAIN, flipped, corrected, strict=True))
    if alternative == "two-sided":
        low, high = _agreeing(p, low, high, influence.mean(axis=1), null)
    rows = zip(p, low, high, error**2, np.zeros(len(p)), p_t, skewness(influence), strict=True)
    return [Finding(*row) for row in rows]


def _agreeing(p: Floats, low: Floats, high: Floats, mean: Floats, null: float) -> tuple[Floats, Floats]:
    """The ends, which hold the null exactly where p >= .05: where p is exact they give way to it by the noise of their
    draws."""
    kept = p >= LEVEL
    least, most = np.nextafter(null, np.inf), np.nextafter(null, -np.inf)
    low = np.where(kept, np.minimum(low, null), np.where(mean > null, np.maximum(low, least), low))
    high = np.where(kept, np.maximum(high, null), np.where(mean < null, np.minimum(high, most), high))
    return low, high


def _wary(comparison: Comparison, influence: Floats, sizes: Floats) -> Comparison:
    """With a warning where the test hangs on few clusters, or rests on a symmetry that is not there."""
    texts = comparison.warning, beware_of_tails(influence.mean(axis=0)) if effective_number(sizes) >= FEW else ""
    return replace(comparison, warning="; ".join(filter(None, texts)))


def _like_mcnemar(comparison: Comparison, sums: Floats, queries: float) -> Comparison:
    """With the exact McNemar test where clusters [C] differ by the sign alone: it moves in steps of two of them, which
    costs power."""
    steps = np.abs(sums[sums != 0])
    if steps.size and not np.allclose(steps, steps[0]):
        return comparison
    distance = comparison.detectable + float(steps[0] / queries) if steps.size else comparison.detectable
    return replace(comparison, p_mcnemar=mcnemar(comparison.wins, comparison.losses), detectable=distance)


def _comparison(
    test: Finding, influence: Floats, sums: Floats, sizes: Floats, method: str, higher_is_better: bool, aim: Aim
) -> Comparison:
    seeds, clusters = influence.shape
    by_cluster, by_seed = influence.mean(axis=0), influence.mean(axis=1)
    spread = spread_of(by_cluster)
    total = sums.mean(axis=0) * (1 if higher_is_better else -1)
    slack = 1e-9 * max(np.abs(sums).max(), 1e-300)
    return Comparison(
        difference=float(by_seed.mean()),
        low=float(test.low),
        high=float(test.high),
        standard_error=test.standard_error,
        p=float(test.p),
        p_t=float(test.p_t),
        n_clusters=clusters,
        n_queries=int(sizes.sum()),
        seeds=seeds,
        seed_sd=float(by_seed.std(ddof=1)) if seeds > 1 else np.nan,
        wins=int((total > slack).sum()),
        ties=int((np.abs(total) <= slack).sum()),
        losses=int((total < -slack).sum()),
        d_z=float(by_cluster.mean() / spread) if spread > 0 else np.nan,
        detectable=detectable(test.cluster_part, test.seed_part, seeds, variance_units(sizes), aim, test.skew),
        method=method,
        warning="; ".join(_warnings(sizes, seeds)),
        higher_is_better=higher_is_better,
    )


def _warnings(sizes: Floats, seeds: int) -> list[str]:
    clusters, queries, units = sizes.size, int(sizes.sum()), effective_number(sizes)
    warnings = []
    if clusters == 1 < queries:
        warnings.append(f"shared answers link the {queries:,} queries into one group: nothing can be tested")
    elif clusters < FEW:
        warnings.append(f"only {clusters} independent {'unit' if clusters == 1 else 'units'} of queries")
    elif units < FEW:
        warnings.append(f"few hold most of the queries: {clusters:,} units count as {units:.0f} of equal size")
    if 1 < seeds < 4:
        warnings.append(f"with {seeds} seeds only large differences can be shown")
    return warnings


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
    test = Finding(np.nan, low, high, float(boot.var(ddof=1)))
    method = f"bootstrap interval of the medians, no test; covers {covered}"
    comparison = _comparison(test, sums, sums, sizes, method, higher_is_better, "two-sided")
    spread = float(per_seed.std(ddof=1)) if seeds > 1 else np.nan
    return replace(comparison, difference=float(per_seed.mean()), seed_sd=spread, d_z=np.nan, detectable=np.nan)
