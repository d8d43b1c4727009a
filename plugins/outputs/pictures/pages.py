"""What the pictures show: queries, the best videos of each stage, where the right one stands, and what is attended to.

Scores and candidates are read from the store, none is computed again where it holds them; the frames of the videos that
are shown are decoded anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core import UserError, progress
from core.outputs import Clip, Gate, Rankings

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
    """A stage of one query: its best videos, and the best placed right one where it is not among them."""

    stage: str
    first_right: int
    shown: list[Shown]


@dataclass(frozen=True)
class Page:
    """One query from coarse to fine."""

    query: str
    caption: str
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
    the last stage, by the ratio of the ranks. top: videos of each stage.
    Raises UserError for a text that is not there, and for `most_changed` where no rank changed; VideoError for a video
    that cannot be read any more.
    """
    first, last = rankings.first_right(0), rankings.first_right(-1)
    texts = rankings.rows_of(queries) if queries else most_changed_rows(first, last, most_changed, rankings)
    reader = _Reader(rankings, top)
    notes = [rankings.data, rankings.reason, _moved(rankings, first, last), _told(queries, len(texts))]
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
        single = len(rankings.stages) == 1
        why = "ranks in one stage" if single else "leaves the first right video of every query where it was"
        told = f"`{rankings.variant}` {why}: choose texts by outputs.pictures.queries"
        raise UserError(f"{told}, or another outputs.pictures.variant")
    return rows


# ------------------------------------------------------------------------------------------------ what is read


class _Reader:
    """Makes the pages of a trial. Frames are decoded once for all of them."""

    def __init__(self, rankings: Rankings, top: int):
        self._rankings, self._top = rankings, top
        self._clips: dict[int, Clip] = {}

    def page(self, text: int) -> Page:
        right = self._rankings.relevant(text)
        rows: list[Row] = []
        places: NDArray[np.int64] | None = None
        for stage in self._rankings.stages:
            order, scores = (tensor[0].numpy() for tensor in stage.ranked(slice(text, text + 1)))
            first = int(np.isin(order, right).argmax())
            at = list(range(min(self._top, len(order))))
            if first not in at:
                at.append(first)
            gates = self._rankings.gates(stage, text, order[at])
            videos = [
                Shown(
                    video=self._rankings.video(int(order[place])),
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
        return Page(*self._rankings.text(text), rows)

    def _clip(self, video: int) -> Clip:
        if video not in self._clips:
            self._clips[video] = self._rankings.clip(video, HEIGHT)
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


def _told(queries: Sequence[str], count: int) -> str:
    """How the queries were chosen."""
    if queries:
        return f"Shown: {count} chosen texts."
    return f"Shown: the {count} texts for which its rank changed by the largest factor, up or down."
