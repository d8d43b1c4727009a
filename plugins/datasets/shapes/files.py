"""Brings the video files of a folder up to date: draws in worker processes what is not there yet."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import cache
from pathlib import Path
from queue import Queue
from typing import Any
from zlib import crc32

from core import RunError, progress

from . import render

MANIFEST = "manifest.jsonl"
"""One line for each file that was finished: its path, a digest of what drew what, its size in bytes, their crc32."""
WORKERS_AT_MOST = 8
Job = dict[str, Any]
Made = tuple[str, int, int]
"""Digest of the job, size and crc32 of the file that it became."""
State = tuple[int, int]
"""Size and modification time of a file."""


def write_videos(folder: Path, jobs: Mapping[str, Job]) -> int:
    """Draw each job (see render.main) to its path under `folder`; how many were drawn.

    A file is kept if the manifest knows it by the same job and by what it holds on disk; so a second call draws
    nothing, a call after a kill draws the rest, and a damaged file is drawn again, to the same bytes.
    Raises RunError where a file cannot be written.
    """
    missing = missing_videos(folder, jobs)
    if not missing:
        return 0
    for parent in {Path(path).parent for path in missing}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    for unfinished in folder.rglob(".*.part"):  # one process draws at a time: its lease says so
        unfinished.unlink(missing_ok=True)
    orders = [{**jobs[path], "path": str(folder / path)} for path in missing]
    with closing(_drawn(orders)) as drawn, open(folder / MANIFEST, "a", buffering=1, encoding="utf-8") as manifest:
        manifest.write("\n")  # ends a line that a kill cut short
        for (path, job), made in zip(missing.items(), progress(drawn, "drawing videos", len(orders)), strict=True):
            manifest.write(json.dumps({"file": path, "job": job, "bytes": made[0], "crc32": made[1]}) + "\n")
    return len(missing)


def missing_videos(folder: Path, jobs: Mapping[str, Job]) -> dict[str, str]:
    """The paths that are not there as their jobs say, with a digest of the job."""
    program = Path(render.__file__).read_bytes()
    digests = {path: _digest(program, job) for path, job in jobs.items()}
    known, there = _manifest(folder), _there(folder, {Path(path).parent for path in jobs})
    return {path: job for path, job in digests.items() if not _is_whole(folder, path, job, known, there)}


def _is_whole(folder: Path, path: str, job: str, known: Mapping[str, Made], there: Mapping[str, State]) -> bool:
    """Whether a file holds, to the bit, what this job made of it."""
    if path not in known or path not in there:
        return False
    own, size, crc = known[path]
    return (own, size) == (job, there[path][0]) and crc == _crc32(str(folder / path), *there[path])


@cache
def _crc32(path: str, size: int, changed: int) -> int | None:
    """Of a file's content, read once in this process. size, changed: what tells that it is still the same."""
    try:
        return crc32(Path(path).read_bytes())
    except OSError:
        return None


def write_text(path: Path, content: str) -> None:
    """Write a text file in one go, through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(content, encoding="utf-8")
    part.replace(path)


def _drawn(orders: list[Job]) -> Generator[tuple[int, int], None, None]:
    """Size and crc32 of each file, in order, as they are finished.

    The workers are programs of their own, not forks or re-imports of this one: this process may have loaded torch
    and threads, and a script without a `__main__` guard must work too.
    """
    with ExitStack() as stack:
        idle: Queue[subprocess.Popen[str]] = Queue()
        workers = max(1, min(os.cpu_count() or 1, WORKERS_AT_MOST, len(orders) // 10))
        for _ in range(workers):
            idle.put(stack.enter_context(_worker()))
        threads = ThreadPoolExecutor(workers)
        stack.callback(threads.shutdown, cancel_futures=True)
        yield from threads.map(lambda order: _ask(idle, order), orders)


def _worker() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", render.__file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")


def _ask(idle: Queue[subprocess.Popen[str]], order: Job) -> tuple[int, int]:
    worker = idle.get()
    try:
        reply = _reply(worker, json.dumps(order))
    except BrokenPipeError:
        reply = ""
    finally:
        idle.put(worker)
    try:
        size, crc = map(int, reply.split())
        return size, crc
    except ValueError:
        raise RunError(f"{order['path']}: could not be drawn: {reply.strip() or 'its worker process ended'}") from None


def _digest(program: bytes, job: Job) -> str:
    return hashlib.sha256(program + json.dumps(job, sort_keys=True).encode()).hexdigest()[:16]


def _reply(worker: subprocess.Popen[str], line: str) -> str:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    return worker.stdout.readline()


def _manifest(folder: Path) -> dict[str, Made]:
    """What was finished; a line cut short by a kill counts as not finished."""
    known: dict[str, Made] = {}
    if not (folder / MANIFEST).is_file():
        return known
    for line in (folder / MANIFEST).read_bytes().splitlines():
        try:
            entry = json.loads(line)
            known[entry["file"]] = (entry["job"], entry["bytes"], entry["crc32"])
        except (ValueError, KeyError, TypeError):
            continue
    return known


def _there(folder: Path, parents: set[Path]) -> dict[str, State]:
    """Size and time of every file in some folders."""
    return {
        str(parent / entry.name): ((found := entry.stat()).st_size, found.st_mtime_ns)
        for parent in parents
        if (folder / parent).is_dir()
        for entry in os.scandir(folder / parent)
        if entry.is_file()
    }
