"""Digests of input files by content, remembered by path, size and modification time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from .files import append_lines, digest, read_lines

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
