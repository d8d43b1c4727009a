"""A small transformer over the frames of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import FeatureTransform, Levels, LevelShape, Shapes, Tokens, VideoFeatures, setting
from plugins.layers.transformer import TransformerBlock

LAYER_NORM_EPS = 1e-12
CLIP_POSITIONS = 77


class TemporalTransformer(FeatureTransform):
    """e = c + TE(c + p): pre-LN blocks over the N tokens c [B_v, N, D] of a level, p a learned position table.

    Writes [B_v, N, D] with the same mask. Padding tokens are not attended to, and are written as any other. A level
    with more axes is read as one sequence and keeps its axes. Raises ValueError where the level has more tokens than
    positions, where D cannot be divided among the heads, or where the encoder offers too little.

    `init: random` starts close to the identity (e = 2c + p, p of size 0.01). `init: encoder` starts from what the
    encoder offers under `text_positions` [L, D], L >= positions, and `text_blocks.{i}.` followed by the names of
    Hugging Face's CLIPEncoderLayer: layer_norm1, self_attn.{q,k,v,out}_proj, layer_norm2, mlp.fc1, mlp.fc2, each
    with weight and bias; the first `layers` blocks are taken.

    Source: CLIP4Clip's sequential transformer (Luo et al. 2021, arXiv 2104.08860) as in EERCF (Tian et al., AAAI
    2024, arXiv 2401.00701), which has 4 layers, started from CLIP's text encoder: QuickGELU, LayerNorm eps 1e-12.
    """

    name = "temporal_transformer"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level that is read")
        into: str | None = setting(None, "level that is written; null: in place")
        layers: int = setting(2, "transformer blocks", ge=1, le=100)
        heads: int | None = setting(None, "attention heads; null: one for every 64 of the width", ge=1, le=1024)
        max_frames: int | None = setting(
            None, "rows of the position table; null: the level's tokens, else 77", ge=1, le=100_000
        )
        init: str = setting("random", "start weights", choices=("random", "encoder"))

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        if config.level not in shapes:
            raise ValueError(f"temporal_transformer needs the shape of level `{config.level}`")
        tokens, width = shapes[config.level]
        heads = config.heads or max(1, width // 64)
        self.positions = nn.Parameter(0.01 * torch.randn(config.max_frames or tokens or CLIP_POSITIONS, width))
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, LAYER_NORM_EPS) for _ in range(config.layers))
        self._check_positions(tokens or 0)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(video=(config.level,))

    @classmethod
    def writes(cls, config: Any) -> Levels:
        return Levels(video=(config.into or config.level,))

    def written_shapes(self) -> dict[str, LevelShape]:
        return {self.config.into or self.config.level: self.shapes[self.config.level]}

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        if self.config.init != "encoder":
            return
        wanted = {"text_positions": self.positions}
        wanted |= {f"text_blocks.{name}": parameter for name, parameter in self.blocks.named_parameters()}
        offered = {name: weights[name] for name in wanted if name in weights}
        if len(offered) < len(wanted):
            missing = ", ".join(sorted(set(wanted) - set(offered)))
            raise ValueError(f"`init: encoder`: the encoder does not offer {missing}")
        offered["text_positions"] = offered["text_positions"][: len(self.positions)]
        for name, parameter in wanted.items():
            if offered[name].shape != parameter.shape:
                sizes = f"{tuple(offered[name].shape)} offered, {tuple(parameter.shape)} needed"
                raise ValueError(f"`init: encoder`: `{name}` does not fit: {sizes}")
        with torch.no_grad():
            for name, parameter in wanted.items():
                parameter.copy_(offered[name])

    def video(self, features: VideoFeatures) -> VideoFeatures:
        written, flat = features.structured(self.config.level), features.level(self.config.level)
        tokens = flat.values.shape[1]
        self._check_positions(tokens)
        mask = flat.mask if flat.mask is not None else torch.ones_like(flat.values[..., 0], dtype=torch.bool)
        x = flat.values + self.positions[:tokens]
        for block in self.blocks:
            x = block(x, mask)
        values = (flat.values + x).view_as(written.values)
        return features.with_level(self.config.into or self.config.level, Tokens(values, written.mask))

    def _check_positions(self, tokens: int) -> None:
        if tokens > len(self.positions):
            rows = len(self.positions)
            raise ValueError(f"level `{self.config.level}` has {tokens} tokens; `max_frames` gives {rows} positions")
