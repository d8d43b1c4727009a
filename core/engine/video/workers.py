"""Many videos, decoded in worker processes: native code that hangs or aborts takes its own process along, no more.

The workers are started by `subprocess`, not `multiprocessing`: nothing of the parent is forked (torch's threads stay
out of it) and its `__main__` is not imported again, so scripts need no guard and a worker starts without torch.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from core.engine.video.containers import REENCODE
from core.engine.video.reading import NO_MEMORY, Clip, read_clip
from core.engine.video.sampling import Sampling
from core.errors import ReadingError, RunError, UserError, VideoError

Read = Callable[[str | Path, Sampling], Clip]
Answer = Clip | VideoError | ReadingError
PATIENCE = 4  # times the deadline, for a clip that is read alone
IN_FLIGHT = 3  # clips a worker may always have queued, in decoding or waiting to be taken


def read_clips(
    paths: Iterable[str | Path],
    sampling: Sampling,
    *,
    workers: int,
    ahead: int = 0,
    deadline: float = 60.0,
    read: Read = read_clip,
) -> Iterator[tuple[int, Answer]]:
    """(position, clip or the reason why there is none) of each path, in order; paths are taken as they are needed.

    The reason is a VideoError where the file is to blame, a ReadingError where it may be memory, time or the disk.
    Workers read up to `ahead` clips while the caller is busy: what it takes at once. They read 3 a worker in any case.
    A worker is killed after `deadline` seconds on one clip. A clip that ended its worker, or met another ReadingError,
    is read once more with no other reader at work, in four times that time; what comes of that is reported.
    `workers=0` reads in this process, without a deadline.
    `read` must be importable by its name. Other errors are raised. Closing the iterator, or an exception such as
    KeyboardInterrupt, ends all workers.
    """
    if workers > 0:
        yield from _read_in_workers(paths, sampling, workers, ahead, deadline, read)
        return
    for position, path in enumerate(paths):
        answer = _read_here(read, path, sampling)
        yield position, _read_here(read, path, sampling) if isinstance(answer, ReadingError) else answer


def _read_here(read: Read, path: str | Path, sampling: Sampling) -> Answer:
    try:
        return read(path, sampling)
    except (VideoError, ReadingError) as error:
        return error
    except MemoryError:
        return ReadingError(path, *NO_MEMORY)


def check_videos(paths: Iterable[str | Path], sampling: Sampling, workers: int) -> list[VideoError | ReadingError]:
    """The faults of all videos that cannot be read as `sampling` asks, in the order of `paths`."""
    return [answer for _, answer in read_clips(paths, sampling, workers=workers) if not isinstance(answer, Clip)]


def _read_in_workers(
    paths: Iterable[str | Path], sampling: Sampling, workers: int, ahead: int, deadline: float, read: Read
) -> Iterator[tuple[int, Answer]]:
    """One thread waits for each worker, so that clips arrive while the caller is busy."""
    pool = [_Worker() for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in pool:
        idle.put(worker)

    turns = _Turns()

    def work(path: str | Path) -> Answer:
        worker = idle.get()
        try:
            with turns.beside_others():
                answer = worker.read(read, path, sampling, deadline)
            if not isinstance(answer, ReadingError):
                return answer
            with turns.alone():
                again = worker.read(read, path, sampling, PATIENCE * deadline)
            return _twice(again, answer) if isinstance(again, ReadingError) else again
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers, thread_name_prefix="read_clips")
    waiting: deque[Future[Answer]] = deque()
    position = 0
    try:
        for path in paths:
            waiting.append(threads.submit(work, path))
            if len(waiting) == max(workers * IN_FLIGHT, ahead):
                yield position, waiting.popleft().result()
                position += 1
        while waiting:
            yield position, waiting.popleft().result()
            position += 1
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in pool:
            worker.kill()
        threads.shutdown(wait=True)
        for worker in pool:
            worker.bury()


def _twice(second: ReadingError, first: ReadingError) -> ReadingError:
    """What both readings came to, in one message."""
    before = "" if second.reason == first.reason else f"; before, among other readers, it {first.reason}"
    return ReadingError(second.path, f"{second.reason}, with no other reader at work{before}", second.fix)


class _Turns:
    """Readers work beside each other, or one works alone: it waits for the others, and new ones wait for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work = self._waiting = 0
        self._alone = False

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._at_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: not self._alone and not self._at_work)
            self._waiting -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()


