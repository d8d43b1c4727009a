"""One way of training, measured in a process of its own; prints what was found as JSON.

python -m benchmarks.training_step VARIANT SIZE
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from scipy.sparse import csr_array, eye_array
from torch import Tensor, nn

from benchmarks.measuring import Seconds, multiply_adds
from core import LevelShape, Spec, TextFeatures, Tokens, VideoFeatures, create, make
from core.engine.model import Model
from core.engine.reranking import Mined, Negatives, RerankerFit
from core.engine.training import Pairs, TrainedModel, Trainee, fit
from core.experiment.config import LogitScale, Train

ROOT = Path(__file__).parents[1]
COLOURS, THINGS = (
    ("red", "blue", "green", "white", "pink", "navy"),
    ("star", "ring", "heart", "square", "circle", "box"),
)
WORDS = ["a", "on", "background", *COLOURS, *THINGS]


@dataclass(frozen=True)
class Size:
    """encoder: fields of `clip`. temporal_layers: of the transformer over frames. batch: pairs a step. steps: timed
    ones, after one that is not; with 0 multiply-adds are counted and nothing is timed. The rest is the reranker's."""

    encoder: dict[str, Any] = field(default_factory=lambda: {"model": str(ROOT / "checkpoints/shapes-clip")})
    frames: int = 12
    temporal_layers: int = 2
    batch: int = 16
    steps: int = 2
    width: int = 128
    heads: int = 4
    layers: int = 4


SIZES = {
    "shapes-clip": Size(),
    "small": Size(frames=2, batch=4, steps=2, layers=1),
    "ViT-B/32": Size({"init": "random", "vocabulary": WORDS}, temporal_layers=4, batch=2, steps=0, width=512, heads=8),
}


CACHED = {"frozen": ("sentence", "frames"), "reranker": ("words", "frames", "patches")}
"""Levels that are read instead of pixels and texts."""


class Bench:
    """Random videos with a text each, and what is trained on them."""

    def __init__(self, size: Size):
        torch.manual_seed(0)
        self.size, self.pairs = size, size.batch * (size.steps + 1)
        self.encoder: Any = create("encoder", "clip", **size.encoder, trainable=True)
        patches, width = self.encoder.shapes["patches"]
        assert patches is not None
        self.axes = {"sentence": (), "frames": (size.frames,), "patches": (size.frames, patches)}
        self.axes["words"] = (self.encoder.max_words,)
        self.shapes = {name: LevelShape(math.prod(axes) if axes else None, width) for name, axes in self.axes.items()}

    def fine_tuning(self) -> Trainee:
        """The encoder, and mean pooling after a transformer over its frames, from pixels."""
        tokens, pixels, mask = self._raw()

        def embed(rows: Tensor, videos: Tensor, _: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
            text = self.encoder.forward_text({name: ids[rows] for name, ids in tokens.items()}, ["sentence"])
            return text, self.encoder.forward_video(pixels[videos], mask[videos], ["frames"])

        return self._model(embed, self.encoder)

    def frozen(self) -> Trainee:
        """The same without the encoder, from cached sentences and frames."""
        text, video = TextFeatures(more=self._cached("sentence")), VideoFeatures(more=self._cached("frames"))
        return self._model(lambda rows, videos, _: (text[rows], video[videos]), None)

    def _model(self, embed: Any, encoder: nn.Module | None) -> Trainee:
        temporal = self._spec("feature_transform", "temporal_transformer", layers=self.size.temporal_layers)
        parts = {"temporal": temporal}, {"video": self._spec("interaction", "mean_pooling")}
        pairs = Pairs(torch.arange(self.pairs), csr_array(eye_array(self.pairs, dtype=bool)), embed)
        losses = {"contrast": create("loss", "info_nce", of="video")}
        return TrainedModel(Model(*parts, self.shapes, LogitScale()), losses, encoder, pairs)

    def _spec(self, kind: str, name: str, **fields: Any) -> Spec:
        return Spec(name, create(kind, name, self.shapes, **fields).config)

    def reranker(self) -> Trainee:
        """Cross-attention to cached patches: each pair with one wrong video and one wrong text."""
        size = self.size
        fields: dict[str, Any] = {"width": size.width, "heads": size.heads, "layers": size.layers}
        fields["video_selector"] = {"name": "token_selector", "keep": 4}
        fields["train"] = {"losses": {"match": {"name": "matching", "of": "rerank"}}, "negatives": 1}
        reranker = create("reranker", "crosstvr", self.shapes, **fields)
        losses = {name: make("loss", spec) for name, spec in reranker.config.train.losses.items()}
        text, video = self._cached("words"), self._cached("frames", "patches")
        own = torch.arange(self.pairs)
        wrong = Negatives((own[:, None] + torch.arange(1, 4)) % self.pairs, torch.zeros(self.pairs, 3))
        features = TextFeatures(more=text), VideoFeatures(more=video)
        mined = Mined(wrong, wrong, torch.zeros(self.pairs))
        return RerankerFit(reranker, losses, reranker.config.train, *features, own, mined)

    def encoding(self) -> Callable[[], object]:
        """What frozen features cost once: a batch of texts and videos, forward alone, with every level read above."""
        tokens, pixels, mask = self._raw()
        rows = slice(0, self.size.batch)

        def encode() -> None:
            with torch.inference_mode():
                self.encoder.forward_text({name: ids[rows] for name, ids in tokens.items()}, ["sentence", "words"])
                self.encoder.forward_video(pixels[rows], mask[rows], ["frames", "patches"])

        return encode

    def _raw(self) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Token tensors, pixels as the encoder takes them and their mask; the encoder's weights are read."""
        self.encoder.load(0)
        clauses = [f"a {colour} {thing}" for colour, thing in itertools.product(COLOURS, THINGS)]
        texts = [f"{clause} on a {colour} background" for clause, colour in itertools.product(clauses, COLOURS)]
        side = self.encoder.frame_size
        pixels = torch.randint(0, 256, (self.pairs, self.size.frames, 3, side, side), dtype=torch.uint8)
        return self.encoder.prepare_texts(texts[: self.pairs]), pixels, torch.ones(pixels.shape[:2], dtype=torch.bool)

    def _cached(self, *levels: str) -> dict[str, Tokens]:
        """Random tokens, all valid."""
        made = {}
        for name in levels:
            values = torch.randn(self.pairs, *self.axes[name], self.shapes[name].width)
            made[name] = Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool) if self.axes[name] else None)
        return made


