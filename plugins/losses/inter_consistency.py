"""Concept q of a text and concept q of its video should agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core import Loss, LossInputs, LossSettings, setting


class InterConsistency(Loss):
    """Σ_x weight_x · [mean_{q,d} (z̄ᵛ - z̄ᵗ)² + beta · Σ_q (C_q - target)²] over the interactions x under `of`.

    zᵗ, zᵛ [N, Q, D] are the unit concepts of the N pairs, z̄ [Q, D] their means over the batch, and C_q = (1/N) Σ_i
    zᵛ_iq·zᵗ_iq, the mean cosine of concept q. With `normaliser: queries` C_q is that sum over Q, so that it is N/Q
    mean cosines and the term asks for a mean cosine of target · Q/N: 0.047 at N = 128, Q = 8, target 0.75.

    Source: the inter-consistency loss of GLSCL (Zhang et al. 2024, arXiv 2405.12710), beta 0.005 and target 0.75. Its
    code divides by the queries, and calls this one intra-consistency.
    """

    name = "inter_consistency"

    @dataclass(frozen=True)
    class Config(LossSettings):
        target: float = setting(0.75, "what C_q is drawn to, for each concept")
        beta: float = setting(0.005, "factor of the squared distances from the target", ge=0)
        normaliser: str = setting(
            "batch",
            "C_q is a sum of cosines over the number of pairs (batch) or of concepts (queries: GLSCL's code)",
            choices=("batch", "queries"),
        )

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_concepts", "video_concepts"})

    def forward(self, inputs: LossInputs) -> Tensor:
        terms = []
        for name, weight in self.config.of.items():
            concepts = inputs.auxiliary[name]
            terms.append(weight * self._inconsistency(concepts["text_concepts"], concepts["video_concepts"]))
        return torch.stack(terms).sum()

    def _inconsistency(self, text: Tensor, video: Tensor) -> Tensor:
        """text, video [N, Q, D] -> scalar."""
        pairs, queries, _ = text.shape
        apart = (video.mean(0) - text.mean(0)).square().mean()
        agreement = (video * text).sum((0, 2)) / (pairs if self.config.normaliser == "batch" else queries)
        return apart + self.config.beta * (agreement - self.config.target).square().sum()
