"""Content-addressed store of step outputs: atomic writes, checksums, leases, resumable drafts.

An entry is a folder `<root>/<step>/<key>/` with its files and a `meta.json`. It is written as a draft under a lease
and renamed when whole, so that a reader never sees half of one, and a killed writer's draft can be gone on with.
`python -m core.store` lists, sizes and prunes.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import StoreError

if TYPE_CHECKING:
    from torch import Tensor

HEARTBEAT = 5.0
STALE = 60.0


class Busy(Exception):
    """Another process holds the lease of a step."""

    def __init__(self, step: str, key: str, owner: str):
        super().__init__(f"{step} {key} is being computed by {owner}")


def digest(value: Any) -> str:
    """16 hex digits of plain JSON data, in one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Entry:
    """A finished output: its folder and its `meta` (step, key, fields, info, files, seconds)."""

    folder: Path
    meta: dict[str, Any]

    @property
    def info(self) -> dict[str, Any]:
        """What the step chose to say about its output."""
        return self.meta["info"]

    def tensors(self, file: str = "tensors.safetensors") -> dict[str, Tensor]:
        """Memory-mapped tensors of a safetensors file. Read them only: they are the stored bytes."""
        from safetensors.torch import load_file

        return load_file(self.folder / file)

    def json(self, file: str = "result.json") -> Any:
        return json.loads((self.folder / file).read_text())

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.meta["files"].values())


