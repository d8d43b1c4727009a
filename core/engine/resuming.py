"""The state that a fit goes on from, in a file with a checksum: one that is torn or damaged is not gone on from."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch

from ..contract.store.files import discard, sync

_SUM = 16
"""Bytes at the start that hold the CRC-32 of what follows, as hex digits and a line's end."""


class _Summed:
    """A file to write to, with the checksum of what was written."""

    def __init__(self, handle: IO[bytes]):
        self.handle, self.sum = handle, 0

    def write(self, data: Any) -> int:
        self.sum = zlib.crc32(data, self.sum)
        return self.handle.write(data)

    def flush(self) -> None:
        self.handle.flush()


def save_resumed(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state whole, and onto the disk, before it takes the place of the one before."""
    new = path.with_suffix(".new")
    with new.open("wb") as handle:
        handle.write(b" " * _SUM)
        summed = _Summed(handle)
        torch.save(dict(state), summed)  # type: ignore[arg-type]
        handle.seek(0)
        handle.write(_head(summed.sum))
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(new, path)
    sync(path.parent)


def load_resumed(path: Path) -> dict[str, Any] | None:
    """The state; None where there is none, or one that is damaged, which is said and removed."""
    if not path.is_file():
        discard(path)
        return None
    with path.open("rb") as handle:
        head, value = handle.read(_SUM), 0
        while block := handle.read(1 << 22):
            value = zlib.crc32(block, value)
        if head == _head(value):
            handle.seek(_SUM)
            return torch.load(handle, weights_only=True, map_location="cpu")
    print(f"{path}: is damaged; training starts anew from the first epoch", file=sys.stderr)
    discard(path)
    return None


def _head(value: int) -> bytes:
    return f"crc32 {value:08x}".encode().ljust(_SUM - 1) + b"\n"
