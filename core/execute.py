"""Running a plan's steps: each once, inputs first, groups in one pass, shared with other processes through leases."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from .plan import Plan, Trial
from .registration import enter
from .steps.step import Step
from .store import Busy


def execute(plan: Plan, finished: Callable[[Trial], None]) -> None:
    """Compute every trial; `finished` is called once for each, as soon as its result is in the store.

    A trial that waits for a step of another process is put back, and others are done meanwhile.
    """
    waiting, idle = deque(plan.trials), 0
    while waiting:
        trial = waiting.popleft()
        try:
            ensure(plan, plan.steps[trial.last.name, trial.last.key])
        except Busy:
            waiting.append(trial)
            idle += 1
            if idle >= len(waiting):
                time.sleep(0.5)
                idle = 0
            continue
        idle = 0
        enter(plan, trial)
        finished(trial)


def ensure(plan: Plan, step: Step) -> None:
    """Have a step's output in the store. Raises Busy where another process is computing it or one of its inputs."""
    store = plan.workspace.store
    if step.ready(store):
        return
    for needed in step.inputs.values():
        ensure(plan, plan.steps[needed.name, needed.key])
    members = [member for member in plan.group(step) if not member.ready(store) and _can_be_computed(plan, member)]
    with ExitStack() as held:
        held.enter_context(store.leases.hold(step.name, *(member.key for member in members)))
        members = [member for member in members if not member.ready(store)]  # another process may have done it
        drafts = [held.enter_context(store.draft(m.name, m.key, m.fields)) for m in members]
        if members:
            step.compute(plan.workspace, members, drafts)


def _can_be_computed(plan: Plan, step: Step) -> bool:
    """Whether all that it reads is there: no member of a group waits for another's inputs."""
    store = plan.workspace.store
    return all(plan.steps[needed.name, needed.key].ready(store) for needed in step.inputs.values())
