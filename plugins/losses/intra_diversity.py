"""The concepts of one side should differ from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core import Loss, LossInputs, LossSettings, setting


class IntraDiversity(Loss):
    """Σ_x weight_x · Σ_{q≠p} (max(0, m + G_qp - G_qq) + max(0, m + G_qp - G_pp)) / (Q(Q - 1)), for each side.

    Over the interactions x under `of`; G = (1/N) Σ_i z_i z_iᵀ [Q, Q] for the unit concepts z [N, Q, D] of the N items
    of a side. G_qq is 1, so that only concepts whose mean cosine is above 1 - m are pushed apart, and a side adds 2m
    at most. With both sides it is the sum of two. 0 for a single concept.

    Source: the intra-diversity loss of GLSCL (Zhang et al. 2024, arXiv 2405.12710), margin m 0.1 and weight 1e-4. Its
    code takes the video's concepts only, and calls this one inter-diversity.
    """

    name = "intra_diversity"

    @dataclass(frozen=True)
    class Config(LossSettings):
        margin: float = setting(0.1, "by how much a concept must be more like itself than like another", ge=0, le=2)
        sides: str = setting(
            "both",
            "whose concepts: of texts and videos, or of videos only, as in GLSCL's code",
            choices=("both", "video"),
        )

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"video_concepts"} if config.sides == "video" else {"text_concepts", "video_concepts"})

    def forward(self, inputs: LossInputs) -> Tensor:
        concepts = sorted(self.needs(self.config))
        terms = [
            weight * self._likeness(inputs.auxiliary[name][side])
            for name, weight in self.config.of.items()
            for side in concepts
        ]
        return torch.stack(terms).sum()

    def _likeness(self, concepts: Tensor) -> Tensor:
        """concepts [N, Q, D] -> scalar."""
        items, queries, _ = concepts.shape
        gram = torch.einsum("nqd,npd->qp", concepts, concepts) / items
        own = gram.diagonal()
        excess = (self.config.margin + gram - own[:, None]).relu() + (self.config.margin + gram - own).relu()
        excess = excess.masked_fill(torch.eye(queries, dtype=torch.bool, device=gram.device), 0)
        return excess.sum() / max(1, queries * (queries - 1))
