"""What the page of pictures shows, as facts for its template."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from ..pages import embedded, render
from .drawing import GATE, RIGHT, strip, told
from .pages import Page, Pictures, Row, Shown


@dataclass(frozen=True)
class Video:
    """A video at one stage: words, and a strip of frames. apart: videos between it and the one above are left out.

    source: an address that holds the strip; words: what it shows, for who does not see it.
    """

    rank: int
    right: bool
    apart: bool
    lines: list[str]
    source: str
    width: int
    height: int
    words: str


@dataclass(frozen=True)
class Stage:
    """The videos of one stage."""

    name: str
    videos: list[Video]


@dataclass(frozen=True)
class Query:
    """A text, where its first right video stood at each stage, and the stages."""

    name: str
    caption: str
    movement: str
    stages: list[Stage]


def whole_page(pictures: Pictures) -> str:
    """A complete page with images inline: it needs no other file and no network."""
    gates = [gate for page in pictures.pages for row in page.rows for video in row.shown for gate in video.gates]
    return render(
        "pictures",
        title=pictures.title,
        notes=pictures.notes,
        colours={"right": RIGHT, "gate": GATE},
        marked=any(row.first_right is not None for page in pictures.pages for row in page.rows),
        weighed=bool(gates),
        pale=any(gate.patches is not None for gate in gates),
        queries=[_query(page) for page in pictures.pages],
    )


def _query(page: Page) -> Query:
    return Query(page.query, page.caption, page.movement, [_stage(row) for row in page.rows])


def _stage(row: Row) -> Stage:
    above = [0, *(video.rank for video in row.shown)]
    videos = [_video(video, video.rank > rank + 1) for video, rank in zip(row.shown, above, strict=False)]
    return Stage(row.stage, videos)


def _video(video: Shown, apart: bool) -> Video:
    image, file = strip(video), BytesIO()
    image.save(file, "JPEG", quality=85)
    return Video(
        rank=video.rank,
        right=video.right,
        apart=apart,
        lines=[video.video, *told(video)],
        source=embedded(file.getvalue(), "image/jpeg"),
        width=image.width,
        height=image.height,
        words=f"frames of {video.video}",
    )
