"""Files that cannot be used give one clear error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.engine.video import Sampling, check_videos, read_clip
from core.errors import ReadingError
from tests.videos import (
    numbered_frames,
    write_audio,
    write_avi,
    write_video,
)

from .clips import fault, with_bytes


def half(path: Path, keep: float = 0.5) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def damaged(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + len(data) // 3
    data[start : start + len(data) // 3] = np.random.default_rng(0).bytes(len(data) // 3)
    path.write_bytes(data)
    return path


def renamed(path: Path, frames: np.ndarray, suffix: str, **options: str) -> Path:
    return write_video(path.with_suffix(suffix), frames, **options).rename(path)  # type: ignore[arg-type]


BAD: dict[str, tuple[Callable[[Path, np.ndarray], object], str]] = {
    "missing.mp4": (lambda path, frames: None, "does not exist"),
    "empty.mp4": (lambda path, frames: with_bytes(path, b""), "is empty"),
    "folder": (lambda path, frames: path.mkdir(), "folder without JPEG or PNG"),
    "text.mp4": (lambda path, frames: path.write_text("hello " * 900), "not a video"),
    "random.mp4": (lambda path, frames: with_bytes(path, np.random.default_rng(0).bytes(9000)), "not a video"),
    "stump.mp4": (lambda path, frames: with_bytes(path, b"\0\0\0\x18ftyp"), "cut off"),
    "no_index.mp4": (lambda path, frames: half(write_video(path, frames), 0.4), "cut off"),
    "cut.mp4": (lambda path, frames: half(write_video(path, frames, muxer={"movflags": "faststart"})), "cut off"),
    "cut.mkv": (lambda path, frames: half(write_video(path, frames)), "cut off"),
    "cut.avi": (lambda path, frames: half(write_avi(path, frames)), "cut off"),
    "damaged.mp4": (lambda path, frames: damaged(write_video(path, frames)), "damaged data"),
    "sound.mp4": (lambda path, frames: write_audio(path), "audio only"),
    "av1.mp4": (lambda path, frames: write_video(path, frames[:13], codec="libsvtav1"), "AV1"),
    "still.mp4": (lambda path, frames: Image.fromarray(frames[0]).save(path, format="png"), "an image"),
    "bare.h264": (lambda path, frames: write_video(path, frames, format="h264"), "bare stream"),
    "live.mkv": (lambda path, frames: write_video(path, frames, muxer={"live": "1"}), "live recording"),
    "clip.ts": (write_video, "MPEG transport stream"),
    "clip.M2TS": (lambda path, frames: write_video(path, frames, format="mpegts"), "MPEG transport stream"),
    "clip.mpg": (lambda path, frames: write_video(path, frames, codec="mpeg2video"), "MPEG program stream"),
    "clip.wmv": (lambda path, frames: write_video(path, frames, codec="wmv2"), "Windows Media"),
    "named_ts.mp4": (lambda path, frames: renamed(path, frames, ".ts"), "MPEG transport stream"),
    "named_mpg.mp4": (lambda path, frames: renamed(path, frames, ".mpg", codec="mpeg2video"), "MPEG program stream"),
    "named_wmv.mp4": (lambda path, frames: renamed(path, frames, ".wmv", codec="wmv2"), "Windows Media"),
}
REPAIRABLE = ["damaged.mp4", "av1.mp4", "bare.h264", "clip.ts", "clip.M2TS", "clip.mpg", "clip.wmv", "named_ts.mp4"]


@pytest.mark.parametrize("name", BAD)
def test_each_unusable_file_gives_one_error_with_its_reason(tmp_path: Path, name: str) -> None:
    write, reason = BAD[name]
    write(tmp_path / name, numbered_frames(60))
    error = fault(tmp_path / name)
    assert reason in error.reason
    if name in REPAIRABLE:
        assert "`ffmpeg -i in -an -c:v libx264 -g 30 -pix_fmt yuv420p out.mp4`" in str(error)


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write_avi(tmp_path / "clip.avi", numbered_frames(12))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ReadingError, match=rf"{path}: cannot be opened: Permission denied"):
        read_clip(path, Sampling())


def test_check_videos_lists_every_bad_one(tmp_path: Path) -> None:
    good = write_avi(tmp_path / "good.avi", numbered_frames(12))
    short = write_avi(tmp_path / "short.avi", numbered_frames(2))
    errors = check_videos([good, short, good, tmp_path / "none.mp4"], Sampling(), workers=2)
    assert [Path(error.path).name for error in errors] == ["short.avi", "none.mp4"]