class _Worker:
    """One reader process: started when it is first needed, and again after it died. One thread at a time reads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()

    def read(self, read: Read, path: str | Path, sampling: Sampling, deadline: float) -> Answer:
        """The worker's answer, or a ReadingError that says how it died. Raises what else went wrong in it."""
        process = self._started()
        try:
            _send(process.stdin, (read, path, sampling, deadline))
            answer = pickle.load(_pipe(process.stdout))
        except (EOFError, OSError, pickle.UnpicklingError):
            return ReadingError(path, *_ending(self.bury(), deadline))
        if isinstance(answer, (Clip, VideoError, ReadingError)):
            return answer
        raise answer

    def _started(self) -> subprocess.Popen[bytes]:
        """The running process. RunError where Python cannot start there, or after `kill`."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return self._process
            self.bury()
            if self._killed:
                raise RunError("the video readers were stopped")
            program = f"import sys; sys.path[:] = {sys.path!r}; from core.engine.video.workers import serve; serve()"
            try:
                self._process = process = subprocess.Popen(
                    [sys.executable, "-c", program],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    process_group=0,  # the terminal's Ctrl-C is for the parent, which ends its workers
                )
            except OSError as error:
                raise RunError(
                    f"a video reader process could not start ({error.strerror}); take fewer: --workers 1"
                ) from None
        if not _pipe(process.stdout).read(len(_READY)):
            raise RunError(f"a video reader process could not start (exit code {self.bury()}): see the lines above")
        return process

    def kill(self) -> None:
        """Ends the process, from whichever thread, and lets no other start."""
        with self._lock:
            self._killed, process = True, self._process
            if process is not None:
                process.kill()

    def bury(self) -> int:
        """Closes the pipes of the process, which ends it, and waits for it. Returns its exit code, 0 where none ran."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(OSError), process:
            pass
        return process.wait()


def _ending(code: int, deadline: float) -> tuple[str, str]:
    """Why a worker with this exit code died, and what helps."""
    if code == -signal.SIGALRM:
        smaller = f"{REENCODE}, with `-vf scale=-2:224 -r 3` as well where it is merely long or large"
        return f"was given up after {deadline:g} s of decoding", f"Start again on an idle machine. {smaller}"
    if code == -signal.SIGKILL:
        freed = "Free memory or take fewer readers (--workers 1), and start again"
        return "ended its reader process (SIGKILL: most likely memory ran out)", f"{freed}. {REENCODE}"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"crashed its reader process ({name})", f"Take it out of the data set, or start again. {REENCODE}"


def _pipe(stream: Any) -> Any:
    """The stream, which Popen types as optional."""
    assert stream is not None
    return stream


def _send(stream: Any, message: object) -> None:
    pickle.dump(message, _pipe(stream), protocol=5)
    stream.flush()


_READY = b"ready"


def serve() -> None:
    """The life of a worker: requests on stdin, answers on stdout, until stdin ends. Nothing else reaches either.

    When a clip is too slow, the kernel's alarm clock ends it in mid-call: no Python code could stop a native loop.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    answers.write(_READY)
    answers.flush()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    while True:
        try:
            read, path, sampling, deadline = pickle.load(requests)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, deadline)
        answer = _answer(read, path, sampling)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(answers, answer)


def _answer(read: Read, path: str | Path, sampling: Sampling) -> Clip | Exception:
    """The clip, the fault of the video, or the error that the parent raises."""
    try:
        return read(path, sampling)
    except UserError as error:
        return error
    except MemoryError:
        return ReadingError(path, *NO_MEMORY)
    except Exception:
        return RuntimeError(f"while reading {path}:\n{traceback.format_exc()}")
