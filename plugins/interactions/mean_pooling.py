"""Cosine of the text with the mean of the video's tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import Interaction, Levels, Shapes, Side, TextFeatures, VideoFeatures, setting
from plugins.layers.gating import mean_vector, require_one_width


class MeanPooling(Interaction):
    """One vector a side and their dot product: t̂·v̂ with v̂ = n(mean over valid tokens of n(token)).

    Reads a video level [B_v, N, D] and a text level, usually the sentence [B_t, D] (of several tokens the mean is
    taken, as on the video side). Scores [B_t, B_v] are cosines; with `text_projection` they are (t̂ W)·v̂, W [D, D]
    from the identity and the product not normalised again. A video without a valid token scores 0.
    Raises ValueError where the widths of the levels differ.

    Auxiliary: text_vector t̂ (before W) and video_vector v̂, [N, D].
    Source: CLIP4Clip (Luo et al. 2021, arXiv 2104.08860), parameter-free mean pooling; with `text_projection` the
    coarse score of EERCF (Tian et al., AAAI 2024, arXiv 2401.00701).
    """

    name = "mean_pooling"
    inner_product = True

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level whose tokens are averaged")
        text_level: str = setting("sentence", "text level; the mean of its tokens where it has several")
        text_projection: bool = setting(False, "multiply the text vector by a trained D x D matrix, from the identity")
        ignore_mask: bool = setting(False, "average padding tokens too")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        require_one_width(shapes, self.reads(config))
        if config.text_projection:
            self.text_projection = nn.Parameter(torch.eye(self._width()))

    def _width(self) -> int:
        for name in (self.config.text_level, self.config.level):
            if name in self.shapes:
                return self.shapes[name].width
        raise ValueError(f"`text_projection` needs the width of level `{self.config.text_level}`: give its shape")

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(text=(config.text_level,), video=(config.level,))

    @classmethod
    def provides(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_vector", "video_vector"})

    def text_side(self, text: TextFeatures) -> Side:
        """vector [B_t, D], what is multiplied with the video; with a projection also `unit` [B_t, D] before it."""
        pooled = mean_vector(text.structured(self.config.text_level))
        if not self.config.text_projection:
            return {"vector": pooled}
        return {"vector": pooled @ self.text_projection, "unit": pooled}

    def video_side(self, video: VideoFeatures) -> Side:
        """vector [B_v, D], unit."""
        return {"vector": mean_vector(video.structured(self.config.level), self.config.ignore_mask)}

    def match(self, text: Side, video: Side) -> tuple[Tensor, Side]:
        vectors = {"text_vector": text.get("unit", text["vector"]), "video_vector": video["vector"]}
        return self.score(text, video), vectors

    def pair_floats(self, text: Side, video: Side) -> float:
        return 1.0
