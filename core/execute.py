"""Running a plan's steps: each once, inputs first, groups in one pass, shared with other processes through leases."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from .plan import Plan, Trial
from .registration import enter
from .steps.step import Step
from .store import Busy, Entry, Gone, Patience


def execute(plan: Plan, finished: Callable[[Trial], None]) -> None:
    """Compute every trial; `finished` is called once for each, as soon as its result is in the store.

    A trial that waits for a step of another process is put back, and others are done meanwhile.
    """
    plan.workspace.store.claim()
    waiting, idle, patience = deque(plan.trials), 0, Patience()
    while waiting:
        trial = waiting.popleft()
        try:
            ensure(plan, plan.steps[trial.last.name, trial.last.key])
        except Busy as busy:
            waiting.append(trial)
            idle += 1
            if idle >= len(waiting):
                patience.tell(busy, plan.steps[busy.step, busy.key].label)
                time.sleep(0.5)
                idle = 0
            continue
        idle = 0
        enter(plan, trial)
        finished(trial)


def ensure(plan: Plan, step: Step) -> Entry:
    """Have a step's output in the store, whole; what is missing or damaged of what it reads, however deep, is computed
    again, and nothing else.

    Raises Busy where another process is computing it or one of its inputs.
    """
    store, made_anew = plan.workspace.store, set()
    while True:
        try:
            if not step.ready(store):
                for needed in step.inputs.values():
                    if not needed.ready(store):
                        ensure(plan, plan.steps[needed.name, needed.key])
                _compute(plan, step)
            return store.read(step.name, step.key)
        except Gone as gone:
            place = gone.step, gone.key
            if place in made_anew or place not in plan.steps:
                raise
            made_anew.add(place)
            print(
                f"{plan.steps[place].label}: computed again, because {str(gone).removesuffix(' Run again.')}",
                file=sys.stderr,
            )
            if plan.steps[place] is not step:
                ensure(plan, plan.steps[place])


def _compute(plan: Plan, step: Step) -> None:
    """Compute a step, and in the same pass those of its group that can be."""
    store = plan.workspace.store
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
