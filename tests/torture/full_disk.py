"""A disk that is full, read-only or broken, once or from some write on."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from random import Random

from .campaign import Campaign
from .faults import Fault
from .world import COMMAND, Outcome

ERRORS = (errno.ENOSPC, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
SPACE = ("open", "write", "truncate", "mkdir")


def fail(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """One operation fails, and perhaps all that follow; then the disk is whole and the same command runs again."""
    number = random.choice(ERRORS)
    full = number in (errno.ENOSPC, errno.EDQUOT)
    kinds = sorted(one for one in made_in.patterns if not full or one[0] in SPACE)
    operation, path = random.choice(kinds)
    nth = 1 if random.random() < 0.5 else random.randint(1, made_in.patterns[operation, path])
    half = full and operation == "write" and random.random() < 0.3
    forever = half or random.random() < 0.6
    fault = Fault(nth, path, (operation,), errno=number, forever=forever, half=half)
    tried = (
        f"{errno.errorcode[number]} {'from' if forever else 'once at'} {operation} {nth} of {path}{' (half)' * half}"
    )
    made_in.world.restore("fresh")
    made_in.judge.look()
    result, detail = made_in.judge.judge([made_in.world.run(fault)])
    return tried, result, detail


# ----------------------------------------------------------------------------------- a file system of a few MB


@cache
def can_mount() -> bool:
    """Whether this machine lets a process mount a small file system for itself."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"]
    return subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 0


def small_disk(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """The working directory on a file system that is too small for the run; then all it holds, on one that is not."""
    world = made_in.world
    if not can_mount():
        return "a small file system", "skipped", "none can be mounted here"
    world.restore("fresh")
    made_in.judge.look()
    need = _bytes(world.base / "done" / "cwd") - _bytes(world.cwd)
    free = int(need * random.uniform(0.0, 1.0))
    size = (_bytes(world.cwd) + free) // 4096 * 4096
    tried = f"{free // 1024} KiB free of {need // 1024} KiB that the run writes"
    result, detail = made_in.judge.judge([_on_small_disk(made_in, size)])
    return tried, result, detail


def _bytes(folder: os.PathLike[str]) -> int:
    """What the files of a folder take, in whole pages, with one for each folder."""
    whole = 0
    for root, folders, files in os.walk(folder):
        whole += 4096 * len(folders)
        whole += sum(-(-os.lstat(os.path.join(root, name)).st_size // 4096) * 4096 for name in files)
    return whole


def _on_small_disk(made_in: Campaign, size: int) -> Outcome:
    world = made_in.world
    cwd, kept = shlex.quote(str(world.cwd)), shlex.quote(str(world.base / "kept"))
    command = shlex.join([sys.executable, "-m", "core.run", *COMMAND])
    script = (
        f"cp -a {cwd} {kept} && mount -t tmpfs -o size={size} tmpfs {cwd} && cp -a {kept}/. {cwd}/ || exit 99\n"
        f"cd {cwd}; timeout -k 5 120 {command}; code=$?; cd /; rm -rf {kept}; cp -a {cwd} {kept}; exit $code"
    )
    env = {"HOME": str(world.base / "nursery"), "TMPDIR": str(world.around / "tmp"), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        check=False,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode != 99, done.stderr
    shutil.rmtree(world.cwd)
    shutil.move(world.base / "kept", world.cwd)
    status = 128 - done.returncode if done.returncode > 130 else done.returncode
    hung = done.returncode in (124, 137)
    return Outcome(status, done.stdout, done.stderr, time.monotonic() - began, hung)
