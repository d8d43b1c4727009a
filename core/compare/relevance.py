"""Which video answers which text: from a file, or assumed, which is reported."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from ..contract.inputs import regular_file
from ..errors import DataError
from ..measure.metrics import Relevance, query_relevance
from .pairing import Common, Ids, by_same_id


@dataclass(frozen=True)
class Judgements:
    """A relevance file: pairs of ids (text, video), or a matrix by position."""

    place: str
    pairs: tuple[tuple[str, str], ...] = ()
    matrix: Relevance | None = None

    def relevance(self, text_ids: Ids, video_ids: Ids, shape: tuple[int, int]) -> tuple[Relevance, str | None]:
        """(relevance of these texts and videos, which ids of the file are none of theirs: None where all are).

        Raises DataError where ids are missing or the shape is another.
        """
        if self.matrix is not None:
            if self.matrix.shape != shape:
                raise DataError(f"{self.place}: is {list(self.matrix.shape)}, the scores {list(shape)} [texts, videos]")
            return self.matrix, None
        if text_ids is None or video_ids is None:
            raise DataError(f"{self.place}: names texts and videos by id: give the ids of the scores (--rows, --cols)")
        rows, columns = ({item: place for place, item in enumerate(ids)} for ids in (text_ids, video_ids))
        positions = [(rows[t], columns[v]) for t, v in self.pairs if t in rows and v in columns]
        if not positions and any(t in columns and v in rows for t, v in self.pairs):
            raise DataError(f"{self.place}: its texts are the columns and its videos the rows: transpose the scores")
        texts = tuple(dict.fromkeys(t for t, _ in self.pairs if t not in rows))
        videos = tuple(dict.fromkeys(v for _, v in self.pairs if v not in columns))
        strays = [_counted(texts, "text", "that no input has"), _counted(videos, "video", "outside the gallery")]
        relevance = Relevance.from_pairs([row for row, _ in positions], [column for _, column in positions], shape)
        return relevance, " and ".join(filter(None, strays)) or None

    def refuse_unanswered(self, relevance: Relevance, direction: str, ids: tuple[Ids, Ids], strays: str | None) -> None:
        """Raise DataError where a query of this direction has no answer. `ids`: of texts and videos; `strays`: as
        `relevance` gives them."""
        degree = query_relevance(relevance, direction).degree
        missing = np.flatnonzero(degree == 0)
        if not missing.size:
            return
        query, answer, query_ids = ("text", "video", ids[0]) if direction == "t2v" else ("video", "text", ids[1])
        called = f"{query} {missing[0]}, counted from 0" if query_ids is None else f"{query} `{query_ids[missing[0]]}`"
        named = f"; the file names {strays}" if strays else ""
        raise DataError(
            f"{self.place}: no {answer} answers {called}; {missing.size:,} of {degree.size:,} {query}s have no "
            f"answer{named}"
        )


def _counted(ids: tuple[str, ...], kind: str, where: str) -> str | None:
    """`3 text ids that no input has (the first is t9)`; None where there are none."""
    if not ids:
        return None
    noun = "id" if len(ids) == 1 else "ids"
    return f"{len(ids):,} {kind} {noun} {where} (the first is {ids[0]})"


def read_judgements(path: str) -> Judgements:
    """Read `text TAB video`, TREC qrels (text 0 video relevance), or a sparse matrix saved by scipy.sparse.save_npz."""
    file = regular_file(path, "which video answers which text")
    if file.suffix == ".npz":
        from scipy.sparse import load_npz

        try:
            matrix = load_npz(file).tocoo()
        except Exception as fault:  # a zip's, NumPy's, SciPy's
            raise DataError(f"{path}: cannot be read as a sparse matrix (scipy.sparse.save_npz): {fault}") from None
        nonzero = matrix.data != 0
        return Judgements(path, matrix=Relevance.from_pairs(matrix.row[nonzero], matrix.col[nonzero], matrix.shape))
    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{path}: relevance cannot be read: {fault}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.split("\t") if line.count("\t") == 1 else line.split()
        if len(words) == 4 and re.fullmatch("-?[0-9]{1,18}", words[3]):
            if int(words[3]) > 0:
                pairs.append((words[0], words[2]))
        elif len(words) == 2:
            pairs.append((words[0].strip(), words[1].strip()))
        else:
            raise DataError(f"{path}: line {number}: expected `text TAB video`, or qrels `text 0 video relevance`")
    return Judgements(path, tuple(pairs))


def assumed_relevance(common: Common) -> tuple[Relevance, str | None]:
    """(relevance, what is assumed; None where the dump told it). Raises DataError where nothing can be assumed."""
    texts, videos = common.shape
    if common.own is not None:
        return Relevance.from_pairs(np.arange(texts), common.own, common.shape), None
    if by_same_id(common):
        column = {video: place for place, video in enumerate(common.video_ids or ())}
        answers = [column[text] for text in common.text_ids or ()]
        relevance = Relevance.from_pairs(np.arange(texts), answers, common.shape)
        return relevance, "Assumed: the video that answers a text is the one of the same id. Else give --relevance."
    if texts != videos:
        raise DataError(
            f"the scores are {texts:,} texts x {videos:,} videos: say by --relevance which video answers which"
        )
    if common.moved:
        raise DataError(f"{'; '.join(common.moved)}: say by --relevance which video answers which text")
    return Relevance.from_pairs(np.arange(texts), np.arange(texts), common.shape), (
        "Assumed: row i and column i belong together and nothing else does (the diagonal). Else give --relevance."
    )
