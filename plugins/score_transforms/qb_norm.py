"""Scores normalised over a bank of training queries, where a hub would win."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core import ScoreTransform, setting

BLOCK = 4096
"""Queries of the bank whose exponentials are in memory at a time."""


class QueryBankNorm(ScoreTransform):
    """The dynamic inverted softmax: a query whose best item is a hub gets S'_qi = S_qi - τ log Σ_b exp(S_bi / τ), b
    over the bank; the others keep their scores.

    The bank is the train split's texts (v2t: videos), so that a query is answered by itself: not transductive. A hub
    is an item of the gallery that is among the `top_k` best of `hits` bank queries or more. Where several items share
    the first place, one hub among them is enough. Scores [Q, G], bank [N, G] -> [Q, G] float64. A changed row is τ log
    of the published exp(S_qi / τ) / Σ_b exp(S_bi / τ): it ranks alike, keeps the unit of the scores and does not
    underflow. Raises ValueError without a bank.

    Source: Bogolin et al., CVPR 2022 (arXiv 2112.12777), with β = 1 / τ: 20 for cosines, `top_k` 1, `hits` 1; GLSCL
    has β = 70 and, from text to video, `hits` 3.
    """

    name = "qb_norm"
    needs_bank = True

    @dataclass(frozen=True, kw_only=True)
    class Config(ScoreTransform.Config):
        temperature: float = setting(0.05, "divides the scores in the exponential; 0.05 suits cosines", gt=0)
        top_k: int = setting(1, "an item among so many best of a bank query is hit by it", ge=1, le=10_000_000)
        hits: int = setting(1, "an item that is hit by so many bank queries is a hub", ge=1, le=10_000_000)

    def __call__(self, scores: Tensor, bank: Tensor | None = None) -> Tensor:
        if bank is None:
            raise ValueError("qb_norm needs a bank: the scores [N, G] of other queries with the same gallery")
        best = scores == scores.amax(1, keepdim=True)
        astray = (best & self.hubs(bank)).any(1, keepdim=True)
        temperature = self.config.temperature
        sums = [(block.double() / temperature).logsumexp(0) for block in bank.split(BLOCK)]
        corrected = scores.double() - temperature * torch.stack(sums).logsumexp(0)
        return torch.where(astray, corrected, scores.double())

    def hubs(self, bank: Tensor) -> Tensor:
        """bool [G], of the bank's scores [N, G]; all that tie with the last of the best count as hit."""
        last = bank.topk(min(self.config.top_k, bank.shape[1]), dim=1).values[:, -1:]
        return (bank >= last).sum(0) >= self.config.hits
