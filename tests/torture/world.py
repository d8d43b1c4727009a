"""A tiny complete experiment in a small surrounding world, as a stranger would run it, and its undisturbed results.

<base>/around/cwd/      the working directory: torture.yaml, clip/, and what the command names: store/, runs/,
                        mlflow.db*, mlartifacts/, .mlflow.lock
<base>/around/home/     HOME; <base>/around/tmp/ TMPDIR; <base>/around/victims/ what links lead to
<base>/fresh, done/     copies of `around` before and after the undisturbed run
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .faults import Fault, library, watching
from .nursery import Nursery

ROOT = Path(__file__).parents[2]
QUIET = 30.0
"""Seconds without a byte written, after which a command counts as hanging."""
PATIENCE = 3.0
"""Times QUIET where it has said that it waits: a lease whose owner is unknown is free after 60 seconds."""
SHORT_LEASES = {"core.contract.store.leases.STALE": 4.0, "core.contract.store.leases.HEARTBEAT": 0.4}
"""A lease lives 4 seconds without a heartbeat, in place of a minute."""
LONGEST = 300.0
NAMED = ("store", "runs", "mlartifacts", "mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "mlflow.db-journal")
EXPERIMENT = """name: torture
data:
  dataset: {name: shapes, train_videos: 10, val_videos: 4, test_videos: 12, resolution: 48, seconds: 1}
  num_frames: 3
encoder: {name: clip, model: clip}
model:
  transforms:
    temporal: {name: temporal_transformer, layers: 1, into: temporal}
  interactions:
    video: {name: mean_pooling, level: temporal}
    frame: {name: tib, level: temporal, gate: frames, temperature: 0.1}
  losses:
    contrast: {name: info_nce, of: {video: 0.5, frame: 0.5}}
train: {epochs: 2, batch_size: 8, learning_rate: 3.0e-4, keep: best}
retrieve:
  first_stage: video
  rerank: {name: score_fusion, weights: {video: 0.5, frame: 1.0}, top_k: 5}
evaluate: {directions: [t2v, v2t], metrics: [R1, R5, MRR], primary: t2v/R1, split: test}
ablate: {retrieve.rerank.top_k: [2, 5]}
baseline: {retrieve.rerank: null}
seeds: [0, 1]
hypotheses:
  helps: {better: {retrieve.rerank.top_k: 5}, than: baseline, metric: t2v/R1, by: 0}
