"""From scores to ranks to metrics: counts of what stands above and beside each relevant item, then everything else.

Scores enter as blocks of query rows, so that the full matrix need not exist. What leaves a block are counts, four
integers for each relevant pair, from which every metric follows exactly, ties included. Video-to-text is the same code
on the transposed relevance and on blocks whose rows are videos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ConfigError, DataError, Problem, RunError, nearest

Ties = Literal["expected", "optimistic", "pessimistic"]
TIES = ("expected", "optimistic", "pessimistic")
DIRECTIONS = ("t2v", "v2t")
DEFAULT_METRICS = ("R1", "R5", "R10", "MdR", "MnR", "MRR")
_BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class Relevance:
    """Which items answer which query: a bool matrix [rows, columns] that keeps only its True entries.

    The relevant columns of row i are `indices[indptr[i]:indptr[i + 1]]`, ascending. Rows are texts and columns videos;
    `.T` is the video-to-text view.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    shape: tuple[int, int]

    @classmethod
    def from_pairs(cls, rows: ArrayLike, columns: ArrayLike, shape: tuple[int, int]) -> Relevance:
        """Relevance of the pairs (rows[p], columns[p]), in any order; repeated pairs count once.

        Raises DataError where the lists differ in length or a pair lies outside `shape`.
        """
        row, column = np.asarray(rows, dtype=np.int64).ravel(), np.asarray(columns, dtype=np.int64).ravel()
        if row.shape != column.shape:
            raise DataError(f"relevance: {row.size} rows and {column.size} columns cannot be paired")
        for name, index, size in (("row", row, shape[0]), ("column", column, shape[1])):
            if index.size and not (index.min() >= 0 and index.max() < size):
                pair = int(np.flatnonzero((index < 0) | (index >= size))[0])
                raise DataError(f"relevance: pair {pair} has {name} {index[pair]}, outside 0..{size - 1}")
        row, column = np.divmod(np.unique(row * shape[1] + column), max(shape[1], 1))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
        return cls(indptr, column, (int(shape[0]), int(shape[1])))

    @classmethod
    def from_dense(cls, matrix: ArrayLike) -> Relevance:
        """Relevance of a dense bool matrix [rows, columns]."""
        dense = np.asarray(matrix, dtype=bool)
        rows, columns = np.nonzero(dense)
        return cls.from_pairs(rows, columns, (dense.shape[0], dense.shape[1]))

    @cached_property
    def T(self) -> Relevance:
        """The same pairs with rows and columns exchanged."""
        return Relevance.from_pairs(self.indices, self._pair_rows(), self.shape[::-1])

    @property
    def degree(self) -> NDArray[np.int64]:
        """Number of relevant columns of each row, [rows]."""
        return np.diff(self.indptr)

    def rows(self, i: int) -> NDArray[np.int64]:
        """The relevant columns of row i."""
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def clusters(self) -> NDArray[np.int64]:
        """A label for each row, [rows]: rows that share a relevant column, directly or through others, share it.

        For captions (rows) of videos (columns) the clusters are the videos: the unit of every significance test.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        n, m = self.shape
        edges = (np.ones(self.indices.size, dtype=bool), (self._pair_rows(), n + self.indices))
        _, label = connected_components(coo_array(edges, shape=(n + m, n + m)), directed=False)
        return np.unique(label[:n], return_inverse=True)[1].astype(np.int64)

    def _pair_rows(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.shape[0]), self.degree)


@dataclass(frozen=True, eq=False)
class RankCounts:
    """What stands above and beside each relevant pair of a block of queries; pairs lie query after query.

    indptr          [queries + 1]  the pairs of query i are indptr[i]:indptr[i + 1]; at least one each
    above           [pairs]        items with a higher score
    above_relevant  [pairs]        of these, relevant ones
    tied            [pairs]        items with the same score, the pair itself among them
    tied_relevant   [pairs]        of these, relevant ones
    """

    indptr: NDArray[np.int64]
    above: NDArray[np.int64]
    above_relevant: NDArray[np.int64]
    tied: NDArray[np.int64]
    tied_relevant: NDArray[np.int64]

    @classmethod
    def join(cls, blocks: Sequence[RankCounts]) -> RankCounts:
        """The counts of consecutive blocks of queries as one."""
        sizes = np.concatenate([np.diff(block.indptr) for block in blocks])
        columns = ("above", "above_relevant", "tied", "tied_relevant")
        joined = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in columns}
        return cls(indptr=np.concatenate([[0], np.cumsum(sizes)]), **joined)

    def first(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(greater, tied_nonrelevant, tied_relevant), each [queries], of the best-placed relevant item."""
        starts, query = self.indptr[:-1], np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))
        best = np.minimum.reduceat(self.above, starts)
        pairs = np.flatnonzero(self.above == best[query])
        pair = pairs[np.unique(query[pairs], return_index=True)[1]]
        relevant = self.tied_relevant[pair]
        return best, self.tied[pair] - relevant, relevant


