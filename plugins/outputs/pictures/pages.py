"""What the pictures show: queries, the best videos of each stage, where the right one stands, and what is attended to.

Scores and candidates are read from the store, none is computed again where it holds them; the frames of the videos that
are shown are decoded anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from core import UserError, progress
from core.outputs import Clip, Gate, Rankings, counted

HEIGHT = 60
"""Pixels of a shown frame's shorter side."""


@dataclass(frozen=True)
class Shown:
    """A video at one stage. rank: from 1. score: None where the stage gave none. before: its rank one stage earlier;
    None at the first."""

    video: str
    rank: int
    score: float | None
    right: bool
    before: int | None
    clip: Clip
    gates: list[Gate] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A stage of one query: its best videos, and the best placed right one where it is not among them.

    first_right: the rank of that one; None for a sentence, of which no video is known to be right.
    """

    stage: str
    first_right: int | None
    shown: list[Shown]


@dataclass(frozen=True)
class Page:
    """One query from coarse to fine. movement: in words where its first right video stands at each stage."""

    query: str
    caption: str
    movement: str
    rows: list[Row]


@dataclass(frozen=True)
class Pictures:
    """Pages of one trial. notes: what they were made of and how their queries were chosen."""

    title: str
    notes: list[str]
    pages: list[Page]


def pages(rankings: Rankings, queries: Sequence[str] = (), most_changed: int = 6, top: int = 5) -> Pictures:
    """Pictures of a trial.

    queries: ids of texts; () for the `most_changed` whose first relevant video changed its rank most from the first to
    the last stage, by the ratio of the ranks; with a single stage, for those whose first relevant video stands lowest.
    top: videos of each stage.
    Raises UserError for a text that is not there, and for `most_changed` where no rank changed; VideoError for a video
    that cannot be read any more.
    """
    first, last = rankings.first_right(0), rankings.first_right(-1)
    single = len(rankings.stages) == 1
    if queries:
        texts, chosen = rankings.rows_of(queries), f"Shown: {counted(len(queries), 'chosen text')}."
    elif single:
        texts = np.argsort(-last, kind="stable")[:most_changed].tolist()
        chosen = f"Shown: the {len(texts)} texts whose first right video stands lowest."
    else:
        texts = most_changed_rows(first, last, most_changed, rankings)
        chosen = f"Shown: the {len(texts)} texts for which its rank changed by the largest factor, up or down."
    reader = Reader(rankings, top)
    notes = [rankings.data, rankings.reason, _moved(rankings, first, last), chosen, asked_for(rankings)]
    drawn = [reader.page(text) for text in progress(texts, "read what queries find")]
    return Pictures(rankings.name, [note for note in notes if note], drawn)


def most_changed_rows(first: NDArray[np.int64], last: NDArray[np.int64], count: int, rankings: Rankings) -> list[int]:
    """Rows of the texts whose rank [Q] changed by the largest factor, those of one factor in order.

    Raises UserError where no rank changed.
    """
    change = np.abs(np.log(last / first))
    order = np.argsort(-change, kind="stable")[:count]
    rows = order[change[order] > 0].tolist()
    if not rows:
        told = f"`{rankings.variant}` leaves the first right video of every query where it was"
        raise UserError(f"{told}: choose texts by outputs.pictures.queries, or another outputs.pictures.variant")
    return rows


def found(rankings: Rankings, top: int = 5) -> Pictures:
    """Pictures of what a typed sentence finds: its best videos in the end, with how it weighs their frames. These keep
    their colours, whatever patches weigh.

    Raises VideoError for a video that cannot be read any more.
    """
    videos = [
        Shown(
            video=best.video,
            rank=best.rank,
            score=best.score,
            right=False,
            before=best.before,
            clip=rankings.clip(best.row, HEIGHT),
            gates=[replace(gate, patches=None) for gate in best.gates],
        )
        for best in rankings.best(0, top)
    ]
    left_out = [f"{name} looks at the other queries: for one sentence it is left out." for name in rankings.left_out]
    notes = [note for note in (rankings.data, rankings.reason, *left_out) if note]
    rows = [Row(", then ".join(stage.name for stage in rankings.stages), None, videos)]
    page = Page("sentence", str(rankings.sentence), "no right video is known", rows)
    return Pictures(rankings.name, notes, [page])


# ------------------------------------------------------------------------------------------------ what is read


class Reader:
    """Makes the pages of a trial. Frames are decoded once for all of them."""

    def __init__(self, rankings: Rankings, top: int):
        self.rankings, self._top = rankings, top
        self._clips: dict[int, Clip] = {}

    def page(self, text: int) -> Page:
        rows = self.rows(text)
        return Page(*self.rankings.text(text), f"{_moved_in_words(rows)}{shared(self.rankings, text)}", rows)

    def rows(self, text: int) -> list[Row]:
        right = self.rankings.relevant(text)
        rows: list[Row] = []
        places: NDArray[np.int64] | None = None
        for stage in self.rankings.stages:
            order, scores = (tensor[0].numpy() for tensor in stage.ranked(slice(text, text + 1)))
            first = int(np.isin(order, right).argmax())
            at = list(range(min(self._top, len(order))))
            if first not in at:
                at.append(first)
            gates = self.rankings.gates(stage, text, order[at])
            videos = [
                Shown(
                    video=self.rankings.video(int(order[place])),
                    rank=place + 1,
                    score=None if math.isnan(scores[place]) else float(scores[place]),
                    right=bool(np.isin(order[place], right)),
                    before=None if places is None else int(places[order[place]]) + 1,
                    clip=self._clip(int(order[place])),
                    gates=offered,
                )
                for place, offered in zip(at, gates, strict=True)
            ]
            rows.append(Row(stage.name, first + 1, videos))
            places = np.argsort(order)  # the inverse of the order: each video's place at this stage
        return rows

    def _clip(self, video: int) -> Clip:
        if video not in self._clips:
            self._clips[video] = self.rankings.clip(video, HEIGHT)
        return self._clips[video]


# ------------------------------------------------------------------------------------------------ what is said


def _moved(rankings: Rankings, first: NDArray[np.int64], last: NDArray[np.int64]) -> str:
    """How the first relevant video moved over all queries: what a choice of queries must be held against."""
    if len(rankings.stages) == 1:
        return "One stage ranks all videos."
    up, down = int((last < first).sum()), int((last > first).sum())
    return (
        f"Of all {len(first):,} texts the first right video stands higher at the last stage than at the first for "
        f"{up:,}, lower for {down:,}, and where it was for {len(first) - up - down:,}."
    )


def _moved_in_words(rows: Sequence[Row]) -> str:
    """`first right video at rank 9, then 2, then 1`"""
    return f"first right video at rank {', then '.join(str(row.first_right) for row in rows)}"


def shared(rankings: Rankings, text: int) -> str:
    """`; the same sentence: v7-1`, of texts that a reader could take for this one; "" where there is none."""
    others = rankings.namesakes(text)
    more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
    return f"; the same sentence: {', '.join(others[:3])}{more}" if others else ""


def asked_for(rankings: Rankings) -> str:
    """`Any of 1,400 texts can be asked for: outputs.pictures.queries=[v0-0, v0-1, …]`"""
    count = rankings.sizes[0]
    ids = ", ".join(rankings.text(row)[0] for row in range(min(3, count)))
    more = ", …" if count > 3 else ""
    return f"{counted(count, 'text')} can be asked for by outputs.pictures.queries, by id: {ids}{more}"
