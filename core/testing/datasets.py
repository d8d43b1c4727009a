"""Checks of a data set."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from ..contract.components import Dataset, Split
from .contract import Faults

SPLITS = ("train", "val", "test")


class DatasetCase:
    """A data set and an empty folder for what it makes."""

    def __init__(self, cls: type[Dataset], config: Any, folder: Path):
        self.cls, self.config, self.folder = cls, config, folder

    def build(self) -> Any:
        return self.cls(self.config)

    @cached_property
    def splits(self) -> dict[str, Split]:
        return self.build().prepare(self.folder)


def it_gives_splits(case: DatasetCase) -> Faults:
    for name, split in case.splits.items():
        if name not in SPLITS or not isinstance(split, Split):
            yield f"`{name}` is {type(split).__name__}", f"Give Split objects named among {', '.join(SPLITS)}"
        elif not split.videos or not split.texts:
            yield f"`{name}` has {len(split.videos)} videos and {len(split.texts)} texts", "Leave an empty split out"
    if not case.splits:
        yield "there are none", "Give at least one split, or raise DataError"


def ids_are_unique(case: DatasetCase) -> Faults:
    for name, split in case.splits.items():
        for of, items in (("videos", split.videos), ("texts", split.texts)):
            counts = Counter(item.id for item in items)
            twice = [key for key, count in counts.items() if count > 1]
            if twice:
                yield f"{len(twice)} ids of {of} of `{name}` stand twice, as `{twice[0]}`", "Name each row apart"


def texts_point_to_videos(case: DatasetCase) -> Faults:
    for name, split in case.splits.items():
        for row, text in enumerate(split.texts):
            if not 0 <= text.video < len(split.videos):
                yield f"text {row} of `{name}` has the video {text.video} of {len(split.videos)}", "Give its row"
            if not text.text.strip():
                yield f"text {row} of `{name}` is empty", "Leave it out, or raise DataError"
        for row, video in split.also_relevant:
            if not (0 <= row < len(split.texts) and 0 <= video < len(split.videos)):
                yield f"also_relevant of `{name}` has ({row}, {video})", "Give (text row, video row) of the same split"


def videos_are_there(case: DatasetCase) -> Faults:
    named = set(case.cls.video_texts(case.config))
    for name, split in case.splits.items():
        gone = [video.path for video in split.videos if not Path(video.path).exists()]
        if gone:
            yield f"{len(gone)} files of `{name}` are missing, as {gone[0]}", "Make them in prepare, or raise DataError"
        for key in sorted({key for video in split.videos for key in video.texts} - named):
            yield f"videos of `{name}` have the texts `{key}`", "Name them in `video_texts`"


def preparing_again_gives_the_same(case: DatasetCase) -> Faults:
    before = case.splits
    states = _files(case.folder)
    if case.build().prepare(case.folder) != before:
        yield "other splits the second time", "Draw from a seed that is a field, and sort what is listed"
    if written := sorted(str(file) for file, state in _files(case.folder).items() if states.get(file) != state):
        yield f"{len(written)} files are written again, as {written[0]}", "Write what is there once"


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    stats = {file: file.stat() for file in folder.rglob("*") if file.is_file()}
    return {file: (state.st_mtime_ns, state.st_size) for file, state in stats.items()}


def it_is_ready_afterwards(case: DatasetCase) -> Faults:
    assert case.splits
    if not case.build().ready(case.folder):
        yield "`ready` is False after `prepare`", "Say True where nothing is left to make"


FIRST = (it_gives_splits,)
CHECKS = (
    ids_are_unique,
    texts_point_to_videos,
    videos_are_there,
    preparing_again_gives_the_same,
    it_is_ready_afterwards,
)
