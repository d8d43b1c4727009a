"""Words of a text and tokens of a video's frames, at one width, for what reads both together. B items, D width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core import Shapes, TextFeatures, VideoFeatures


def input_maps(
    shapes: Shapes, text: str, video: str, beside: str | None, width: int
) -> tuple[nn.Sequential, nn.Sequential]:
    """Linear map and LayerNorm to `width`, for a text level and for a video level with another beside it.

    They start orthogonal, and where both levels have one width as the same matrix: what is near in the space of the
    encoder stays near. Raises ValueError where the two video levels differ in width.
    """
    if beside is not None and shapes[beside].width != shapes[video].width:
        widths = f"level `{video}` has width {shapes[video].width} and `{beside}` {shapes[beside].width}"
        raise ValueError(f"{widths}; one map reads both: name a `class_level` of the same encoder, or null")
    of_text, of_video = (_map(shapes[level].width, width) for level in (text, video))
    if shapes[text].width == shapes[video].width:
        of_video.load_state_dict(of_text.state_dict())
    return of_text, of_video


def _map(given: int, width: int) -> nn.Sequential:
    linear = nn.Linear(given, width)
    nn.init.orthogonal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.LayerNorm(width))


def word_tokens(text: TextFeatures, level: str) -> tuple[Tensor, Tensor]:
    """Values [B, L, D], zero where masked, and mask [B, L]."""
    tokens = text.level(level)
    assert tokens.mask is not None
    return tokens.values.masked_fill(~tokens.mask[:, :, None], 0), tokens.mask


def frame_tokens(video: VideoFeatures, level: str, beside: str | None) -> tuple[Tensor, Tensor]:
    """Values [B, T, N, D], zero where masked, and mask [B, T, N]: the tokens of each frame, after the one of the
    level `beside` if there is any. Raises ValueError for levels that do not have them frame by frame."""
    parts = []
    for name in (beside, level) if beside is not None else (level,):
        tokens = video.structured(name)
        values, mask = tokens.values, tokens.mask
        if values.ndim < 3:
            raise ValueError(f"level `{name}` has no axis of frames")
        if mask is None:
            mask = values.new_ones(values.shape[:2], dtype=torch.bool)
        if values.ndim == 3:
            values, mask = values[:, :, None], mask[:, :, None]
        parts.append((values, mask if mask.ndim == 3 else mask[:, :, None].expand(values.shape[:3])))
    frames = [values.shape[1] for values, _ in parts]
    if len(set(frames)) > 1:
        raise ValueError(f"`{beside}` has {frames[0]} frames and `{level}` {frames[1]}")
    values, mask = torch.cat([part[0] for part in parts], 2), torch.cat([part[1] for part in parts], 2)
    return values.masked_fill(~mask[..., None], 0), mask


def used(mask: Tensor) -> int:
    """Positions of mask [B, L] up to the last that any row uses."""
    valid = mask.any(0).nonzero()
    return int(valid[-1]) + 1 if len(valid) else 0


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, …] of values [B, N, …] where mask [B, N]; zero where nothing is valid."""
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - 2))
    return (values * mask).sum(1) / mask.sum(1).clamp_min(1)
