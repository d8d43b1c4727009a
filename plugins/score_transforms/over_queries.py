"""What dual softmax and inverted softmax share: an item's scores compete over the queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core import ScoreTransform, setting


class OverQueries(ScoreTransform):
    """A transform in which the queries that are known together compete for each item."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ScoreTransform.Config):
        temperature: float = setting(0.01, "divides the scores in the exponential; 0.01 suits cosines", gt=0)
        at_once: int | None = setting(
            None, "a diagnostic: queries that are known together, in the order of the split; null: all", ge=1
        )

    @classmethod
    def transductive(cls, config: Any) -> bool:
        return bool(config.at_once != 1)

    def __call__(self, scores: Tensor, bank: Tensor | None = None) -> Tensor:
        known = scores.double().split(self.config.at_once or max(1, len(scores)))
        return torch.cat([self.among(queries) for queries in known])

    def among(self, scores: Tensor) -> Tensor:
        """Scores [Q, G] in float64 of the queries that are known together -> their new scores."""
        raise NotImplementedError
