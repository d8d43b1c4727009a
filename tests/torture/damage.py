"""Every kind of file of a store, of the report and of MLflow's database: flipped, cut, zeroed, deleted, replaced."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from .campaign import Campaign, pattern
from .faults import Fault
from .world import SHORT_LEASES

STEPS = ("decode", "encode", "fit", "score", "candidates", "mine", "fit_reranker", "match", "rank", "evaluate")
"""In the order in which one needs the other."""


# --------------------------------------------------------------------------------------------- what is done to a file


def flip(file: Path, random: Random) -> None:
    _change(file, random, lambda data, at: data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :])


def flip_early(file: Path, random: Random) -> None:
    """In the first bytes: a header, a length, a brace."""
    data = bytearray(file.read_bytes())
    if data:
        data[random.randrange(min(16, len(data)))] ^= 1 << random.randrange(8)
    file.write_bytes(data)


def cut(file: Path, random: Random) -> None:
    _change(file, random, lambda data, at: data[:at])


def cut_last(file: Path, random: Random) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def zero(file: Path, random: Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def zero_end(file: Path, random: Random) -> None:
    """As a file system leaves a file whose last pages never came to the disk."""
    _change(file, random, lambda data, at: data[:at] + bytes(len(data) - at))


def empty(file: Path, random: Random) -> None:
    file.write_bytes(b"")


def append(file: Path, random: Random) -> None:
    file.write_bytes(file.read_bytes() + random.randbytes(17))


def delete(file: Path, random: Random) -> None:
    file.unlink()


def folder(file: Path, random: Random) -> None:
    file.unlink()
    file.mkdir()


def link(file: Path, random: Random) -> None:
    """To a file of the user's own with the same content: right to read, wrong to write through."""
    victim = _victims(file) / "linked"
    shutil.move(file, victim)
    file.symlink_to(victim)


def dangling(file: Path, random: Random) -> None:
    file.unlink()
    file.symlink_to(file.parent / "nothing-here")


def delete_folder(file: Path, random: Random) -> None:
    """The folder that it lies in."""
    shutil.rmtree(file.parent)


Damage = Callable[[Path, Random], None]
DAMAGES: tuple[Damage, ...] = (
    flip, flip, flip_early, cut, cut_last, zero, zero_end, empty, append, delete, folder, link, dangling, delete_folder,
)  # fmt: skip


def _change(file: Path, random: Random, made: Callable[[bytes, int], bytes]) -> None:
    data = file.read_bytes()
    file.write_bytes(made(data, random.randrange(len(data))) if data else b"")


def _victims(file: Path) -> Path:
    return next(folder for folder in file.parents if folder.name == "around") / "victims"


# ------------------------------------------------------------------------------------------------------- which file


