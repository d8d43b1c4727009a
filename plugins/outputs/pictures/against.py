"""Two variants side by side: the queries that one of them ranks otherwise than the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from core import UserError, progress
from core.outputs import Rankings, counted

from .pages import Page, Pictures, Reader, Row, asked_for, shared


def against(
    rankings: Rankings, other: Rankings, queries: Sequence[str] = (), most_changed: int = 6, top: int = 5
) -> Pictures:
    """Pictures of a trial against another one, which comes first on each page.

    queries: ids of texts; () for the `most_changed` whose first relevant video ends at ranks that differ by the largest
    factor, gains and losses in turn. top: videos of each stage.
    Raises UserError for a text that is not there, for trials of other texts or videos, and for `most_changed` where no
    rank differs; VideoError for a video that cannot be read any more.
    """
    if rankings.ids != other.ids:
        raise UserError(
            f"`{rankings.variant}` and `{other.variant}` rank other texts or videos: choose two on one split"
        )
    before, after = other.first_right(-1), rankings.first_right(-1)
    texts = rankings.rows_of(queries) if queries else gains_and_losses(before, after, most_changed)
    if not texts:
        told = f"`{rankings.variant}` and `{other.variant}` give the first right video of every query the same rank"
        raise UserError(f"{told}: choose texts by outputs.pictures.queries, or another outputs.pictures.against")
    chosen = f"Shown: {counted(len(texts), 'chosen text')}."
    if not queries:
        chosen = f"Shown: the {len(texts)} texts whose rank differs by the largest factor, gains and losses in turn."
    notes = [rankings.data, rankings.reason, _differ(rankings, other, before, after), chosen, asked_for(rankings)]
    readers = Reader(other, top), Reader(rankings, top)
    drawn = [_page(readers, text) for text in progress(texts, "read what queries find")]
    return Pictures(f"{rankings.name} against {other.name.partition(': ')[2]}", [note for note in notes if note], drawn)


def gains_and_losses(before: NDArray[np.int64], after: NDArray[np.int64], count: int) -> list[int]:
    """Rows of the texts whose rank [Q] changed by the largest factor, the first gain, the first loss, the second gain,
    …; where there are no more of one kind, the rest of the other."""
    change = np.log(before / after)
    gains = [row for row in np.argsort(-change, kind="stable").tolist() if change[row] > 0]
    losses = [row for row in np.argsort(change, kind="stable").tolist() if change[row] < 0]
    return [row for pair in zip_longest(gains, losses) for row in pair if row is not None][:count]


def _page(readers: tuple[Reader, Reader], text: int) -> Page:
    """Both variants' stages, and in words what each of them does to the first right video."""
    parts = [(reader.rankings, reader.rows(text)) for reader in readers]
    ranks = [int(rows[-1].first_right or 0) for _, rows in parts]
    kind = "gain" if ranks[1] < ranks[0] else "loss" if ranks[1] > ranks[0] else "no change"
    movement = f"{kind}: {'; '.join(_told(part, rows) for part, rows in parts)}{shared(readers[1].rankings, text)}"
    rows = [Row(f"{part.variant} · {row.stage}", row.first_right, row.shown) for part, rows in parts for row in rows]
    return Page(*readers[1].rankings.text(text), movement, rows)


def _told(rankings: Rankings, rows: Sequence[Row]) -> str:
    """`top_k=50 ranks the first right video 9 (first stage: video), then 1 (best 50 re-ranked by frame)`"""
    ranks = ", then ".join(f"{row.first_right} ({row.stage})" for row in rows)
    return f"{rankings.variant} ranks the first right video {ranks}"


def _differ(rankings: Rankings, other: Rankings, before: NDArray[np.int64], after: NDArray[np.int64]) -> str:
    """How the two differ over all queries: what a choice of queries must be held against."""
    up, down = int((after < before).sum()), int((after > before).sum())
    return (
        f"Of all {len(before):,} texts {rankings.variant} ranks the first right video higher than {other.variant} for "
        f"{up:,}, lower for {down:,}, and the same for {len(before) - up - down:,}."
    )
