"""How evenly attention weights are spread."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_entropy(weights: Tensor, mask: Tensor) -> Tensor:
    """Entropy of weights [P, N] over the valid tokens of mask [P, N], in units of the largest possible: [P].

    0: all on one token; 1: uniform. 0 where there are fewer than two valid tokens.
    """
    entropy = torch.special.entr(weights * mask).sum(-1)
    largest = mask.sum(-1).clamp_min(1).to(weights.dtype).log()
    return torch.where(largest > 0, entropy / largest.where(largest > 0, 1), 0)
