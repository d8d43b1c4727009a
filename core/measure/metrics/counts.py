"""From scores to counts of what stands above and beside each relevant item.

Scores enter as blocks of query rows, so that the full matrix need not exist. What leaves a block are four integers for
each relevant pair, from which every metric follows exactly, ties included. Video-to-text is the same code on the
transposed relevance and on blocks whose rows are videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, RunError
from .relevance import Relevance

BLOCK_ELEMENTS = 1 << 22
FEW = 16
"""Relevant items of a query up to which comparing its row with each is cheaper than sorting it."""


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

    @cached_property
    def first(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """(greater, tied_nonrelevant, tied_relevant), each [queries], of the best-placed relevant item."""
        starts, query = self.indptr[:-1], np.repeat(np.arange(self.indptr.size - 1), np.diff(self.indptr))
        best = np.minimum.reduceat(self.above, starts)
        pairs = np.flatnonzero(self.above == best[query])
        pair = pairs[np.flatnonzero(np.diff(query[pairs], prepend=-1))]  # the first of each query
        relevant = self.tied_relevant[pair]
        return best, self.tied[pair] - relevant, relevant


def rank_counts(
    scores: Any, relevance: Relevance, first_row: int = 0, ids: Sequence[object] | None = None
) -> RankCounts:
    """Counts for the queries first_row, first_row + 1, … from their scores [rows, items], higher is better.

    `relevance` is [queries, items] of all queries; `ids` names all queries in error messages. Nothing is sorted for a
    query with few relevant items: its row is compared with each of them.
    Raises RunError for a NaN or infinite score, DataError for a query without a relevant item; both name the query.
    """
    block = np.asarray(scores)
    _check_block(block, relevance, first_row, ids)
    own = relevant_scores(block, relevance, first_row)
    degree = relevance.degree[first_row : first_row + len(block)]
    indptr, query = joined(degree), np.repeat(np.arange(len(block)), degree)
    above, tied = np.empty((2, own.size), dtype=np.int64)
    few = np.flatnonzero(degree[query] <= FEW)
    for some in np.array_split(few, 1 + few.size * block.shape[1] // BLOCK_ELEMENTS):
        items, mine = block[query[some]], own[some, None]
        above[some] = np.count_nonzero(items > mine, axis=1)
        tied[some] = np.count_nonzero(items == mine, axis=1)
    for row in np.flatnonzero(degree > FEW):
        pairs, ordered = slice(indptr[row], indptr[row + 1]), np.sort(block[row])
        lower = np.searchsorted(ordered, own[pairs], "left")
        upper = np.searchsorted(ordered, own[pairs], "right")
        above[pairs], tied[pairs] = ordered.size - upper, upper - lower
    above_relevant, tied_relevant = compared(own, query, own, indptr)
    return RankCounts(indptr, above, above_relevant, tied, tied_relevant)


def relevant_scores(scores: Any, relevance: Relevance, first_row: int = 0) -> NDArray:
    """The scores [pairs] of the relevant pairs of the queries first_row, first_row + 1, …, from [rows, items]."""
    block = np.asarray(scores)
    bounds = relevance.indptr[first_row : first_row + len(block) + 1]
    return block[np.repeat(np.arange(len(block)), np.diff(bounds)), relevance.indices[bounds[0] : bounds[-1]]]


def joined(sizes: NDArray) -> NDArray[np.int64]:
    """Where lists of these sizes begin that lie one after another, and where the last one ends: [lists + 1]."""
    return np.concatenate([[0], np.cumsum(sizes)])


def compared(own: NDArray, query: NDArray, rivals: NDArray, indptr: NDArray) -> tuple[NDArray, NDArray]:
    """(above, tied) [pairs]: how many of the rivals of a pair's query score higher than the pair, how many the same.

    own, query: [pairs]. The rivals of query q are rivals[indptr[q]:indptr[q + 1]].
    """
    sizes = np.diff(indptr)[query]
    above, tied = np.zeros((2, own.size), dtype=np.int64)
    places = np.arange(sizes.max(initial=0))
    rows = max(1, BLOCK_ELEMENTS // max(1, places.size))
    for at in range(0, own.size if rivals.size else 0, rows):
        part = slice(at, at + rows)
        # [pairs, places]: lists are shorter than the longest one; a place beyond the end reads rivals[0], uncounted
        there = places < sizes[part, None]
        scores = rivals[np.where(there, indptr[query[part], None] + places, 0)]
        above[part] = np.count_nonzero((scores > own[part, None]) & there, axis=1)
        tied[part] = np.count_nonzero((scores == own[part, None]) & there, axis=1)
    return above, tied


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
