"""Cosines of the text with each token, averaged by their own softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import Interaction, Levels, Shapes, Side, TextFeatures, VideoFeatures, setting
from plugins.layers.entropy import relative_entropy
from plugins.layers.gating import mean_vector, require_one_width, token_weights, unit_tokens, video_blocks


class WeightedSimilarity(Interaction):
    """Σ_j s_j a_j with s_j = t̂·v_j and a = softmax_j(s / temperature): a soft maximum over the video's tokens.

    Reads a video level [B_v, N, D] and a text level, usually the sentence [B_t, D]. Scores [B_t, B_v] lie in
    [-1, 1]; unlike `tib` the pooled vector is not normalised. With `mix` the weights are multiplied by a trained
    matrix W [N, N], from the identity: Σ_j s_j (a W)_j, so that N is fixed and the order of the tokens matters.
    A video without a valid token scores 0. Raises ValueError where widths differ, or for `mix` on a level whose
    number of tokens varies. Diagnostic: gate_entropy, of a.

    Source: the weak scores of EERCF (Tian et al., AAAI 2024, arXiv 2401.00701): frames with `mix`, patches without,
    both at temperature 0.01.
    """

    name = "weighted_similarity"
    after_training = frozenset({"temperature"})
    diagnostics = ("gate_entropy",)

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level whose tokens are compared with the text")
        text_level: str = setting("sentence", "text level; the mean of its tokens where it has several")
        temperature: float = setting(0.01, "divides the cosines before the softmax; small: the maximum", gt=0)
        mix: bool = setting(False, "multiply the weights by a trained N x N matrix, from the identity")
        ignore_mask: bool = setting(False, "attend to padding tokens too")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        require_one_width(shapes, self.reads(config))
        if config.mix:
            tokens = shapes[config.level].tokens if config.level in shapes else None
            if tokens is None:
                raise ValueError(f"`mix` needs a fixed number of tokens, which level `{config.level}` does not have")
            self.mix = nn.Parameter(torch.eye(tokens))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(text=(config.text_level,), video=(config.level,))

    def text_side(self, text: TextFeatures) -> Side:
        """vector [B_t, D], unit."""
        return {"vector": mean_vector(text.structured(self.config.text_level))}

    def video_side(self, video: VideoFeatures) -> Side:
        """values [B_v, N, D], unit; mask [B_v, N]."""
        values, mask = unit_tokens(video.structured(self.config.level), self.config.ignore_mask)
        return {"values": values, "mask": mask}

    def score(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config])[0]

    def score_lists(self, text: Side, video: Side) -> Tensor:
        return self.score_settings(text, video, [self.config], lists=True)[0]

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, lists: bool = False) -> list[Tensor]:
        """One score tensor for each temperature; the dot products are computed once for all of them."""
        temperatures = [config.temperature for config in configs]
        if lists:
            return self._soft_maxima(text["vector"].transpose(1, 2), video, temperatures)
        query = text["vector"].T
        floats = len(text["vector"]) * int(self.pair_floats(text, video))
        blocks = [self._soft_maxima(query, block, temperatures) for block in video_blocks(video, floats)]
        return [torch.cat(scores).T for scores in zip(*blocks, strict=True)]

    def _soft_maxima(self, query: Tensor, video: Side, temperatures: Sequence[float]) -> list[Tensor]:
        """For each temperature scores [B, Q] of unit queries, [D, Q] for all videos or [B, D, Q] of each."""
        dots = video["values"] @ query
        mixed = self.mix @ dots if self.config.mix else dots
        return [(token_weights(dots, video["mask"], temperature) * mixed).sum(1) for temperature in temperatures]

    def diagnose(self, text: Side, video: Side) -> Side:
        return {"gate_entropy": self.gate_entropy(text, video)}

    def gate_entropy(self, text: Side, video: Side) -> Tensor:
        """Entropy of the weights a of row p's text over row p's video, over the log of its valid tokens: [P].

        0: one token alone; 1: all alike; 0 where fewer than two tokens are valid.
        """
        dots = video["values"] @ text["vector"][:, :, None]
        return relative_entropy(token_weights(dots, video["mask"], self.config.temperature)[:, :, 0], video["mask"])

    def token_weights(self, text: Side, video: Side) -> Side:
        dots = video["values"] @ text["vector"][:, :, None]
        return {self.config.level: token_weights(dots, video["mask"], self.config.temperature)[:, :, 0]}

    def pair_floats(self, text: Side, video: Side) -> float:
        """Dot products (mixed ones too), logits, weights and their product: N floats each."""
        return 4.0 * video["values"].shape[1]
