"""Counts after re-ranking, from those of the first stage: no matrix is read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, RunError
from .counts import RankCounts, compared, joined, rank_counts, relevant_scores
from .relevance import Relevance


class Reranking:
    """Counts after re-ranking, for any number of new scores of the candidates of one first stage.

    A query's candidates stand by their new scores above all its other items, which keep their first-stage order and
    its ties. The candidates are taken as given, whatever ties the first stage had at the cut-off.
    """

    def __init__(
        self,
        first: RankCounts,
        own: NDArray,
        relevance: Relevance,
        candidates: Any,
        before: Any,
        items_ask: bool = False,
    ):
        """first, own [pairs]: counts of the first stage, and its scores of the relevant pairs (`relevant_scores`).
        candidates, before: [Q, K], distinct items of each query, and their first-stage scores. `items_ask`: they are
        queries of each item instead, and a query's candidates are the items that chose it."""
        chosen = np.asarray(candidates, dtype=np.int64)
        asking, asked = np.repeat(np.arange(len(chosen)), chosen.shape[1]), chosen.ravel()
        query, item = (asked, asking) if items_ask else (asking, asked)
        order = np.argsort(query, kind="stable")
        self._first, self._own, self._lists = first, own, chosen.shape
        self._query_of_pair = np.repeat(np.arange(relevance.shape[0]), relevance.degree)
        self._list, self._slot = np.divmod(order, max(1, chosen.shape[1]))
        self._query, self._before = query[order], np.asarray(before).ravel()[order]
        self._pair = relevance.pairs(self._query, item[order])

    def counts(self, new: Any, ids: Sequence[object] | None = None) -> RankCounts:
        """Counts after the first k candidates of each list got the scores `new` [Q, k]; `ids` names the lists.

        Raises DataError where there are fewer candidates, RunError for NaN or infinite scores.
        """
        scores = np.asarray(new)
        self._check(scores, ids)
        kept = np.flatnonzero(self._slot < scores.shape[1])
        query, pair, before = self._query[kept], self._pair[kept], self._before[kept]
        after = scores[self._list[kept], self._slot[kept]]
        relevant = np.flatnonzero(pair >= 0)
        own = np.full(self._own.size, np.nan)
        own[pair[relevant]] = after[relevant]
        first = self._first
        above, tied = self._moved(own, query, before, after, first.above, first.tied)
        among = query[relevant], before[relevant], after[relevant]
        above_relevant, tied_relevant = self._moved(own, *among, first.above_relevant, first.tied_relevant)
        return RankCounts(first.indptr, above, above_relevant, tied, tied_relevant)

    def _moved(
        self, own: NDArray, query: NDArray, before: NDArray, after: NDArray, above: NDArray, tied: NDArray
    ) -> tuple[NDArray, NDArray]:
        """(above, tied) [pairs] after re-ranking, from what they were. own: new scores of pairs, NaN for those that are
        no candidates. query, before, after: of the candidates that are counted, all or the relevant ones."""
        sizes = np.bincount(query, minlength=self._first.indptr.size - 1)
        inside, indptr, above, tied = np.isfinite(own), joined(sizes), above.copy(), tied.copy()
        outside, queries = ~inside, self._query_of_pair
        above[inside], tied[inside] = compared(own[inside], queries[inside], after, indptr)
        higher, same = compared(self._own[outside], queries[outside], before, indptr)
        above[outside] += sizes[queries[outside]] - higher
        tied[outside] -= same
        return above, tied

    def _check(self, scores: NDArray, ids: Sequence[object] | None) -> None:
        rows, most = self._lists
        if scores.ndim != 2 or len(scores) != rows or scores.shape[1] > most:
            raise DataError(f"new scores {list(scores.shape)} do not fit {rows} lists of {most} candidates")
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
        if bad.size:
            name = f" (`{ids[bad[0]]}`)" if ids is not None else ""
            raise RunError(f"re-ranking, query row {bad[0]}{name}: the new score of a candidate is NaN or infinite")


def rerank_counts(first_stage: Any, candidates: Any, scores: Any, relevance: Relevance) -> RankCounts:
    """Counts after re-ranking first-stage scores [queries, items] by candidates and their new scores, both [Q, K].

    Raises as `rank_counts` does, RunError for new scores that are NaN or infinite, DataError for candidates that
    repeat or do not exist.
    """
    before, chosen = np.asarray(first_stage), np.asarray(candidates, dtype=np.int64)
    first, own = rank_counts(before, relevance), relevant_scores(before, relevance)
    _check_candidates(chosen, before.shape)
    return Reranking(first, own, relevance, chosen, np.take_along_axis(before, chosen, axis=1)).counts(scores)


def _check_candidates(chosen: NDArray, shape: tuple[int, int]) -> None:
    if chosen.ndim != 2 or len(chosen) != shape[0]:
        raise DataError(f"candidates {list(chosen.shape)} must be [{shape[0]}, K]")
    ordered = np.sort(chosen, axis=1)
    wrong = (ordered < 0) | (ordered >= shape[1])
    wrong[:, 1:] |= ordered[:, 1:] == ordered[:, :-1]
    if wrong.any():
        row = int(np.flatnonzero(wrong.any(axis=1))[0])
        raise DataError(f"re-ranking, query row {row}: a candidate repeats or is not an item of the gallery")
