"""Small components of every kind that keep their contract, for tests to break."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import normalize

from core import (
    Dataset,
    FeatureTransform,
    Interaction,
    Levels,
    Loss,
    Output,
    Reranker,
    ScoreTransform,
    Split,
    Text,
    Tokens,
    TrainedReranker,
    Video,
    setting,
)
from tests.engine import ToyEncoder


class Sound(Interaction):
    """Soft maximum over frames of their cosines with a projected sentence."""

    name = "sound"
    after_training = frozenset({"temperature"})

    @dataclass(frozen=True)
    class Config:
        temperature: float = setting(0.1, "divides the cosines", gt=0)
        ignore_mask: bool = setting(False, "look at padding")

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        self.matrix = nn.Parameter(torch.eye(shapes["frames"].width))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), ("frames",))

    @classmethod
    def provides(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_vector"})

    def text_side(self, text):
        return {"vector": normalize(text.level("sentence").values[:, 0], dim=-1) @ self.matrix}

    def video_side(self, video):
        frames = video.level("frames")
        mask = torch.ones_like(frames.mask) if self.config.ignore_mask else frames.mask
        return {"values": normalize(frames.values, dim=-1), "mask": mask}

    def score(self, text, video):
        dots = torch.einsum("td,vnd->tvn", text["vector"], video["values"])
        return (dots * self.weights(dots, video["mask"])).sum(-1)

    def weights(self, dots, mask):
        return (dots / self.config.temperature).masked_fill(~mask, -1e4).softmax(-1)

    def match(self, text, video):
        return self.score(text, video), {"text_vector": text["vector"]}


class Dot(Sound):
    """One dot product."""

    name = "dot"
    inner_product = True

    def video_side(self, video):
        return {"vector": normalize(video.level("video").values[:, 0], dim=-1)}

    def score(self, text, video):
        return text["vector"] @ video["vector"].T

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), ("video",))

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, {"frames": shapes["video"]})


class Shifted(FeatureTransform):
    """Frames plus a trained vector."""

    name = "shifted"

    @dataclass(frozen=True)
    class Config:
        into: str = setting("shifted", "level written")

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        self.shift = nn.Parameter(torch.ones(shapes["frames"].width))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(video=("frames",))

    @classmethod
    def writes(cls, config: Any) -> Levels:
        return Levels(video=(config.into,))

    def written_shapes(self):
        return {self.config.into: self.shapes["frames"]}

    def video(self, features):
        frames = features.structured("frames")
        return features.with_level(self.config.into, Tokens(self.values(frames), frames.mask))

    def values(self, frames):
        return frames.values + self.shift


class Hinge(Loss):
    """Mean of what wrong answers come near to the right one, in a batch of pairs; text vectors near zero."""

    name = "hinge"

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"text_vector"})

    def forward(self, inputs):
        if inputs.paired is None:
            raise ValueError("hinge needs pairs")
        scores = inputs.logit_scale * inputs.mixed(self.config.of)
        own = scores.gather(1, inputs.paired[:, None])
        near = (1 + scores - own).relu().masked_fill(inputs.relevance, 0)
        vectors = [inputs.auxiliary[name]["text_vector"] for name in self.config.of]
        return near.mean() + sum(v.square().mean() for v in vectors)


class Fused(Reranker):
    """The first stage plus the cosine of the sentence with the mean of the valid frames."""

    name = "fused"

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), ("frames",))

    @classmethod
    def interactions(cls, config: Any) -> tuple[str, ...]:
        return ("fine",)

    def forward(self, text, video, scores):
        frames = video.structured("frames")
        mean = frames.values.masked_fill(~frames.mask[..., None], 0).sum(1)
        cosine = (normalize(text.structured("sentence").values, dim=-1) * normalize(mean, dim=-1)).sum(-1)
        return scores["first_stage"] + scores["fine"] + cosine


class Judge(TrainedReranker):
    """A trained bilinear form of the sentence and the mean of the valid frames."""

    name = "judge"

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        self.matrix = nn.Parameter(torch.eye(shapes["frames"].width))

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), ("frames",))

    def text_side(self, text):
        return {"vector": text.structured("sentence").values @ self.matrix}

    def video_side(self, video):
        frames = video.structured("frames")
        return {"vector": frames.values.masked_fill(~frames.mask[..., None], 0).sum(1)}

    def score_pairs(self, text, video, scores):
        return (text["vector"] * video["vector"]).sum(-1)


class Sharpened(ScoreTransform):
    """The sign of a score and its square."""

    name = "sharpened"

    def __call__(self, scores):
        return scores * scores.abs()


class Heard(Output):
    """Keeps what it is told."""

    name = "heard"

    def finished(self, result, folder):
        return [result.name]


class Colours(ToyEncoder):
    """Colours through one linear layer."""


class Clips(Dataset):
    """Two videos of two captions each."""

    name = "clips"

    def prepare(self, folder: Path) -> dict[str, Split]:
        path = folder / "video.mp4"
        if not path.exists():
            path.touch()
        videos = tuple(Video(f"v{row}", str(path)) for row in range(2))
        texts = tuple(Text(f"t{row}", "a video", row // 2) for row in range(4))
        return {"test": Split(videos, texts, ((0, 1),))}
