"""Files of a store: written whole or not at all, added to line by line, each with a checksum of its own."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ...errors import StoreError

PATIENCE = 30.0
"""Seconds to wait for a lock that is held for milliseconds only, unless its holder was stopped."""
TOLD_AFTER = 2.0
"""Seconds after which waiting for a lock is told."""
CHECK = "crc32"


def digest(value: Any) -> str:
    """16 hex digits of plain JSON data, in one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_text(path: Path) -> str:
    """The text of a file of ours. Raises OSError for what is no regular file, so that no pipe is waited for."""
    _refuse_strange(path)
    return path.read_text(encoding="utf-8")


def checksum(path: Path) -> int:
    """CRC-32 of a file's bytes. Raises OSError for what is no regular file."""
    _refuse_strange(path)
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _refuse_strange(path: Path) -> None:
    if not path.is_file():
        raise OSError(f"{path.name} is not a file")


# ------------------------------------------------------------------------------------------------ whole files


@contextmanager
def locked(path: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold a lock file that processes take in turn; waiting is told after a while.

    Raises StoreError where another process does not let it go for `patience` seconds.
    """
    if path.exists():
        _refuse_strange(path)
    with path.open("a") as handle:
        began, told = time.monotonic(), False
        while not _taken(handle):
            waited, hint = time.monotonic() - began, f"is one stopped? `fuser {path}` names it"
            if waited > patience:
                raise StoreError(f"{path}: another process has held this lock for {patience:g} s; {hint}")
            if waited > TOLD_AFTER and not told:
                told = True
                print(f"waiting for another process that holds {path} ({hint})", file=sys.stderr, flush=True)
            time.sleep(0.01)
        yield


def _taken(handle: IO[str]) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, whole, also after a loss of power."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(draft, path)
    sync(path.parent)


def follow_umask(path: Path) -> None:
    """Give a file the permissions that the umask asks for: safetensors and temporary files are written without those
    of the group."""
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def discard(path: Path) -> None:
    """Remove what stands at a place, a file or a folder, if anything does."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def set_aside(path: Path, name: str) -> Path:
    """Give what stands at a place a name beside it that begins with `name`; the new place."""
    aside = path.with_name(f"{name}-{os.getpid():x}-{time.time_ns():x}")
    path.rename(aside)
    return aside


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ------------------------------------------------------------------------------------------------ checked JSON


def with_check(values: Mapping[str, Any]) -> str:
    """A JSON mapping as text, with a checksum of its other values under CHECK."""
    return json.dumps({**values, CHECK: _check(values)})


def checked(text: str) -> dict[str, Any]:
    """What `with_check` wrote. Raises ValueError where a byte differs, or where it is no mapping.

    A mapping without a checksum is taken as it is: stores from before have such.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("is no mapping")
    if CHECK in values and values.pop(CHECK) != _check(values):
        raise ValueError("its checksum differs")
    return values


def _check(values: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(values, sort_keys=True).encode())


# ------------------------------------------------------------------------------------------------ lines of JSON

_CHECKED_LINE = re.compile(r"(.*) ([0-9a-f]{8})")


def append_twice(path: Path, values: Iterable[Any]) -> None:
    """`append_lines` to a file and to its copy: for records that cannot be computed again."""
    values = list(values)
    append_lines(path, values)
    append_lines(copy_of(path), values)


def read_twice(path: Path, *names: str) -> list[Any]:
    """The mappings that either file holds, each once, by their `time`."""
    lines = [line for place in (path, copy_of(path)) for line in read_lines(place, *names)]
    each = {json.dumps(line, sort_keys=True): line for line in lines}
    return sorted(each.values(), key=lambda line: line.get("time", 0.0))


def copy_of(path: Path) -> Path:
    return path.with_name(f"{path.stem}.copy{path.suffix}")


def append_lines(path: Path, values: Iterable[Any]) -> None:
    """Add lines of JSON, each with a checksum, to a file that is only ever added to.

    They begin on a line of their own, also where a killed writer left one unfinished, and are on the disk on return.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{line} {zlib.crc32(line.encode()):08x}\n" for line in map(json.dumps, values))
    with locked(_lock(path)), path.open("ab+") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - 1))
        unfinished = size and handle.read(1) != b"\n"
        handle.write((b"\n" if unfinished else b"") + text.encode())
        handle.flush()
        os.fsync(handle.fileno())


def read_lines(path: Path, *names: str) -> list[Any]:
    """The values in such a file, mappings with some names where they are given, without lines that are unfinished or
    damaged."""
    values = [value for _, value in _lines(path) if value is not _DAMAGED]
    return [v for v in values if not names or (isinstance(v, dict) and all(name in v for name in names))]


def mend_lines(path: Path) -> None:
    """Move lines that are unfinished or damaged to `<name>.damaged`, and say so."""
    if all(value is not _DAMAGED for _, value in _lines(path)):
        return
    with locked(_lock(path)):
        lines = list(_lines(path))
        damaged = [text for text, value in lines if value is _DAMAGED]
        aside = path.with_name(f"{path.name}.damaged")
        with aside.open("a", encoding="utf-8") as handle:
            handle.writelines(f"{text}\n" for text in damaged)
        write_atomically(path, "".join(f"{text}\n" for text, value in lines if value is not _DAMAGED))
    count = "1 line" if len(damaged) == 1 else f"{len(damaged)} lines"
    print(f"{path}: {count} unfinished or damaged; set aside in {aside.name}", file=sys.stderr)


_DAMAGED = object()


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    """(text, value) of every line that is not empty; _DAMAGED for one that cannot be relied on."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.split("\n"):
        if line.strip():
            yield line, _value(line)


def _value(line: str) -> Any:
    """What a line holds. One without a checksum is of a store from before."""
    match = _CHECKED_LINE.fullmatch(line)
    if match and int(match[2], 16) != zlib.crc32(match[1].encode()):
        return _DAMAGED
    with suppress(ValueError):
        value = json.loads(match[1] if match else line)
        return value if isinstance(value, dict | list) else _DAMAGED
    return _DAMAGED


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
