"""Scores normalised over the queries."""

from torch import Tensor

from .over_queries import OverQueries


class InvertedSoftmax(OverQueries):
    """S'_qi = S_qi - τ log Σ_r exp(S_ri / τ), r over the test queries: transductive.

    Scores [Q, G] -> [Q, G] float64. This is τ log p of the published p = exp(S_qi / τ) / Σ_r exp(S_ri / τ): it ranks
    alike, keeps the unit of the scores and does not underflow. One query at a time all scores are 0: nothing is left.

    Source: Smith et al., ICLR 2017 (arXiv 1702.03859), with β = 1 / τ.
    """

    name = "inverted_softmax"

    def among(self, scores: Tensor) -> Tensor:
        return self.config.temperature * (scores / self.config.temperature).log_softmax(0)
