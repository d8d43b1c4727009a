"""Matching heads with both sides made beforehand, and the token-wise head that the papers compare themselves with.

B_t texts, B_v videos, L words, T frames, D width.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measuring import multiply_adds, timed
from core import Interaction, Levels, LevelShape, Shapes, Side, TextFeatures, Tokens, VideoFeatures, create, setting
from core.engine.efficiency import Prepared, as_tokens
from plugins.layers.gating import unit_tokens, video_blocks


@dataclass(frozen=True)
class Size:
    """galleries, top_k: what is varied. patch_gallery: the largest gallery whose patches (1.2 MB a video at the
    papers' shapes) are kept. queries: of a batch. alone: how many of them are also asked one at a time.
    at_least: seconds that a call is repeated for."""

    galleries: tuple[int, ...] = (500, 1000, 3000, 5000)
    patch_gallery: int = 1000
    top_k: tuple[int, ...] = (10, 50, 100)
    queries: int = 100
    alone: int = 2
    rounds: int = 5
    at_least: float = 0.05
    frames: int = 12
    patches: int = 49
    words: int = 32
    width: int = 512
    concepts: int = 8


class TokenWise(Interaction):
    """½ Σ_l a_l max_t(w_l·f_t) + ½ Σ_t b_t max_l(w_l·f_t), w and f unit words and frames, a and b softmax weights.

    Reads words [B_t, L, D] and frames [B_v, T, D]; scores [B_t, B_v]. The weights come from one linear layer a side.

    Source: the weighted token-wise interaction of DRL (Wang et al. 2022, arXiv 2203.07111); the frame-word term of
    X-CLIP (Ma et al. 2022, arXiv 2207.07285) takes the same L · T dot products a pair.
    """

    name = "token_wise"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level")
        text_level: str = setting("words", "text level")

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        width = shapes[config.level].width
        self.weigh_words, self.weigh_frames = nn.Linear(width, 1), nn.Linear(width, 1)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(text=(config.text_level,), video=(config.level,))

    def text_side(self, text: TextFeatures) -> Side:
        """values [B_t, L, D], unit; weights [B_t, L]."""
        return self._side(text.structured(self.config.text_level), self.weigh_words)

    def video_side(self, video: VideoFeatures) -> Side:
        """values [B_v, T, D], unit; weights [B_v, T]."""
        return self._side(video.structured(self.config.level), self.weigh_frames)

    def _side(self, tokens: Tokens, weigh: nn.Module) -> Side:
        values, _ = unit_tokens(tokens)
        return {"values": values, "weights": weigh(values).squeeze(2).softmax(1)}

    def score(self, text: Side, video: Side) -> Tensor:
        words = text["values"].flatten(0, 1)
        dots_a_video = len(words) * video["values"].shape[1]
        return torch.cat([self._score(text, words, block) for block in video_blocks(video, dots_a_video)], dim=1)

    def _score(self, text: Side, words: Tensor, video: Side) -> Tensor:
        dots = (words @ video["values"].flatten(0, 1).T).view(*text["values"].shape[:2], *video["values"].shape[:2])
        by_word = torch.einsum("alb,al->ab", dots.amax(3), text["weights"])
        by_frame = torch.einsum("abt,bt->ab", dots.amax(1), video["weights"])
        return (by_word + by_frame) / 2

    def pair_floats(self, text: Side, video: Side) -> float:
        return 2.0 * text["values"].shape[1] * video["values"].shape[1]


@dataclass(frozen=True)
class Head:
    """An interaction with the sides of all texts and of all videos."""

    interaction: Prepared
    text: TextFeatures
    video: VideoFeatures

    def of(self, texts: slice, videos: int) -> Head:
        """For some texts and the first videos; nothing is copied."""
        return Head(self.interaction, self.text[texts], self.video[:videos])


def interactions(size: Size) -> dict[str, Interaction]:
    """The heads by name, as the papers' recipes under experiments/papers configure them."""
    tokens = {"frames": size.frames, "temporal": size.frames, "words": size.words}
    tokens["patches"] = size.frames * size.patches
    shapes = {name: LevelShape(count, size.width) for name, count in tokens.items()}
    shapes["sentence"] = LevelShape(None, size.width)

    def made(name: str, **fields: Any) -> Interaction:
        return create("interaction", name, shapes, **fields).eval()

    return {
        "token-wise": TokenWise(TokenWise.Config(), shapes).eval(),
        "video": made("mean_pooling", level="temporal"),
        "frame": made("tib", level="temporal", gate="frames", temperature=0.1),
        "patch": made("tib", level="patches", temperature=0.01),
        "global": made("tib", level="temporal", unit_vectors=False, temperature=3.0),
        "local": made("learnable_queries", level="temporal", queries=size.concepts),
    }


@torch.inference_mode()
def prepare(size: Size, seed: int) -> tuple[dict[str, Head], list[dict[str, Any]]]:
    """The heads with both sides made from random features, and what making them costs a text and a video."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    made, text = interactions(size), _texts(size, generator)
    works = {name: _Work(interaction) for name, interaction in made.items()}
    for rows, video in _videos(size, generator):
        for name, work in works.items():
            if name != "patch" or "patches" in video:
                work.add(video, rows, size.patch_gallery if name == "patch" else max(size.galleries))
    heads, costs = {}, []
    for name, work in works.items():
        make = partial(work.interaction.text_side, text)
        count, side = multiply_adds(make)
        heads[name] = Head(Prepared(work.interaction), TextFeatures(more=as_tokens(side)), work.features())
        text_cost = {"text_multiply_adds": count // len(text), "text_ms": 1e3 * timed(make).cpu / len(text)}
        costs.append({"head": name, **work.cost(), **text_cost})
    return heads, costs


class _Work:
    """The video side of one interaction, made in runs."""

    def __init__(self, interaction: Interaction):
        self.interaction, self.stored = interaction, dict[str, Tensor]()
        self.seconds, self.videos, self.multiply_adds = 0.0, 0, 0

    def add(self, video: VideoFeatures, rows: slice, total: int) -> None:
        make = partial(self.interaction.video_side, video)
        if not self.stored:
            count, side = multiply_adds(make)
            self.multiply_adds = count // len(video)
            self.stored = {name: tensor.new_empty((total, *tensor.shape[1:])) for name, tensor in side.items()}
        began = time.process_time()
        for name, tensor in make().items():
            self.stored[name][rows] = tensor
        self.seconds, self.videos = self.seconds + time.process_time() - began, self.videos + len(video)

    def features(self) -> VideoFeatures:
        return VideoFeatures(more=as_tokens(self.stored))

    def cost(self) -> dict[str, Any]:
        kept = sum(tensor[0].numel() * tensor.element_size() for tensor in self.stored.values())
        seconds = self.seconds / self.videos
        return {"video_bytes": kept, "video_multiply_adds": self.multiply_adds, "video_ms": 1e3 * seconds}


def _texts(size: Size, generator: torch.Generator) -> TextFeatures:
    words = _random(generator, size.queries, size.words, size.width)
    return TextFeatures(sentence=_random(generator, size.queries, size.width), words=words)


def _videos(size: Size, generator: torch.Generator, run: int = 50) -> Iterator[tuple[slice, VideoFeatures]]:
    """Features in runs of videos, so that raw patches of few are alive; none beyond `patch_gallery`."""
    last = max(size.galleries)
    edges = sorted({*range(0, last, run), size.patch_gallery, last})
    for start, stop in itertools.pairwise(edges):
        levels = {"frames": (size.frames,), "temporal": (size.frames,), "patches": (size.frames, size.patches)}
        if start >= size.patch_gallery:
            del levels["patches"]
        axes = {name: (stop - start, *tokens, size.width) for name, tokens in levels.items()}
        yield slice(start, stop), VideoFeatures(more={n: Tokens(_random(generator, *a)) for n, a in axes.items()})


def _random(generator: torch.Generator, *shape: int) -> Tensor:
    """Vectors about 10 long, as CLIP's are."""
    return torch.randn(shape, generator=generator) * (10 / shape[-1] ** 0.5)
