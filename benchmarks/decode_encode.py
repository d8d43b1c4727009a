"""Videos a second by reader and workers, and which part of the encode step takes how long.

    python -m benchmarks.decode_encode --out benchmarks/results/decode_encode.json

Videos are drawn and coded beforehand. All readers run in core's own worker processes, in alternation; the encode step
is the runner's, into a store that is thrown away.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.measuring import Ratio, Seconds, described, machine, multiply_adds, publish, read_options, short, table
from benchmarks.readers import FLOOR, OURS, READERS, nothing, works, write_scenes
from benchmarks.training_input import Clock
from core import Encoder, VideoFeatures, create
from core.contract.store import Store
from core.engine.steps import decode
from core.engine.steps.decode import VideoSource
from core.engine.steps.encode import EncodeInputs, compute_videos
from core.engine.steps.rows import RowFile
from core.engine.steps.step import Step, Workspace
from core.engine.video import Sampling, read_clips, reading

LEVELS = ("frames", "patches")
ENCODERS: dict[str, dict[str, Any]] = {
    "nothing": {"init": "random", "vocabulary": ["a"]},
    "shapes-clip": {"model": str(Path(__file__).parents[1] / "checkpoints/shapes-clip")},
    "ViT-B/32": {"init": "random", "vocabulary": ["a"]},
}
"""Fields of `clip`. `nothing` has the inputs and outputs of ViT-B/32, but computes none: the fastest there can be."""
PARTS = ("decode", "forward", "prepare", "write", "other")


class Kind(NamedTuple):
    """A kind of video, how many of them a run reads, and in how many worker processes (0: in this one)."""

    width: int
    height: int
    seconds: int
    number: int
    workers: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.width}x{self.height}, {self.seconds} s"


@dataclass(frozen=True)
class Size:
    """kinds: what readers read. encoded: how many videos of the first kind an encoder is given."""

    kinds: tuple[Kind, ...] = (
        Kind(320, 240, 10, 8, (0, 1, 2)),
        Kind(640, 480, 10, 4, (2,)),
        Kind(320, 240, 180, 1, (0,)),
    )
    encoded: Mapping[str, int] = field(default_factory=lambda: {"nothing": 16, "shapes-clip": 16, "ViT-B/32": 2})
    workers: tuple[int, ...] = (0, 1, 2)
    rounds: int = 3
    frames: int = 12
    side: int = 224


SMALL = Size((Kind(32, 24, 1, 3, (0, 1)),), {"nothing": 3, "shapes-clip": 3}, (0, 1), 1, 2, 16)


def measure(size: Size) -> dict[str, Any]:
    """Everything that is written as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: _write(kind, Path(folder)) for kind in size.kinds}
        first = files[size.kinds[0]]
        return {
            "benchmark": "decode_encode",
            "machine": machine(),
            "size": asdict(size),
            "must": [_must(size, kind, paths) for kind, paths in files.items()],
            "decode": [row for kind, paths in files.items() for row in _decode(size, kind, paths)],
            "transfer_ms": _transfer(size, first[0]),
            "encode": _encode(size, first),
        }


def _write(kind: Kind, folder: Path) -> list[Path]:
    """As many paths as a run reads, of at most three files."""
    names = [f"{kind.width}-{kind.seconds}-{seed}.mp4" for seed in range(min(3, kind.number))]
    made = [write_scenes(folder / name, *kind[:3], seed) for seed, name in enumerate(names)]
    return [made[row % len(made)] for row in range(kind.number)]


def _must(size: Size, kind: Kind, paths: Sequence[Path]) -> dict[str, Any]:
    """Bytes a video: as it lies in the file; decoded up to the last sampled frame, in h264's own 12 bits a pixel; of
    the sampled frames as RGB; of the clip that a worker sends."""
    pixels, sampled = kind.width * kind.height, Sampling(size.frames, size=size.side)
    decoded = kind.seconds * 25 * (size.frames - 0.5) / size.frames
    return {
        "videos": str(kind),
        "file": statistics.mean(path.stat().st_size for path in paths),
        "decoded": int(decoded) * pixels * 3 / 2,
        "sampled": size.frames * pixels * 3,
        "clip": reading.read_clip(paths[0], sampled).frames.nbytes,
    }


