"""Faults below open, write, rename, fsync: a small C library that is loaded before a process's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")
OPERATIONS = ("open", "write", "truncate", "rename", "fsync", "mkdir", "unlink")


@dataclass(frozen=True)
class Fault:
    """What happens at one operation of a process, or from it on.

    operations: which count, any where empty. match: a shell pattern of the path below the world's folder. nth: which
    of those that count, from 1. errno: it fails so, with `forever` as does all after it; a full disk lets renames and
    removals through. signal: is sent to the process just before it. half: the first half of a write is done before.
    """

    nth: int
    match: str = "*"
    operations: tuple[str, ...] = ()
    errno: int = 0
    signal: int = 0
    forever: bool = False
    half: bool = False

    def variables(self) -> dict[str, str]:
        """As environment variables of the library."""
        numbers = {"NTH": self.nth, "ERRNO": self.errno, "SIGNAL": self.signal}
        switches = {"FOREVER": int(self.forever), "HALF": int(self.half)}
        texts = {"MATCH": self.match, "OPS": ",".join(self.operations)}
        return {f"TORTURE_{name}": str(value) for name, value in {**numbers, **switches, **texts}.items()}


def compiler() -> str | None:
    """A C compiler; None where there is none, and no fault can be injected."""
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


@cache
def library(folder: Path) -> Path:
    """The library, compiled into `folder` at first use."""
    made = folder / "faults.so"
    command = [compiler() or "cc", "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


def watching(prefix: Path, fault: Fault | None = None, log: Path | None = None) -> Mapping[str, str]:
    """Variables for a process whose operations under `prefix` are met by a fault, or noted in `log`."""
    found = {"TORTURE_PREFIX": str(prefix)} | (fault.variables() if fault else {})
    return found | ({"TORTURE_LOG": str(log)} if log else {})
