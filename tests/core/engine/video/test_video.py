"""Reading videos: the right frames, or one clear error; and worker processes that survive what decoders do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.engine.video import SAMPLERS, Clip, Sampling, check_videos, read_clip, read_clips
from core.engine.video.reading import _in_order
from core.engine.video.workers import IN_FLIGHT
from core.errors import ConfigError, ReadingError, VideoError
from tests.videos import (
    cut_video,
    decoded,
    misbehave,
    numbered_frames,
    numbers,
    worker_of,
    write_audio,
    write_avi,
    write_edits,
    write_rotated,
    write_video,
)

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


# Samplers

gaps = st.lists(st.floats(0, 3, width=32), min_size=1, max_size=200)


@pytest.mark.parametrize("name", SAMPLERS)
@given(gaps=gaps, num_frames=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_samplers_give_rising_indices_of_existing_frames(name: str, gaps: list[float], num_frames: int) -> None:
    timestamps = np.cumsum(gaps)
    indices = SAMPLERS[name](timestamps, num_frames)
    assert indices.dtype == np.int64
    assert len(indices) == min(len(timestamps), num_frames)
    assert (np.diff(indices) > 0).all()
    assert indices[0] >= 0
    assert indices[-1] < len(timestamps)
    np.testing.assert_array_equal(indices, SAMPLERS[name](timestamps.copy(), num_frames))


@given(count=st.integers(1, 4000), num_frames=st.integers(1, 40), fps=st.sampled_from([3, 24, 25, 30000 / 1001, 60]))
@settings(max_examples=200, deadline=None)
def test_uniform_at_a_constant_rate_takes_the_middle_of_equal_segments(count: int, num_frames: int, fps: float) -> None:
    timestamps = (np.arange(count) / fps).astype(np.float32).astype(np.float64)
    wanted = list(range(count)) if count <= num_frames else middles(count, num_frames)
    assert SAMPLERS["uniform"](timestamps, num_frames).tolist() == wanted


def test_uniform_goes_by_time_where_the_rate_varies() -> None:
    timestamps = np.array([0, 1, 2, 3, 4, 14, 24, 34])  # the middles of 4 spans of (34 + 34/7)/4 s
    assert SAMPLERS["uniform"](timestamps, 4).tolist() == [4, 5, 6, 7]
    assert SAMPLERS["uniform"](timestamps, 2).tolist() == [4, 6]


def test_uniform_takes_no_frame_twice() -> None:
    assert SAMPLERS["uniform"](np.array([0, 0.1, 0.2, 100, 100.1]), 4).tolist() == [1, 2, 3, 4]


@given(count=st.integers(1, 3000), num_frames=st.integers(1, 64))
@settings(deadline=None)
def test_spread_is_slice_framepos_2_of_clip4clip(count: int, num_frames: int) -> None:
    theirs = np.arange(count) if count <= num_frames else np.linspace(0, count - 1, num=num_frames, dtype=int)
    np.testing.assert_array_equal(SAMPLERS["spread"](np.arange(count) / 25, num_frames), theirs)


def test_head_takes_the_first_frames() -> None:
    assert SAMPLERS["head"](np.arange(9) / 25, 3).tolist() == [0, 1, 2]


def test_sampling_names_every_wrong_key() -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(num_frames=0, sampler="unifrom", size=0, short_videos="loop")
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["data.num_frames", "data.size", "data.sampler", "data.short_videos"]
    assert "Did you mean `uniform`?" in str(caught.value)


# The right frames


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


# Short videos and folders


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


# Files that cannot be used


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


def with_bytes(path: Path, data: bytes) -> Path:
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


def test_bytes_after_the_last_box_do_no_harm(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered_frames(12))
    path.write_bytes(path.read_bytes() + b"\0\0\xff\xff a camera's own notes")
    assert numbers(read_all(path)) == list(range(12))


def test_importing_loads_neither_decoders_nor_torch() -> None:
    program = "import sys, core.engine.video; print([m for m in ('decord', 'PIL', 'torch', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Workers


def run(*actions: str, workers: int = 2, deadline: float = 30.0) -> list[Clip | VideoError | ReadingError]:
    found = list(read_clips(actions, Sampling(), workers=workers, deadline=deadline, read=misbehave))
    assert [position for position, _ in found] == list(range(len(actions)))
    return [clip for _, clip in found]


def gone(process: int, seconds: float = 5.0) -> bool:
    """Whether the process ends within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_clips_come_in_the_order_of_the_paths_with_faults_among_them(tmp_path: Path, workers: int) -> None:
    frames = numbered_frames(40)
    paths = [write_avi(tmp_path / f"{index}.avi", frames[index : index + 12]) for index in range(12)]
    paths[5] = with_bytes(tmp_path / "text.mp4", b"text")
    for position, found in read_clips(paths, Sampling(), workers=workers):
        if position == 5:
            assert isinstance(found, VideoError)
            assert found.path == str(paths[5])
        else:
            assert isinstance(found, Clip)
            np.testing.assert_array_equal(found.frames, frames[position : position + 12])


