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
from pathlib import Path
from queue import Queue
from typing import Any

from core import RunError, progress

from . import render

MANIFEST = "manifest.jsonl"
"""One line for each file that was finished: its path, a digest of what drew what, its size in bytes."""
WORKERS_AT_MOST = 8
Job = dict[str, Any]


def write_videos(folder: Path, jobs: Mapping[str, Job]) -> int:
    """Draw each job (see render.main) to its path under `folder`; how many were drawn.

    A file is kept if the manifest knows it by the same job and by its size on disk; so a second call draws nothing,
    a call after a kill draws the rest. Raises RunError where a file cannot be written.
    """
    missing = missing_videos(folder, jobs)
    if not missing:
        return 0
    for parent in {Path(path).parent for path in missing}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
    orders = [{**jobs[path], "path": str(folder / path)} for path in missing]
    with closing(_drawn(orders)) as drawn, open(folder / MANIFEST, "a", buffering=1, encoding="utf-8") as manifest:
        manifest.write("\n")  # ends a line that a kill cut short
        for (path, job), size in zip(missing.items(), progress(drawn, "drawing videos", len(orders)), strict=True):
            manifest.write(json.dumps({"file": path, "job": job, "bytes": size}) + "\n")
    return len(missing)


def missing_videos(folder: Path, jobs: Mapping[str, Job]) -> dict[str, str]:
    """The paths that are not there as their jobs say, with a digest of the job."""
    program = Path(render.__file__).read_bytes()
    digests = {path: _digest(program, job) for path, job in jobs.items()}
    known, sizes = _manifest(folder), _sizes(folder, {Path(path).parent for path in jobs})
    return {path: digest for path, digest in digests.items() if known.get(path) != (digest, sizes.get(path))}


def write_text(path: Path, content: str) -> None:
    """Write a text file in one go, through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(content, encoding="utf-8")
    part.replace(path)


def _drawn(orders: list[Job]) -> Generator[int, None, None]:
    """The size of each file, in order, as they are finished.

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


def _ask(idle: Queue[subprocess.Popen[str]], order: Job) -> int:
    worker = idle.get()
    try:
        reply = _reply(worker, json.dumps(order))
    except BrokenPipeError:
        reply = ""
    finally:
        idle.put(worker)
    try:
        return int(reply)
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


def _manifest(folder: Path) -> dict[str, tuple[str, int]]:
    """What was finished; a line cut short by a kill counts as not finished."""
    known: dict[str, tuple[str, int]] = {}
    if not (folder / MANIFEST).is_file():
        return known
    for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            known[entry["file"]] = (entry["job"], entry["bytes"])
        except (ValueError, KeyError, TypeError):
            continue
    return known


def _sizes(folder: Path, parents: set[Path]) -> dict[str, int]:
    return {
        str(parent / entry.name): entry.stat().st_size
        for parent in parents
        if (folder / parent).is_dir()
        for entry in os.scandir(folder / parent)
    }
