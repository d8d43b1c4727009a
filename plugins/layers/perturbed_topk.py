"""Top-K as an indicator matrix, hard and with two gradients. N tokens, K slots, S draws.

Each function takes scores [..., N], finite, and `valid` bool [..., N], and gives (indicator [..., K, N], filled bool
[..., K]). Row k of the indicator says which token slot k holds; slots are in order of position, not of score, so that
`indicator @ tokens` is [..., K, D] and stays differentiable. Only valid tokens are taken: where there are fewer than
K, the remaining slots come last, their rows are zero and `filled` is False.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK_FLOATS = 1 << 22
"""Perturbed scores alive at a time (16 MiB in float32)."""


def hard_topk(scores: Tensor, valid: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` highest scores, one token a slot; equal scores in order of position. No gradient to the scores."""
    tokens = scores.shape[-1]
    order = scores.detach().masked_fill(~valid, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    positions = _in_order(order[..., :keep], valid, keep)
    indicator = F.one_hot(positions, tokens + 1)[..., :tokens].to(scores.dtype)
    return indicator, positions < tokens


def straight_through_topk(scores: Tensor, valid: Tensor, keep: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Forward `hard_topk`; backward as if each filled slot held softmax(scores / temperature) over the valid tokens.

    With G [K, N] the gradient of the indicator and p that softmax: dL/dscore_j = p_j sum_k (G_kj - p . G_k) /
    temperature, over the filled slots k. A surrogate, not an estimate of any derivative: hard top-K has none.
    """
    hard, filled = hard_topk(scores, valid, keep)
    logits = (scores / temperature).masked_fill(~valid, torch.finfo(scores.dtype).min)
    soft = logits.softmax(-1)[..., None, :] * filled[..., None]
    return hard + (soft - soft.detach()), filled


def perturbed_topk(
    scores: Tensor, valid: Tensor, keep: int, sigma: float, draws: int, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean of the hard indicators of scores + sigma z over draws z ~ N(0, I).

    noise: z [..., S, N]; drawn from torch's default generator where it is not given. Slots that are filled in one
    draw are filled in all, and their rows sum to 1: each slot is a mixture of the tokens that it held.

    The derivative of the mean's expectation is E[indicator_kj z_i] / sigma for each pair of tokens j, i. Like the
    released TS2-Net, the gradient takes i = j only: dL/dscore_j = sum_k G_kj mean_s(indicator_skj z_sj) / sigma. It
    is the Monte-Carlo estimate of the Jacobian's diagonal: what a token's score does to its own entries, without how
    it pushes other tokens out or into another slot. It is biased, therefore: a G that is constant over tokens has no
    effect on the loss, and still gets a gradient.

    Source: Berthet et al. 2020; Cordonnier et al., CVPR 2021 (arXiv 2104.03059); TS2-Net (Liu et al., ECCV 2022).
    """
    tokens = scores.shape[-1]
    if noise is not None and noise.shape != (*scores.shape[:-1], draws, tokens):
        raise ValueError(f"noise {tuple(noise.shape)} does not fit {draws} draws for scores {tuple(scores.shape)}")
    exact = torch.promote_types(scores.dtype, torch.float32)  # counting in bfloat16 stops at 256
    counted = scores.reshape(-1, tokens).to(exact)
    if noise is not None:
        noise = noise.reshape(-1, draws, tokens).to(exact)
    indicator = _Perturbed.apply(counted, valid.reshape(-1, tokens), keep, sigma, draws, noise)
    filled = torch.arange(keep, device=valid.device) < valid.sum(-1, keepdim=True)
    return indicator.view(*scores.shape[:-1], keep, tokens).to(scores.dtype), filled


class _Perturbed(torch.autograd.Function):
    """scores [R, N] -> indicator [R, K, N], a block of rows at a time. Backward needs as much memory as the output."""

    @staticmethod
    def forward(
        ctx: Any, scores: Tensor, valid: Tensor, keep: int, sigma: float, draws: int, noise: Tensor | None
    ) -> Tensor:
        size = (len(scores), keep, scores.shape[-1])
        indicator, slope = scores.new_empty(size), scores.new_empty(size)
        block = max(1, BLOCK_FLOATS // (draws * max(1, scores.shape[-1])))
        for start in range(0, len(scores), block):
            part = slice(start, start + block)
            z = drawn_noise(scores[part], draws) if noise is None else noise[part]
            perturbed = torch.add(scores[part, None], z, alpha=sigma)
            indicator[part], slope[part] = _mean_indicator(perturbed, valid[part], z, keep)
        ctx.save_for_backward(slope.div_(sigma))
        return indicator

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return (gradient * slope).sum(-2), None, None, None, None, None


def drawn_noise(scores: Tensor, draws: int) -> Tensor:
    """z ~ N(0, I), [R, S, N], for scores [R, N]."""
    return torch.randn(len(scores), draws, scores.shape[-1], dtype=scores.dtype, device=scores.device)


def _mean_indicator(perturbed: Tensor, valid: Tensor, noise: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """Means over draws of the indicators of perturbed scores [R, S, N] and of indicator times noise: [R, K, N] each."""
    rows, draws, tokens = perturbed.shape
    valid = valid[:, None].expand(-1, draws, -1)
    best = perturbed.masked_fill_(~valid, -torch.inf).topk(min(keep, tokens), sorted=False).indices
    positions = _in_order(best, valid, keep)
    cells = (positions + (tokens + 1) * torch.arange(keep, device=positions.device)).flatten(1)
    own_noise = F.pad(noise, (0, 1)).gather(2, positions).flatten(1)
    sums = perturbed.new_zeros(2, rows, keep * (tokens + 1))
    sums[0].scatter_add_(1, cells, torch.ones_like(own_noise))
    sums[1].scatter_add_(1, cells, own_noise)
    mean, slope = sums.view(2, rows, keep, tokens + 1)[..., :tokens] / draws
    return mean, slope


def _in_order(indices: Tensor, valid: Tensor, keep: int) -> Tensor:
    """Indices [..., at most K] in ascending order; those of tokens that are not valid become N, and fill up to K."""
    tokens = valid.shape[-1]
    positions = indices.masked_fill(~valid.gather(-1, indices), tokens).sort(-1).values
    return F.pad(positions, (0, keep - positions.shape[-1]), value=tokens)
