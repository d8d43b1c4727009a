"""Files of a store: written whole or not at all, added to line by line, checked by what they hold."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """16 hex digits of plain JSON data, in one canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
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


def checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
    return value