# ------------------------------------------------------- decoding


def _decode(size: Size, kind: Kind, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Each reader with each number of workers; the ratio is to core's own reader with as many."""
    sampling = Sampling(size.frames, size=size.side)
    there = [name for name, (read, package) in READERS.items() if works(package, paths[0], read)]
    cases = [(name, workers) for workers in kind.workers for name in there]
    found: dict[tuple[str, int], list[Seconds]] = {case: [] for case in cases}
    for turn in range(size.rounds):
        start = turn % len(cases)
        for name, workers in cases[start:] + cases[:start]:
            found[name, workers].append(_reading(paths, sampling, workers, READERS[name][0]))
    rows = []
    for name, workers in [(name, workers) for name in READERS for workers in kind.workers]:
        row = {"videos": str(kind), "reader": name, "workers": workers, "a_second": None, "faster": None}
        if name in there:
            times = found[name, workers]
            row["a_second"] = 1 / statistics.median(seconds.wall for seconds in times)
            row["faster"] = Ratio.of(found[OURS, workers], times)
        rows.append(row)
    return rows


def _reading(paths: Sequence[Path], sampling: Sampling, workers: int, read: Any) -> Seconds:
    """Seconds a video. Workers first read two videos each, off the clock: starting them is not what is compared."""
    warm = 2 * workers
    clips = read_clips([paths[0]] * warm + list(paths), sampling, workers=workers, read=read)
    for _, clip in islice(clips, warm):
        _checked(clip)
    wall, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _, clip in clips if _checked(clip))
    return Seconds((time.perf_counter() - wall) / count, (time.process_time() - cpu) / count)


def _checked(found: Any) -> Any:
    if isinstance(found, Exception):
        raise found
    return found


def _transfer(size: Size, path: Path) -> float:
    """Milliseconds from asking a worker that need not decode to having its clip."""
    sampling = Sampling(size.frames, size=size.side)
    return 1e3 * statistics.median(_reading([path] * 50, sampling, 1, nothing).wall for _ in range(size.rounds))


# ------------------------------------------------------- encoding


def _encode(size: Size, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Each encoder with each number of workers: milliseconds a video of each part, medians of the rounds."""
    encoders = {name: _encoder(name) for name in size.encoded}
    cases = [(name, workers) for name in encoders for workers in size.workers]
    found: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    for turn in range(size.rounds):
        start = turn % len(cases)
        for name, workers in cases[start:] + cases[:start]:
            chosen = [paths[row % len(paths)] for row in range(size.encoded[name])]
            found[name, workers].append(_parts(size, encoders[name], chosen, workers))
    rows = []
    for name, workers in cases:
        runs = found[name, workers]
        shares = [(run["decode"] + run["forward"]) / run["all"] for run in runs]
        medians = {part: 1e3 * statistics.median(run[part] for run in runs) for part in (*PARTS, "all", "scale")}
        if workers:
            del medians["scale"]
        share = {"share": statistics.median(shares), "lowest_share": min(shares)}
        rows.append({"encoder": name, "workers": workers, **_operations(size, encoders[name]), **medians} | share)
    return rows


def _encoder(name: str) -> Encoder:
    encoder: Encoder = create("encoder", "clip", **ENCODERS[name])
    if name == "nothing":
        encoder.forward_video = _no_forward
    else:
        encoder.load(0)
    return encoder


def _no_forward(frames: Tensor, mask: Tensor, levels: object) -> VideoFeatures:
    """Zeros in the shapes of ViT-B/32, no two of them in the same place in memory."""
    rows = frames.shape[:2]
    return VideoFeatures(frames=torch.zeros(*rows, 512), frame_mask=mask, patches=torch.zeros(*rows, 49, 512))


def _operations(size: Size, encoder: Encoder) -> dict[str, float]:
    """Multiply-adds of one video's forward pass."""
    pixels = torch.zeros(1, size.frames, 3, encoder.frame_size, encoder.frame_size, dtype=torch.uint8)
    mask = torch.ones(1, size.frames, dtype=torch.bool)
    with torch.inference_mode():
        return {"multiply_adds": multiply_adds(lambda: encoder.forward_video(pixels, mask, LEVELS))[0]}


def _parts(size: Size, encoder: Encoder, paths: Sequence[Path], workers: int) -> dict[str, float]:
    """Seconds a video of one run of the step, its entries committed. decode: waiting for clips or, without workers,
    reading them, `scale` of it scaling; forward, prepare (cropping), write: the calls of that name; other: the rest."""
    clock = Clock()
    sampling = Sampling(size.frames, size=encoder.frame_size)
    items = tuple(str(row) for row in range(len(paths)))
    source = VideoSource(tuple(map(str, paths)), items, sampling, "normal", encoder, 0, "fail")
    fields: list[dict[str, Any]] = [{"level": level} for level in LEVELS]
    steps = [
        Step("encode", 1, of_level, EncodeInputs(), compute_videos, "encode", source, ("level",)) for of_level in fields
    ]
    with ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory())
        workspace = Workspace(Store(folder), torch.device("cpu"), workers)
        workspace.weights[encoder] = (0 if encoder.random_start else None, None)
        for owner, name, part in (
            (encoder, "forward_video", "forward"),
            (encoder, "prepare_frames", "prepare"),
            (RowFile, "put", "write"),
            (reading, "_scaled", "scale"),
        ):
            held.enter_context(patch.object(owner, name, clock.of(part, getattr(owner, name))))
        timed = lambda *given, **options: _timed(clock, read_clips(*given, **options))  # noqa: E731
        held.enter_context(patch.object(decode, "read_clips", timed))
        began = time.perf_counter()
        with ExitStack() as drafts:
            made = [drafts.enter_context(workspace.store.write(s.name, s.key, s.fields)) for s in steps]
            compute_videos(workspace, steps, made)
        whole = time.perf_counter() - began
    parts = {name: sum(seconds) for name, seconds in clock.seconds.items()}
    parts["other"] = whole - sum(parts.get(part, 0.0) for part in PARTS)
    return {name: seconds / len(paths) for name, seconds in ({"scale": 0.0} | parts | {"all": whole}).items()}


