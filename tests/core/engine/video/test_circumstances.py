"""What memory, time, the disk or a share did to a reader is never taken for a fault of the video, and never stored."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from core.contract.store import MISSING, FileDigests, digests
from core.engine.execute import execute
from core.engine.video import Clip, Sampling, check_videos, read_clip, read_clips
from core.errors import DataError, ReadingError, VideoError
from core.run import main
from tests.core.test_run import command
from tests.engine import COUNTS, Lab
from tests.videos import marked, misbehave, numbered_frames, write_avi, write_video

SKIP = {"data.on_unreadable": "skip", "retrieve.rerank": None}


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reader processes with a deadline of half a second, which do what files beside the videos say."""

    def read(*given: object, **options: object) -> object:
        return read_clips(*given, **{**options, "workers": 2, "deadline": 0.5, "read": marked})  # type: ignore[arg-type]

    monkeypatch.setattr("core.engine.steps.decode.read_clips", read)


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGSEGV", "SIGABRT", "sleep"])
@pytest.mark.parametrize("on_unreadable", ["skip", "fail"])
def test_a_killed_or_slow_reader_ends_the_run_and_the_next_one_has_every_video(
    lab: Lab, readers: None, ending: str, on_unreadable: str
) -> None:
    changes = {**SKIP, "data.on_unreadable": on_unreadable}
    mark = lab.videos / "test" / f"v4.{ending}"
    mark.touch()
    with pytest.raises(ReadingError) as fault:
        lab.run(changes)
    told = str(fault.value)
    assert told.startswith(f"{lab.videos / 'test' / 'v4'}: ")
    assert "with no other reader at work" in told
    assert told.endswith("Nothing of it was stored, and what was done is kept: the same command resumes")
    assert not [entry for entry in lab.entries("encode") if entry.info["label"] == "encode test videos"]
    mark.unlink()
    result = lab.result(changes)
    assert (result.skipped, result.size) == ({}, "5 videos, 10 texts")


def test_rows_that_were_done_before_a_reader_died_are_not_done_again(
    lab: Lab, readers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.engine.steps.decode.VIDEOS", 1)
    mark = lab.videos / "test" / "v4.SIGKILL"
    mark.touch()
    with pytest.raises(ReadingError):
        lab.run(SKIP)
    mark.unlink()
    lab.run(SKIP)
    assert COUNTS["videos"] == 1


def test_a_clip_that_killed_its_reader_is_read_again_with_no_other_reader_at_work(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("once-SIGKILL", "busy-1", "busy-2", "busy-3", "busy-4", "busy-5")]
    assert all(isinstance(clip, Clip) for _, clip in read_clips(paths, Sampling(), workers=3, read=misbehave))
    spans = [line.split() for line in (tmp_path / "times").read_text().splitlines()]
    ((start, end),) = [(float(a), float(b)) for name, a, b in spans if name == "once"]
    assert len(spans) == 6
    assert all(float(b) <= start or float(a) >= end for name, a, b in spans if name == "busy")


def test_a_slow_clip_is_given_more_time_alone(tmp_path: Path) -> None:
    ((_, clip),) = read_clips(["sleep-0.8"], Sampling(), workers=1, deadline=0.4, read=misbehave)
    assert isinstance(clip, Clip)


def test_a_fault_that_is_gone_when_the_file_is_read_again_is_none(lab: Lab, readers: None) -> None:
    (lab.videos / "test" / "v1.torn").touch()
    result = lab.result(SKIP)
    assert (result.skipped, result.size) == ({}, "5 videos, 10 texts")


@pytest.mark.parametrize("number", ["EIO", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "ETIMEDOUT", "EACCES"])
def test_an_error_of_the_system_is_none_of_the_video(lab: Lab, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    opened = Image.open

    def failing(path: Path) -> object:
        if "v1" in str(path):
            raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))
        return opened(path)

    monkeypatch.setattr(Image, "open", failing)
    with pytest.raises(ReadingError, match="v1"):
        lab.run(SKIP)
    monkeypatch.undo()
    assert lab.result(SKIP).size == "5 videos, 10 texts"


def limited(path: Path, limit: str) -> str:
    """The type of what reading a healthy video gives in a process where `limit` was executed, or how that ended."""
    program = f"""
import os, resource, sys
from core.engine.video import Sampling, read_clips
import decord, PIL.Image
path = sys.argv[1]
{limit}
print(*(type(found).__name__ for _, found in read_clips([path], Sampling(size=224), workers=0)))
"""
    ended = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    return "aborted" if ended.returncode == -signal.SIGABRT else ended.stdout.strip() or ended.stderr


@pytest.mark.parametrize("free", [3, 20, 40])
def test_a_healthy_video_is_not_called_damaged_where_memory_is_limited(tmp_path: Path, free: int) -> None:
    path = write_video(tmp_path / "clip.mp4", numbered_frames(60, 720, 1280))
    limit = f"""
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + ({free} << 20)
resource.setrlimit(resource.RLIMIT_AS, (taken, taken))
"""
    # A thread of decord's own that gets no memory aborts its process: that is a reader's death, as in the tests above.
    assert limited(path, limit) in {"ReadingError", "aborted"}


