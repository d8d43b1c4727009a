"""Draws a video and encodes it as H.264. Run as a program it draws what it is told on standard input.

It imports nothing of this project, so that a worker process starts in a fraction of a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

INKS = {
    "red": (222, 38, 38), "orange": (248, 138, 24), "yellow": (248, 228, 40), "green": (40, 176, 60),
    "cyan": (56, 216, 228), "blue": (44, 92, 236), "purple": (142, 58, 196), "pink": (250, 140, 196),
    "black": (22, 22, 24), "white": (238, 238, 236), "grey": (130, 132, 134), "brown": (104, 68, 40),
    "navy": (22, 32, 92), "sand": (212, 190, 142), "maroon": (104, 22, 40), "olive": (96, 104, 36),
}  # fmt: skip
DIAMETERS = {"medium": 0.22, "large": 0.36}
"""Of the side of the frame; the smallest size is a field."""
CENTRES = (0.2, 0.5, 0.8)
TRAVEL = 0.6
"""How far a moving thing gets in its scene, of the side of the frame."""
DIRECTIONS = {"still": (0, 0), "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def draw(job: Mapping[str, Any]) -> np.ndarray:
    """Frames [T, side, side, 3] uint8.

    job: `scenes` as in attributes-*.jsonl, `side` in pixels, `smallest`, `noise` and `palette_shift` as in the Config.
    """
    frames = np.concatenate([_scene(scene, job) for scene in job["scenes"]])
    frames += np.float32(0.5)
    return np.clip(frames, 0, 255, out=frames).astype(np.uint8)


def _scene(scene: Mapping[str, Any], job: Mapping[str, Any]) -> np.ndarray:
    """[frames, side, side, 3] float32, 0 to 255: what is still is painted once, what moves in each frame."""
    stream, side, count = np.random.default_rng(scene["seed"]), job["side"], scene["frames"]
    inks = _inks(job["palette_shift"])
    still, moving = _ground(scene, side, inks[scene["background"]], stream), []
    for thing in scene["things"]:
        radius = {**DIAMETERS, "small": job["smallest"]}[thing["size"]] / 2 * stream.uniform(0.93, 1.07)
        ink = inks[thing["colour"]] * np.float32(stream.uniform(0.92, 1.05))
        jitter = stream.uniform(-0.03, 0.03, 2)
        if thing["motion"] == "still":
            _paint(still, thing["shape"], _centre(thing, 0.5) + jitter, radius, ink)
        else:
            moving.append((thing, jitter, radius, ink))
    frames = np.repeat(still[None], count, axis=0)
    for index, frame in enumerate(frames):
        for thing, jitter, radius, ink in moving:
            _paint(frame, thing["shape"], _centre(thing, (index + 0.5) / count) + jitter, radius, ink)
        if job["noise"]:
            frame += np.float32(255 * job["noise"]) * _noise(side, stream)
    return frames


def _ground(scene: Mapping[str, Any], side: int, ink: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    ink = ink + np.float32(stream.uniform(-8, 8))
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    shift, bands = stream.uniform(0, 1, 2), 6
    if scene["texture"] == "striped":
        raised = np.sin(2 * np.pi * (bands * y + shift[0])) > 0
    elif scene["texture"] == "checked":
        raised = (np.sin(np.pi * (bands * y + shift[0])) > 0) ^ (np.sin(np.pi * (bands * x + shift[1])) > 0)
    elif scene["texture"] == "dotted":
        raised = ((bands * y + shift[0]) % 1 - 0.5) ** 2 + ((bands * x + shift[1]) % 1 - 0.5) ** 2 < 0.07
    else:
        raised = np.zeros_like(x, bool)
    step = 42 if ink.mean() < 128 else -42
    return ink + np.float32(step) * raised[..., None]


def _centre(thing: Mapping[str, Any], time: float) -> np.ndarray:
    """(x, y) at `time` in 0..1. Along its motion a thing crosses the middle of the frame, wherever its cell is."""
    direction = np.array(DIRECTIONS[thing["motion"]])
    home = np.array([CENTRES[thing["column"]], CENTRES[thing["row"]]])
    return np.where(direction == 0, home, 0.5 + direction * TRAVEL * (time - 0.5))


def _paint(frame: np.ndarray, shape: str, centre: np.ndarray, radius: float, ink: np.ndarray) -> None:
    """Paint over `frame` [side, side, 3], edges smoothed over one pixel."""
    side = len(frame)
    low = np.floor((centre - radius) * side - 1).astype(int).clip(0, side)
    high = np.ceil((centre + radius) * side + 1).astype(int).clip(0, side)
    x = (np.arange(low[0], high[0], dtype=np.float32)[None] + 0.5 - centre[0] * side) / (radius * side)
    y = (np.arange(low[1], high[1], dtype=np.float32)[:, None] + 0.5 - centre[1] * side) / (radius * side)
    cover = (0.5 - _outside(shape, x, y) * radius * side).clip(0, 1)[..., None].astype(np.float32)
    patch = frame[low[1] : high[1], low[0] : high[0]]
    patch += cover * (ink - patch)


def _outside(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the shape of radius 1 around 0 (y points down): negative inside, about 1 a radius outside."""
    far = np.hypot(x, y)
    if shape == "circle":
        return far - 0.95
    if shape == "ring":
        return abs(far - 0.72) - 0.25
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - 0.82
    if shape == "diamond":
        return (abs(x) * 1.25 + abs(y) - 1) / 1.6
    if shape == "cross":
        return np.minimum(np.maximum(abs(x), abs(y) * 3), np.maximum(abs(x) * 3, abs(y))) / 1.5 - 0.96 / 1.5
    if shape == "triangle":
        return np.maximum(y - 0.75, 0.87 * abs(x) - 0.5 * y - 0.48)
    if shape == "star":
        turn = np.arctan2(x, -y) * 5 / (2 * np.pi)
        return far - (0.42 + 0.58 * (2 * abs(turn - np.round(turn)) - 1) ** 2)
    lobes = np.hypot(abs(x) - 0.44, y + 0.32) - 0.5
    return np.minimum(lobes, np.maximum(0.72 * abs(x) + 0.68 * y - 0.58, -0.3 - y))


