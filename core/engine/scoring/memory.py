"""How much memory scoring may take. Block sizes follow from it; no score does."""

from __future__ import annotations

import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ...errors import ConfigError, Problem

UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
FLOAT = 4
"""Bytes of a float32."""
MOST = {"cpu": 32 * 2**20, "cuda": 512 * 2**20}
"""Floats of a block beyond which it is no faster: on a CPU its parts should stay in the cache, and below the 32 MiB
from which the allocator maps, and clears, new pages at each use."""
WHERE_UNKNOWN = 4 * 2**30

_limit: int | None = None


def limit_memory(size: str | None) -> None:
    """Bytes that scoring may take in this process, as `512MiB`, `4GB` or `2.5g`; None: a quarter of what is free.

    Raises ConfigError.
    """
    global _limit
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", size.lower()) if size is not None else None
    if size is not None and (match is None or float(match[1]) <= 0):
        raise ConfigError(Problem("--memory", f"expected a size such as 512MiB or 4GB, got `{size}`", "command line"))
    _limit = int(float(match[1]) * 1024 ** UNITS[match[2]]) if match else None


def allowed_floats(device: Any = None) -> int:
    """Floats that scoring may keep on a device."""
    return max(1, (_limit or free_bytes(device) // 4) // FLOAT)


def block_floats(device: Any = None) -> int:
    """Floats that one block of scoring may keep alive."""
    kind = torch.device(device or "cpu").type
    return max(1, min(allowed_floats(device) // 2, MOST.get(kind, MOST["cuda"])))


def free_bytes(device: Any = None) -> int:
    """Memory that is free: on a GPU its own, else the machine's, or what is left to the container that this runs in."""
    if torch.device(device or "cpu").type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _free_here(int(time.monotonic()))


@lru_cache(1)
def _free_here(second: int) -> int:
    """Looked up once a second at most: blocks are sized more often."""
    sizes = [left for left in (_machine(), _container()) if left is not None]
    return min(sizes, default=WHERE_UNKNOWN)


def _machine(file: Path = Path("/proc/meminfo")) -> int | None:
    match = re.search(r"MemAvailable:\s+(\d+) kB", _text(file))
    return int(match[1]) * 1024 if match else None


def _container(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What a control group's limit leaves; pages of files that it has read count as free."""
    most, used = _text(folder / "memory.max"), _text(folder / "memory.current")
    if not most.strip().isdigit() or not used.strip().isdigit():
        return None
    cached = re.search(r"^inactive_file (\d+)", _text(folder / "memory.stat"), re.MULTILINE)
    return max(0, int(most) - int(used) + (int(cached[1]) if cached else 0))


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
