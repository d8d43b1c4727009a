"""Which of the candidates is it: softmax cross-entropy over each row's candidates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from core import Loss, LossInputs, LossSettings, setting


class CandidateSoftmax(Loss):
    """-log [Σ_relevant exp(s / temperature) / Σ_all exp(s / temperature)]: the mean over rows, in nats.

    s = Σ_x weight_x · scores_x over the interactions under `of`, [R, C]; sums run over the candidates of a row. The
    logit scale does not enter. Where several candidates are relevant it is their joint share that grows. A row with
    none says nothing: it is left out of the mean, which is 0 where no row has any.

    Source: the matching loss of VEDJE, softmax over one positive and the first stage's hard negatives at temperature
    1; several positives inside the logarithm as in MIL-NCE (Miech et al., CVPR 2020, arXiv 1912.06430).
    """

    name = "candidate_softmax"
    contrastive = True

    @dataclass(frozen=True)
    class Config(LossSettings):
        temperature: float = setting(1.0, "divides the scores before the softmax", gt=0)

    def forward(self, inputs: LossInputs) -> Tensor:
        asked = inputs.relevance.any(1)
        logits, relevance = inputs.mixed(self.config.of)[asked] / self.config.temperature, inputs.relevance[asked]
        relevant = logits.masked_fill(~relevance, -torch.inf).logsumexp(1)
        return (logits.logsumexp(1) - relevant).sum() / max(1, len(logits))
