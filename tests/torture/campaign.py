"""A world with its undisturbed results, in which attempts are made one after another."""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from .facts import facts, stable, there
from .verdict import Judge, Verdict
from .world import World


@dataclass
class Campaign:
    """sites: every operation of the undisturbed run, in order: (operation, path below the working directory).
    seconds: what it took."""

    world: World
    judge: Judge
    sites: list[tuple[str, str]]
    seconds: float

    @cached_property
    def patterns(self) -> Counter[tuple[str, str]]:
        """Operations by kind of path, with how often each comes."""
        return Counter((operation, pattern(path)) for operation, path in self.sites)


def pattern(path: str) -> str:
    """A path as a shell pattern that fits all of its kind: digests, processes' tokens and numbers left open."""
    return re.sub(r"\d+-[0-9a-f]{8}(?![0-9a-f])|[0-9a-f]{16,32}|\d{2,}|(?<=/\.tmp)[^/]+", "*", path)


def phase(path: str) -> str:
    """The part of a run that a path belongs to."""
    parts = path.split("/")
    if parts[0] != "store":
        return "mlflow.db" if "mlflow.db" in parts[0] else parts[0]
    return parts[1] if len(parts) > 1 else "store"


@contextmanager
def campaign(patches: Mapping[str, Any] | None = None) -> Iterator[Campaign]:
    """A world in a temporary folder, the command run in it undisturbed, twice; removed at the end. patches: of every
    run, {dotted name: value}."""
    base = Path(tempfile.mkdtemp(prefix="torture-"))
    with World(base, patches) as world:
        log = base / "operations"
        first = world.run(log=log)
        assert first.status == 0, first.stderr
        before = facts(world.cwd)
        world.keep("done")
        world.restore("fresh")
        second = world.run()
        assert second.status == 0, second.stderr
        now = facts(world.cwd)
        lines = (line.split("\t", 1) for line in log.read_text().splitlines())
        sites = [(operation, path) for operation, path in lines if not path.endswith(" (deleted)")]
        world.restore("fresh")
        judge = Judge(world, stable(before, now), there(before, now))
        yield Campaign(world, judge, sites, second.seconds)


Attempt = Callable[[Campaign, Random], tuple[str, str, str]]
"""Makes one attempt, all of it decided by the random numbers: (what was tried, class, detail)."""


def attempt(made_in: Campaign, kind: str, seed: int, make: Attempt) -> Verdict:
    began = time.monotonic()
    tried, result, detail = make(made_in, Random(f"{kind} {seed}"))
    return Verdict(kind, seed, tried, result, detail, round(time.monotonic() - began, 1))
