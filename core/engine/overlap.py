"""Videos that are the same bytes: of two splits, so that what was trained on is scored; or twice in one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from ..contract.components import Split
from ..contract.store import MISSING
from .plan import Plan
from .steps.decode import VideoSource

EXAMPLES = 3
Files = dict[str, list[str]]
"""Ids of the videos of a split by the digest of what their files hold."""


def shared_files(plan: Plan) -> list[str]:
    """One sentence for each pair of splits, and each split by itself, in which videos are the same files.

    Only splits whose files some step of the plan reads: their digests are known, nothing is read for this.
    """
    sources = [step.payload for step in plan.steps.values() if isinstance(step.payload, VideoSource)]
    digests = {source.paths: source.items for source in sources}
    datasets = [plan.workspace.splits(variant.experiment.data.dataset) for variant in plan.variants if sources]
    return list(dict.fromkeys(line for splits in datasets for line in _sentences(splits, digests)))


def _sentences(splits: Mapping[str, Split], digests: Mapping[tuple[str, ...], tuple[str, ...]]) -> Iterator[str]:
    files: dict[str, Files] = {}
    for name, split in splits.items():
        if items := digests.get(tuple(video.path for video in split.videos)):
            files[name] = _by_digest(split, items)
    for (first_split, mine), (other, theirs) in combinations(files.items(), 2):
        pairs = [f"{video} = {mine[item][0]}" for item, own in theirs.items() if item in mine for video in own]
        if pairs:
            yield f"{_counted(pairs)} of {other} {_is(pairs)} the same as in {first_split}, to the byte: {_some(pairs)}"
    for name, own in files.items():
        pairs = [f"{video} = {first}" for first, *more in own.values() for video in more]
        if pairs:
            told = f"{_counted(pairs)} of {name} {_is(pairs)} the same as another of {name}, to the byte"
            yield f"{told}, and no score tells them apart: {_some(pairs)}"


def _by_digest(split: Split, items: tuple[str, ...]) -> Files:
    files: Files = {}
    for video, item in zip(split.videos, items, strict=True):
        if item != MISSING:
            files.setdefault(item, []).append(video.id)
    return files


def _counted(pairs: list[str]) -> str:
    return "1 video" if len(pairs) == 1 else f"{len(pairs):,} videos"


def _is(pairs: list[str]) -> str:
    return "is" if len(pairs) == 1 else "are"


def _some(pairs: list[str]) -> str:
    return ", ".join([*pairs[:EXAMPLES], "…"] if len(pairs) > EXAMPLES else pairs)