def rank_counts(
    scores: Any, relevance: Relevance, first_row: int = 0, ids: Sequence[object] | None = None
) -> RankCounts:
    """Counts for the queries first_row, first_row + 1, … from their scores [rows, items], higher is better.

    `relevance` is [queries, items] of all queries; `ids` names all queries in error messages.
    Raises RunError for a NaN or infinite score, DataError for a query without a relevant item; both name the query.
    """
    block = np.ascontiguousarray(scores)
    _check_block(block, relevance, first_row, ids)
    ordered = np.sort(block, axis=1)
    n = block.shape[1]
    degree = relevance.degree[first_row : first_row + len(block)]
    indptr = np.concatenate([[0], np.cumsum(degree)])
    counts = np.empty((4, indptr[-1]), dtype=np.int64)
    for row in range(len(block)):
        own = block[row, relevance.rows(first_row + row)]
        own_ordered = np.sort(own)
        upper, own_upper = np.searchsorted(ordered[row], own, "right"), np.searchsorted(own_ordered, own, "right")
        lower, own_lower = np.searchsorted(ordered[row], own, "left"), np.searchsorted(own_ordered, own, "left")
        counts[:, indptr[row] : indptr[row + 1]] = n - upper, own.size - own_upper, upper - lower, own_upper - own_lower
    return RankCounts(indptr, *counts)


def _check_block(block: NDArray, relevance: Relevance, first_row: int, ids: Sequence[object] | None) -> None:
    def query(row: int) -> str:
        return f"query row {row}" + (f" (`{ids[row]}`)" if ids is not None else "")

    last_row = first_row + len(block)
    if block.ndim != 2 or block.shape[1] != relevance.shape[1] or last_row > relevance.shape[0]:
        raise DataError(
            f"scores of shape {list(block.shape)} from query row {first_row} on do not fit relevance of shape "
            f"{list(relevance.shape)} [queries, items]"
        )
    unanswered = np.flatnonzero(relevance.degree[first_row:last_row] == 0)
    if unanswered.size:
        raise DataError(
            f"{query(first_row + int(unanswered[0]))} has no relevant item ({unanswered.size} such among query rows "
            f"{first_row}..{last_row - 1}): leave these queries out or complete the relevance"
        )
    bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
    if bad.size:
        values = block[bad[0]]
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        raise RunError(
            f"{query(first_row + int(bad[0]))}: the score of item {column} is {values[column]}, which has no rank "
            f"({bad.size} of the {len(block)} query rows from {first_row} on hold such scores)"
        )


def reranked(first_stage: Any, candidates: Any, scores: Any) -> NDArray[np.float64]:
    """One score row for each query after re-ranking, [rows, items]: candidates by their new scores, then all others.

    first_stage [rows, items]; candidates [rows, K], distinct item indices; scores [rows, K], the candidates' new
    scores. The result holds whole numbers that only say the order: non-candidates keep their first-stage order, and its
    ties, below every candidate. The candidates are taken as given, whatever ties the first stage had at the cut-off.
    Raises DataError for candidates that repeat or do not exist, RunError for NaN or infinite scores.
    """
    before, chosen, new = np.asarray(first_stage), np.asarray(candidates, dtype=np.int64), np.asarray(scores)
    if chosen.shape != new.shape or chosen.ndim != 2 or len(chosen) != len(before):
        raise DataError(f"candidates {list(chosen.shape)} and scores {list(new.shape)} must both be [rows, K]")
    ordered = np.sort(chosen, axis=1)
    wrong = (ordered < 0) | (ordered >= before.shape[1])
    wrong[:, 1:] |= ordered[:, 1:] == ordered[:, :-1]
    for fault, error, what in (
        (wrong.any(axis=1), DataError, "a candidate repeats or is not an item of the gallery"),
        (~np.isfinite(before).all(axis=1), RunError, "a first-stage score is NaN or infinite"),
        (~np.isfinite(new).all(axis=1), RunError, "the new score of a candidate is NaN or infinite"),
    ):
        if fault.any():
            raise error(f"re-ranking, row {int(np.flatnonzero(fault)[0])} of the block: {what}")
    levels = _order_levels(before)
    np.put_along_axis(levels, chosen, before.shape[1] + _order_levels(new), axis=1)
    return levels


def _order_levels(values: NDArray) -> NDArray[np.float64]:
    """0, 1, … for the lowest, second lowest, … distinct value of each row; ties share a level."""
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    level = np.zeros(values.shape)
    np.put_along_axis(level, order[:, 1:], np.cumsum(ordered[:, 1:] > ordered[:, :-1], axis=1).astype(float), axis=1)
    return level