# ------------------------------------------------------- measuring


def measure(variant: str, size: Size) -> dict[str, Any]:
    """parameters that are trained; cached_bytes, features of a pair in float32; multiply_adds a pair of one step,
    forward and backward; and, where steps are timed, wall and cpu seconds a step, and peak_bytes: how far memory grew
    beyond what was there before the first step."""
    bench = Bench(size)
    made = getattr(bench, variant)()
    ticks: list[Seconds] = []
    if isinstance(made, Trainee):
        parameters = sum(p.numel() for p in made.parameters() if p.requires_grad)
        run, step = (lambda: _fit(made, size, ticks)), (lambda: _forward_and_backward(made, size))
    else:
        parameters, run, step = 0, (lambda: _repeat(made, size, ticks)), made
    cached = [math.prod(bench.axes[level]) * bench.shapes[level].width for level in CACHED.get(variant, ())]
    found: dict[str, Any] = {"parameters": parameters, "cached_bytes": 4 * sum(cached)}
    if size.steps:
        found["peak_bytes"] = memory_growth(run)
        steps = [(after.wall - before.wall, after.cpu - before.cpu) for before, after in itertools.pairwise(ticks)]
        found["wall"], found["cpu"] = (statistics.median(times) for times in zip(*steps, strict=True))
    return found | {"multiply_adds": multiply_adds(step)[0] / size.batch}


def _fit(trainee: Trainee, size: Size, ticks: list[Seconds]) -> None:
    """One epoch of core's own training loop; a tick after each step."""
    after_step = trainee.after_step

    def ticking() -> None:
        after_step()
        ticks.append(_now())

    trainee.after_step = ticking  # type: ignore[method-assign]
    fit(trainee, Train(epochs=1, batch_size=size.batch, learning_rate=1e-5, keep="last"), 0, None)


def _repeat(call: Callable[[], object], size: Size, ticks: list[Seconds]) -> None:
    for _ in range(size.steps + 1):
        call()
        ticks.append(_now())


def _forward_and_backward(trainee: Trainee, size: Size) -> None:
    inputs = trainee.train().batch(torch.arange(size.batch), torch.Generator().manual_seed(0), 0)
    torch.stack([loss(inputs) for loss in trainee.losses.values()]).sum().backward()


def _now() -> Seconds:
    return Seconds(time.perf_counter(), time.process_time())


def memory_growth(run: Callable[[], object]) -> int | None:
    """Bytes between resident memory before and its peak inside `run`; None where the system does not tell (Linux)."""
    weight = nn.Parameter(torch.zeros(1))
    weight.sum().backward()
    torch.optim.AdamW([weight]).step()  # what an optimiser imports when it is first used
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = _status("VmRSS")
        run()
        return _status("VmHWM") - before
    except OSError:
        run()
        return None


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description="Started by training_cost.")
    parser.add_argument("variant", help="what is measured")
    parser.add_argument("size", choices=SIZES, help="of what it is measured on")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.variant, SIZES[chosen.size])))