def damage(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """One file damaged in a finished world, in one whose later steps are gone so that it is read, or in a draft."""
    state = random.choice(("done", "reopened", "reopened", "draft", "undecoded"))
    kind, file = STATES[state](made_in, random)
    if file is None:
        return f"{state}: {kind}", "skipped", "there is no such file"
    world = made_in.world
    whole = file.parent in (world.cwd, world.cwd / "store")
    what = random.choice([one for one in DAMAGES if not (one is delete_folder and whole)])
    what(file, random)
    made_in.judge.look()
    result, detail = made_in.judge.judge([world.run()], harmed=file)
    return f"{what.__name__} {kind} ({state})", result, detail


def _kinds(cwd: Path) -> dict[str, list[Path]]:
    """{pattern: files} of all that may be damaged."""
    found: dict[str, list[Path]] = {}
    for top in ("store", "runs", "mlflow.db"):
        for path in sorted([cwd / top, *(cwd / top).rglob("*")]):
            if path.is_file():
                found.setdefault(pattern(str(path.relative_to(cwd))), []).append(path)
    return found


def _done(made_in: Campaign, random: Random) -> tuple[str, Path | None]:
    made_in.world.restore("done")
    kinds = _kinds(made_in.world.cwd)
    kind = random.choice(sorted(kinds))
    return kind, random.choice(kinds[kind])


def _reopened(made_in: Campaign, random: Random) -> tuple[str, Path | None]:
    """An entry whose readers are computed once more."""
    world = made_in.world
    world.restore("done")
    kinds = {kind: files for kind, files in _kinds(world.cwd).items() if kind.split("/")[1:2] and _step(kind)}
    kind = random.choice(sorted(kinds))
    for step in STEPS[STEPS.index(_step(kind)) + 1 :]:
        shutil.rmtree(world.cwd / "store" / step, ignore_errors=True)
    return kind, random.choice(kinds[kind])


def _step(kind: str) -> str:
    parts = kind.split("/")
    return parts[1] if len(parts) > 2 and parts[1] in STEPS else ""


def _undecoded(made_in: Campaign, random: Random) -> tuple[str, Path | None]:
    """A generated data set before anything has read it."""
    world = made_in.world
    world.restore("done")
    for step in STEPS:
        shutil.rmtree(world.cwd / "store" / step, ignore_errors=True)
    kinds = {kind: files for kind, files in _kinds(world.cwd).items() if kind.startswith("store/datasets/")}
    kind = random.choice(sorted(kinds))
    return kind, random.choice(kinds[kind])


def _draft(made_in: Campaign, random: Random) -> tuple[str, Path | None]:
    """What a killed process left of an entry that it was writing."""
    world = made_in.world
    world.restore("fresh")
    drafts = sorted({path for _, path in made_in.patterns if "/draft-" in path})
    resumes = [path for path in drafts if "resume" in path]
    match = random.choice(resumes if resumes and random.random() < 0.4 else drafts)
    kinds = [one for one in sorted(made_in.patterns) if one[1] == match]
    operation, _ = random.choice(kinds)
    nth = random.randint(1, made_in.patterns[operation, match])
    world.run(Fault(nth, match, (operation,), signal=signal.SIGKILL))
    files = [path for path in sorted((world.cwd / "store").rglob("draft-*/**/*")) if path.is_file()]
    if not files:
        return match, None
    file = random.choice(files)
    return pattern(str(file.relative_to(world.cwd))), file


STATES: dict[str, Callable[[Campaign, Random], tuple[str, Path | None]]] = {
    "done": _done,
    "reopened": _reopened,
    "draft": _draft,
    "undecoded": _undecoded,
}


# ----------------------------------------------------------------------------------------------------------- leases


def lease(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """A lease as something left it: torn, of garbage, of a process that is gone, a folder, a link."""
    world = made_in.world
    world.restore("done")
    rank = random.choice(sorted(path.name for path in (world.cwd / "store" / "rank").iterdir()))
    for step in ("rank", "evaluate"):
        shutil.rmtree(world.cwd / "store" / step, ignore_errors=True)
    place = world.cwd / "store" / "leases" / f"rank-{rank}"
    what = random.choice(sorted(LEASES))
    LEASES[what](place)
    made_in.judge.look()
    run = partial(world.run, patches=SHORT_LEASES)
    result, detail = made_in.judge.judge([run()], harmed=place, run=run)
    return f"lease that is {what}", result, detail


def _victim(place: Path) -> None:
    (_victims(place) / "lease").write_text("the user's own")
    place.symlink_to(_victims(place) / "lease")


def _elsewhere(beat: float) -> Callable[[Path], object]:
    """Of another machine, whose last heartbeat was at a time."""

    def leave(place: Path) -> None:
        place.write_text("elsewhere 1")
        os.utime(place, (beat, beat))

    return leave


LEASES: dict[str, Callable[[Path], object]] = {
    "empty": lambda place: place.write_text(""),
    "torn": lambda place: place.write_text("some-host/pid:[40"),
    "garbage": lambda place: place.write_bytes(b"\xff\xfe\x00garbage"),
    "zeroed": lambda place: place.write_bytes(bytes(40)),
    "a folder": lambda place: place.mkdir(),
    "a dangling link": lambda place: place.symlink_to("nothing-here"),
    "a link to a file": _victim,
    "of long ago": _elsewhere(1),
    "from the future": _elsewhere(4e9),
}
