"""Worker processes that survive what decoders do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.engine.video import Clip, Sampling, check_videos, read_clips
from core.engine.video.workers import IN_FLIGHT
from core.errors import ReadingError, VideoError
from tests.videos import (
    misbehave,
    numbered_frames,
    worker_of,
    write_avi,
)

from .clips import with_bytes


def test_importing_loads_neither_decoders_nor_torch() -> None:
    program = "import sys, core.engine.video; print([m for m in ('decord', 'PIL', 'torch', 'av') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
