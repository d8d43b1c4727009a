"""Scores weighted by a softmax over the queries."""

from torch import Tensor

from .over_queries import OverQueries


class DualSoftmax(OverQueries):
    """S'_qi = S_qi · exp(S_qi / τ) / Σ_r exp(S_ri / τ), r over the test queries: transductive.

    Scores [Q, G] -> [Q, G] float64 (in float32 the far end of a ranking would underflow into ties), in the unit of the
    scores. One query at a time it changes nothing. It assumes that each item answers about as many queries as any
    other: where some are asked for more often, they are pushed down.

    Source: the dual softmax of CAMoE (Cheng et al. 2021, arXiv 2109.04290), at test time as TS2-Net has it (Liu et al.,
    ECCV 2022, arXiv 2207.07852), which applies it to cosines times 100: τ = 0.01.
    """

    name = "dual_softmax"

    def among(self, scores: Tensor) -> Tensor:
        return scores * (scores / self.config.temperature).softmax(0)
