"""Which items answer which query."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import ConfigError, DataError, Problem, nearest

DIRECTIONS = ("t2v", "v2t")


@dataclass(frozen=True, eq=False)
class Relevance:
    """Which items answer which query: a bool matrix [rows, columns] that keeps only its True entries.

    The relevant columns of row i are `indices[indptr[i]:indptr[i + 1]]`, ascending. Rows are texts and columns videos;
    `.T` is the video-to-text view.

    >>> import core
    >>> two_captions = core.Relevance.from_pairs(rows=[0, 1, 2], columns=[0, 0, 1], shape=(3, 2))
    >>> two_captions.rows(2).tolist(), two_captions.T.rows(0).tolist()
    ([1], [0, 1])
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
        # as single numbers, row * columns + column: sorted by row, then by column, each pair once
        row, column = np.divmod(np.unique(row * shape[1] + column), max(shape[1], 1))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
        return cls(indptr, column, (int(shape[0]), int(shape[1])))

    @classmethod
    def from_dense(cls, matrix: ArrayLike) -> Relevance:
        """Relevance of a dense bool matrix [rows, columns]."""
        dense = np.asarray(matrix, dtype=bool)
        rows, columns = np.nonzero(dense)
        return cls.from_pairs(rows, columns, (dense.shape[0], dense.shape[1]))

    @classmethod
    def of(cls, given: Any, shape: tuple[int, int]) -> Relevance:
        """Relevance [texts, videos] from what a person has: a Relevance, a bool or 0/1 array, a scipy.sparse matrix, a
        list of (text row, video row), or None for the diagonal of a square `shape`.

        >>> import core
        >>> core.Relevance.of([(0, 1), (1, 0)], (2, 2)).rows(0).tolist()
        [1]

        Raises DataError for anything else, for another shape, and for None where texts and videos are not as many.
        """
        if given is None:
            if shape[0] != shape[1]:
                raise DataError(
                    f"relevance: is needed for {shape[0]:,} texts and {shape[1]:,} videos: without it the video of "
                    "each text would be the one in its place, which takes as many of both"
                )
            return cls.from_pairs(np.arange(shape[0]), np.arange(shape[0]), shape)
        relevance = given if isinstance(given, cls) else cls._from_matrix(given) or cls._from_list(given, shape)
        if relevance.shape != shape:
            raise DataError(f"relevance: is {list(relevance.shape)}, the scores {list(shape)}, [texts, videos] both")
        return relevance

    @classmethod
    def _from_matrix(cls, source: Any) -> Relevance | None:
        """Of a sparse matrix, or of an array or tensor that is no list of pairs; None for what is neither."""
        if hasattr(source, "tocoo"):
            entries = source.tocoo()
            there = entries.data != 0
            return cls.from_pairs(entries.row[there], entries.col[there], entries.shape)
        if not hasattr(source, "shape"):
            return None
        matrix = np.asarray(source)
        if matrix.ndim != 2 or not (matrix.dtype == bool or np.isin(matrix, (0, 1)).all()):
            raise DataError(
                f"relevance: expected a bool matrix [texts, videos], got {matrix.dtype} of shape {list(matrix.shape)}"
            )
        return cls.from_dense(matrix)

    @classmethod
    def _from_list(cls, source: Any, shape: tuple[int, int]) -> Relevance:
        expected = "a Relevance, a bool matrix [texts, videos], a scipy.sparse matrix or a list of (text, video)"
        try:
            pairs = [(operator.index(text), operator.index(video)) for text, video in source]
        except (TypeError, ValueError):
            raise DataError(f"relevance: expected {expected}, got {type(source).__name__}") from None
        return cls.from_pairs([text for text, _ in pairs], [video for _, video in pairs], shape)

    @cached_property
    def T(self) -> Relevance:
        """The same pairs with rows and columns exchanged."""
        rows, columns = self.shape
        return Relevance.from_pairs(self.indices, self._pair_rows(), (columns, rows))

    @property
    def degree(self) -> NDArray[np.int64]:
        """Number of relevant columns of each row, [rows]."""
        return np.diff(self.indptr)

    def rows(self, i: int) -> NDArray[np.int64]:
        """The relevant columns of row i."""
        return self.indices[self.indptr[i] : self.indptr[i + 1]]

    def pairs(self, rows: NDArray, columns: NDArray) -> NDArray[np.int64]:
        """Which of `indices` each pair (rows[p], columns[p]) is; -1 for one that is not relevant. [P]"""
        # each pair as one number, row * columns + column: those of `indices` ascend
        codes = self._pair_rows() * self.shape[1] + self.indices
        wanted = rows * self.shape[1] + columns
        places = np.searchsorted(codes, wanted)
        # a number beyond the last code gets the place behind it: the -1 put there equals none
        return np.where(np.append(codes, -1)[places] == wanted, places, -1)

    def clusters(self) -> NDArray[np.int64]:
        """A label for each row, [rows]: rows that share a relevant column, directly or through others, share it.

        For captions (rows) of videos (columns) the clusters are the videos: the unit of every significance test.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        # a graph of all rows and columns, columns numbered after the rows; the pairs are its edges
        rows, nodes = self.shape[0], sum(self.shape)
        edges = (np.ones(self.indices.size, dtype=bool), (self._pair_rows(), rows + self.indices))
        _, label = connected_components(coo_array(edges, shape=(nodes, nodes)), directed=False)
        return np.unique(label[:rows], return_inverse=True)[1].astype(np.int64)

    def _pair_rows(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.shape[0]), self.degree)


def query_relevance(relevance: Relevance, direction: str) -> Relevance:
    """Relevance [queries, items] of a direction, of relevance [texts, videos]."""
    if direction not in DIRECTIONS:
        raise ConfigError(
            Problem("evaluate.directions", f"unknown direction `{direction}`.{nearest(direction, DIRECTIONS)}")
        )
    return relevance if direction == "t2v" else relevance.T
