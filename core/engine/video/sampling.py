"""Which frames of a video are read.

A sampler maps `(timestamps, num_frames)` to frame indices: `timestamps` [N] float64 holds when each frame is shown, in
seconds, never falling; the answer is int64 [min(N, num_frames)], strictly rising. Samplers are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.errors import ConfigError, Problem, nearest

Sampler = Callable[[np.ndarray, int], np.ndarray]


def uniform(timestamps: np.ndarray, num_frames: int) -> np.ndarray:
    """The frame on screen in the middle of each of `num_frames` equal spans of time; the last frame lasts the average.

    Where the frame rate varies and one frame fills several middles, the neighbours take the later ones: no frame
    is taken twice.
    """
    count = len(timestamps)
    if count <= num_frames:
        return np.arange(count)
    frame = (timestamps[-1] - timestamps[0]) / (count - 1)
    middles = timestamps[0] + (np.arange(num_frames) + 0.5) / num_frames * frame * count
    rounding = frame / 100
    indices = np.searchsorted(timestamps, middles + rounding, side="right") - 1
    order = np.arange(num_frames)
    return np.clip(np.maximum.accumulate(indices - order), 0, count - num_frames) + order


def head(timestamps: np.ndarray, num_frames: int) -> np.ndarray:
    """The first `num_frames` frames."""
    return np.arange(min(len(timestamps), num_frames))


def spread(timestamps: np.ndarray, num_frames: int) -> np.ndarray:
    """From the first frame to the last in equal steps of the index: CLIP4Clip's `slice_framepos 2`."""
    count = len(timestamps)
    if count <= num_frames:
        return np.arange(count)
    return np.linspace(0, count - 1, num=num_frames, dtype=np.int64)


SAMPLERS: dict[str, Sampler] = {"uniform": uniform, "head": head, "spread": spread}
SHORT_VIDEOS = ("fail", "pad")


@dataclass(frozen=True)
class Sampling:
    """What is read of each video.

    num_frames: frames of a clip. sampler: a name of `SAMPLERS`. size: pixels of the shorter side after bicubic
    scaling, the longer side keeping the aspect, rounded down; None keeps the video's own. short_videos: what becomes
    of a video with fewer frames: `fail`, or `pad` with masked zeros. Raises ConfigError naming the `data.` keys.
    """

    num_frames: int = 12
    sampler: str = "uniform"
    size: int | None = None
    short_videos: str = "fail"

    def __post_init__(self) -> None:
        problems = []
        if self.num_frames < 1:
            problems.append(Problem("data.num_frames", f"is {self.num_frames}, must be 1 or more"))
        if self.size is not None and self.size < 1:
            problems.append(Problem("data.size", f"is {self.size}, must be 1 or more"))
        if self.sampler not in SAMPLERS:
            problems.append(Problem("data.sampler", f"`{self.sampler}` is not known.{nearest(self.sampler, SAMPLERS)}"))
        if self.short_videos not in SHORT_VIDEOS:
            problems.append(Problem("data.short_videos", f"is `{self.short_videos}`, must be `fail` or `pad`"))
        if problems:
            raise ConfigError(problems)
