"""Cosines of the text with the k frames that are most like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from core import Interaction, Levels, Side, TextFeatures, VideoFeatures, setting


class TopFrames(Interaction):
    """(1/k) Σ of the k largest t̂·f̂_n over the valid tokens n of a video; of all of them where there are fewer than k.

    Reads the sentence [B_t, D] and a video level [B_v, N, D] of the same width. Scores [B_t, B_v] are mean cosines, 0
    for a video without a valid token. There are no parameters. k = 1 is the best frame alone, k = N the mean of all.

    Source: after the top-k pooling that X-Pool compares itself with (Gorti et al., CVPR 2022, arXiv 2203.15086), which
    takes the cosine of the mean of the k frames instead of the mean of their cosines.
    """

    name = "top_frames"
    after_training = frozenset({"k"})

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level that the best tokens are taken of")
        k: int = setting(3, "tokens of a video that are averaged", ge=1)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(text=("sentence",), video=(config.level,))

    def text_side(self, text: TextFeatures) -> Side:
        """vector [B_t, D], unit."""
        return {"vector": normalize(text.structured("sentence").values, dim=-1)}

    def video_side(self, video: VideoFeatures) -> Side:
        """values [B_v, N, D], unit; mask [B_v, N]."""
        tokens = video.level(self.config.level)
        return {"values": normalize(tokens.values, dim=-1), "mask": tokens.mask}

    def score(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config])[0]

    def score_lists(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config], lists=True)[0]

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, lists: bool = False) -> list[Tensor]:
        """One score tensor for each k: the cosines are computed and sorted once for all of them."""
        cosines = torch.einsum("vcd,vnd->vcn" if lists else "td,vnd->tvn", text["vector"], video["values"])
        mask = (video["mask"][:, None] if lists else video["mask"]).expand_as(cosines)
        best = cosines.masked_fill(~mask, -torch.inf).sort(dim=-1, descending=True).values
        sums, counts = best.where(best.isfinite(), 0).cumsum(-1), mask.sum(-1)
        taken = [counts.clamp(1, config.k) for config in configs]
        return [sums.gather(-1, count[..., None] - 1)[..., 0] / count for count in taken]

    def pair_floats(self, text: Side, video: Side) -> float:
        """Cosines, the sorted ones, their places (int64) and sums: N each."""
        return 5.0 * video["values"].shape[1]
