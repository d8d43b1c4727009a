"""From counts to metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ConfigError, DataError, Problem, nearest
from .counts import BLOCK_ELEMENTS, RankCounts, rank_counts
from .relevance import DIRECTIONS, Relevance, query_relevance

Ties = Literal["expected", "optimistic", "pessimistic"]
TIES = ("expected", "optimistic", "pessimistic")
DEFAULT_METRICS = ("R1", "R5", "R10", "MdR", "MnR", "MRR")
LARGEST_CUTOFF = 1_000_000
"""The largest k of R<k> and nDCG<k>."""
COSTS = (
    "cost/parameters",
    "cost/side_bytes",
    "cost/offline_multiply_adds",
    "cost/online_multiply_adds",
    "cost/latency_ms",
    "cost/latency_p95_ms",
    "cost/throughput",
    "cost/peak_bytes",
    "cost/training_seconds",
    "cost/training_peak_bytes",
)
"""What a variant takes: side bytes and offline work a video, online work a query, throughput in queries a second."""


@dataclass(frozen=True)
class Metric:
    """What a metric's name stands for: `cutoff` is its k, `unit` that of its per-query values and its differences."""

    name: str
    family: str
    cutoff: int
    higher_is_better: bool
    unit: Literal["points", "rank", "cost"]

    @property
    def span(self) -> float | None:
        """The most by which one query can differ; None for ranks, where it depends on the gallery, and costs."""
        if self.unit != "points":
            return None
        return 300.0 if self.family == "RSum" else 100.0

    summary: Literal["mean", "median"] = "mean"


def metric(name: str) -> Metric:
    """The metric of that name, with or without direction: R<k>, RSum, MRR, mAP, nDCG<k>, MdR, MnR, `t2v/R1`.

    R<k>, MRR, mAP and nDCG are in percent; RSum is R1 + R5 + R10 of its direction. `frame.gate_entropy` is a diagnostic
    of an interaction, in percent, of which neither more nor less is better. `cost/latency_ms` is one of `COSTS`, of
    which less is better, but for throughput. Raises ConfigError for another name.
    """
    if name in COSTS:
        return Metric(name, "cost", 0, name == "cost/throughput", "cost")
    short = name.split("/", 1)[1] if name.startswith(tuple(f"{d}/" for d in DIRECTIONS)) else name
    if short in ("MdR", "MnR"):
        return Metric(short, "rank", 0, False, "rank", "median" if short == "MdR" else "mean")
    if short in ("RSum", "MRR", "mAP"):
        return Metric(short, short, 0, True, "points")
    if match := re.fullmatch(r"(R|nDCG)([1-9][0-9]*)", short):
        if len(match[2]) > len(str(LARGEST_CUTOFF)) or int(match[2]) > LARGEST_CUTOFF:
            raise ConfigError(Problem("evaluate.metrics", f"`{name[:40]}`: k is at most {LARGEST_CUTOFF:,}"))
        return Metric(short, match[1], int(match[2]), True, "points")
    if "." in short:
        return Metric(short, "diagnostic", 0, True, "points")
    examples = [*DEFAULT_METRICS, "R50", "RSum", "mAP", "nDCG10"]
    raise ConfigError(Problem("evaluate.metrics", f"unknown metric `{name}`.{nearest(short, examples)}"))


def per_query(counts: RankCounts, name: str, ties: Ties = "expected") -> NDArray[np.float64]:
    """The values of a metric for each query, float64 [queries], of which `summarise` makes the number in the table.

    The rank of a query is that of its best-placed relevant item: 1 + the non-relevant items above it + its share of
    those tied with it. R<k> asks whether it is k or less. Under `expected` ties are broken at random and every value is
    the exact expectation: with g non-relevant and r relevant items tied, rank = 1 + greater + g / (r + 1), R<k> is the
    hypergeometric probability of a hit, MRR the mean of 1 / rank, mAP and nDCG as in McSherry & Najork 2008.
    `optimistic` puts relevant items first among equals, `pessimistic` last.
    """
    if ties not in TIES:
        raise ConfigError(Problem("evaluate.ties", f"unknown rule `{ties}`.{nearest(ties, TIES)}"))
    wanted = metric(name)
    if wanted.family in ("mAP", "nDCG"):
        return 100 * _over_all_relevant(counts, wanted, ties)
    greater, nonrelevant, relevant = counts.first
    if ties != "expected":
        greater = greater + (nonrelevant if ties == "pessimistic" else 0)
        nonrelevant = np.zeros_like(nonrelevant)
    if wanted.family == "rank":
        return 1 + greater + nonrelevant / (relevant + 1)
    if wanted.family == "MRR":
        return 100 * _reciprocal_rank(greater, nonrelevant, relevant)
    if wanted.family not in ("R", "RSum"):
        raise NotImplementedError(f"there is no formula for metrics of the family `{wanted.family}`")
    cutoffs = (1, 5, 10) if wanted.family == "RSum" else (wanted.cutoff,)
    return 100 * np.sum([_hit_probability(k, greater, nonrelevant, relevant) for k in cutoffs], axis=0)


def _hit_probability(k: int, greater: NDArray, nonrelevant: NDArray, relevant: NDArray) -> NDArray[np.float64]:
    """1 - C(g, m) / C(g + r, m): a relevant one among the m tied items that still reach the first k places."""
    places = np.clip(k - greater, 0, nonrelevant + relevant)
    miss = np.ones(greater.shape)
    for j in range(1, int(relevant.max(initial=0)) + 1):
        miss *= np.where(j <= relevant, (nonrelevant - places + j) / (nonrelevant + j), 1.0)
    return 1.0 - miss


