"""Data sets: videos, texts, splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .base import Component


@dataclass(frozen=True)
class Video:
    """A video file, or a folder of frames; `texts` are further texts that belong to it (tags, auxiliary captions).

    >>> import core
    >>> core.Video("a", "videos/a.mp4", texts={"tags": ("red", "disc")}).texts["tags"]
    ('red', 'disc')
    """

    id: str
    path: str
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """A caption. `video` is the row, in its split, of the video that it was written for.

    >>> import core
    >>> videos = core.Video("a", "videos/a.mp4"), core.Video("b", "videos/b.mp4")
    >>> videos[core.Text("b-0", "a red disc", video=1).video].id
    'b'
    """

    id: str
    text: str
    video: int


@dataclass(frozen=True)
class Split:
    """Videos and texts of one split. `also_relevant` holds (text row, video row) beyond each text's own video.

    >>> import core
    >>> videos = core.Video("a", "videos/a.mp4"), core.Video("b", "videos/b.mp4")
    >>> core.Split(videos, (core.Text("b-0", "a red disc", video=1),), also_relevant=((0, 0),)).pairs
    [(0, 0), (0, 1)]
    """

    videos: tuple[Video, ...]
    texts: tuple[Text, ...]
    also_relevant: tuple[tuple[int, int], ...] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every relevant (text row, video row), sorted, once each."""
        return sorted({(row, text.video) for row, text in enumerate(self.texts)} | set(self.also_relevant))


class Dataset(Component):
    """A source of videos and texts, in splits `train`, `val`, `test` (those that it has).

    >>> import core
    >>> class OneVideo(core.Dataset):
    ...     name = "one_video"
    ...     def prepare(self, folder):
    ...         return {"test": core.Split((core.Video("a", "a.mp4"),), (core.Text("a-0", "a red disc", video=0),))}
    >>> OneVideo(OneVideo.Config()).prepare("store/data/one_video")["test"].pairs
    [(0, 0)]
    """

    kind = "dataset"

    def __init__(self, config: Any):
        self.config = config

    @classmethod
    def video_texts(cls, config: Any) -> tuple[str, ...]:
        """Names of the texts that it attaches to videos; each is a level on the video side."""
        return ()

    def ready(self, folder: Path) -> bool:
        """Whether `prepare` has nothing left to make; `--dry-run` then reads the data set."""
        return True

    def prepare(self, folder: Path) -> dict[str, Split]:
        """The splits. `folder` is kept for this configuration: a generated set writes its files there, once.

        Raises DataError for input that is missing or contradicts itself.
        """
        raise NotImplementedError
