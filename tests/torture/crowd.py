"""Four processes on one store: two are killed, one is stopped for longer than its leases live and goes on."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from random import Random

from .campaign import Campaign
from .kills import site_of
from .world import SHORT_LEASES, Running


def crowd(made_in: Campaign, random: Random) -> tuple[str, str, str]:
    """All begin within a second. The two that live must end well, and the results must be right."""
    world = made_in.world
    world.restore("fresh")
    made_in.judge.look()
    faults = [site_of(made_in, random, signal.SIGKILL) for _ in range(2)]
    stopped_at, stopped_for = random.uniform(0.2, 2 * made_in.seconds), random.uniform(5, 8)
    begins = [random.uniform(0, 1) for _ in range(4)]
    tried = f"two killed at {' and '.join(one.match for one in faults)}, one stopped at {stopped_at:.1f} s"
    running: list[Running] = []
    for wait, fault in zip(begins, [*faults, None, None], strict=True):
        time.sleep(wait / 4)
        running.append(world.start(fault, patches=SHORT_LEASES))
    sleeper = running[2]
    time.sleep(stopped_at)
    with suppress(OSError):
        os.kill(sleeper.pid, signal.SIGSTOP)
    time.sleep(stopped_for)
    with suppress(OSError):
        os.kill(sleeper.pid, signal.SIGCONT)
    ends = [world.finish(one) for one in running]
    result, detail = made_in.judge.judge(ends[2:])
    if result == "message":  # nothing was wrong with these two: they have nothing to say
        return tried, "again", f"a process that lived failed: {detail}"
    return tried, result, detail
