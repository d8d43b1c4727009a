"""Sides made beforehand, so that what is measured is matching alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ...contract.components import Interaction, Side, TrainedReranker
from ...contract.features import Features, TextFeatures, Tokens, VideoFeatures, gathered


def as_tokens(side: Side) -> dict[str, Tokens]:
    """A side as levels of features, so that engine.scoring reads it as it reads any."""
    return {name: Tokens(tensor) for name, tensor in side.items()}


class SideLevels(Features):
    """The tensors of a side as levels, which stay where and in the precision in which it was made: engine.scoring moves
    an encoder's levels to the device and widens them."""

    mapped: ClassVar[bool] = False
    """They are mapped from a file, and come to the device as they are read."""

    @classmethod
    def made(cls, side: Side, rows: int) -> Self:
        """Of a side of so many items. Where it has no tensor their number is known by ids."""
        return cls.of(as_tokens(side), None if side else [str(row) for row in range(rows)])

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        levels = {name: self.structured(name).map(lambda t: t.to(self._place(t, device))) for name in self.names}
        return self.of(levels, self.ids)

    def batch(self, rows: Tensor, device: Any = "cpu", positions: Mapping[str, Tensor] | None = None) -> Self:
        at = rows if self._rows is None else self._rows[rows]
        take = partial(self._gathered, rows=at, device=device)
        levels = {name: tokens.map(take) for name, tokens in self._levels.items()}
        return self.of(levels, None if self.ids is None else [self.ids[row] for row in rows.tolist()])

    def _gathered(self, tensor: Tensor, rows: Tensor, device: Any) -> Tensor:
        return gathered(tensor, rows, self._place(tensor, device))

    def _place(self, tensor: Tensor, device: Any) -> torch.device:
        wanted = tensor.device if device is None else torch.device(device)
        return wanted if self.mapped or wanted.type == "cpu" else tensor.device


class TextSide(SideLevels, TextFeatures):
    """The side of some texts."""


class VideoSide(SideLevels, VideoFeatures):
    """The side of some videos."""


class MappedVideoSide(VideoSide):
    """The same in a file."""

    mapped = True


def as_side(features: Features) -> Side:
    """The side back from its levels."""
    return {name: features.structured(name).values for name in features.names}


class Prepared(Interaction):
    """An interaction whose sides were made beforehand: the levels of its features are the tensors of a side."""

    name = "prepared"

    def __init__(self, interaction: Interaction):
        super().__init__(interaction.config, {})
        self.interaction = interaction

    def text_side(self, text: TextFeatures) -> Side:
        return as_side(text)

    def video_side(self, video: VideoFeatures) -> Side:
        return as_side(video)

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, lists: bool = False) -> list[Tensor]:
        return self.interaction.score_settings(text, video, configs, lists=lists)

    def pair_floats(self, text: Side, video: Side) -> float:
        return self.interaction.pair_floats(text, video)


class PreparedReranker(TrainedReranker):
    """The same of a trained reranker."""

    name = "prepared_reranker"

    def __init__(self, reranker: TrainedReranker):
        super().__init__(reranker.config, {})
        self.reranker = reranker

    def text_side(self, text: TextFeatures) -> Side:
        return as_side(text)

    def video_side(self, video: VideoFeatures) -> Side:
        return as_side(video)

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        return self.reranker.score_pairs(text, video, scores)

    def pair_floats(self, text: Side, video: Side) -> float:
        return self.reranker.pair_floats(text, video)