def rerank_counts(
    first_stage: Any,
    candidates: Any,
    scores: Any,
    relevance: Relevance,
    first_row: int = 0,
    ids: Sequence[object] | None = None,
) -> RankCounts:
    """Counts after re-ranking: `rank_counts` of `reranked(first_stage, candidates, scores)`."""
    return rank_counts(reranked(first_stage, candidates, scores), relevance, first_row, ids)


@dataclass(frozen=True)
class Metric:
    """What a metric's name stands for: `cutoff` is its k, `unit` that of its per-query values and its differences."""

    name: str
    family: str
    cutoff: int
    higher_is_better: bool
    unit: Literal["points", "rank"]
    summary: Literal["mean", "median"] = "mean"


def metric(name: str) -> Metric:
    """The metric of that name, with or without direction: R<k>, RSum, MRR, mAP, nDCG<k>, MdR, MnR, `t2v/R1`.

    R<k>, MRR, mAP and nDCG are in percent; RSum is R1 + R5 + R10 of its direction. `frame.gate_entropy` is a diagnostic
    of an interaction, in percent, of which neither more nor less is better. Raises ConfigError for another name.
    """
    short = name.split("/", 1)[1] if name.startswith(tuple(f"{d}/" for d in DIRECTIONS)) else name
    if short in ("MdR", "MnR"):
        return Metric(short, "rank", 0, False, "rank", "median" if short == "MdR" else "mean")
    if short in ("RSum", "MRR", "mAP"):
        return Metric(short, short, 0, True, "points")
    if found := re.fullmatch(r"(R|nDCG)([1-9]\d*)", short):
        return Metric(short, found[1], int(found[2]), True, "points")
    if "." in short:
        return Metric(short, "diagnostic", 0, True, "points")
    known = [*DEFAULT_METRICS, "R50", "RSum", "mAP", "nDCG10"]
    raise ConfigError(Problem("evaluate.metrics", f"unknown metric `{name}`.{nearest(short, known)}"))


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
    greater, nonrelevant, relevant = counts.first()
    if ties != "expected":
        greater = greater + (nonrelevant if ties == "pessimistic" else 0)
        nonrelevant = np.zeros_like(nonrelevant)
    if wanted.family == "rank":
        return 1 + greater + nonrelevant / (relevant + 1)
    if wanted.family == "MRR":
        return 100 * _reciprocal_rank(greater, nonrelevant, relevant)
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
    cases, case_of = np.unique(np.stack([greater, nonrelevant, relevant]), axis=1, return_inverse=True)
    for case, (above, g, r) in enumerate(cases.T):
        if g:
            i = np.arange(g + 1)
            still_missed = np.concatenate([[1.0], np.cumprod((g - i[:-1]) / (g + r - i[:-1]))])
            value[case_of.ravel() == case] = np.sum(still_missed * r / (g + r - i) / (above + 1 + i))
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
    """

    metrics: dict[str, float]
    per_query: dict[str, dict[str, NDArray[np.float64]]]
    clusters: dict[str, NDArray[np.int64]]

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
        values = {side: {name: per_query(found, name, ties) for name in names} for side, found in counts.items()}
        numbers = {f"{side}/{name}": summarise(v, name) for side, rows in values.items() for name, v in rows.items()}
        clusters = {side: query_relevance(relevance, side).clusters() for side in counts}
        return cls(numbers, values, clusters)


def query_relevance(relevance: Relevance, direction: str) -> Relevance:
    """Relevance [queries, items] of a direction, of relevance [texts, videos]."""
    if direction not in DIRECTIONS:
        raise ConfigError(
            Problem("evaluate.directions", f"unknown direction `{direction}`.{nearest(direction, DIRECTIONS)}")
        )
    return relevance if direction == "t2v" else relevance.T


def evaluate(
    scores: Any,
    relevance: Relevance,
    metrics: Iterable[str] = DEFAULT_METRICS,
    directions: Iterable[str] = DIRECTIONS,
    ties: Ties = "expected",
) -> Evaluation:
    """Metrics of a whole score matrix [texts, videos], anything that `np.asarray` reads; higher scores are better.

    Raises RunError for NaN or infinite scores, DataError where shapes differ or a query has no relevant item.
    """
    matrix = np.asarray(scores)
    if matrix.shape != relevance.shape or not matrix.size:
        raise DataError(
            f"scores are {list(matrix.shape)}, relevance {list(relevance.shape)}: both must be the same [texts, videos]"
        )
    counts = {}
    for direction in directions:
        asked = query_relevance(relevance, direction)
        rows = matrix if direction == "t2v" else matrix.T
        step = max(1, _BLOCK_ELEMENTS // max(rows.shape[1], 1))
        counts[direction] = RankCounts.join(
            [rank_counts(rows[at : at + step], asked, at) for at in range(0, len(rows), step)]
        )
    return Evaluation.from_counts(counts, relevance, metrics, ties)
