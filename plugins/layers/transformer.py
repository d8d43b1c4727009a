"""The pre-LN transformer block of CLIP, under the parameter names of Hugging Face's CLIPEncoderLayer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def quick_gelu(x: Tensor) -> Tensor:
    """x · sigmoid(1.702 x), CLIP's approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


class SelfAttention(nn.Module):
    """Multi-head self-attention over N tokens, keys outside the mask left out."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be divided among {heads} heads")
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D], mask bool [B, N] -> [B, N, D]. Where a row has no valid token every key is attended to."""
        batch, tokens, width = x.shape
        split = (batch, tokens, self.heads, width // self.heads)
        query, key, value = (
            project(x).view(split).transpose(1, 2) for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        keys = (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class FeedForward(nn.Module):
    """Linear, QuickGELU, linear, four times as wide inside."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(quick_gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    """x + attention(LN(x)), then x + mlp(LN(x)); no dropout.

    Drawn at random it starts as the identity: what writes to the residual stream (`out_proj`, `fc2`) is zero, the
    other matrices are N(0, 0.02).
    """

    def __init__(self, width: int, heads: int, eps: float = 1e-5):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.self_attn = SelfAttention(width, heads)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.self_attn.out_proj.weight)
        nn.init.zeros_(self.mlp.fc2.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D], mask bool [B, N] -> [B, N, D]."""
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))
