"""Cross-attention of a text to the patches of a video, inside each frame and over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from core import (
    Levels,
    Shapes,
    Side,
    Spec,
    TextFeatures,
    TrainedReranker,
    TrainedRerankerSettings,
    VideoFeatures,
    make,
    setting,
)
from plugins.layers.cross_attention import Decoder
from plugins.layers.joint_inputs import frame_tokens, input_maps, masked_mean, used, word_tokens


class CrossTVR(TrainedReranker):
    """Log-odds that a text matches a video, from learned queries that read words and patches together.

    Reads a text level X [B_t, L, D_x] and a video level V [B_v, T, N, D_v], unless `class_level` is null with a class
    token in front of each frame's others; a linear map and LayerNorm bring either side to `width` D. Q are `queries`
    learned vectors, Attn is a stack of `layers` decoder blocks (self-attention, cross-attention, feed-forward part:
    plugins.layers.cross_attention), and [ ; ] is one sequence:

        X_frame(t) = mean over the positions of Q of Attn([Q; X], V_t)            for each frame t
        Y = Attn([X_frame(1); …; X_frame(T); X], S)                               S: tokens of all frames
        score = l_1 - l_0,   l = W mean over the first T positions of Y + b       W [2, D]

    so that sigmoid(score) is the probability of a match, and the loss `matching` the cross-entropy of the two
    outputs. Learned positions of the frames are added to X_frame and to S.

    V_t are the tokens that `frame_selector` keeps of a frame, S those that `video_selector` keeps of each; null keeps
    all. A selector is a feature transform with fields `level` and `into`, like `token_selector`; it is given the
    level read here and trained with the rest. Class tokens are kept besides.

    levels        both; frame: score = head(mean over t of X_frame(t)); video: Y = Attn([Q; X], S), averaged over Q.
    share         both levels are one stack, called twice.
    frame_pool    query_mean, as above; time_mean: the mean over t instead, so that Q vectors go on to the video level.

    Masked words, frames and tokens are neither attended to nor averaged; a video without a valid frame is scored by
    what the head makes of zeros. Maps, selection and the first self-attention of [Q; X] are computed once for each
    text and video. Raises ValueError for widths that do not fit and for more frames than `max_frames`.

    Source: CrossTVR (Dai et al. 2023, arXiv 2307.09972; Pattern Recognition 159, 2025, 111099), equations 3, 5 and 6,
    with four tokens a frame at the video level; the later version selects at the frame level too. There is no public
    program, and the numbers of layers, heads and queries, the width and the start weights are not known: they are
    ours here.
    """

    name = "crosstvr"

    @dataclass(frozen=True, kw_only=True)
    class Config(TrainedRerankerSettings):
        text_level: str = setting("words", "text level that is read with the queries")
        level: str = setting("patches", "video level that is attended to")
        class_level: str | None = setting("frames", "level of one more token for each frame; null: none")
        levels: str = setting(
            "both", "where attention is: inside frames, over the video, both", choices=("both", "frame", "video")
        )
        frame_selector: Spec | None = setting(
            None, "chooses what the frame level sees of a frame; null: all", kind="feature_transform"
        )
        video_selector: Spec | None = setting(
            None, "chooses what the video level sees of each frame; null: all", kind="feature_transform"
        )
        share: bool = setting(True, "one stack for both levels")
        frame_pool: str = setting(
            "query_mean",
            "what the video level gets of the frame level: a vector a frame, or a vector a query (time_mean)",
            choices=("query_mean", "time_mean"),
        )
        queries: int = setting(8, "learned queries", ge=1, le=10_000)
        width: int = setting(512, "width of the stack", ge=1, le=65_536)
        heads: int = setting(8, "attention heads", ge=1, le=1024)
        layers: int = setting(4, "blocks of a stack", ge=1, le=100)
        dropout: float = setting(0.1, "in training, on what each part of a block adds", ge=0, le=1)
        max_frames: int = setting(64, "rows of the table of frame positions", ge=1, le=100_000)

        def __post_init__(self) -> None:
            for name in ("frame_selector", "video_selector"):
                spec = getattr(self, name)
                if spec is not None and not (hasattr(spec.fields, "level") and hasattr(spec.fields, "into")):
                    raise ValueError(
                        f"{name}: `{spec.name}` does not say what it reads by `level` and writes by `into`"
                    )

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        width, stack = config.width, (config.width, config.heads, config.layers, config.dropout)
        self.text_map, self.video_map = input_maps(shapes, config.text_level, config.level, config.class_level, width)
        self.queries = nn.Parameter(torch.randn(config.queries, width))
        self.stack = Decoder(*stack)
        self.video_stack = Decoder(*stack) if config.levels == "both" and not config.share else self.stack
        self.frame_selector = self._selector(config.frame_selector) if config.levels != "video" else None
        self.video_selector = self._selector(config.video_selector) if config.levels != "frame" else None
        if config.levels != "frame":
            self.positions = nn.Parameter(0.02 * torch.randn(config.max_frames, width))
        self.head = nn.Linear(width, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def _selector(self, spec: Spec | None) -> nn.Module | None:
        return None if spec is None else make("feature_transform", _at(spec, self.config.level), self.shapes)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        video = [config.level, config.class_level]
        for spec in (config.frame_selector, config.video_selector):
            video.append(getattr(spec.fields, "context", None) if spec else None)
        return Levels((config.text_level,), tuple(dict.fromkeys(level for level in video if level is not None)))

    def text_side(self, text: TextFeatures) -> Side:
        """words [B_t, L, D] with mask [B_t, L]; start [B_t, Q + L, D]: queries and words after self-attention."""
        words, mask = word_tokens(text, self.config.text_level)
        words = self.text_map(words)
        queries = self.queries.expand(len(words), -1, -1)
        seen = torch.cat([mask.new_ones(queries.shape[:2]), mask], 1)
        return {"words": words, "mask": mask, "start": self.stack.start(torch.cat([queries, words], 1), seen)}

    def video_side(self, video: VideoFeatures) -> Side:
        """in_frame and over_video [B_v, T, N, D], the tokens of either level of attention that there is, with their
        masks [B_v, T, N]; frames [B_v, T], those that are valid."""
        side: Side = {}
        if self.config.levels != "video":
            side["in_frame"], side["in_frame_mask"], side["frames"] = self._tokens(video, self.frame_selector)
        if self.config.levels != "frame":
            tokens, side["over_video_mask"], side["frames"] = self._tokens(video, self.video_selector)
            side["over_video"] = tokens + self._positions(tokens.shape[1])[:, None]
        return side

    def _tokens(self, video: VideoFeatures, selector: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Mapped tokens [B_v, T, N, D], their mask, and the mask of frames [B_v, T]."""
        config = self.config
        chosen = video if selector is None else selector.video(video)
        if selector is not None and chosen.structured(config.level).values.ndim < 4:
            raise ValueError(f"a selector must keep tokens of each frame, [T, N]; `{selector.name}` gave a plain list")
        values, mask = frame_tokens(chosen, config.level, config.class_level)
        return self.video_map(values), mask, mask.any(2)

    def _positions(self, frames: int) -> Tensor:
        if frames > len(self.positions):
            raise ValueError(f"{frames} frames, but `max_frames` is {len(self.positions)}")
        return self.positions[:frames]

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        """[P], not limited in range."""
        length, queries = used(text["mask"]), self.config.queries
        words, mask, start = text["words"][:, :length], text["mask"][:, :length], text["start"][:, : queries + length]
        every = mask.new_ones(len(mask), queries)
        if self.config.levels == "video":
            seen = torch.cat([every, mask], 1)
            return self._judged(self.stack.finish(start, seen, *_over_video(video), queries), every)
        inside = self._inside(start, torch.cat([every, mask], 1), video)
        if self.config.frame_pool == "query_mean":
            asked, valid = inside.mean(2), video["frames"]
        else:
            asked, valid = masked_mean(inside, video["frames"]), every
        if self.config.levels == "frame":
            return self._judged(asked, valid)
        if self.config.frame_pool == "query_mean":
            asked = asked + self._positions(asked.shape[1])
        sequence = torch.cat([asked, words], 1), torch.cat([valid, mask], 1)
        return self._judged(self.video_stack(*sequence, *_over_video(video), asked.shape[1]), valid)

    def _inside(self, start: Tensor, seen: Tensor, video: Side) -> Tensor:
        """The queries [P, T, Q, D] after each frame by itself: start [P, Q + L, D] under seen [P, Q + L]."""
        pairs, frames = video["frames"].shape
        tokens, mask = video["in_frame"].flatten(0, 1), video["in_frame_mask"].flatten(0, 1)
        start, seen = start.repeat_interleave(frames, 0), seen.repeat_interleave(frames, 0)
        return self.stack.finish(start, seen, tokens, mask, self.config.queries).unflatten(0, (pairs, frames))

    def _judged(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The score [P] of vectors [P, N, D] under mask [P, N]."""
        logits = self.head(masked_mean(vectors, mask))
        return logits[:, 1] - logits[:, 0]

    def pair_floats(self, text: Side, video: Side) -> float:
        """Of a block at the level of attention that takes more: ten widths a position (states and what is inside the
        feed-forward part), keys and values of each token, and the weights."""
        positions = self.config.queries + text["mask"].shape[1]
        floats = 0.0
        for name, passes in (("in_frame", video["frames"].shape[1]), ("over_video", 1)):
            if name in video:
                _, frames, tokens, width = video[name].shape
                each = 10 * width + self.config.heads * frames * tokens / passes
                floats = max(floats, passes * positions * each + 2 * frames * tokens * width)
        return floats


def _over_video(video: Side) -> tuple[Tensor, Tensor]:
    """The video level's tokens as one sequence [P, T N, D], and their mask."""
    return video["over_video"].flatten(1, 2), video["over_video_mask"].flatten(1, 2)


def _at(spec: Spec, level: str) -> Spec:
    """A selector that reads a level and writes it in place."""
    return replace(spec, fields=replace(spec.fields, level=level, into=None))