def _timed(clock: Clock, clips: Iterator[Any]) -> Iterator[Any]:
    """The clips, what it takes to have each noted under `decode`."""
    ready = clock.of("decode", lambda: next(clips, None))
    while (found := ready()) is not None:
        yield found


# ------------------------------------------------------- tables


def text_of(result: dict[str, Any]) -> str:
    """The tables."""
    frames, side = result["size"]["frames"], result["size"]["side"]
    must = [
        [row["videos"], *(short(row[name]) for name in ("file", "decoded", "sampled", "clip"))]
        for row in result["must"]
    ]
    decode = [
        [f"{row['videos']}: {row['reader']}", row["workers"], short(row["a_second"]), row["faster"].cells()[0]]
        if row["faster"]
        else [f"{row['videos']}: {row['reader']}", row["workers"], "not installed", "–"]
        for row in result["decode"]
    ]
    encode = [
        [
            row["encoder"],
            row["workers"],
            short(row["multiply_adds"]),
            short(1e3 / row["all"]),
            *(short(row[part]) for part in PARTS),
            short(row.get("scale")),
            f"{row['share']:.1%} ({row['lowest_share']:.1%})",
        ]
        for row in result["encode"]
    ]
    return "\n\n".join(
        [
            f"# Decoding and encoding: {described(result)}",
            "## Bytes a video",
            table(["videos", "file", "decoded", "sampled frames", "clip sent"], must),
            f"## Reading {frames} frames, short side scaled to {side}",
            table(["reader", "workers", "videos a second", f"faster than {OURS}"], decode),
            f"`{FLOOR}` gives no frames. A worker that need not decode answers in {short(result['transfer_ms'])} ms.",
            "## The encode step, ms a video",
            table(
                [
                    "encoder",
                    "workers",
                    "multiply-adds",
                    "videos a second",
                    *PARTS,
                    "scaling in decode",
                    "decode + forward",
                ],
                encode,
            ),
            "decode + forward: share of the step's time, median of the rounds (lowest).",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("decode_encode", arguments)
    result = measure(SMALL if options.small else Size())
    publish(result, text_of(result), options.out)


if __name__ == "__main__":
    main()
