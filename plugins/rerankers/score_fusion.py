"""A weighted sum of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core import Mixture, Reranker, RerankerSettings, TextFeatures, VideoFeatures, setting


class ScoreFusion(Reranker):
    """Σ_x weight_x · score_x over interactions x, for each of P candidate pairs; no parameters.

    Scores [P] are unscaled, as the interactions give them; the result has their unit. `first_stage` may be among the
    weights: the score by which the candidates were chosen. Raises KeyError for a score that was not given.

    Source: the second stage of EERCF (Tian et al., AAAI 2024, arXiv 2401.00701): 0.5 video + 0.8 frame_weak
    + 0.2 frame_strong + 0.2 patch_weak on the best 50.
    """

    name = "score_fusion"
    after_training = frozenset({"top_k", "weights"})

    @dataclass(frozen=True, kw_only=True)
    class Config(RerankerSettings):
        weights: Mixture = setting(doc="interactions with their weights; `first_stage` is the first stage's score")

    @classmethod
    def interactions(cls, config: Any) -> tuple[str, ...]:
        return tuple(name for name in config.weights if name != "first_stage")

    def forward(self, text: TextFeatures, video: VideoFeatures, scores: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([weight * scores[name] for name, weight in self.config.weights.items()]).sum(0)