def test_a_slow_clip_does_not_let_later_ones_pass() -> None:
    assert all(isinstance(clip, Clip) for clip in run("sleep-0.3", "ok", "ok", "sleep-0.1", "ok"))


def test_a_hang_is_ended_and_reported_and_the_rest_is_read() -> None:
    start = time.monotonic()
    before, hung, after = run("ok", "sleep-60", "ok", workers=1, deadline=0.3)
    assert time.monotonic() - start < 10
    assert isinstance(before, Clip)
    assert isinstance(after, Clip)
    assert isinstance(hung, ReadingError)
    assert str(hung).startswith(
        "sleep-60: was given up after 1.2 s of decoding, with no other reader at work; before, among other readers, it "
        "was given up after 0.3 s of decoding. Start again on an idle machine. Write it anew: `ffmpeg"
    )
    assert worker_of(before) != worker_of(after)


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("signal-SIGABRT", "crashed its reader process (SIGABRT)"),
        ("signal-SIGSEGV", "crashed its reader process (SIGSEGV)"),
        ("signal-SIGKILL", "memory ran out"),
        ("exit-3", "crashed its reader process (exit code 3)"),
    ],
)
def test_a_crash_is_reported_for_its_clip_alone(action: str, reason: str) -> None:
    before, crashed, after = run("ok", action, "ok", workers=1)
    assert isinstance(before, Clip)
    assert isinstance(after, Clip)
    assert isinstance(crashed, ReadingError)
    assert crashed.path == action
    assert reason in crashed.reason


def test_a_worker_that_died_between_clips_costs_none() -> None:
    clips = read_clips(["ok"] * 8, Sampling(), workers=1, read=misbehave)
    _, first = next(clips)
    assert isinstance(first, Clip)
    time.sleep(0.3)
    os.kill(worker_of(first), signal.SIGKILL)
    time.sleep(0.1)
    assert all(isinstance(clip, Clip) for _, clip in clips)


def test_an_error_that_is_not_the_videos_is_raised() -> None:
    with pytest.raises(RuntimeError, match=r"while reading bug-found:[\s\S]*ZeroDivisionError: found"):
        run("ok", "bug-found")


def test_what_a_reader_prints_reaches_neither_pipe_nor_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(run("print-noise", workers=1)[0], Clip)
    assert len(check_videos([with_bytes(tmp_path / "random.mp4", b"x" * 5000)], Sampling(), workers=1)) == 1
    assert capfd.readouterr() == ("", "")


def test_a_worker_serves_many_clips_and_does_not_load_torch() -> None:
    import torch

    torch.ones(300, 300) @ torch.ones(300, 300)
    clips = [clip for clip in run(*["ok"] * 20) if isinstance(clip, Clip)]
    assert 1 <= len({worker_of(clip) for clip in clips}) <= 2
    assert not any(clip.mask.any() for clip in clips)


@pytest.mark.parametrize("ahead", [0, 4, 15])
def test_paths_are_taken_only_a_few_ahead(ahead: int) -> None:
    taken = 0

    def paths() -> Iterator[str]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield "ok"

    clips = read_clips(paths(), Sampling(), workers=2, ahead=ahead, read=misbehave)
    for read in range(1, 11):
        next(clips)
        assert taken == read - 1 + max(2 * IN_FLIGHT, ahead)
    clips.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("rest", ["ok", "sleep-60"])
def test_closing_early_leaves_no_process_behind(rest: str) -> None:
    clips = read_clips(["ok", "ok"] + [rest] * 50, Sampling(), workers=2, read=misbehave)
    started = {worker_of(clip) for _, clip in (next(clips), next(clips)) if isinstance(clip, Clip)}
    start = time.monotonic()
    clips.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5
    assert started
    assert all(gone(process, 0.01) for process in started)


def test_the_workers_are_gone_when_all_is_read() -> None:
    clips = [clip for clip in run(*["ok"] * 4) if isinstance(clip, Clip)]
    assert all(gone(worker_of(clip), 0.01) for clip in clips)


SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
from core.engine.video import Sampling, read_clips
from tests.videos import misbehave, worker_of
for position, clip in read_clips(["ok"] + ["sleep-60"] * 9, Sampling(), workers=1, deadline=1.5, read=misbehave):
    print(worker_of(clip), flush=True)
"""


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["ctrl_c", "killed"])
def test_workers_end_with_their_parent_script_that_needs_no_main_guard(tmp_path: Path, ending: signal.Signals) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    if ending == signal.SIGINT:
        os.killpg(parent.pid, ending)
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=10)
    assert gone(worker, 8)
    assert parent.returncode == -ending
    assert errors.count("KeyboardInterrupt") == (ending == signal.SIGINT)


def test_check_videos_lists_every_bad_one(tmp_path: Path) -> None:
    good = write_avi(tmp_path / "good.avi", numbered_frames(12))
    short = write_avi(tmp_path / "short.avi", numbered_frames(2))
    errors = check_videos([good, short, good, tmp_path / "none.mp4"], Sampling(), workers=2)
    assert [Path(error.path).name for error in errors] == ["short.avi", "none.mp4"]
