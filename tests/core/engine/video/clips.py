"""Clips as they are read, which of their frames are wanted, and what is said of files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.engine.video import Sampling, read_clip
from core.errors import VideoError

ALL = Sampling(num_frames=1000, short_videos="pad")


def read_all(path: Path) -> np.ndarray:
    clip = read_clip(path, ALL)
    frames: np.ndarray = clip.frames[clip.mask]
    return frames


def middles(count: int, num_frames: int) -> list[int]:
    """Frames in the middle of equal segments, in integers: another way to the answer of `uniform`."""
    return [(2 * i + 1) * count // (2 * num_frames) for i in range(num_frames)]


def fault(path: Path, **sampling: int) -> VideoError:
    with pytest.raises(VideoError) as caught:
        read_clip(path, Sampling(**sampling))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value


def with_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
