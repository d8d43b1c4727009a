"""Writing a safetensors file row by row, so that an output larger than memory needs none, and a killed one goes on."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_NAMES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64",
    torch.bool: "BOOL", torch.uint8: "U8", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
}  # fmt: skip


def map_tensors(path: Path, layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    """Writable tensors {name: (shape, dtype)} mapped onto the safetensors file `path`.

    What is assigned into them lands in the file. One that is not there, or has another layout, is made, of zeros.
    Its space is reserved: a disk that fills up later cannot end the process in the middle of an assignment.
    Raises OSError where there is no room for it.
    """
    header, offset, places = {}, 0, {}
    for name, (shape, dtype) in sorted(layout.items(), key=lambda item: -item[1][1].itemsize):  # keeps all aligned
        size = torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        places[name] = offset
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)
    prefix = struct.pack("<Q", len(text)) + text
    total = len(prefix) + offset
    if not _begins_with(path, prefix, total):
        path.unlink(missing_ok=True)
        with path.open("wb") as handle:
            handle.write(prefix)
            handle.flush()
            _reserve(handle.fileno(), total, path)
    storage = torch.UntypedStorage.from_file(str(path), shared=True, nbytes=total)
    return {name: _view(storage, len(prefix) + places[name], shape, dtype) for name, (shape, dtype) in layout.items()}


def _reserve(handle: int, size: int, path: Path) -> None:
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as fault:
        path.unlink(missing_ok=True)
        raise OSError(fault.errno, os.strerror(fault.errno or 0), str(path)) from None


def _begins_with(path: Path, prefix: bytes, total: int) -> bool:
    if not path.is_file() or path.stat().st_size != total:
        return False
    with path.open("rb") as handle:
        return handle.read(len(prefix)) == prefix


def _view(storage: Any, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = torch.Size(shape).numel()
    flat = torch.empty(0, dtype=torch.uint8).set_(storage, start, (count * dtype.itemsize,))  # type: ignore[call-overload]
    return flat.view(dtype).view(shape)
