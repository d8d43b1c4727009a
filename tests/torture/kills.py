"""Kills at random moments of every phase: before or in the middle of a write, or after some time."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from random import Random

from .campaign import Campaign, pattern, phase
from .faults import Fault

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FIRST_WRITES = 4
"""Of five attempts this many go by operation, the fifth by time."""


def kill(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """One kill of the command in a fresh world, then the same command again."""
    world, sent = made_in.world, random.choice(SIGNALS)
    world.restore("fresh")
    made_in.judge.look()
    if random.randrange(5) < FIRST_WRITES:
        fault = site_of(made_in, random, sent)
        tried = f"{sent.name} at {' '.join(fault.operations)} {fault.nth} of {fault.match}{' (half)' * fault.half}"
        outcome = world.run(fault)
    else:
        moment = random.uniform(0, 1.1 * made_in.seconds)
        tried = f"{sent.name} after {moment:.2f} s"
        running = world.start()
        while running.poll() is None and time.monotonic() - running.began < moment:
            time.sleep(0.005)
        with suppress(OSError):
            os.kill(running.pid, sent)
        outcome = world.finish(running)
    result, detail = made_in.judge.judge([outcome], sent=outcome.status not in (0, 1, 2))
    return tried, result, detail


def site_of(made_in: Campaign, random: Random, sent: int) -> Fault:
    """A signal at an operation: the phase is drawn first, so that short phases have their share."""
    phases = sorted({phase(path) for _, path in made_in.patterns})
    wanted = random.choice([*phases, "mlflow.db"])
    kinds = sorted(one for one in made_in.patterns if phase(one[1]) == wanted)
    operation, path = random.choice(kinds)
    count = made_in.patterns[operation, path]
    nth = 1 if random.random() < 0.4 else random.randint(1, count)
    half = operation == "write" and random.random() < 0.5
    return Fault(nth, pattern(path), (operation,), signal=sent, half=half)
