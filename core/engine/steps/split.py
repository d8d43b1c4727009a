"""The features of one split, read from the steps that made them, without the videos that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ...contract.components import Split
from ...contract.features import TextFeatures, Tokens, VideoFeatures
from ...contract.store import digest
from ...errors import DataError
from ...measure.metrics import Relevance
from .step import Step, Workspace


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


def inputs_of(step: Step, prefix: str) -> dict[str, Step]:
    """A step's inputs `<prefix>/…`, by the rest of their names."""
    return {name.removeprefix(f"{prefix}/"): s for name, s in step.inputs.items() if name.startswith(f"{prefix}/")}


def kept(workspace: Workspace, split: Split, steps: Mapping[str, Step]) -> Kept:
    """Which rows of a split remain after these encode or decode steps.

    Raises DataError where nothing does.
    """
    skipped: dict[str, list[str]] = {}
    for step in steps.values():
        skipped |= workspace.read(step).info["skipped"]
    missing = {int(row) for row in skipped}
    videos = torch.tensor([row for row in range(len(split.videos)) if row not in missing], dtype=torch.int64)
    texts = torch.tensor([r for r, text in enumerate(split.texts) if text.video not in missing], dtype=torch.int64)
    if not len(texts):
        raise DataError("data.dataset: no text is left whose video can be read")
    at = _positions(videos, len(split.videos))
    own = torch.from_numpy(at[[split.texts[row].video for row in texts.tolist()]])
    return Kept(split, texts, videos, own, skipped)


def read_features(workspace: Workspace, rows: Kept, steps: Mapping[str, Step]) -> tuple[TextFeatures, VideoFeatures]:
    """Memory-mapped levels of both sides: of the steps keyed `text/<level>` and `video/<level>`."""
    sides: dict[str, dict[str, Tokens]] = {"text": {}, "video": {}}
    for name, step in steps.items():
        side, _, level = name.partition("/")
        if side in sides:
            stored = workspace.read(step).tensors()
            sides[side][level] = Tokens(stored["values"], stored.get("mask"))
    text, video = TextFeatures.of(sides["text"]), VideoFeatures.of(sides["video"])
    if not rows.skipped:
        return text.named(rows.text_ids), video.named(rows.video_ids)
    return text.picked(rows.texts, rows.text_ids), video.picked(rows.videos, rows.video_ids)


def split_digest(split: Split) -> str:
    """Digest of which text belongs to which video, and what else is relevant; ids and paths do not enter."""
    return digest([[text.video for text in split.texts], len(split.videos), sorted(map(list, split.also_relevant))])
