"""What reading takes of a training step on frozen features, in a process of its own; prints what was found as JSON.

    python -m benchmarks.training_input VARIANT SIZE

Core's training loop on levels mapped from a safetensors file, batches of random rows; after each step as many bytes as
it read are copied from one place in memory to another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from core import LevelShape, Spec, TextFeatures, Tokens, VideoFeatures, create
from core.contract.tensorfile import map_tensors
from core.engine.model import Model
from core.engine.training import Pairs, TrainedModel, fit
from core.experiment.config import LogitScale, Train

WIDTH, FRAMES, PATCHES, CHUNK = 512, 12, 49, 50


@dataclass(frozen=True)
class Reads:
    """A level, how it is stored, and what is trained on it: names of transforms and interactions."""

    title: str
    level: str
    transforms: tuple[str, ...]
    interactions: tuple[str, ...]
    stored: torch.dtype = torch.float32
    steps: int = 5


VARIANTS = {
    "transformer": Reads("frames, transformer", "frames", ("temporal_transformer",), ("mean_pooling", "tib")),
    "pooled": Reads("frames, the scale alone", "frames", (), ("mean_pooling",), steps=30),
    "patches": Reads("patches, the scale alone", "patches", (), ("tib",)),
    "patches_half": Reads("the same, stored in float16", "patches", (), ("tib",), stored=torch.float16),
}
SIZES = {"full": {"frames": 9000, "patches": 1000, "batch": 128}, "small": {"frames": 40, "patches": 20, "batch": 4}}


class Clock:
    """Seconds of each call of some functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    def of(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            began = time.perf_counter()
            result = call(*given)
            self.seconds.setdefault(name, []).append(time.perf_counter() - began)
            return result

        return timed

    def median(self, name: str) -> float:
        """Of all but the first call, which finds memory that nobody has touched."""
        return statistics.median(self.seconds[name][1:])


def measure(variant: str, size: dict[str, int]) -> dict[str, Any]:
    """read_bytes: what a step must read. step, read, copy: median seconds of a step, of reading its batch (gathering,
    moving and casting), and of copying read_bytes from memory that is there to memory that is there."""
    torch.manual_seed(0)
    reads, batch = VARIANTS[variant], size["batch"]
    with tempfile.TemporaryDirectory() as folder:
        videos = _stored(Path(folder) / "level.safetensors", reads, size[reads.level])
        clock = Clock()
        own = torch.randint(len(videos), (batch * (reads.steps + 1),))
        texts = TextFeatures(sentence=torch.randn(len(own), WIDTH))
        embed = clock.of("read", lambda rows, columns, _: (texts.batch(rows), videos.batch(columns)))
        trainee = _trainee(reads, Pairs(own, _relevance(own, len(videos)), embed))
        read = sum(tensor[:batch].nbytes for tensor in (texts.structured("sentence").values, *_tensors(videos, reads)))
        source, target = torch.ones(read, dtype=torch.uint8), torch.ones(read, dtype=torch.uint8)
        steps = _ticking(trainee, clock.of("copy", lambda: target.copy_(source)))
        fit(trainee, Train(epochs=1, batch_size=batch, learning_rate=1e-5, keep="last"), 0, None)
    found = {name: clock.median(name) for name in ("read", "copy")}
    return {"read_bytes": read, "step": statistics.median(steps), **found}


def _stored(path: Path, reads: Reads, count: int) -> VideoFeatures:
    axes = (FRAMES,) if reads.level == "frames" else (FRAMES, PATCHES)
    layout = {"values": ((count, *axes, WIDTH), reads.stored), "mask": ((count, FRAMES), torch.bool)}
    mapped = map_tensors(path, layout)
    some = torch.randn(CHUNK, *axes, WIDTH).to(reads.stored)
    for part in mapped["values"].split(CHUNK):
        part.copy_(some[: len(part)])
    mapped["mask"].fill_(True)
    return VideoFeatures(more={reads.level: Tokens(mapped["values"], mapped["mask"])})


def _tensors(videos: VideoFeatures, reads: Reads) -> tuple[Tensor, Tensor]:
    tokens = videos.structured(reads.level)
    assert tokens.mask is not None
    return tokens.values, tokens.mask


def _relevance(own: Tensor, videos: int) -> csr_array:
    return csr_array((np.ones(len(own), bool), (np.arange(len(own)), own.numpy())), shape=(len(own), videos))


def _trainee(reads: Reads, pairs: Pairs) -> TrainedModel:
    tokens = FRAMES * (PATCHES if reads.level == "patches" else 1)
    shapes = {"sentence": LevelShape(None, WIDTH), reads.level: LevelShape(tokens, WIDTH)}
    level = {"tib": {"level": reads.level, "gate": reads.level}}

    def specs(kind: str, names: tuple[str, ...]) -> dict[str, Spec]:
        return {name: Spec(name, create(kind, name, shapes, **level.get(name, {})).config) for name in names}

    parts = specs("feature_transform", reads.transforms), specs("interaction", reads.interactions)
    losses = {"contrast": create("loss", "info_nce", of=dict.fromkeys(parts[1], 1.0))}
    return TrainedModel(Model(*parts, shapes, LogitScale()), losses, None, pairs)


def _ticking(trainee: TrainedModel, between: Callable[[], object]) -> list[float]:
    """A list that gets the seconds of each step but the first; `between` is called between two steps, off the clock."""
    steps: list[float] = []
    began: list[float] = []
    after_step = trainee.after_step

    def ticking() -> None:
        after_step()
        steps.extend(time.perf_counter() - start for start in began)
        between()
        began[:] = [time.perf_counter()]

    trainee.after_step = ticking  # type: ignore[method-assign]
    return steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training_input", description="Started by training_cost."
    )
    parser.add_argument("variant", help="what is measured")
    parser.add_argument("size", choices=SIZES, help="of what it is measured on")
    chosen = parser.parse_args()
    print(json.dumps(measure(chosen.variant, SIZES[chosen.size])))
