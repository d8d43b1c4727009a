"""Learned queries read concepts from either side; concept q of the text meets concept q of the video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from core import Interaction, Levels, Shapes, Side, TextFeatures, Tokens, VideoFeatures, setting
from plugins.layers.gating import require_one_width, unit


class LearnableQueries(Interaction):
    """(1/Q) Σ_q z^t_q·z^v_q, z = n(decoder(queries; tokens)): Q unit concepts [B, Q, D] of each side.

    Reads a video level [B_v, N, D] and a text level [B_t, L, D], un-normalised. The queries [Q, D] pass a post-norm
    transformer decoder (`torch.nn`: self-attention, cross-attention to the tokens, ReLU, no position code), whose
    layers start as copies of one. Neither side sees the other, so that a score is one dot product of two vectors of
    Q · D. Scores [B_t, B_v] are mean cosines. An item without a valid token scores 0. Raises ValueError where widths
    differ, D cannot be divided among the heads, or the shape of `level` is not known.

    Auxiliary: text_concepts and video_concepts [N, Q, D], unit.
    Source: the local interaction of GLSCL (Zhang et al. 2024, arXiv 2405.12710): 8 queries, 3 layers; its code attends
    to padding words and frames too (`ignore_mask`), so that the length they are padded to changes the score.
    """

    name = "learnable_queries"
    inner_product = True

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level that the queries attend to")
        text_level: str = setting("words", "text level that the queries attend to")
        queries: int = setting(8, "concepts a side", ge=1, le=10_000)
        layers: int = setting(3, "of the decoder", ge=1, le=100)
        heads: int | None = setting(None, "attention heads; null: 8 where they divide the width, else 1", ge=1, le=1024)
        expansion: int = setting(4, "width inside the feed-forward, in widths of the tokens", ge=1, le=64)
        dropout: float = setting(0.1, "in training, everywhere in the decoder", ge=0, le=1)
        share: bool = setting(True, "both sides have the same queries and decoder")
        ignore_mask: bool = setting(False, "attend to padding tokens too")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        if config.level not in shapes:
            raise ValueError(f"learnable_queries needs the shape of level `{config.level}`")
        require_one_width(shapes, self.reads(config))
        sides = ("both",) if config.share else ("text", "video")
        self.decoders = nn.ModuleDict({side: ConceptDecoder(config, shapes[config.level].width) for side in sides})

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(text=(config.text_level,), video=(config.level,))

    @classmethod
    def provides(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_concepts", "video_concepts"})

    def text_side(self, text: TextFeatures) -> Side:
        """vector [B_t, Q·D], of unit length: the concepts side by side, over √Q."""
        return self._side("text", text.structured(self.config.text_level))

    def video_side(self, video: VideoFeatures) -> Side:
        """vector [B_v, Q·D], likewise."""
        return self._side("video", video.structured(self.config.level))

    def _side(self, side: str, tokens: Tokens) -> Side:
        decoder = self.decoders["both" if self.config.share else side]
        flat = tokens.flat()
        concepts = decoder(flat.values, None if self.config.ignore_mask else flat.mask)
        return {"vector": concepts.flatten(1) * self.config.queries**-0.5}

    def match(self, text: Side, video: Side) -> tuple[Tensor, Side]:
        concepts = {"text_concepts": self._concepts(text), "video_concepts": self._concepts(video)}
        return self.score(text, video), concepts

    def _concepts(self, side: Side) -> Tensor:
        return side["vector"].unflatten(1, (self.config.queries, -1)) * self.config.queries**0.5

    def pair_floats(self, text: Side, video: Side) -> float:
        return 1.0


class ConceptDecoder(nn.Module):
    """Q queries [Q, D], drawn from [0, 1), and the decoder that reads tokens with them."""

    def __init__(self, config: Any, width: int):
        super().__init__()
        heads = config.heads or (1 if width % 8 else 8)
        if width % heads:
            raise ValueError(f"width {width} cannot be divided among {heads} heads")
        self.queries = nn.Parameter(torch.rand(config.queries, width))
        layer = nn.TransformerDecoderLayer(width, heads, config.expansion * width, config.dropout, batch_first=True)
        self.transformer = nn.TransformerDecoder(layer, config.layers)

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """tokens [B, N, D], mask bool [B, N] or None for all -> unit concepts [B, Q, D], zero where none is valid."""
        queries = self.queries.expand(len(tokens), -1, -1)
        if mask is None:
            return unit(self.transformer(queries, tokens))
        some = mask.any(1, keepdim=True)
        tokens = tokens.masked_fill(~mask[:, :, None], 0)
        read = self.transformer(queries, tokens, memory_key_padding_mask=~mask & some)
        return unit(read.masked_fill(~some[:, :, None], 0))
