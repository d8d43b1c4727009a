"""Ten thousand mutated input files, each read as the commands read it: a result, or a UserError that names the file.

The reading happens in a process of its own, a line of JSON a case, so that a crash or a hang costs one case.
Four in five cases change bytes, lines or words of a sound file, or a value inside it; the fifth puts a value there
that hypothesis draws.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from .mutations import drawn, mutate
from .verdict import Verdict
from .world import ROOT

CASE_SECONDS = 10.0
"""Of the processor."""
QUIET = 60.0
"""Without a word of the process that reads, on a machine that does much else."""
MEMORY = 16 << 30


@dataclass(frozen=True)
class Target:
    """A kind of input. files: sound ones; mutable: those of them that are changed. read: reads all in a folder, and
    raises AssertionError where what it returns cannot be."""

    files: Mapping[str, bytes]
    mutable: tuple[str, ...]
    read: Callable[[Path], None]


def read_all(seed: int, count: int) -> Iterator[Verdict]:
    """A verdict on each of the cases `seed` … `seed + count - 1`."""
    following, end = seed, seed + count
    while following < end:
        for verdict in _read_some(following, end):
            yield verdict
            following = verdict.seed + 1


def _read_some(seed: int, end: int) -> Iterator[Verdict]:
    """Until the process ends: its last case then is a crash or a hang, and the next one starts anew."""
    command = [sys.executable, "-m", "tests.torture.mutated", str(seed), str(end)]
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            [*command, folder], cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | own, text=False
        )
        assert process.stdout is not None
        number, buffer, patience = seed, b"", 3 * QUIET
        try:
            while select.select([process.stdout], [], [], patience)[0]:
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    break
                buffer, patience = buffer + chunk, QUIET
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    number = json.loads(line)["seed"] + 1
                    yield Verdict(**json.loads(line))
            hung = process.poll() is None and number < end and not _ended(process)
        finally:
            process.kill()
            process.wait()
        if number < end:
            stderr.seek(0)
            status, tail = process.returncode, stderr.read()[-600:]
            result = "hang" if hung else "crash"
            yield Verdict("mutated", number, _told(number), result, f"exit status {status}: {tail}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1)
    return process.returncode is not None


def _told(seed: int) -> str:
    random = Random(f"mutated {seed}")
    return random.choice(_names())


# ------------------------------------------------------------------------------------------- in the reading process


class TooLong(BaseException):
    """A case took longer than it may."""


def _names() -> list[str]:
    from .targets import NAMES

    return list(NAMES)


def one_case(seed: int, folder: Path) -> Verdict:
    """Case number `seed`, its files below `folder`."""
    from .targets import target

    random = Random(f"mutated {seed}")
    name = random.choice(_names())
    chosen = target(name)
    place = folder / name
    if not place.exists():
        for file, content in chosen.files.items():
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            (place / file).write_bytes(content)
    file = random.choice(chosen.mutable)
    content, how = mutate(chosen.files[file], file, random, seed)
    (place / file).write_bytes(content)
    before = _paths(place)
    os.chdir(place)
    result, detail = _read(chosen, place, Path(file).name)
    os.chdir(folder)
    if result in ("survived", "message") and _paths(place) != before:
        result, detail = "outside", f"wrote {sorted(_paths(place) ^ before)[:3]}"
        shutil.rmtree(place)
    elif place.exists():
        (place / file).write_bytes(chosen.files[file])
    return Verdict("mutated", seed, f"{name}/{file}: {how}", result, detail)


def _read(chosen: Target, place: Path, file: str) -> tuple[str, str]:
    from core.errors import UserError

    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)
    try:
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen.read(place)
        return "survived", ""
    except UserError as fault:
        return "message", str(fault)[:300]
    except TooLong:
        return "hang", f"longer than {CASE_SECONDS:.0f} s: {_frames(sys.exc_info()[2])}"
    except AssertionError as fault:
        if "tests/torture" not in _frames(fault.__traceback__, 1):
            return "traceback", f"AssertionError: {fault} at {_frames(fault.__traceback__)}"
        return "wrong", str(fault)[:300]
    except BaseException as fault:
        told = f"{type(fault).__name__}: {fault}".splitlines()[0][:200]
        return "traceback", f"{told} at {_frames(fault.__traceback__)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _frames(found: Any, last: int = 0) -> str:
    """The last places of ours on the way; the very last `last` of all."""
    frames = [(frame.filename, frame.lineno, frame.name) for frame in traceback.extract_tb(found)]
    own = [one for one in frames if "/core/" in one[0] or "/plugins/" in one[0]]
    frames = frames[-last:] if last else own[-2:]
    return " < ".join(
        f"{Path(file).relative_to(ROOT) if file.startswith(str(ROOT)) else file}:{line} {name}"
        for file, line, name in reversed(frames)
    )


def _paths(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _too_long(*_: object) -> None:
    raise TooLong


def main(seed: int, end: int, folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _too_long)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    drawn(0)
    for number in range(seed, end):
        verdict = one_case(number, folder)
        print(json.dumps(vars(verdict)), file=replies, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
