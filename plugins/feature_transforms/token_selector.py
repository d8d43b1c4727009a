"""Keeps the K tokens of each frame, or of the whole video, that a small network scores highest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core import FeatureTransform, Levels, LevelShape, Shapes, Tokens, VideoFeatures, setting
from plugins.layers.gating import unit
from plugins.layers.perturbed_topk import hard_topk, perturbed_topk, straight_through_topk


class TokenScorer(nn.Module):
    """w3 . GELU(W2 [h; g]) with h = GELU(W1 LN(x)) of a token and g the same of its context, or without g.

    W1 [D/2, D], W2 [D/2, D], w3 [D/2], no biases; W2 is held as its two halves, for h and for g.
    """

    def __init__(self, width: int, with_context: bool):
        super().__init__()
        half = width // 2
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, half, bias=False)
        self.of_token = nn.Linear(half, half, bias=False)
        self.of_context = nn.Linear(half, half, bias=False) if with_context else None
        self.score = nn.Linear(half, 1, bias=False)

    def forward(self, values: Tensor, context: Tensor | None) -> Tensor:
        """values [B, T, N, D], context [B, T, 1, D] or [B, 1, 1, D] -> [B, T, N], not limited in range."""
        mixed = self.of_token(self._inner(values))
        if self.of_context is not None and context is not None:
            mixed = mixed + self.of_context(self._inner(context))
        return self.score(F.gelu(mixed))[..., 0]

    def _inner(self, values: Tensor) -> Tensor:
        return F.gelu(self.hidden(self.norm(values)))


class TokenSelector(FeatureTransform):
    """Scores each token of a level and keeps K of those that compete: the N of a frame, or all T N of a video.

    Reads [B_v, T, N, D] (`over: video` also takes [B_v, N, D]) and, unless `context` is null, a level of the same D
    with one token a frame, or one a video. Writes [B_v, T, K, D], or [B_v, K, D] for `over: video`, in order of
    position, and says in the mask which are valid: with fewer than K valid tokens the last ones are zero and masked.
    Masked tokens are never kept. Raises ValueError where shapes say that K is more than there are to choose from,
    where widths differ, and where the context has another number of frames.

    In evaluation the K highest scores are kept, without noise. In training, by `method`:
    perturbed         Each slot is the mean of what it holds under `draws` times Gaussian noise on the scores, which
                      trains the scorer (see plugins.layers.perturbed_topk); a slot may mix tokens.
    straight_through  The K highest, with the gradient of softmax(scores / sigma).
    hard              The K highest, by cosine with the context token. Nothing would train a scorer here, so there is
                      none: no parameters, no noise. The control for the other two.

    `activation` limits the scores in training, and so sets what `sigma` means; it does not change their order. tanh:
    scores in (-1, 1), however many tokens compete. softmax: shares of 1 among those that compete, about 1/N each in an
    untrained network, which is below the default `sigma` from N = 20 on: choose it smaller there.

    Source: TS2-Net (Liu et al., ECCV 2022, arXiv 2207.07852), whose context is the frame's class token; its program
    takes tanh, keeps that token besides K = 3 others, and draws noise in evaluation too. CrossTVR (Dai et al. 2023,
    arXiv 2307.09972) selects with a softmax. TS2-Net's program has a softmax variant as well, but along an axis of
    length one: all scores are 1 and the noise alone chooses. That is not offered here.
    """

    name = "token_selector"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("patches", "video level that is read")
        into: str | None = setting(None, "level that is written; null: in place")
        context: str | None = setting("frames", "level whose token a frame is scored with; null: tokens by themselves")
        keep: int = setting(16, "tokens that are kept of each frame, or of the video", ge=1, le=1_000_000)
        over: str = setting(
            "frame", "tokens that compete: those of one frame, or of the video", choices=("frame", "video")
        )
        method: str = setting(
            "perturbed", "how selection is trained; hard: not at all", choices=("perturbed", "straight_through", "hard")
        )
        activation: str = setting("tanh", "of the score; not for hard", choices=("tanh", "softmax"))
        sigma: float = setting(0.05, "noise of perturbed, temperature of straight_through", gt=0)
        draws: int = setting(500, "noise vectors that perturbed averages over", ge=1, le=100_000)

        def __post_init__(self) -> None:
            if self.method == "hard" and self.context is None:
                raise ValueError("`method: hard` compares tokens with their context; name a level under `context`")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        for level in self.reads(config).video:
            if level not in shapes:
                raise ValueError(f"token_selector needs the shape of level `{level}`")
        width = shapes[config.level].width
        if config.context and shapes[config.context].width != width:
            other = shapes[config.context].width
            raise ValueError(
                f"level `{config.level}` has width {width} and its context `{config.context}` {other}; one scorer "
                "reads both, so name a context of the same encoder, or null"
            )
        self._check_tokens()
        self.scorer = None if config.method == "hard" else TokenScorer(width, config.context is not None)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        context = (config.context,) if config.context not in (None, config.level) else ()
        return Levels(video=(config.level, *context))

    @classmethod
    def writes(cls, config: Any) -> Levels:
        return Levels(video=(config.into or config.level,))

    def written_shapes(self) -> dict[str, LevelShape]:
        config, frames, tokens = self.config, self._known_frames(), None
        if config.over == "video":
            tokens = config.keep
        elif frames is not None:
            tokens = frames * config.keep
        return {config.into or config.level: LevelShape(tokens, self.shapes[config.level].width)}

    def _known_frames(self) -> int | None:
        """Frames of a video, where the shape of the context tells; a single token may also be one of the video."""
        tokens = self.shapes[self.config.context].tokens if self.config.context else None
        return None if tokens == 1 else tokens

    def _check_tokens(self) -> None:
        config, tokens, frames = self.config, self.shapes[self.config.level].tokens, self._known_frames()
        if tokens is None:
            return
        if frames and tokens % frames:
            raise ValueError(
                f"{tokens} tokens of level `{config.level}` do not divide among {frames} frames of `{config.context}`"
            )
        competing = tokens // (frames or 1) if config.over == "frame" else tokens
        if config.keep > competing:
            raise ValueError(f"`keep: {config.keep}` of {competing} tokens a {config.over} in level `{config.level}`")

    def video(self, features: VideoFeatures) -> VideoFeatures:
        config = self.config
        written = features.structured(config.level)
        axes = written.values.shape[1:-1]
        if config.over == "frame" and len(axes) < 2:
            raise ValueError(
                f"level `{config.level}` has no axis of frames; `over: video` chooses among all its tokens"
            )
        frames = axes[0] if axes else 1
        values, valid = _zeroed(written, frames)
        scores = self._scores(values, self._context(features, frames))
        if config.over == "video":
            values, scores, valid = values.flatten(1, 2), scores.flatten(1), valid.flatten(1)
        indicator, filled = self._select(scores, valid)
        return features.with_level(config.into or config.level, Tokens(indicator @ values, filled))

    def _context(self, features: VideoFeatures, frames: int) -> Tensor | None:
        """Context [B, T, 1, D], or [B, 1, 1, D] where there is one a video."""
        name = self.config.context
        if name is None:
            return None
        tokens = features.level(name)
        count = tokens.values.shape[1]
        if count not in (1, frames):
            raise ValueError(
                f"context `{name}` has {count} tokens for {frames} frames of `{self.config.level}`; it needs one a "
                "frame, or one a video"
            )
        return _zeroed(tokens, count)[0]

    def _scores(self, values: Tensor, context: Tensor | None) -> Tensor:
        """[B, T, N], before the activation."""
        if self.scorer is not None:
            return self.scorer(values, context)
        assert context is not None
        return (unit(values) * unit(context)).sum(-1)

    def _select(self, scores: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Indicator [..., K, N] and filled [..., K] of scores [..., N] of tokens that compete."""
        config = self.config
        if config.method == "hard" or not self.training:
            return hard_topk(scores, valid, config.keep)
        if config.activation == "tanh":
            scores = scores.tanh()
        else:
            scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(-1)
        if config.method == "straight_through":
            return straight_through_topk(scores, valid, config.keep, config.sigma)
        return perturbed_topk(scores, valid, config.keep, config.sigma, config.draws)


def _zeroed(tokens: Tokens, frames: int) -> tuple[Tensor, Tensor]:
    """Values [B, T, N, D], zero where masked, and mask [B, T, N]."""
    flat = tokens.flat()
    assert flat.mask is not None
    values = flat.values.masked_fill(~flat.mask[..., None], 0)
    return values.unflatten(1, (frames, -1)), flat.mask.unflatten(1, (frames, -1))