def test_a_healthy_video_is_not_called_damaged_where_too_many_files_are_open(tmp_path: Path) -> None:
    path = write_avi(tmp_path / "clip.avi", numbered_frames(12))
    limit = "resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0), 9999))"
    assert limited(path, limit) == "ReadingError"


def test_memory_that_is_short_in_this_process_is_no_fault_of_the_video() -> None:
    def read(path: object, sampling: object) -> Clip:
        raise MemoryError

    ((_, found),) = read_clips(["a.mp4"], Sampling(), workers=0, read=read)
    assert isinstance(found, ReadingError)
    assert "memory" in str(found)


# ------------------------------------------------------------------------------------------- files that come and go


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


def torn(folder: Path) -> None:
    next(folder.iterdir()).write_bytes(b"no picture")


@pytest.mark.parametrize("happens", [removed, torn])
def test_a_video_that_changes_after_it_was_digested_is_not_skipped_under_its_old_name(
    lab: Lab, happens: Callable[[Path], None]
) -> None:
    folder, aside = lab.videos / "test" / "v1", lab.folder / "aside"
    shutil.copytree(folder, aside)
    plan = lab.plan(SKIP)
    happens(folder)
    with pytest.raises(ReadingError, match="v1: is not what it was when the run began"):
        execute(plan, lambda trial: None)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(aside, folder)
    assert lab.result(SKIP).size == "5 videos, 10 texts"


def test_a_video_that_comes_after_the_run_began_is_not_stored_as_a_missing_one(lab: Lab) -> None:
    folder, aside = lab.videos / "test" / "v1", lab.folder / "aside"
    folder.rename(aside)
    plan = lab.plan(SKIP)
    aside.rename(folder)
    with pytest.raises(ReadingError, match="v1: is not what it was when the run began"):
        execute(plan, lambda trial: None)


def test_a_missing_video_is_skipped_and_a_missing_folder_of_videos_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        read_clip(tmp_path / "gone.mp4", Sampling())
    with pytest.raises(ReadingError, match=f"there is no folder {tmp_path / 'share'}. Is its disk or share mounted"):
        read_clip(tmp_path / "share" / "a.mp4", Sampling())


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ESTALE])
def test_a_file_that_cannot_be_digested_now_is_not_taken_for_a_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def failing(*_: object) -> str:
        raise OSError(number, os.strerror(number))

    file = tmp_path / "a.mp4"
    file.write_bytes(b"video")
    monkeypatch.setattr(digests, "content_digest", failing)
    with pytest.raises(ReadingError, match=rf"{file}: cannot be read: {os.strerror(number)}"):
        FileDigests(tmp_path).of([str(file)])
    monkeypatch.undo()
    assert FileDigests(tmp_path).of([str(file)]) != [MISSING]


def test_a_file_that_gives_no_byte_is_named_and_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "hangs.mp4")  # to open it waits for ever, as on a share that died
    monkeypatch.setattr("core.contract.store.digests._is_file", lambda path: True)
    monkeypatch.setattr("core.contract.inputs.STALLED", 0.4)
    started = time.monotonic()
    with pytest.raises(DataError, match=rf"{tmp_path / 'hangs.mp4'}: gave no byte for 0.4 s"):
        FileDigests(tmp_path).of([str(tmp_path / "hangs.mp4")])
    assert time.monotonic() - started < 5


def test_a_large_file_may_take_longer_than_the_deadline_while_bytes_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "slow.mp4")
    monkeypatch.setattr("core.contract.store.digests._is_file", lambda path: True)
    monkeypatch.setattr("core.contract.inputs.STALLED", 2.0)
    writer = "import sys, time; f = open(sys.argv[1], 'wb', 0); [(f.write(b'x'), time.sleep(0.5)) for _ in range(6)]"
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", writer, str(tmp_path / "slow.mp4")]):
        found = FileDigests(tmp_path).of([str(tmp_path / "slow.mp4")])
    assert time.monotonic() - started > 2
    (tmp_path / "whole.mp4").write_bytes(b"x" * 6)
    assert found == FileDigests(tmp_path).of([str(tmp_path / "whole.mp4")])


# -------------------------------------------------------------------------------------------------- --check-videos


def test_checking_videos_tells_faults_of_files_from_faults_of_circumstances(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for picture in (lab.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    (lab.videos / "test" / "v2.SIGKILL").touch()
    monkeypatch.setattr("core.engine.video.workers.read_clips", partial(read_clips, read=marked))
    file = str(lab.write())
    assert main([file, "--store", str(lab.store), "--workers", "2", "--check-videos"]) == 1
    printed = capsys.readouterr().out
    assert "1 of 5 videos cannot be used" in printed
    assert "1 of 5 videos could not be read as things are, which says nothing of the files" in printed
    assert "v2: ended its reader process (SIGKILL: most likely memory ran out)" in printed


def test_every_fault_of_either_kind_is_listed(tmp_path: Path) -> None:
    found = check_videos([tmp_path / "none.mp4", tmp_path / "away" / "a.mp4"], Sampling(), workers=0)
    assert [type(fault) for fault in found] == [VideoError, ReadingError]


def test_the_command_ends_with_1_and_one_line(lab: Lab, readers: None, capsys: pytest.CaptureFixture[str]) -> None:
    (lab.videos / "test" / "v3.SIGKILL").touch()
    assert command(lab, "data.on_unreadable=skip") == 1
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "--workers 1" in told[0]
