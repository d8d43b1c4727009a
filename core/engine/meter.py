"""What an execution has computed so far, shown while it goes on and summed up at the end."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..contract.terminal import duration, log, phase
from .steps.step import Step


@dataclass
class Meter:
    """new: steps that the store lacked at the start. steps, seconds: what was computed since, by kind of step."""

    new: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def computing(self, members: Sequence[Step]) -> Iterator[None]:
        """Show and count steps that are computed in one pass."""
        first = self.steps.total() + 1
        number = f"step {first}" if len(members) == 1 else f"steps {first} to {first + len(members) - 1}"
        label = f"{number} of {max(self.new, first + len(members) - 1)}: {members[0].label}"
        log(label)
        began = time.monotonic()
        with phase(label, in_log=False):
            yield
        kind = members[0].name
        self.steps[kind] += len(members)
        self.seconds[kind] += time.monotonic() - began

    def summary(self, planned: Counter[str]) -> str | None:
        """Seconds by kind of step and how many were in the store already; None where nothing was computed.

        planned: how many steps of each kind there are.
        """
        if not self.steps:
            return None
        computed = [f"{kind} {duration(self.seconds[kind])} ({count})" for kind, count in self.steps.items()]
        used = [f"{kind} {count - self.steps[kind]}" for kind, count in planned.items() if count > self.steps[kind]]
        again = f" From the store: {', '.join(used)}." if used else ""
        return f"Time by kind of step (and how many): {', '.join(computed)}.{again}"
