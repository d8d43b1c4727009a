"""Max-margin ranking with the hardest wrong answer of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core import Loss, LossInputs, LossSettings, setting


class Hinge(Loss):
    """Mean over N pairs of [margin + hardest wrong video − own]₊ + [margin + hardest wrong text − own]₊.

    On the mixed scores [N, N] of the interactions under `of`, unscaled: the margin is in their unit. What is relevant
    besides a pair's own entry (another caption of the same video) is no wrong answer; a pair without wrong answers
    adds 0. Raises ValueError for a batch that is not made of pairs.

    Source: VSE++ (Faghri et al., BMVC 2018, arXiv 1707.05612), the max of hinges.
    """

    name = "hinge"
    contrastive = True

    @dataclass(frozen=True)
    class Config(LossSettings):
        margin: float = setting(0.2, "by how much the own answer is to win", gt=0)

    def forward(self, inputs: LossInputs) -> Tensor:
        if inputs.paired is None:
            raise ValueError("hinge needs a batch of pairs: LossInputs.paired is None")
        scores = inputs.mixed(self.config.of)[:, inputs.paired]
        right = inputs.relevance[:, inputs.paired] | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
        own = scores.diagonal()
        wrong_video = (self.config.margin + scores - own[:, None]).masked_fill(right, 0).relu()
        wrong_text = (self.config.margin + scores - own[None, :]).masked_fill(right, 0).relu()
        return (wrong_video.amax(1) + wrong_text.amax(0)).mean()
