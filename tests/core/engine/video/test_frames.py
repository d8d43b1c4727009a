"""Reading videos: the right frames, of every encoding, of short videos and of folders of images."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.engine.video import SAMPLERS, Clip, Sampling, read_clip, read_clips
from core.engine.video.reading import _in_order
from core.errors import VideoError
from tests.videos import (
    cut_video,
    decoded,
    numbered_frames,
    numbers,
    write_avi,
    write_edits,
    write_rotated,
    write_video,
)

from .clips import fault, middles, read_all


@pytest.mark.parametrize("width", [8, 16, 24, 33, 48, 64, 98])
def test_uncompressed_frames_come_back_to_the_byte(tmp_path: Path, width: int) -> None:
    frames = np.random.default_rng(width).integers(0, 256, (20, 37, width, 3), dtype=np.uint8)
    clip = read_clip(write_avi(tmp_path / "clip.avi", frames), Sampling(num_frames=7))
    np.testing.assert_array_equal(clip.frames, frames[middles(20, 7)])
    assert clip.mask.tolist() == [True] * 7


ENCODINGS: dict[str, dict[str, object]] = {
    "closed.mp4": {"g": "30", "preset": "ultrafast"},
    "b_frames.mp4": {"g": "30", "bf": "3"},
    "open_gop.mp4": {"x264_params": "open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"},
    "intra_refresh.mp4": {"x264_params": "intra-refresh=1:keyint=20:bframes=0"},
    "fragments.mp4": {"g": "30", "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "negative_offsets.mp4": {"g": "30", "bf": "3", "muxer": {"movflags": "negative_cts_offsets"}},
    "late_start.mp4": {"g": "30", "bf": "3", "times": [900 + 40 * i for i in range(90)]},
    "irregular.mp4": {"g": "30", "times": [40 * i + 300 * (i // 10) for i in range(90)]},
    "television_rate.mp4": {"g": "30", "bf": "3", "fps": Fraction(30000, 1001)},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b_frames.avi": {"codec": "mpeg4", "bf": "2"},
    "h264.avi": {"g": "30", "bf": "3"},
    "mpeg4.mp4": {"codec": "mpeg4", "bf": "2"},
    "matroska.mkv": {"g": "30", "bf": "3"},
    "quicktime.mov": {"g": "30", "bf": "3"},
    "flash.flv": {"codec": "flv"},
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_healthy_files_give_the_frames_that_sequential_decoding_gives(tmp_path: Path, name: str) -> None:
    path = write_video(tmp_path / name, numbered_frames(90), **ENCODINGS[name])  # type: ignore[arg-type]
    shown, times = decoded(path)
    assert numbers(shown) == list(range(90))
    clip = read_clip(path, Sampling(num_frames=12))
    wanted = SAMPLERS["uniform"](times, 12).tolist() if name == "irregular.mp4" else middles(90, 12)
    assert numbers(clip.frames) == wanted
    assert np.abs(clip.frames.astype(int) - shown[wanted]).mean() < 1
    assert numbers(read_all(path)) == list(range(90))


@pytest.mark.parametrize("wanted", [[0, 1, 2], [19, 20, 21], [39, 59, 79], [18, 61, 89], [89]], ids=str)
@pytest.mark.parametrize("name", ["open_gop.mp4", "intra_refresh.mp4", "mpeg4_b_frames.avi", "mpeg4.mp4", "h264.avi"])
def test_frames_are_right_on_either_side_of_key_frames_that_decord_would_seek_to(
    tmp_path: Path, name: str, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / name, numbered_frames(90), **ENCODINGS[name])  # type: ignore[arg-type]
    monkeypatch.setitem(SAMPLERS, "uniform", lambda timestamps, num_frames: np.array(wanted))
    assert numbers(read_clip(path, Sampling(num_frames=len(wanted))).frames) == wanted


def test_no_key_frame_is_passed_by_skipping_and_nothing_is_skipped_where_times_do_not_differ() -> None:
    class Reader:
        calls: list[object] = []

        def __len__(self) -> int:
            return 40

        def get_key_indices(self) -> list[int]:
            return [0, 10, 12, 30]

        def skip_frames(self, count: int) -> None:
            self.calls.append(count)

        def next(self) -> Reader:
            self.calls.append("next")
            return self

        def asnumpy(self) -> np.ndarray:
            return np.zeros(1)

    assert len(list(_in_order(Reader(), [3, 4, 25, 39], True))) == 4
    # frames: 0-2, 3 and 4; 5-8, 9, 10, 11 (before 12), 12-24, 25; 26-28, 29, 30-38, 39
    assert Reader.calls == [3, "next", "next", 4, "next", 1, "next", 13, "next", 3, "next", 9, "next"]
    Reader.calls.clear()
    assert len(list(_in_order(Reader(), [3, 25], False))) == 2
    assert Reader.calls == ["next"] * 26


def test_uniform_reads_by_time_in_a_file_of_irregular_rate(tmp_path: Path) -> None:
    times = [*range(0, 800, 20), *range(800, 8800, 200)]
    path = write_video(tmp_path / "clip.mp4", numbered_frames(80), times=times)
    assert numbers(read_clip(path, Sampling(num_frames=2)).frames) == [46, 68]


@pytest.mark.parametrize("start", [0.04, 0.5, 1.23, 2.0, 2.9])
@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4"])
def test_a_file_cut_without_encoding_it_anew_is_refused(tmp_path: Path, name: str, start: float) -> None:
    whole = write_video(tmp_path / name, numbered_frames(90), **ENCODINGS[name])  # type: ignore[arg-type]
    path = cut_video(whole, tmp_path / "cut.mp4", start)
    shown, _ = decoded(path)
    assert 0 < len(shown) < 90
    assert "edit list" in fault(path, num_frames=2).reason


def test_an_empty_first_edit_hides_nothing(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(60), bf="0")
    assert numbers(read_all(write_edits(whole, tmp_path / "late.mp4", [(500, -1), (2400, 0)]))) == list(range(60))


@pytest.mark.parametrize(
    "edits", [[(1000, 0)], [(400, 0), (400, 45 * 512)], [(400, 45 * 512), (400, 0)]], ids=["end", "two", "swapped"]
)
def test_edit_lists_that_hide_the_end_or_reorder_are_refused(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    whole = write_video(tmp_path / "whole.mp4", numbered_frames(60), bf="0", g="20")
    found = fault(write_edits(whole, tmp_path / "clip.mp4", edits), num_frames=2)
    assert "edit list" in found.reason
    assert "ffmpeg -i in -an -c:v libx264" in found.fix


def test_rotation_metadata_turns_the_frames(tmp_path: Path) -> None:
    upright = write_video(tmp_path / "upright.mp4", numbered_frames(12, height=48, width=80), crf="5")
    turned = write_rotated(upright, tmp_path / "turned.mp4")
    wanted = np.rot90(read_all(upright), k=-1, axes=(1, 2))
    assert np.abs(read_all(turned).astype(int) - wanted).mean() < 3
    assert read_clip(turned, Sampling(size=24)).frames.shape == (12, 40, 24, 3)


@pytest.mark.parametrize(("height", "width", "shape"), [(48, 64, (24, 32)), (64, 48, (32, 24)), (48, 85, (24, 42))])
def test_size_scales_the_shorter_side_and_keeps_the_aspect(
    tmp_path: Path, height: int, width: int, shape: tuple[int, int]
) -> None:
    frames = numbered_frames(12, height, width)
    small = read_clip(write_avi(tmp_path / "clip.avi", frames), Sampling(size=24)).frames
    assert small.shape == (12, *shape, 3)
    wanted = Image.fromarray(frames[5]).resize(shape[::-1], Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(small[5], np.asarray(wanted))
    assert numbers(small) == list(range(12))


def test_reading_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered_frames(40))
    first, second = (read_clip(path, Sampling(size=32)).frames for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_frames_can_be_written_to(tmp_path: Path) -> None:
    path = write_avi(tmp_path / "clip.avi", numbered_frames(12))
    for workers in (0, 1):
        [(_, clip)] = read_clips([path], Sampling(), workers=workers)
        assert isinstance(clip, Clip)
        assert clip.frames.flags.writeable


def test_a_short_video_fails_and_says_how_to_pad(tmp_path: Path) -> None:
    path = write_avi(tmp_path / "clip.avi", numbered_frames(3))
    assert str(fault(path)) == (
        f"{path}: has 3 frames where 12 are wanted. `data.short_videos: pad` masks the missing ones"
    )


def test_padding_keeps_all_frames_and_masks_the_rest(tmp_path: Path) -> None:
    frames = numbered_frames(3)
    clip = read_clip(write_avi(tmp_path / "clip.avi", frames), Sampling(num_frames=5, short_videos="pad"))
    assert clip.mask.tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(clip.frames[:3], frames)
    assert not clip.frames[3:].any()


def test_a_folder_of_images_is_read_in_natural_order(tmp_path: Path) -> None:
    frames = numbered_frames(12)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame_{index}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    np.testing.assert_array_equal(read_clip(tmp_path, Sampling()).frames, frames)
    assert numbers(read_clip(str(tmp_path), Sampling(num_frames=3)).frames) == [2, 6, 10]
    assert read_clip(tmp_path, Sampling(size=24)).frames.shape == (12, 24, 32, 3)


def test_images_of_different_sizes_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "1.jpg")
    Image.new("L", (32, 48)).save(tmp_path / "2.jpg")
    assert fault(tmp_path, num_frames=2).reason == "has frames of different sizes: 32x48 and 64x48"


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"not a picture")
    with pytest.raises(VideoError, match="not an image") as caught:
        read_clip(tmp_path, Sampling(num_frames=1))
    assert caught.value.path == str(tmp_path / "1.jpg")


def test_bytes_after_the_last_box_do_no_harm(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered_frames(12))
    path.write_bytes(path.read_bytes() + b"\0\0\xff\xff a camera's own notes")
    assert numbers(read_all(path)) == list(range(12))
