"""Text and video vectors of a pair should correlate, feature by feature, over the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core import Loss, LossInputs, LossSettings, setting


class Pearson(Loss):
    """Σ_x weight_x · [Σ_d (c_dd - 1)² + off_diagonal · Σ_{d≠e} c_de²] over the interactions x under `of`.

    c = (1/N) Zᵗᵀ Zᵛ [D, D] for the text and video vectors [N, D] of the N pairs, each feature column standardised
    over the batch (standard deviation with N - 1), so c_dd = (N-1)/N · Pearson's r of feature d. It is summed over
    D: about D where nothing correlates. A column that does not vary, or a batch of one pair, has no correlation:
    c = 0, which adds 1 a feature and gives no gradient.

    Source: the intra-feature constraint of EERCF (Tian et al., AAAI 2024, arXiv 2401.00701), whose code multiplies
    it by 0.14 and leaves the off-diagonal term at 0; DRL's channel decorrelation (Wang et al. 2022, arXiv 2203.07111).
    """

    name = "pearson"

    @dataclass(frozen=True)
    class Config(LossSettings):
        off_diagonal: float = setting(0.0, "weight of the squared correlations between different features", ge=0)

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_vector", "video_vector"})

    def forward(self, inputs: LossInputs) -> Tensor:
        terms = []
        for name, weight in self.config.of.items():
            vectors = inputs.auxiliary[name]
            terms.append(weight * self._decorrelation(vectors["text_vector"], vectors["video_vector"]))
        return torch.stack(terms).sum()

    def _decorrelation(self, text: Tensor, video: Tensor) -> Tensor:
        """text, video [N, D] -> scalar."""
        text, video = standardised(text), standardised(video)
        same = (text * video).mean(0)
        loss = (same - 1).square().sum()
        if self.config.off_diagonal:
            every = text.T @ video / len(text)
            loss = loss + self.config.off_diagonal * (every.square().sum() - same.square().sum())
        return loss


def standardised(vectors: Tensor) -> Tensor:
    """Columns of [N, D] with mean 0 and standard deviation 1 (ddof 1); zero where a column does not vary."""
    centred = vectors - vectors.mean(0)
    variance = centred.square().sum(0) / max(1, len(vectors) - 1)
    smallest = torch.finfo(vectors.dtype).eps ** 2
    return torch.where(variance > smallest, centred * variance.clamp_min(smallest).rsqrt(), 0.0)