@cache
def _tile(side: int) -> np.ndarray:
    return np.random.default_rng(side).standard_normal((2 * side, 2 * side, 3), np.float32)


def _noise(side: int, stream: np.random.Generator) -> np.ndarray:
    """[side, side, 3] of standard deviation 1: some window of one tile."""
    y, x = stream.integers(0, side, 2)
    return _tile(side)[y : y + side, x : x + side]


@cache
def _inks(shift: float) -> dict[str, np.ndarray]:
    """Every colour; at `shift` 1 hues are turned by 30 degrees, saturation and contrast a third lower."""
    angle, keep = np.deg2rad(30 * shift), 1 - shift / 3
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + keep * (np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross)
    return {name: (128 + keep * (turn @ ink - 128)).astype(np.float32) for name, ink in INKS.items()}


def encode(path: Path, frames: np.ndarray, fps: int) -> tuple[int, int]:
    """Write [T, H, W, 3] uint8 as H.264 MP4, through a temporary name; its size in bytes and their crc32.

    The same frames give the same bytes: one thread, no time stamps of the clock.
    """
    import av

    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with av.open(str(part), "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "23", "threads": "1", "g": "24", "bf": "0"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    content = part.read_bytes()
    part.replace(path)
    return len(content), zlib.crc32(content)


def main() -> None:
    """For each line of standard input, a job as JSON with `path` and `fps` besides, write the file.

    One line a job is printed: the size of the file in bytes and its crc32, or what went wrong.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            reply = "{} {}".format(*encode(Path(job["path"]), draw(job), job["fps"]))
        except Exception as fault:  # the program that asked decides what a file that failed means
            reply = f"{type(fault).__name__}: {fault}".replace("\n", " ")
        try:
            print(reply, flush=True)
        except BrokenPipeError:  # who asked was killed: there is nobody to tell
            os._exit(1)


if __name__ == "__main__":
    main()
