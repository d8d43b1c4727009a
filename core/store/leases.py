"""Leases: the right to compute some entries, kept alive by a heartbeat, taken over where the owner is gone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

from .files import locked

HEARTBEAT = 5.0
STALE = 60.0


class Busy(Exception):
    """Another process holds the lease of a step."""

    def __init__(self, step: str, key: str, owner: str):
        super().__init__(f"{step} {key} is being computed by {owner}")


class Leases:
    """The leases of a store, files in `folder` named by step and key."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def hold(self, step: str, *keys: str) -> Iterator[None]:
        """Hold the right to compute some entries of a step, all or none. Kept alive by a heartbeat; a dead owner's
        lease is taken over.

        Raises Busy where a living process holds one of them.
        """
        folder = self.folder
        paths = {key: folder / f"{step}-{key}" for key in keys}
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock"):
            for key, path in paths.items():
                if path.exists() and not _dead(path):
                    raise Busy(step, key, path.read_text())
            for path in paths.values():
                path.write_text(_me())
        done = threading.Event()
        beat = threading.Thread(target=_heartbeat, args=(list(paths.values()), done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            with locked(folder / ".lock"):
                for path in paths.values():
                    if path.exists() and path.read_text() == _me():
                        path.unlink()

    @contextmanager
    def wait_for(self, step: str, key: str) -> Iterator[None]:
        """`hold`, waiting while another process holds it."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self.hold(step, key))
                    break
                except Busy:
                    time.sleep(0.2)
            yield

    def held(self, step: str, key: str) -> bool:
        """Whether a living process holds a lease."""
        path = self.folder / f"{step}-{key}"
        return path.exists() and not _dead(path)


def _heartbeat(paths: Sequence[Path], done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        for path in paths:
            with suppress(OSError):
                os.utime(path)


@cache
def _host() -> str:
    """The machine, or the container of it, within which a process id means something."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _me() -> str:
    return f"{_host()} {os.getpid()}"


def _dead(path: Path) -> bool:
    """Whether the owner of a lease is gone: its process ended here, or no heartbeat came for STALE seconds."""
    host, _, pid = path.read_text().rpartition(" ")
    if host == _host() and pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
    now = path.with_name(f".now-{socket.gethostname()}-{os.getpid()}")
    now.touch()
    age = now.stat().st_mtime - path.stat().st_mtime
    now.unlink()
    return age > STALE
