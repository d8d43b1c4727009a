"""Sides made beforehand, so that what is measured is matching alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..components import Interaction, Side, TrainedReranker
from ..features import Features, TextFeatures, Tokens, VideoFeatures


def as_tokens(side: Side) -> dict[str, Tokens]:
    """A side as levels of features, so that core.scoring reads it as it reads any."""
    return {name: Tokens(tensor) for name, tensor in side.items()}


def _as_side(features: Features) -> Side:
    return {name: features.structured(name).values for name in features.names}


class Prepared(Interaction):
    """An interaction whose sides were made beforehand: the levels of its features are the tensors of a side."""

    name = "prepared"

    def __init__(self, interaction: Interaction):
        super().__init__(interaction.config, {})
        self.interaction = interaction

    def text_side(self, text: TextFeatures) -> Side:
        return _as_side(text)

    def video_side(self, video: VideoFeatures) -> Side:
        return _as_side(video)

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
        return _as_side(text)

    def video_side(self, video: VideoFeatures) -> Side:
        return _as_side(video)

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        return self.reranker.score_pairs(text, video, scores)

    def pair_floats(self, text: Side, video: Side) -> float:
        return self.reranker.pair_floats(text, video)
