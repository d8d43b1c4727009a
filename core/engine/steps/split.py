"""Rows and features of one split, read from the steps that made them, without the videos that could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ...contract.components import Shapes, Split
from ...contract.features import TextFeatures, Tokens, VideoFeatures
from ...contract.store import digest
from ...errors import DataError
from ...experiment.config import Experiment
from ...measure.metrics import Relevance
from .step import Inputs, Step, Workspace


@dataclass(frozen=True, kw_only=True)
class FeatureInputs(Inputs):
    """Levels of a split, by name. skip: what says which videos were skipped, where no level that is read does."""

    text: Mapping[str, Step] = field(default_factory=dict)
    video: Mapping[str, Step] = field(default_factory=dict)
    skip: Mapping[str, Step] = field(default_factory=dict)

    def __or__(self, other: FeatureInputs) -> FeatureInputs:
        return FeatureInputs(
            text={**self.text, **other.text}, video={**self.video, **other.video}, skip={**self.skip, **other.skip}
        )


@dataclass(frozen=True, kw_only=True)
class ReadsFeatures(Inputs):
    """Of a step that reads levels of one split."""

    flat_names = {"features": ""}
    features: FeatureInputs


@dataclass(frozen=True, kw_only=True)
class RetrievalSource:
    """What a step of retrieval reads beside its inputs: `split` is searched, in one direction, by one seed's trial."""

    experiment: Experiment
    shapes: Shapes
    split: Split
    direction: str = "t2v"
    seed: int = 0


@dataclass(frozen=True)
class Kept:
    """The rows of a split that remain when unreadable videos are left out, and what is relevant among them.

    texts, videos: rows of the split. own: for each kept text, the position of its video among the kept ones.
    """

    split: Split
    texts: Tensor
    videos: Tensor
    own: Tensor
    skipped: dict[str, list[str]]

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Relevant (text positions, video positions) among the kept rows."""
        text_at = _positions(self.texts, len(self.split.texts))
        video_at = _positions(self.videos, len(self.split.videos))
        pairs = np.array(self.split.pairs, dtype=np.int64).reshape(-1, 2)
        texts, videos = text_at[pairs[:, 0]], video_at[pairs[:, 1]]
        both = (texts >= 0) & (videos >= 0)
        return texts[both], videos[both]

    @property
    def relevance(self) -> Relevance:
        return Relevance.from_pairs(*self.pairs, (len(self.texts), len(self.videos)))

    @property
    def sparse(self) -> csr_array:
        texts, videos = self.pairs
        return csr_array((np.ones(len(texts), bool), (texts, videos)), shape=(len(self.texts), len(self.videos)))

    @property
    def text_ids(self) -> list[str]:
        return [self.split.texts[row].id for row in self.texts.tolist()]

    @property
    def video_ids(self) -> list[str]:
        return [self.split.videos[row].id for row in self.videos.tolist()]


def _positions(rows: Tensor, total: int) -> np.ndarray:
    places = np.full(total, -1, dtype=np.int64)
    places[rows.numpy()] = np.arange(len(rows))
    return places


def kept(workspace: Workspace, split: Split, steps: Iterable[Step]) -> Kept:
    """Which rows of a split remain after these encode or decode steps.

    Raises DataError where nothing does.
    """
    skipped: dict[str, list[str]] = {}
    for step in steps:
        skipped |= workspace.read(step).info["skipped"]
    missing = {int(row) for row in skipped}
    videos = torch.tensor([row for row in range(len(split.videos)) if row not in missing], dtype=torch.int64)
    texts = torch.tensor([r for r, text in enumerate(split.texts) if text.video not in missing], dtype=torch.int64)
    if not len(texts):
        raise DataError("data.dataset: no text is left whose video can be read")
    at = _positions(videos, len(split.videos))
    own = torch.from_numpy(at[[split.texts[row].video for row in texts.tolist()]])
    return Kept(split, texts, videos, own, skipped)


def rows_of(workspace: Workspace, step: Step[ReadsFeatures]) -> Kept:
    """The rows of its payload's split that a step scores or ranks, found once a process."""
    split, steps = step.payload.split, step.inputs.features.values()
    key = ("kept", id(split), *sorted(feature.key for feature in steps))
    return workspace.once(key, lambda: kept(workspace, split, steps))


def features_of(workspace: Workspace, step: Step[ReadsFeatures]) -> tuple[TextFeatures, VideoFeatures]:
    """The levels of a split that are a step's inputs."""
    return read_features(workspace, rows_of(workspace, step), step.inputs.features)


def read_features(workspace: Workspace, rows: Kept, inputs: FeatureInputs) -> tuple[TextFeatures, VideoFeatures]:
    """Memory-mapped levels of both sides."""
    text, video = (
        {level: _tokens(workspace, step) for level, step in steps.items()} for steps in (inputs.text, inputs.video)
    )
    texts, videos = TextFeatures.of(text), VideoFeatures.of(video)
    if not rows.skipped:
        return texts.named(rows.text_ids), videos.named(rows.video_ids)
    return texts.picked(rows.texts, rows.text_ids), videos.picked(rows.videos, rows.video_ids)


def _tokens(workspace: Workspace, step: Step) -> Tokens:
    stored = workspace.read(step).tensors()
    return Tokens(stored["values"], stored.get("mask"))


def split_digest(split: Split) -> str:
    """Digest of which text belongs to which video, and what else is relevant; ids and paths do not enter."""
    return digest([[text.video for text in split.texts], len(split.videos), sorted(map(list, split.also_relevant))])
