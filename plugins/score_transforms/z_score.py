"""Scores of each query on one scale."""

import torch
from torch import Tensor

from core import ScoreTransform


class ZScore(ScoreTransform):
    """S'_qi = (S_qi - mean_i S_qi) / std_i S_qi, over the gallery of each query by itself: not transductive.

    Scores [Q, G] -> [Q, G], in standard deviations (of the population); 0 where a query scores all items alike. Alone
    it changes no ranking of a query; with `each: true` it puts interactions of different units on one scale before
    they are mixed.

    Source: score-level fusion (Jain, Nandakumar and Ross, Pattern Recognition 38, 2005).
    """

    name = "z_score"

    def __call__(self, scores: Tensor, bank: Tensor | None = None) -> Tensor:
        values = scores.double()
        deviation = values.std(1, correction=0, keepdim=True)
        return ((values - values.mean(1, keepdim=True)) / torch.where(deviation > 0, deviation, 1)).to(scores.dtype)
