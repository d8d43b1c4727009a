"""Features to check on: small, seeded, with padding, for any level by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..contract.components import Levels, Shapes
from ..contract.features import Features, LevelShape, TextFeatures, Tokens, VideoFeatures

TEXTS, VIDEOS = 5, 6
WORDS, FRAMES, PATCHES, WIDTH = 7, 4, 20, 16
SEED = 20260713
SINGLE = ("sentence", "video")
"""Levels of one token an item, without a token axis."""

Side = TypeVar("Side", bound=Features)


@dataclass(frozen=True)
class Sample:
    """Features of both sides, and the shapes of their levels as an experiment would give them."""

    text: TextFeatures
    video: VideoFeatures
    shapes: dict[str, LevelShape]


def sample(levels: Levels, shapes: Shapes | None = None) -> Sample:
    """The levels named, and sentence, words, frames, patches, video beside them, which must then make no difference.

    A level is known by the last part of its name: `sentence`, `video` [B, D], `patches` [B, T, N, D]; any other is
    [B, L, D] on the text side and [B, T, D] on the video side. Each item has at least one valid token, most have
    padding, not only at the end. shapes: tokens and width of levels that must be other than small defaults.
    """
    draw = torch.Generator().manual_seed(SEED)
    masks: dict[tuple[int, int], Tensor] = {}
    level_shapes = dict(shapes or {})
    sides: list[dict[str, Tokens]] = []
    for names, usual, count in ((levels.text, ("sentence", "words"), TEXTS),
                                (levels.video, ("frames", "patches", "video"), VIDEOS)):  # fmt: skip
        tokens_by_level = {}
        for name in dict.fromkeys((*names, *usual)):
            axes, width = _axes(name, names is levels.text, level_shapes)
            values = torch.randn(count, *axes, width, generator=draw)
            mask = None
            if axes:
                mask = masks.setdefault((count, axes[0]), _mask(count, axes[0], draw))
            tokens_by_level[name] = Tokens(values, mask)
            level_shapes.setdefault(name, LevelShape(math.prod(axes) if axes else None, width))
        sides.append(tokens_by_level)
    text = TextFeatures.of(sides[0], [f"text{row}" for row in range(TEXTS)])
    return Sample(text, VideoFeatures.of(sides[1], [f"video{row}" for row in range(VIDEOS)]), level_shapes)


def _axes(name: str, is_text: bool, shapes: Shapes) -> tuple[tuple[int, ...], int]:
    """Token axes of one item and width."""
    kind, shape = name.rpartition(".")[2], shapes.get(name)
    width = shape.width if shape else WIDTH
    if kind in SINGLE:
        return (), width
    if is_text or kind != "patches":
        return ((shape.tokens if shape and shape.tokens else WORDS if is_text else FRAMES),), width
    frames = shapes["frames"].tokens if "frames" in shapes else None
    frames = frames or FRAMES
    tokens = shape.tokens if shape and shape.tokens else frames * PATCHES
    return (frames, tokens // frames) if tokens % frames == 0 else (1, tokens), width


def _mask(count: int, tokens: int, draw: torch.Generator) -> Tensor:
    """[B, N]: the first item whole, the second with its last token alone, the others with holes."""
    mask = torch.rand(count, tokens, generator=draw) < 0.6
    mask[torch.arange(count), torch.randint(tokens, (count,), generator=draw)] = True
    mask[0] = True
    mask[1 % count] = torch.arange(tokens) == tokens - 1
    return mask


def shapes_of(*sides: Features) -> dict[str, LevelShape]:
    """Shapes of the levels that there are."""
    shapes = {}
    for side in sides:
        for name in side.names:
            values = side.structured(name).values
            shapes[name] = LevelShape(values.shape[1:-1].numel() if values.ndim > 2 else None, values.shape[-1])
    return shapes


def changed(features: Side, change: Callable[[Tokens], Tokens], only: Sequence[str] | None = None) -> Side:
    """A copy with each level, or those named, changed."""
    levels = {name: features.structured(name) for name in features.names}
    new_levels = {name: change(tokens) if only is None or name in only else tokens for name, tokens in levels.items()}
    return type(features).of(new_levels, features.ids)


def with_other_padding(tokens: Tokens) -> Tokens:
    """The same valid tokens; masked ones are others, ten times as large."""
    if tokens.mask is None:
        return tokens
    draw = torch.Generator().manual_seed(SEED + 1)
    other = 10 * torch.randn(tokens.values.shape, generator=draw).to(tokens.values)
    mask = tokens.mask.reshape(*tokens.mask.shape, *[1] * (tokens.values.ndim - tokens.mask.ndim))
    return Tokens(torch.where(mask, tokens.values, other), tokens.mask)


def with_more_padding(tokens: Tokens) -> Tokens:
    """Two masked tokens (frames, for patches) more at the end."""
    values = tokens.values
    if values.ndim < 3:
        return tokens
    mask = values.new_ones(values.shape[:2], dtype=torch.bool) if tokens.mask is None else tokens.mask
    draw = torch.Generator().manual_seed(SEED + 2)
    more = torch.randn(len(values), 2, *values.shape[2:], generator=draw).to(values)
    return Tokens(torch.cat([values, more], 1), torch.cat([mask, mask.new_zeros(len(mask), 2, *mask.shape[2:])], 1))


def without_tokens(tokens: Tokens) -> Tokens:
    """The second item has no valid token."""
    if tokens.mask is None:
        return tokens
    mask = tokens.mask.clone()
    mask[1:2] = False
    return Tokens(tokens.values, mask)


def trainable(tokens: Tokens) -> Tokens:
    """Values that collect a gradient."""
    return Tokens(tokens.values.detach().clone().requires_grad_(), tokens.mask)


def copied(tokens: Tokens) -> Tokens:
    return tokens.map(torch.clone)


def same_tokens(tokens: Tokens, other: Tokens) -> bool:
    """Whether two levels are the same, bit by bit."""
    if (tokens.mask is None) != (other.mask is None) or tokens.values.shape != other.values.shape:
        return False
    masks = tokens.mask is None or other.mask is None or torch.equal(tokens.mask, other.mask)
    return masks and torch.equal(tokens.values, other.values)
