"""Pre-LN attention blocks written out position by position, to compare plugins.layers.cross_attention with."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear(layer, x: Tensor) -> Tensor:
    """x [N, D]."""
    return x @ layer.weight.T + (0 if layer.bias is None else layer.bias)


def normed(norm, x: Tensor) -> Tensor:
    """LayerNorm of each row of x [N, D]."""
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def attended(layer, x: Tensor, tokens: Tensor) -> Tensor:
    """x [N, D] reads tokens [K, D], all of them valid."""
    query, key, value = linear(layer.query, x), linear(layer.key, tokens), linear(layer.value, tokens)
    size = x.shape[1] // layer.heads
    mixed = torch.zeros_like(x)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for position in range(len(x)):
            weights = torch.exp(key[:, part] @ query[position, part] / math.sqrt(size))
            mixed[position, part] = (weights[:, None] * value[:, part]).sum(0) / weights.sum()
    return linear(layer.out, mixed)


def block(made, x: Tensor, tokens: Tensor | None = None) -> Tensor:
    """A block over x [N, D]; with tokens [K, D] a decoder block that reads them."""
    seen = normed(made.norm_self, x)
    x = x + attended(made.self_attention, seen, seen)
    if tokens is not None:
        x = x + attended(made.cross_attention, normed(made.norm_cross, x), tokens)
    inner, _, outer = made.feed_forward
    return x + linear(outer, gelu(linear(inner, normed(made.norm_feed, x))))


def decoder(stack, x: Tensor, tokens: Tensor) -> Tensor:
    """x [N, D] after all blocks and the last norm."""
    for each in stack.blocks:
        x = block(each, x, tokens)
    return normed(stack.norm, x)
