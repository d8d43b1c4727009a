"""Symmetric InfoNCE on a mixture of scores."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from core import Loss, LossInputs, LossSettings, setting


class InfoNCE(Loss):
    """½ [CE over the videos of each text + CE over the texts of each video], of logit_scale · Σ_x weight_x · scores_x.

    The scores of the interactions under `of` are mixed before the softmax: one InfoNCE of the mixture, not a sum of
    InfoNCEs. Scores are [R, C]; row i's target is column paired[i], and the target of that column is row i. Each
    term is the mean over the R pairs, in nats. With `relevance: sets` what else is relevant (another caption of the
    same video) is neither target nor negative: it leaves the denominator. Raises ValueError for a batch that is not
    made of pairs.

    Source: van den Oord et al. 2018 (arXiv 1807.03748); symmetric as in CLIP (Radford et al. 2021, arXiv 2103.00020).
    """

    name = "info_nce"
    contrastive = True

    @dataclass(frozen=True)
    class Config(LossSettings):
        relevance: str = setting(
            "sets",
            "other relevant entries leave the denominator (sets) or count as negatives, as in most releases (diagonal)",
            choices=("sets", "diagonal"),
        )

    def forward(self, inputs: LossInputs) -> Tensor:
        if inputs.paired is None:
            raise ValueError("info_nce needs a batch of pairs: LossInputs.paired is None")
        logits = inputs.logit_scale * inputs.mixed(self.config.of)
        paired, relevance = inputs.paired, inputs.relevance
        rows = torch.arange(len(logits), device=logits.device)
        by_text = self._cross_entropy(logits, relevance, paired)
        by_video = self._cross_entropy(logits[:, paired].T, relevance[:, paired].T, rows)
        return (by_text + by_video) / 2

    def _cross_entropy(self, logits: Tensor, relevance: Tensor, target: Tensor) -> Tensor:
        """Mean over queries of -log softmax at the target [Q]; logits and relevance [Q, G]."""
        if self.config.relevance == "sets":
            left_out = relevance.scatter(1, target[:, None], False)
            logits = logits.masked_fill(left_out, -torch.inf)
        return F.cross_entropy(logits, target)
