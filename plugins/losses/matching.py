"""Does this text answer this video: binary cross-entropy of pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from core import Loss, LossInputs


class Matching(Loss):
    """-log sigmoid(s) where a pair is relevant, -log sigmoid(-s) where not: the mean over all R · C pairs, in nats.

    s = Σ_x weight_x · scores_x over the interactions under `of`, [R, C], is read as the log-odds of a match: of a
    model with two outputs, the difference of its logits. The logit scale does not enter. Every pair counts alike, so
    that with n negatives a row relevant ones are 1 / (1 + n) of it, and a score that knows nothing settles at
    -log n.

    Source: image-text matching of ALBEF (Li et al., NeurIPS 2021, arXiv 2107.07651) and BLIP (Li et al., ICML 2022,
    arXiv 2201.12086), which CrossTVR (Dai et al. 2023, arXiv 2307.09972) is trained by.
    """

    name = "matching"

    def forward(self, inputs: LossInputs) -> Tensor:
        scores = inputs.mixed(self.config.of)
        return F.binary_cross_entropy_with_logits(scores, inputs.relevance.to(scores))
