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
import shutil
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
        write_atomically(self.folder / file, json.dumps(value, indent=1, allow_nan=False))


class Store:
    """Entries by (step, key) under `root`, shared by any number of processes."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        self._checked: dict[tuple[str, str], Entry] = {}

    def _folder(self, step: str, key: str) -> Path:
        return self.root / step / key

    def has(self, step: str, key: str) -> bool:
        return (self._folder(step, key) / "meta.json").is_file()

    def read(self, step: str, key: str) -> Entry:
        """The entry, its checksums verified once a process. A damaged one is set aside: StoreError says so."""
        if (step, key) not in self._checked:
            folder = self._folder(step, key)
            try:
                meta = json.loads((folder / "meta.json").read_text())
                wrong = [name for name, file in meta["files"].items() if _checksum(folder / name) != file["crc32"]]
            except (OSError, ValueError, KeyError) as fault:
                wrong = [str(fault)]
            if wrong:
                aside = folder.with_name(f"damaged-{key}-{os.getpid()}")
                if folder.exists():
                    folder.rename(aside)
                raise StoreError(f"{folder}: damaged ({', '.join(wrong)}); set aside as {aside.name}. Run again.")
            self._checked[step, key] = Entry(folder, meta)
        return self._checked[step, key]

    def forget(self, step: str, key: str) -> None:
        """Remove an entry."""
        self._checked.pop((step, key), None)
        shutil.rmtree(self._folder(step, key), ignore_errors=True)

    @contextmanager
    def write(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """Write an entry: a draft under a lease, committed when the block ends without an exception.

        The draft's folder survives a kill and is handed out again. Raises Busy where another process holds the lease.
        """
        with self.lease(step, key):
            draft = Draft(self.root / step / f"draft-{key}")
            draft.folder.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            yield draft
            files = {
                str(path.relative_to(draft.folder)): {"bytes": path.stat().st_size, "crc32": _checksum(path)}
                for path in sorted(draft.folder.rglob("*"))
                if path.is_file() and not path.name.startswith("resume")
            }
            for leftover in draft.folder.glob("resume*"):
                leftover.unlink()
            meta = {"step": step, "key": key, "fields": fields, "info": draft.info, "files": files}
            meta |= {"created": time.time(), "seconds": round(time.monotonic() - started, 3)}
            write_atomically(draft.folder / "meta.json", json.dumps(meta, indent=1))
            shutil.rmtree(self._folder(step, key), ignore_errors=True)
            os.replace(draft.folder, self._folder(step, key))

    @contextmanager
    def lease(self, step: str, key: str) -> Iterator[None]:
        """Hold the right to compute one entry. Kept alive by a heartbeat; a dead owner's lease is taken over."""
        path = self.root / "leases" / f"{step}-{key}"
        path.parent.mkdir(parents=True, exist_ok=True)
        me = f"{socket.gethostname()} {os.getpid()}"
        with _locked(path.parent / ".lock"):
            if path.exists() and not _dead(path):
                raise Busy(step, key, path.read_text())
            path.write_text(me)
        done = threading.Event()
        beat = threading.Thread(target=_heartbeat, args=(path, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            path.unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """Every finished entry, oldest first."""
        found = [Entry(meta.parent, json.loads(meta.read_text())) for meta in self.root.glob("*/*/meta.json")]
        return sorted(found, key=lambda entry: entry.meta["created"])


def _heartbeat(path: Path, done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        path.touch()


def _dead(path: Path) -> bool:
    host, _, pid = path.read_text().partition(" ")
    if host == socket.gethostname() and pid.isdigit():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
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


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


class FileDigests:
    """sha256 of input files, remembered by path, size and modification time in `<root>/digests.jsonl`."""

    def __init__(self, root: Path):
        self.file = root / "digests.jsonl"
        self.known: dict[str, list[Any]] = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                with _ignore_torn_line():
                    path, size, changed, value = json.loads(line)
                    self.known[path] = [size, changed, value]

    def of(self, paths: list[str]) -> list[str]:
        """Digests of files, and of folders by the files in them. Raises FileNotFoundError."""
        before = dict(self.known)
        digests = [self._one(Path(path)) for path in paths]
        fresh = [json.dumps([path, *facts]) for path, facts in self.known.items() if before.get(path) != facts]
        if fresh:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as handle:
                handle.write("\n".join(fresh) + "\n")
        return digests

    def _one(self, path: Path) -> str:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.is_file())
            return digest([[file.name, self._one(file)] for file in inside])
        stat = path.stat()
        name = os.path.abspath(path)
        known = self.known.get(name)
        if known is None or known[:2] != [stat.st_size, stat.st_mtime_ns]:
            with path.open("rb") as handle:
                value = hashlib.file_digest(handle, "sha256").hexdigest()[:24]
            known = self.known[name] = [stat.st_size, stat.st_mtime_ns, value]
        return known[2]


@contextmanager
def _ignore_torn_line() -> Iterator[None]:
    try:
        yield
    except ValueError:
        return


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
    newest = time.time() - 86400 * (chosen.older or 0)
    entries = [
        entry
        for entry in store.entries()
        if chosen.step in (None, entry.meta["step"]) and (chosen.older is None or entry.meta["created"] < newest)
    ]
    for entry in entries:
        age = (time.time() - entry.meta["created"]) / 86400
        label = entry.info.get("label", "")
        print(f"{entry.meta['step']:<14} {entry.meta['key']}  {entry.bytes / 2**20:9.2f} MiB  {age:6.1f} d  {label}")
        if chosen.prune:
            store.forget(entry.meta["step"], entry.meta["key"])
    total = sum(entry.bytes for entry in entries) / 2**20
    print(f"{len(entries)} entries, {total:.1f} MiB{' removed' if chosen.prune else ''} in {store.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