"""
COMMAND = ("torture.yaml", "--device", "cpu", "--workers", "0")


@dataclass
class Outcome:
    """One run of the command. status: as of subprocess; stacks: of its threads, where it hung."""

    status: int | None
    stdout: str
    stderr: str
    seconds: float
    hung: bool = False
    stacks: str = ""
    orphans: list[str] = field(default_factory=list)


@dataclass
class Running:
    """A command that was started, and where it writes."""

    pid: int
    poll: Callable[[], int | None]
    folder: Path
    began: float = field(default_factory=time.monotonic)


class World:
    """Folders, the process that forks, and the undisturbed results. Use it as a context."""

    def __init__(self, base: Path, patches: Mapping[str, Any] | None = None):
        self.base, self.around, self.patches = base, base / "around", dict(patches or {})
        self.cwd = self.around / "cwd"
        self.number = 0

    def __enter__(self) -> World:
        for name in ("cwd", "home", "tmp", "victims"):
            (self.around / name).mkdir(parents=True)
        (self.around / "victims" / "own.txt").write_text("a file of the user's own\n")
        (self.cwd / "torture.yaml").write_text(EXPERIMENT)
        shutil.copytree(ROOT / "checkpoints" / "shapes-clip-small", self.cwd / "clip")
        (self.base / "logs").mkdir()
        self.library = library(self.base)
        self.nursery = Nursery(self.base / "nursery", self.library)
        self.keep("fresh")
        return self

    def __exit__(self, *_: object) -> None:
        self.nursery.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def keep(self, name: str) -> None:
        """Keep a copy of the world as it is under a name."""
        shutil.rmtree(self.base / name, ignore_errors=True)
        shutil.copytree(self.around, self.base / name, symlinks=True)

    def restore(self, name: str) -> None:
        """The world as a copy has it, at the same place and with the same times."""
        shutil.rmtree(self.around)
        shutil.copytree(self.base / name, self.around, symlinks=True)

    # ------------------------------------------------------------------------------------------- running it

    def start(
        self,
        fault: Fault | None = None,
        *,
        log: Path | None = None,
        patches: Mapping[str, Any] | None = None,
        argv: tuple[str, ...] = COMMAND,
        fresh: bool = False,
    ) -> Running:
        """Start the command in the working directory. `fresh`: as a new Python, not a fork."""
        self.number += 1
        folder = self.base / "logs" / str(self.number)
        folder.mkdir()
        env = {"HOME": str(self.around / "home"), "TMPDIR": str(self.around / "tmp"), "COLUMNS": "120"}
        env |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", **watching(self.cwd, fault, log)}
        if fresh:
            return self._fresh(folder, env, argv)
        files = {name: str(folder / name) for name in ("stdout", "stderr", "stacks")}
        order = {"argv": argv, "cwd": str(self.cwd), "env": env, "patches": self.patches | dict(patches or {}), **files}
        pid = self.nursery.start(order)
        return Running(pid, lambda: self.nursery.status(pid), folder)

    def _fresh(self, folder: Path, env: dict[str, str], argv: tuple[str, ...]) -> Running:
        with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", "-m", "core.run", *argv],
                cwd=self.cwd,
                env=os.environ | env | {"LD_PRELOAD": str(self.library)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return Running(process.pid, process.poll, folder)

    def finish(self, running: Running, quiet: float = QUIET) -> Outcome:
        """Wait for the end; end it, with its threads' stacks, where nothing is written for `quiet` seconds."""
        status, hung, watch = running.poll(), False, Watch(self, running, quiet)
        while status is None:
            time.sleep(0.02)
            status = running.poll()
            if status is None and watch.hangs():
                hung = True
                with suppress(OSError):
                    os.kill(running.pid, signal.SIGUSR1)
                    time.sleep(0.5)
                    os.kill(running.pid, signal.SIGKILL)
                while (status := running.poll()) is None:
                    time.sleep(0.02)
        seconds = time.monotonic() - running.began
        orphans = _orphans(running.pid)
        with suppress(OSError):
            os.killpg(running.pid, signal.SIGKILL)
        read = {name: _read(running.folder / name) for name in ("stdout", "stderr", "stacks")}
        shutil.rmtree(running.folder)
        return Outcome(status, read["stdout"], read["stderr"], seconds, hung, read["stacks"], orphans)

    def run(self, fault: Fault | None = None, **how: Any) -> Outcome:
        return self.finish(self.start(fault, **how))

    def state(self, running: Running) -> Any:
        """Changes whenever something is printed or written; what a lease's heartbeat does is left out."""
        printed = [_size(running.folder / name) for name in ("stdout", "stderr")]
        newest = 0
        for folder, _, files in os.walk(self.cwd):
            if folder.endswith("leases"):
                continue
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                with suppress(OSError):
                    newest = max(newest, os.lstat(path).st_mtime_ns)
        return printed, newest

    # ------------------------------------------------------------------------------------------- looking at it

    def outside(self) -> dict[str, str]:
        """Everything that no command may touch: {path: what it is}."""
        found = {}
        for path in sorted(self.around.rglob("*")):
            inside = path.relative_to(self.around)
            if inside.parts[0] == "tmp" or (inside.parts[0] == "cwd" and _named(inside.parts[1:])):
                continue
            found[str(inside)] = _fingerprint(path)
        return found


@dataclass
class Watch:
    """Whether a command still gets on. It hangs that has written nothing for `quiet` seconds and waited nearly all of
    them, or computed for as long; one that a busy machine holds up has done neither."""

    world: World
    running: Running
    quiet: float
    looked: float = 0.0
    since: float = 0.0
    spent: float = 0.0
    state: Any = None

    def hangs(self) -> bool:
        now = time.monotonic()
        if now - self.looked < 1:
            return False
        self.looked, state = now, self.world.state(self.running)
        if state != self.state:
            self.state, self.since, self.spent = state, now, _processor_seconds(self.running.pid)
        if now - self.running.began > LONGEST:
            return True
        used = _processor_seconds(self.running.pid) - self.spent
        said = _read(self.running.folder / "stderr").rstrip().rpartition("\n")[2]
        quiet = PATIENCE * self.quiet if said.startswith("waiting for `") else self.quiet
        return now - self.since > quiet and not 0.1 * quiet < used < quiet


def _named(parts: tuple[str, ...]) -> bool:
    return bool(parts) and (parts[0] in NAMED or parts[0] == ".mlflow.lock")


def _fingerprint(path: Path) -> str:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _orphans(group: int, patience: float = 5.0) -> list[str]:
    """Commands of processes that are left in a group some seconds after its leader has ended."""
    limit = time.monotonic() + patience
    while (found := _members(group)) and time.monotonic() < limit:
        time.sleep(0.1)
    return found


def _members(group: int) -> list[str]:
    return [command for command, _ in _processes(group)]


def _processor_seconds(group: int) -> float:
    return sum(seconds for _, seconds in _processes(group))


def _processes(group: int) -> list[tuple[str, float]]:
    """(command, processor seconds) of the living processes of a group."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, _, of_group, *more = (process / "stat").read_text().rpartition(")")[2].split()
            if int(of_group) == group and state not in "ZX":
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
                found.append((command, (int(more[8]) + int(more[9])) / os.sysconf("SC_CLK_TCK")))
    return found
