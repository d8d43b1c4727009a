"""Leases: the right to compute some entries, kept alive by a heartbeat, taken over where the owner is gone.

A lease is a file that tells who computes an entry and since when. Its owner touches it every HEARTBEAT seconds. A
process that was stopped for longer than STALE loses it: it finds out when it wants to commit, and leaves the work to
the new owner.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .files import locked, read_text, set_aside

HEARTBEAT = 5.0
STALE = 60.0
PAUSE = 0.2
"""Seconds between two looks at a lease that is waited for."""

_TOKEN = f"{os.getpid()}-{secrets.token_hex(4)}"


def token() -> str:
    """A name that only this process has: its number may later be given to another one."""
    global _TOKEN
    if not _TOKEN.startswith(f"{os.getpid()}-"):  # a fork
        _TOKEN = f"{os.getpid()}-{secrets.token_hex(4)}"
    return _TOKEN


@dataclass(frozen=True)
class Owner:
    """Who holds a lease.

    host: the machine, or its container, within which the process id `pid` is valid. token: names the process for good.
    since: when it took the lease.
    """

    host: str = ""
    pid: int = 0
    token: str = ""
    since: float = 0.0

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        clock = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host.partition('/')[0]}, since {clock}"


class Busy(Exception):
    """Another process holds the lease of a step: its `owner`."""

    def __init__(self, step: str, key: str, owner: Owner):
        self.step, self.key, self.owner = step, key, owner
        super().__init__(f"{step} {key} is being computed by {owner}")


class Leases:
    """The leases of a store, files in `folder` named by step and key."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._seen: dict[Path, tuple[int, float]] = {}

    def _path(self, step: str, key: str) -> Path:
        return self.folder / f"{step}-{key}"

    @contextmanager
    def hold(self, step: str, *keys: str) -> Iterator[None]:
        """Hold the right to compute some entries of a step, all or none; a lease whose owner is gone is taken over.

        Raises Busy where a living process holds one of them, at the start, or at the end because this one was stopped
        for so long that its lease was taken over.
        """
        paths = {key: self._path(step, key) for key in keys}
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / ".lock"):
            for key, path in paths.items():
                if path.is_file() and not self._is_free(path):
                    raise Busy(step, key, _owner(path))
            self._take(paths.values())
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(list(paths.values()), done), daemon=True)
        beat.start()
        try:
            yield
        except Exception:
            self.check(step, *keys)  # what failed may have failed because another process took over
            raise
        finally:
            done.set()
            beat.join()
            with locked(self.folder / ".lock"):
                for path in paths.values():
                    if _owner(path).token == token():
                        path.unlink(missing_ok=True)

    def _take(self, paths: Collection[Path]) -> None:
        """Write leases, each whole or not at all: nobody waits for one that does not say whose it is, as a full disk
        or a kill would leave it. Raises OSError where one cannot be written; none is left then."""
        draft = self.folder / f".draft-{token()}"
        try:
            for path in paths:
                _clear(path)
                draft.write_text(json.dumps(vars(_me())))
                os.replace(draft, path)
        except OSError:
            for path in (draft, *paths):
                if path == draft or _owner(path).token == token():
                    path.unlink(missing_ok=True)
            raise

    def check(self, step: str, *keys: str) -> None:
        """Raises Busy where this process no longer holds one of the leases that it took."""
        for key in keys:
            owner = _owner(self._path(step, key))
            if owner.token != token():
                raise Busy(step, key, owner)

    @contextmanager
    def wait_for(self, step: str, key: str) -> Iterator[None]:
        """`hold`, waiting while another process holds it, and saying for whom."""
        with ExitStack() as held:
            patience = Patience()
            while True:
                try:
                    held.enter_context(self.hold(step, key))
                    break
                except Busy as busy:
                    patience.tell(busy, f"{step} {key}")
                    time.sleep(PAUSE)
            yield

    def held(self, step: str, key: str) -> bool:
        """Whether a living process holds a lease."""
        path = self._path(step, key)
        return path.is_file() and not self._is_free(path)

    def sweep(self) -> None:
        """Remove leases that dead processes left behind."""
        if not self.folder.is_dir():
            return
        with locked(self.folder / ".lock"):
            for path in self.folder.iterdir():
                if path.name != ".lock" and path.is_file() and self._is_free(path):
                    path.unlink(missing_ok=True)

    def _beat(self, paths: Sequence[Path], done: threading.Event) -> None:
        while not done.wait(HEARTBEAT):
            for path in paths:
                with suppress(OSError):
                    if _owner(path).token == token():
                        os.utime(path)

    def _is_free(self, path: Path) -> bool:
        """Whether the owner of a lease is gone: its process ended here, or no heartbeat came for STALE seconds.

        The age is told by the clock of the file system. A lease dated in the future is watched instead: it is free
        when it has not changed for STALE seconds of this process.
        """
        owner = _owner(path)
        if owner.host == _host() and not is_running(owner.pid):
            return True
        try:
            touched = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        first, when = self._seen.get(path, (None, 0.0))
        if first != touched:
            self._seen[path] = (touched, time.monotonic())
        elif time.monotonic() - when > STALE:
            return True
        return self._now() - touched / 1e9 > STALE

    def _now(self) -> float:
        """The time by the clock of the file system that leases are on."""
        probe = self.folder / f".now-{token()}"
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now


class Patience:
    """Tells a person what is waited for: at once, then every minute."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, busy: Busy, what: str) -> None:
        now, key = time.monotonic(), (busy.step, busy.key)
        if now - self._told.get(key, -60.0) >= 60.0:
            self._told[key] = now
            print(f"waiting for `{what}`: it is being computed by {busy.owner}", file=sys.stderr, flush=True)


def _owner(path: Path) -> Owner:
    """Who a lease file names; nobody where it is not there or cannot be understood."""
    try:
        values: Any = json.loads(read_text(path))
        return Owner(str(values["host"]), int(values["pid"]), str(values["token"]), float(values["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Owner()


def _clear(path: Path) -> None:
    """Set a folder aside that stands where a lease is to be: nobody's lease, and perhaps a person's."""
    if path.is_dir() and not path.is_symlink():
        aside = set_aside(path, f"aside-{path.name}")
        print(f"{path}: a folder stood where a file is needed; set aside as {aside.name}", file=sys.stderr)


def is_running(pid: int) -> bool:
    """Whether there is a process with this number here."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@cache
def _host() -> str:
    """The machine, or the container of it, within which a process id means something."""
    with suppress(OSError):
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _me() -> Owner:
    return Owner(_host(), os.getpid(), token(), time.time())
