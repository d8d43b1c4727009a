"""A joint transformer over the words of a text and a few tokens for each frame of a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import (
    Levels,
    Shapes,
    Side,
    TextFeatures,
    TrainedReranker,
    TrainedRerankerSettings,
    VideoFeatures,
    setting,
)
from plugins.layers.cross_attention import Decoder, EncoderBlock
from plugins.layers.joint_inputs import frame_tokens, input_maps, used, word_tokens


class Vedje(TrainedReranker):
    """A score from the first position of a transformer that reads [c; words; tokens of all frames].

    Reads a text level [B_t, L, D_x] and a video level [B_v, T, N, D_v], unless `class_level` is null with a class
    token beside each frame's others; a linear map and LayerNorm bring either side to `width` D. `compressor_layers`
    decoder blocks, in which `tokens` learned queries M read one frame, leave [T M, D] of a video: once for each
    video, and all that a search would have to keep of it. Learned vectors say which are words and which frame a
    token is of. `layers` blocks of self-attention mix [c; words; tokens], with c learned, and

        score = head(LN(c) + MLP(first stage's score))      MLP 1 -> 64 -> D, head D -> D -> 1, GELU in both

    so that the first stage enters before the decision; `alpha` adds it after it as for any trained reranker. The
    loss `candidate_softmax` is the one that it was trained by. Masked words and frames are not attended to. Raises
    ValueError for widths that do not fit and for more frames than `max_frames`.

    Source: VEDJE, the Video-Efficient Discriminative Joint Encoder (2026, OpenReview ZqB0Ab4juk): two compressing
    blocks of 8 heads, four tokens a frame, width 384, a pre-trained language model of 12 layers that reads them, and
    three further losses. Here the reader starts untrained, on the encoder's words, and is smaller; those losses are
    left out.
    """

    name = "vedje"

    @dataclass(frozen=True, kw_only=True)
    class Config(TrainedRerankerSettings):
        text_level: str = setting("words", "text level that is read")
        level: str = setting("patches", "video level that is compressed frame by frame")
        class_level: str | None = setting("frames", "level of one more token for each frame; null: none")
        tokens: int = setting(4, "what a frame is compressed to", ge=1, le=10_000)
        compressor_layers: int = setting(2, "blocks that compress a frame", ge=1, le=100)
        layers: int = setting(4, "blocks that read text and video together", ge=1, le=100)
        width: int = setting(384, "width of both", ge=1, le=65_536)
        heads: int = setting(8, "attention heads of both", ge=1, le=1024)
        dropout: float = setting(0.1, "in training, on what each part of a block adds", ge=0, le=1)
        max_frames: int = setting(64, "rows of the table of frame positions", ge=1, le=100_000)

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        width, heads, dropout = config.width, config.heads, config.dropout
        self.text_map, self.video_map = input_maps(shapes, config.text_level, config.level, config.class_level, width)
        self.frame_queries = nn.Parameter(torch.randn(config.tokens, width))
        self.compressor = Decoder(width, heads, config.compressor_layers, dropout)
        self.text_type = nn.Parameter(0.02 * torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(config.max_frames, width))
        self.query = nn.Parameter(torch.randn(width))
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.prior = nn.Sequential(nn.Linear(1, 64), nn.GELU(), nn.Linear(64, width))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        video = (config.level, config.class_level)
        return Levels((config.text_level,), tuple(level for level in video if level is not None))

    def text_side(self, text: TextFeatures) -> Side:
        """words [B_t, L, D] with mask [B_t, L]."""
        words, mask = word_tokens(text, self.config.text_level)
        return {"words": self.text_map(words) + self.text_type, "mask": mask}

    def video_side(self, video: VideoFeatures) -> Side:
        """tokens [B_v, T M, D] with mask [B_v, T M]."""
        values, mask = frame_tokens(video, self.config.level, self.config.class_level)
        videos, frames = values.shape[:2]
        if frames > len(self.positions):
            raise ValueError(f"{frames} frames, but `max_frames` is {len(self.positions)}")
        queries = self.frame_queries.expand(videos * frames, -1, -1)
        every = mask.new_ones(queries.shape[:2])
        read = self.video_map(values).flatten(0, 1), mask.flatten(0, 1)
        tokens = self.compressor(queries, every, *read, queries.shape[1]).unflatten(0, (videos, frames))
        tokens = tokens + self.positions[:frames, None]
        return {"tokens": tokens.flatten(1, 2), "mask": mask.any(2).repeat_interleave(queries.shape[1], 1)}

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        """[P], not limited in range."""
        length, pairs = used(text["mask"]), len(text["mask"])
        x = torch.cat([self.query.expand(pairs, 1, -1), text["words"][:, :length], video["tokens"]], 1)
        mask = torch.cat([x.new_ones(pairs, 1, dtype=torch.bool), text["mask"][:, :length], video["mask"]], 1)
        for index, block in enumerate(self.blocks):
            x = block(x, mask, keep=1 if index == len(self.blocks) - 1 else None)
        first = scores["first_stage"].to(x)[:, None]
        return self.head(self.norm(x[:, 0]) + self.prior(first))[:, 0]

    def pair_floats(self, text: Side, video: Side) -> float:
        """Of one block: twelve widths a position (states, projections, what is inside the feed-forward part), and
        the weights."""
        positions = 1 + text["mask"].shape[1] + video["mask"].shape[1]
        return positions * (12.0 * self.config.width + self.config.heads * positions)
