"""Pre-LN blocks with dropout that read tokens of another sequence. B rows, N positions, K tokens read, D width.

What is new starts where it can learn from a few thousand pairs: attention looks for what is similar and adds it, so
that sequences which start in one space are compared from the first step on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention of N positions to K tokens, those outside the mask left out.

    `key` starts as `query`, an orthogonal matrix, and `out` as the transpose of `value`, another: weights follow the
    similarity of position and token, and the weighted tokens come back in their own coordinates. `key` has no bias,
    which no softmax would see.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} cannot be divided among {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        for bias in (self.query.bias, self.value.bias, self.out.bias):
            nn.init.zeros_(bias)
        with torch.no_grad():
            self.key.weight.copy_(nn.init.orthogonal_(self.query.weight))
            self.out.weight.copy_(nn.init.orthogonal_(self.value.weight).T)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D], tokens [B, K, D], mask bool [B, K] -> [B, N, D]; zero where no token is valid."""
        some = mask.any(1)[:, None, None]
        query, key, value = (
            project(given).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project, given in ((self.query, x), (self.key, tokens), (self.value, tokens))
        )
        keys = (mask[:, None, :] | ~some)[:, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        return self.out(mixed.transpose(1, 2).flatten(2)) * some


class EncoderBlock(nn.Module):
    """x + self_attention(LN(x)), then x + feed_forward(LN(x)); GELU, 4 D inside; dropout on what each part adds.

    The feed-forward part starts at zero where it writes.
    """

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_feed = nn.LayerNorm(width)
        inner, outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.feed_forward = nn.Sequential(inner, nn.GELU(), outer)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(inner.weight, std=0.02)
        for parameter in (inner.bias, outer.weight, outer.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, mask: Tensor, keep: int | None = None) -> Tensor:
        """x [B, N, D] under mask [B, N] -> the first `keep` positions [B, keep, D]; null: all."""
        return self.feed(self.mix(x, mask, keep))

    def mix(self, x: Tensor, mask: Tensor, keep: int | None = None) -> Tensor:
        """The half with self-attention; positions that are not kept are attended to, and not computed."""
        normed = self.norm_self(x)
        return x[:, :keep] + self.dropout(self.self_attention(normed[:, :keep], normed, mask))

    def feed(self, x: Tensor) -> Tensor:
        """The half with the feed-forward part."""
        return x + self.dropout(self.feed_forward(self.norm_feed(x)))


class DecoderBlock(EncoderBlock):
    """An encoder block with x + cross_attention(LN(x), tokens) between its halves."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__(width, heads, dropout)
        self.norm_cross, self.cross_attention = nn.LayerNorm(width), Attention(width, heads)

    def read(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """All that follows self-attention: x [B, N, D] reads tokens [B, K, D] under mask [B, K]."""
        return self.feed(x + self.dropout(self.cross_attention(self.norm_cross(x), tokens, mask)))


class Decoder(nn.Module):
    """Decoder blocks and a last LayerNorm, of which the first `keep` of N positions come out."""

    def __init__(self, width: int, heads: int, layers: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor, tokens: Tensor, token_mask: Tensor, keep: int) -> Tensor:
        """x [B, N, D] under mask [B, N] reads tokens [B, K, D] under token_mask [B, K]: [B, keep, D]."""
        return self.finish(self.start(x, mask), mask, tokens, token_mask, keep)

    def start(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, N, D] after the first self-attention, which has met no token: the same whatever is read."""
        return self.blocks[0].mix(x, mask)  # type: ignore[operator]

    def finish(self, x: Tensor, mask: Tensor, tokens: Tensor, token_mask: Tensor, keep: int) -> Tensor:
        """`forward` of what `start` gave."""
        for index, block in enumerate(self.blocks):
            last = index == len(self.blocks) - 1
            if index:
                x = block.mix(x, mask, keep if last else None)  # type: ignore[operator]
            x = block.read(x[:, :keep] if last else x, tokens, token_mask)  # type: ignore[operator]
        return self.norm(x)
