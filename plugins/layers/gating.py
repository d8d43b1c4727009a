"""Unit tokens and the softmax gate over them. B videos, N tokens a video, D width, Q queries a video.

Query-dependent tensors are laid out [B, N, Q]: one matrix product of all tokens with all queries gives them so, and
softmax and sums over N then run over contiguous memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from core import Levels, Shapes, Side, Tokens

BLOCK_FLOATS = 1 << 22
"""Query-dependent floats alive at a time inside one `score` (16 MiB in float32), for a CPU's cache."""
GPU_BLOCK_FLOATS = 1 << 26
"""The same on a GPU, whose matrix products need many rows to fill it."""


def unit(vectors: Tensor) -> Tensor:
    """L2-normalise the last axis. A zero vector stays zero, and its gradient is finite."""
    return F.normalize(vectors, dim=-1, eps=max(1e-12, torch.finfo(vectors.dtype).tiny))


def unit_tokens(tokens: Tokens, ignore_mask: bool = False) -> tuple[Tensor, Tensor]:
    """Unit values [B, N, D], zero where masked, and the mask [B, N]; `ignore_mask` takes every token as valid."""
    flat = (Tokens(tokens.values) if ignore_mask else tokens).flat()
    assert flat.mask is not None
    if ignore_mask or tokens.mask is None:
        return unit(flat.values), flat.mask
    return unit(flat.values.masked_fill(~flat.mask[:, :, None], 0)), flat.mask


def mean_vector(tokens: Tokens, ignore_mask: bool = False) -> Tensor:
    """Unit vector [B, D] along the mean of the valid unit tokens; zero where no token is valid."""
    values, mask = unit_tokens(tokens, ignore_mask)
    return unit(values.sum(1) / mask.sum(1, keepdim=True).clamp_min(1))


def token_weights(dots: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """softmax(dots / temperature) over the valid tokens, [B, N, Q]. Uniform where a video has no valid token."""
    logits = dots / temperature
    return logits.masked_fill(~mask[:, :, None], torch.finfo(logits.dtype).min).softmax(1)


def video_blocks(video: Side, floats_per_video: int) -> Iterator[Side]:
    """The side in runs of videos so short that `floats_per_video` each stay within a block; at least one run."""
    first = next(iter(video.values()))
    size = max(1, (GPU_BLOCK_FLOATS if first.is_cuda else BLOCK_FLOATS) // max(1, floats_per_video))
    count = len(first)
    for start in range(0, max(1, count), size):
        yield {name: tensor[start : start + size] for name, tensor in video.items()}


def require_one_width(shapes: Shapes, levels: Levels) -> None:
    """Raise ValueError unless the levels, as far as their shapes are known, can be multiplied with each other."""
    widths = {name: shapes[name].width for name in (*levels.text, *levels.video) if name in shapes}
    if len(set(widths.values())) > 1:
        sizes = ", ".join(f"`{name}` {width}" for name, width in widths.items())
        raise ValueError(f"a dot product needs levels of one width, and these differ: {sizes}")
