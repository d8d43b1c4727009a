"""Writes small videos whose every frame is known: exact ones as raw AVI, compressed ones through PyAV.

A *numbered* frame carries its own index as black and white squares, so that a test reads from the pixels which
frame it got, whatever the compression did to them.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from core.engine.video import Clip, Sampling, read_clip
from core.errors import VideoError

BITS = 12


def numbered_frames(count: int, height: int = 48, width: int = 64) -> np.ndarray:
    """[count, height, width, 3] uint8: the top half spells the index in 12 squares, the rest is a moving gradient."""
    y, x = np.mgrid[:height, :width]
    square = (y * 4 // height).clip(0, 1) * 6 + x * 6 // width
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        picture = np.stack([x * 255 // width, y * 255 // height, (x + y + 5 * index) % 256], axis=-1)
        bits = (index >> square) & 1
        frames[index] = np.where((y < height // 2)[..., None], 16 + 220 * bits[..., None], picture)
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    """The index that each frame of `numbered_frames` spells, from [T, H, W, 3] of any size."""
    _, height, width, _ = frames.shape
    rows = [int(height * at) for at in (0.125, 0.375)]
    columns = [int(width * (square + 0.5) / 6) for square in range(6)]
    bits = frames[:, rows][:, :, columns].mean(axis=-1).reshape(len(frames), BITS) > 128
    return [int(value) for value in bits @ (1 << np.arange(BITS))]


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def write_avi(path: Path, frames: np.ndarray, fps: int = 25) -> Path:
    """Uncompressed RGB AVI of [T, H, W, 3] uint8: decoders give back these very bytes."""
    count, height, width, _ = frames.shape
    stored = np.zeros((count, height, -(-width * 3 // 4) * 4), np.uint8)
    stored[:, :, : width * 3] = frames[:, ::-1, :, ::-1].reshape(count, height, width * 3)
    size = stored[0].nbytes
    header = struct.pack("<14I", 1_000_000 // fps, size * fps, 0, 0x10, count, 0, 1, size, width, height, *[0] * 4)
    timing = struct.pack("<IHHIIIIIIII", 0, 0, 0, 0, 1, fps, 0, count, size, 0, 0)
    stream = b"vidsDIB " + timing + struct.pack("<hhhh", 0, 0, width, height)
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    streams = _chunk(b"LIST", b"strl" + _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    headers = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", header) + streams)
    movie = _chunk(b"LIST", b"movi" + b"".join(_chunk(b"00db", frame.tobytes()) for frame in stored))
    index = b"".join(b"00db" + struct.pack("<III", 0x10, 4 + at * (8 + size), size) for at in range(count))
    path.write_bytes(_chunk(b"RIFF", b"AVI " + headers + movie + _chunk(b"idx1", index)))
    return path


def write_video(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    fps: int | Fraction = 25,
    times: Sequence[int] | None = None,
    format: str | None = None,
    muxer: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Compressed video of [T, H, W, 3] uint8 through PyAV. `times`: when each frame is shown, in 1/1000 s."""
    import av

    with av.open(str(path), "w", format=format, options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {key.replace("_", "-"): value for key, value in options.items()}
        base = 1 / Fraction(fps) if times is None else Fraction(1, 1000)
        stream.codec_context.time_base = base
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (index if times is None else times[index]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """One second of silence, without a video stream."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=44100)
        for index in range(43):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 44100, index * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut_video(source: Path, path: Path, start: float) -> Path:
    """What `ffmpeg -ss start -c copy` does: packets from the key frame on, and an edit list that hides the first."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream: Any = old.streams.video[0]
        copy: Any = new.add_stream_from_template(stream)
        offset = int(start / stream.time_base)
        old.seek(offset, stream=stream)
        for packet in old.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - offset, packet.dts - offset, copy
                new.mux(packet)
    return path


def write_edits(source: Path, path: Path, edits: Sequence[tuple[int, int]]) -> Path:
    """An MP4 with another edit list: (length in ms, first tick of the media, -1 for none) of each edit."""
    data = bytearray(source.read_bytes())
    start = data.index(b"elst") - 4
    length = struct.unpack_from(">I", data, start)[0]
    body = struct.pack(">II", 0, len(edits)) + b"".join(struct.pack(">IiI", *edit, 0x10000) for edit in edits)
    for box in (b"moov", b"trak", b"edts"):
        at = data.index(box) - 4
        struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] + 8 + len(body) - length)
    data[start : start + length] = struct.pack(">I", 8 + len(body)) + b"elst" + body
    path.write_bytes(data)
    return path


def write_rotated(source: Path, path: Path) -> Path:
    """An MP4 whose metadata ask players to turn it a quarter clockwise."""
    data = bytearray(source.read_bytes())
    height = struct.unpack_from(">I", data, data.index(b"tkhd") + 84)[0]
    one, last = 0x10000, 0x40000000
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, 0, one, 0, -one, 0, 0, height, 0, last)
    path.write_bytes(data)
    return path


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every frame that FFmpeg shows when it plays the file from its start, [T, H, W, 3], and the times [T] in s."""
    import av

    with av.open(str(path)) as container:
        shown = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    return np.stack([pixels for _, pixels in shown]), np.array([moment for moment, _ in shown])


def misbehave(path: str | Path, sampling: Sampling) -> Clip:
    """In the place of `read_clip`: does what the path's first word says, then gives a clip that names the process.

    `once-SIGNAL` ends the first reader that meets it; `once` and `busy` write down when they were at work.

    frames[0, 0, 0] holds the worker's process id in three bytes; mask[0] tells whether torch was loaded there.
    """
    action, _, detail = Path(path).name.partition("-")
    if action == "sleep":
        time.sleep(float(detail))
    elif action == "signal":
        os.kill(os.getpid(), getattr(signal, detail))
    elif action in ("once", "busy"):
        _at_work(Path(path), action, detail)
    elif action == "exit":
        os._exit(int(detail))
    elif action == "fault":
        raise VideoError(path, "is broken")
    elif action == "bug":
        raise ZeroDivisionError(detail)
    elif action == "print":
        print(detail, flush=True)
    identity = list(os.getpid().to_bytes(3, "little"))
    return Clip(np.array([[[identity]]], np.uint8), np.array(["torch" in sys.modules]))


def _at_work(path: Path, action: str, detail: str) -> None:
    start = time.monotonic()
    met = path.with_name(f"met-{path.name}")
    first = action == "once" and not met.exists()
    met.touch()
    time.sleep(0.1)
    if first:
        os.kill(os.getpid(), getattr(signal, detail))
    with path.with_name("times").open("a") as times:
        times.write(f"{action} {start} {time.monotonic()}\n")


def marked(path: str | Path, sampling: Sampling) -> Clip:
    """`read_clip`, unless a file `<path>.SIGNAL`, `.sleep` or `.torn` lies beside: then that happens. A reader takes a
    `.torn` away, as a disk that failed for a moment."""
    beside = {file.suffix[1:]: file for file in Path(path).parent.glob(f"{Path(path).name}.*")}
    if "sleep" in beside:
        time.sleep(60)
    if "torn" in beside:
        beside["torn"].unlink()
        raise VideoError(path, "holds damaged data")
    for name in beside:
        os.kill(os.getpid(), getattr(signal, name))
    return read_clip(path, sampling)


def worker_of(clip: Clip) -> int:
    """The process id of the worker in which `misbehave` made this clip."""
    return int.from_bytes(clip.frames.tobytes(), "little")
