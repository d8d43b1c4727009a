"""Videos to read, and ways of reading them beside core's own. Worker processes import this: no torch.

Each way is called as `engine.video.read_clip` is, and gives what it gives: the same frames, scaled by the same filter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.engine.video import SAMPLERS, Clip, Sampling, read_clip

RATE, SCENE = 25, 75
"""Frames a second; frames from one cut to the next."""


def write_scenes(path: Path, width: int, height: int, seconds: int, seed: int) -> Path:
    """h264, a key frame every two seconds, of what is dear to code as films are: grain, slow pans and hard cuts. Ten
    seconds are drawn, a longer video repeats them."""
    import av

    frames = list(_scenes(width, height, min(seconds, 10) * RATE, np.random.default_rng(seed)))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23", "g": str(2 * RATE), "threads": "1"}
        for index in range(seconds * RATE):
            frame = av.VideoFrame.from_ndarray(frames[index % len(frames)], format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _scenes(width: int, height: int, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    from PIL import Image

    coarse = generator.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
    canvas = np.asarray(Image.fromarray(coarse).resize((2 * width, 2 * height), Image.Resampling.BICUBIC), np.int16)
    grain = generator.integers(-4, 5, (8, height, width, 1), dtype=np.int16)
    for index in range(count):
        since = index % SCENE
        if since == 0:
            start, speed = generator.uniform(0.2, 0.8, 2) * (height, width), generator.uniform(-2, 2, 2)
        top, left = np.clip(start + speed * since, 0, (height, width)).astype(int)
        view = canvas[top : top + height, left : left + width] + grain[index % len(grain)]
        yield np.clip(view, 0, 255).astype(np.uint8)


def decord_seeking(path: str | Path, sampling: Sampling) -> Clip:
    """decord's `get_batch`, which jumps to the key frame before each sampled one."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    times = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
    return _clip(reader.get_batch(SAMPLERS[sampling.sampler](times, sampling.num_frames)).asnumpy(), sampling)


def pyav_in_order(path: str | Path, sampling: Sampling) -> Clip:
    """PyAV from the first frame to the last sampled one, of which only the sampled ones become RGB."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        wanted = SAMPLERS[sampling.sampler](np.arange(stream.frames) / RATE, sampling.num_frames).tolist()
        shown = zip(range(wanted[-1] + 1), container.decode(stream), strict=False)
        frames = [frame.to_ndarray(format="rgb24") for index, frame in shown if index in wanted]
    return _clip(frames, sampling)


def torchcodec_exact(path: str | Path, sampling: Sampling) -> Clip:
    """torchcodec, which reads the file's index first and then jumps."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
    wanted = SAMPLERS[sampling.sampler](np.arange(len(decoder)) / RATE, sampling.num_frames).tolist()
    return _clip(decoder.get_frames_at(wanted).data.numpy(), sampling)


def decoding_alone(path: str | Path, sampling: Sampling) -> Clip:
    """The floor of all that decodes in order: FFmpeg through PyAV, up to the last sampled frame; no RGB, no scaling."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        last = SAMPLERS[sampling.sampler](np.arange(stream.frames) / RATE, sampling.num_frames)[-1]
        for _ in zip(range(last + 1), container.decode(stream), strict=False):
            pass
    return Clip(np.zeros((1, 1, 1, 3), np.uint8), np.ones(1, bool))


def nothing(path: str | Path, sampling: Sampling) -> Clip:
    """No decoding at all, a clip of the usual size: what asking a worker and getting its answer costs."""
    assert sampling.size is not None
    frames = np.zeros((sampling.num_frames, sampling.size, sampling.size * 4 // 3, 3), np.uint8)
    return Clip(frames, np.ones(sampling.num_frames, bool))


def _clip(frames: Any, sampling: Sampling) -> Clip:
    from PIL import Image

    if sampling.size is not None:
        short = min(frames[0].shape[:2])
        size = tuple(side * sampling.size // short for side in frames[0].shape[1::-1])
        frames = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
    return Clip(np.stack(frames), np.ones(len(frames), bool))


READERS: dict[str, tuple[Callable[[str | Path, Sampling], Clip], str]] = {
    "core (decord, in order)": (read_clip, "decord"),
    "decord, seeking": (decord_seeking, "decord"),
    "PyAV, in order": (pyav_in_order, "av"),
    "torchcodec, seeking": (torchcodec_exact, "torchcodec"),
    "decoding alone, in order": (decoding_alone, "av"),
}
"""Ways of reading with the package that each needs; the last gives no frames."""
OURS, FLOOR = "core (decord, in order)", "decoding alone, in order"


def works(package: str, path: Path, read: Callable[[str | Path, Sampling], Clip]) -> bool:
    """Whether the package is there and can read this video: torchcodec also needs FFmpeg's libraries."""
    if importlib.util.find_spec(package) is None:
        return False
    try:
        read(path, Sampling(num_frames=2, size=16))
    except (ImportError, OSError, RuntimeError):
        return False
    return True