def _reciprocal_rank(greater: NDArray, nonrelevant: NDArray, relevant: NDArray) -> NDArray[np.float64]:
    """E[1 / rank]: the first relevant item is the i-th of the tied ones with probability C(g+r-i, r-1) / C(g+r, r)."""
    value = 1.0 / (1 + greater)
    tied = np.flatnonzero(nonrelevant)
    cases, case_of = np.unique(np.stack([greater, nonrelevant, relevant])[:, tied], axis=1, return_inverse=True)
    for case, (above, g, r) in enumerate(cases.T):
        i = np.arange(g + 1)
        still_missed = np.concatenate([[1.0], np.cumprod((g - i[:-1]) / (g + r - i[:-1]))])
        value[tied[case_of.ravel() == case]] = np.sum(still_missed * r / (g + r - i) / (above + 1 + i))
    return value


def _over_all_relevant(counts: RankCounts, wanted: Metric, ties: Ties) -> NDArray[np.float64]:
    """Average precision or nDCG@k in 0..1. Each pair's place is uniform on start + 1 .. start + width."""
    start = counts.above + (counts.tied - counts.tied_relevant if ties == "pessimistic" else 0)
    width = counts.tied if ties == "expected" else counts.tied_relevant
    degree = np.diff(counts.indptr)
    if wanted.family == "nDCG":
        discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, wanted.cutoff + 2)))])
        upto = discounts[np.minimum(np.arange((start + width).max() + 1), wanted.cutoff)]
        gain = (upto[start + width] - upto[start]) / width
        return np.add.reduceat(gain, counts.indptr[:-1]) / upto[degree]
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (start + width).max() + 1))])
    per_place = (counts.tied_relevant - 1) / np.maximum(width - 1, 1)
    hits_at_zero = counts.above_relevant + 1 - per_place * (start + 1)
    precision = per_place + hits_at_zero * (harmonic[start + width] - harmonic[start]) / width
    return np.add.reduceat(precision, counts.indptr[:-1]) / degree


def summarise(values: ArrayLike, name: str) -> float:
    """The number in the table: the mean over queries, for MdR the median. Percent, or ranks."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.median(array) if metric(name).summary == "median" else array.mean())


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The metrics of one trial and the per-query values behind them.

    metrics    {"t2v/R1": 44.8, …}
    per_query  {"t2v": {"R1": float64 [queries], …}, …}
    clusters   {"t2v": int64 [queries], …}: queries with the same label are not independent (`Relevance.clusters`)
    assumed    what was taken for granted because nobody said it; None for nothing
    """

    metrics: dict[str, float]
    per_query: dict[str, dict[str, NDArray[np.float64]]]
    clusters: dict[str, NDArray[np.int64]]
    assumed: str | None = None

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.1f}" for name, value in self.metrics.items())
        return f"Evaluation({numbers}{f'; assumed: {self.assumed}' if self.assumed else ''})"

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, RankCounts],
        relevance: Relevance,
        metrics: Iterable[str] = DEFAULT_METRICS,
        ties: Ties = "expected",
    ) -> Evaluation:
        """From {"t2v": counts of the texts, "v2t": counts of the videos} and the relevance [texts, videos]."""
        names = list(metrics)
        values = {side: {name: per_query(ranks, name, ties) for name in names} for side, ranks in counts.items()}
        numbers = {f"{side}/{name}": summarise(v, name) for side, rows in values.items() for name, v in rows.items()}
        clusters = {side: query_relevance(relevance, side).clusters() for side in counts}
        return cls(numbers, values, clusters)


def evaluate(
    scores: Any,
    relevance: Any = None,
    metrics: Iterable[str] = DEFAULT_METRICS,
    directions: Iterable[str] = DIRECTIONS,
    ties: Ties = "expected",
) -> Evaluation:
    """Metrics of a whole score matrix [texts, videos], anything that `np.asarray` reads; higher scores are better.

    relevance: which videos answer which text, as `Relevance.of` takes it: a bool array, a scipy.sparse matrix, a list
    of (text row, video row), a Relevance. None: the video of each text is the one in its place, the diagonal; the
    result says so.

    >>> import core
    >>> core.evaluate([[0.9, 0.1], [0.2, 0.8]]).metrics["t2v/R1"]
    100.0
    >>> core.evaluate([[0.9, 0.1], [0.2, 0.8]], [(0, 1), (1, 0)]).metrics["t2v/R1"]
    0.0

    Raises RunError for NaN or infinite scores, DataError where shapes differ or a query has no relevant item.
    """
    matrix = np.asarray(scores)
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "fiub":
        raise DataError(f"scores: expected numbers [texts, videos], got {matrix.dtype} of shape {list(matrix.shape)}")
    assumed = "the video of each text is the one in its place" if relevance is None else None
    relevance = Relevance.of(relevance, (matrix.shape[0], matrix.shape[1]))
    counts = {}
    for direction in directions:
        asked = query_relevance(relevance, direction)
        rows = matrix if direction == "t2v" else matrix.T
        step = max(1, BLOCK_ELEMENTS // max(rows.shape[1], 1))
        counts[direction] = RankCounts.join(
            [rank_counts(rows[at : at + step], asked, at) for at in range(0, len(rows), step)]
        )
    return replace(Evaluation.from_counts(counts, relevance, metrics, ties), assumed=assumed)