class Draft:
    """An output that is being written: put files into `folder`, and facts for readers into `info`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.info: dict[str, Any] = {}

    def save(self, tensors: Mapping[str, Tensor], file: str = "tensors.safetensors") -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, self.folder / file)

    def json(self, value: Any, file: str = "result.json") -> None:
        (self.folder / file).write_text(json.dumps(value, allow_nan=False))


class Store:
    """Entries by (step, key) under `root`, shared by any number of processes."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        self._checked: dict[tuple[str, str], Entry] = {}

    def _folder(self, step: str, key: str) -> Path:
        return self.root / step / key

    def has(self, step: str, key: str) -> bool:
        return (self._folder(step, key) / "meta.json").is_file()

    def peek(self, step: str, key: str) -> Entry | None:
        """The entry as it says it is, nothing verified; None where there is none."""
        folder = self._folder(step, key)
        try:
            return Entry(folder, json.loads((folder / "meta.json").read_text()))
        except (OSError, ValueError):
            return None

    def read(self, step: str, key: str) -> Entry:
        """The entry, its checksums verified once by each process that did not write it. A damaged one is set aside:
        StoreError says so."""
        if (step, key) not in self._checked:
            folder = self._folder(step, key)
            if not folder.exists():
                raise StoreError(f"{folder}: is not in the store; it was removed or never finished. Run again.")
            try:
                meta = json.loads((folder / "meta.json").read_text())
                wrong = [name for name, file in meta["files"].items() if _checksum(folder / name) != file["crc32"]]
            except (OSError, ValueError, KeyError) as fault:
                wrong = [str(fault)]
            if wrong:
                aside = _set_aside(folder, f"damaged-{key}")
                raise StoreError(f"{folder}: damaged ({', '.join(wrong)}); set aside as {aside.name}. Run again.")
            self._checked[step, key] = Entry(folder, meta)
        return self._checked[step, key]

    def forget(self, step: str, key: str) -> None:
        """Remove an entry."""
        self._checked.pop((step, key), None)
        shutil.rmtree(self._folder(step, key), ignore_errors=True)

    @contextmanager
    def write(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """`draft` under a `lease`. Raises Busy where another process holds the lease."""
        with self.lease(step, key), self.draft(step, key, fields) as draft:
            yield draft

    @contextmanager
    def draft(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """A draft, committed when the block ends without an exception; the caller holds the lease.

        Its folder survives a kill and is handed out again. Files named `resume…` stay out of the entry.
        """
        draft = Draft(self.root / step / f"draft-{key}")
        draft.folder.mkdir(parents=True, exist_ok=True)
        (draft.folder / "meta.json").unlink(missing_ok=True)
        started = time.monotonic()
        yield draft
        for leftover in [*draft.folder.glob("resume*"), *draft.folder.glob(".*")]:
            leftover.unlink()
        files = {
            str(path.relative_to(draft.folder)): {"bytes": path.stat().st_size, "crc32": _checksum(path)}
            for path in sorted(draft.folder.rglob("*"))
            if path.is_file()
        }
        meta: dict[str, Any] = {"step": step, "key": key, "fields": fields, "info": draft.info, "files": files}
        meta |= {"created": time.time(), "seconds": round(time.monotonic() - started, 3)}
        text = json.dumps(meta)
        (draft.folder / "meta.json").write_text(text)
        self._commit(draft.folder, self._folder(step, key))
        self._checked[step, key] = Entry(self._folder(step, key), json.loads(text))

    def _commit(self, draft: Path, folder: Path) -> None:
        """Rename the draft; an entry that it replaces goes after it has taken the name."""
        old = _set_aside(folder, f"old-{folder.name}") if folder.exists() else None
        os.replace(draft, folder)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def lease(self, step: str, *keys: str) -> Iterator[None]:
        """Hold the right to compute some entries of a step, all or none. Kept alive by a heartbeat; a dead owner's
        lease is taken over.

        Raises Busy where a living process holds one of them.
        """
        folder = self.root / "leases"
        paths = {key: folder / f"{step}-{key}" for key in keys}
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"):
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
            with _locked(folder / ".lock"):
                for path in paths.values():
                    if path.exists() and path.read_text() == _me():
                        path.unlink()

    @contextmanager
    def patient_lease(self, step: str, key: str) -> Iterator[None]:
        """`lease`, waiting while another process holds it."""
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(self.lease(step, key))
                    break
                except Busy:
                    time.sleep(0.2)
            yield

    def entries(self) -> list[Entry]:
        """Every finished entry, oldest first."""
        folders = [folder for folder in self.root.glob("*/*") if re.fullmatch("[0-9a-f]{16}", folder.name)]
        found = [entry for folder in folders if (entry := self.peek(folder.parent.name, folder.name))]
        return sorted(found, key=lambda entry: entry.meta["created"])

    def remains(self) -> list[Path]:
        """Folders that no entry needs: drafts without a living owner, replaced entries, damaged ones."""
        found = []
        for folder in sorted(self.root.glob("*/*-*")):
            kind, _, key = folder.name.partition("-")
            lease = self.root / "leases" / f"{folder.parent.name}-{key}"
            if kind not in ("draft", "old", "damaged") or folder.parent.name in ("datasets", "leases"):
                continue
            if kind != "draft" or not lease.exists() or _dead(lease):
                found.append(folder)
        return found


def _set_aside(folder: Path, name: str) -> Path:
    aside = folder.with_name(f"{name}-{os.getpid()}-{time.time_ns():x}")
    folder.rename(aside)
    return aside


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


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(draft, path)


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Add lines of JSON to a file that is only ever added to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        handle.write("".join(json.dumps(value) + "\n" for value in values))


def read_lines(path: Path) -> list[Any]:
    """The values in such a file, without a line that a killed writer left unfinished."""
    values = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with suppress(ValueError):
            values.append(json.loads(line))
    return values


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


MISSING = digest("a file that is not there")


class FileDigests:
    """sha256 of input files, remembered by path, size and modification time in `<root>/digests.jsonl`."""

    def __init__(self, root: Path):
        self.file = root / "digests.jsonl"
        self.known: dict[str, list[Any]] = {
            line[0]: line[1:] for line in read_lines(self.file) if isinstance(line, list)
        }
        self._fresh: list[list[Any]] = []

    def of(self, paths: list[str]) -> list[str]:
        """Digests of files, and of folders by the files in them; one value stands for all that are not there."""
        digests = [self._one(Path(path)) for path in paths]
        if self._fresh:
            append_lines(self.file, self._fresh)
            self._fresh.clear()
        return digests

    def _one(self, path: Path) -> str:
        try:
            if path.is_dir():
                inside = sorted(file for file in path.iterdir() if file.is_file())
                return digest([[file.name, self._one(file)] for file in inside])
            return self._file(path)
        except OSError:
            return MISSING

    def _file(self, path: Path) -> str:
        stat = path.stat()
        name = os.path.abspath(path)
        known = self.known.get(name)
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            with path.open("rb") as handle:
                value = hashlib.file_digest(handle, "sha256").hexdigest()[:24]
            known = self.known[name] = [stat.st_size, stat.st_mtime_ns, value]
            self._fresh.append([name, *known])
        return known[2]


def main(arguments: list[str] | None = None) -> int:
    """List entries with size and age; with --prune remove those of a step, or older than some days."""
    parser = argparse.ArgumentParser(prog="python -m core.store", description=main.__doc__)
    parser.add_argument("--store", default="store", help="the store's folder (default: store)")
    parser.add_argument("--prune", action="store_true", help="remove what the filters below select, and dead drafts")
    parser.add_argument("--step", help="only entries of this step")
    parser.add_argument("--older", type=float, metavar="DAYS", help="only entries older than this")
    chosen = parser.parse_args(arguments)
    store = Store(chosen.store)
    if chosen.prune and chosen.step is None and chosen.older is None:
        parser.error("--prune needs --step or --older, so that nothing is removed by accident")
    now = time.time()
    entries = [
        entry
        for entry in store.entries()
        if chosen.step in (None, entry.meta["step"])
        and (chosen.older is None or entry.meta["created"] < now - 86400 * chosen.older)
    ]
    for entry in entries:
        age = (now - entry.meta["created"]) / 86400
        label = entry.info.get("label", "")
        print(f"{entry.meta['step']:<14} {entry.meta['key']}  {entry.bytes / 2**20:9.2f} MiB  {age:6.1f} d  {label}")
        if chosen.prune:
            store.forget(entry.meta["step"], entry.meta["key"])
    _show_remains(store, chosen.prune)
    total = sum(entry.bytes for entry in entries) / 2**20
    print(f"{len(entries)} entries, {total:.1f} MiB{' removed' if chosen.prune else ''} in {store.root}")
    return 0


def _show_remains(store: Store, prune: bool) -> None:
    for folder in store.remains():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
        kind, _, rest = folder.name.partition("-")
        print(f"{folder.parent.name:<14} {rest[:16]}  {size:9.2f} MiB  {kind}")
        if prune:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
