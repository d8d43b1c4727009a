"""Digests of input files by content, remembered by path, size and modification time."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from ...errors import ReadingError
from ..inputs import Tick, content_digest, is_absent, watched
from .files import append_lines, digest, read_lines

MISSING = digest("a file that is not there")


class FileDigests:
    """sha256 of input files, remembered by path, size and modification time in `<root>/digests.jsonl`."""

    def __init__(self, root: Path):
        self.file = root / "digests.jsonl"
        lines = [line for line in read_lines(self.file) if isinstance(line, list) and len(line) == 4]
        self.known: dict[str, list[Any]] = {str(name): facts for name, *facts in lines}
        self._fresh: list[list[Any]] = []

    def of(self, paths: list[str]) -> list[str]:
        """Digests of files, and of folders by the files in them; MISSING stands for all that are not there, or are
        neither file nor folder.

        Raises ReadingError for a file that is there and cannot be read, DataError for one that gives nothing for long.
        """
        digests = watched(lambda tick: [self._one(Path(path), tick) for path in paths])
        if self._fresh:
            with suppress(OSError):  # a store that is read-only remembers nothing: they are read again
                append_lines(self.file, self._fresh)
            self._fresh.clear()
        return digests

    def read_anew(self, path: str) -> str:
        """The digest of what can be read there now, whatever is remembered. Raises as `of` does."""
        return watched(lambda tick: self._one(Path(path), tick, remembered=False))

    def _one(self, path: Path, tick: Tick, remembered: bool = True) -> str:
        tick(str(path))
        try:
            if S_ISDIR(os.stat(path).st_mode):
                inside = sorted(file for file in path.iterdir() if _is_file(file))
                return digest([[file.name, self._one(file, tick, remembered)] for file in inside])
            return self._file(path, tick, remembered) if _is_file(path) else MISSING
        except OSError as fault:
            if is_absent(fault):
                return MISSING
            raise ReadingError(path, f"cannot be read: {fault.strerror}", "Put that right and start again") from None

    def _file(self, path: Path, tick: Tick, remembered: bool) -> str:
        stat = path.stat()
        name = os.path.abspath(path)
        facts = self.known.get(name)
        if not remembered or facts is None or facts[:2] != [stat.st_size, stat.st_mtime_ns]:
            value = content_digest(path, tick)[:24]
            if not remembered:
                return value
            facts = self.known[name] = [stat.st_size, stat.st_mtime_ns, value]
            self._fresh.append([name, *facts])
        return facts[2]


def _is_file(path: Path) -> bool:
    """Whether a regular file is there. Raises OSError where that cannot be told."""
    try:
        return S_ISREG(os.stat(path).st_mode)
    except OSError as fault:
        if is_absent(fault):
            return False
        raise
