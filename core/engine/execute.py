"""Running a plan's steps: each once, inputs first, groups in one pass, shared with other processes through leases.

What fails costs the trials that need it, and no other.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

import torch

from ..contract.store import Busy, Entry, Gone, Patience
from ..errors import RunError, UserError
from .failures import (
    Failed,
    Failure,
    failed_step,
    failure_file,
    forget_failures,
    keep_failure,
    store_fault,
    store_faults_told,
)
from .meter import Meter
from .plan import Plan, PlannedTrial
from .steps.step import Step


def execute(
    plan: Plan,
    finished: Callable[[PlannedTrial], None],
    failed: Callable[[PlannedTrial, Failure], None] = lambda trial, failure: None,
) -> None:
    """Compute every trial; `finished` is called once for each, as soon as its result is in the store, or `failed`.

    A trial that waits for a step of another process is put back, and others are done meanwhile.
    Raises what all trials failed of, and StoreError where the store cannot be written: both spare no trial.
    """
    plan.workspace.store.claim()
    plan.failed.clear()
    plan.apart.clear()
    plan.meter = Meter(len(plan.new_steps()))
    with store_faults_told(plan.workspace.store.root):
        failures = _execute(plan, finished, failed)
        forget_failures(plan)
    if failures and len(failures) == len(plan.trials):
        raise _nothing_done(plan, failures)


def _execute(
    plan: Plan, finished: Callable[[PlannedTrial], None], failed: Callable[[PlannedTrial, Failure], None]
) -> dict[PlannedTrial, Failure]:
    """Run the trials; those that failed, with why."""
    waiting, idle, patience = deque(plan.trials), 0, Patience()
    failures: dict[PlannedTrial, Failure] = {}
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
        except Failed as stop:
            idle, failures[trial] = 0, stop.failure
            keep_failure(plan, trial, stop.failure)
            failed(trial, stop.failure)
            continue
        idle = 0
        finished(trial)
    return failures


def ensure(plan: Plan, step: Step) -> Entry:
    """Have a step's output in the store, whole; what is missing or damaged of what it reads, however deep, is computed
    again, and nothing else.

    Raises Busy where another process is computing it or one of its inputs, Failed where one of them cannot be computed;
    what failed once is not tried again.
    """
    store, made_anew = plan.workspace.store, set()
    while True:
        try:
            if not step.ready(store):
                _compute(plan, step)
            return store.read(step.name, step.key)
        except Gone as gone:
            place = gone.step, gone.key
            if place in made_anew or place not in plan.steps:
                raise
            made_anew.add(place)
            reason = str(gone).removesuffix(" Run again.")
            print(f"{plan.steps[place].label}: computed again, because {reason}", file=sys.stderr)
            if plan.steps[place] is not step:
                ensure(plan, plan.steps[place])


def ensure_after_others(plan: Plan, step: Step) -> Entry:
    """`ensure`, waiting while another process computes what is needed. Raises UserError for what cannot be computed."""
    patience = Patience()
    while True:
        try:
            return ensure(plan, step)
        except Busy as busy:
            patience.tell(busy, plan.steps[busy.step, busy.key].label)
            time.sleep(0.5)
        except Failed as stop:
            raise stop.failure.fault or RunError(str(stop.failure)) from None


def _compute(plan: Plan, step: Step) -> None:
    """Compute a step, after its inputs, and in the same pass those of its group that can be."""
    if (step.name, step.key) in plan.failed:
        raise Failed(plan.failed[step.name, step.key])
    for needed in step.inputs.values():
        planned = plan.steps[needed.name, needed.key]  # with the most candidates that any trial wants
        if not planned.ready(plan.workspace.store):
            ensure(plan, planned)
    alone = (step.name, step.group) in plan.apart
    members = [member for member in ([step] if alone else plan.group(step)) if _can_be_computed(plan, member)]
    failure = _computed(plan, step, members)
    if failure is not None and len(members) > 1:  # the fault may be another's: each by itself from now on
        plan.apart.add((step.name, step.group))
        _compute(plan, step)
    elif failure is not None:
        plan.failed[step.name, step.key] = failure
        raise Failed(failure)


def _can_be_computed(plan: Plan, step: Step) -> bool:
    """Whether it is needed, and all that it reads is there: no member of a group waits for another's inputs."""
    store = plan.workspace.store
    if step.ready(store) or (step.name, step.key) in plan.failed:
        return False
    return all(plan.steps[needed.name, needed.key].ready(store) for needed in step.inputs.values())


def _computed(plan: Plan, step: Step, members: list[Step]) -> Failure | None:
    """Compute the members of a step's group in one pass; why that failed, if it did."""
    store = plan.workspace.store
    try:
        with ExitStack() as held:
            held.enter_context(store.leases.hold(step.name, *(member.key for member in members)))
            members = [member for member in members if not member.ready(store)]  # another process may have done it
            drafts = [held.enter_context(store.draft(m.name, m.key, m.fields)) for m in members]
            if members:
                with plan.meter.computing(members):
                    step.compute(plan.workspace, members, drafts)
        return None
    except (Busy, Gone):
        raise
    except (Exception, SystemExit) as fault:  # a plugin may fail in any way
        if store_fault(fault, store.root):
            raise
        failure = failed_step(step, fault)
    _free_memory()
    return failure


def _free_memory() -> None:
    """What a step that failed has left: of a GPU too, where that had no more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _nothing_done(plan: Plan, failures: dict[PlannedTrial, Failure]) -> UserError:
    """What is told where no trial succeeded: one message where all failed of the same."""
    store = plan.workspace.store
    if len({(failure.message, failure.component, str(failure.fault)) for failure in failures.values()}) == 1:
        trial, failure = next(iter(failures.items()))
        return failure.fault or RunError(f"{failure}\nTraceback: {failure_file(store, trial)}")
    lines = [f"  {trial.name}: {failure} ({failure_file(store, trial)})" for trial, failure in failures.items()]
    return RunError("\n".join([f"0 of {len(plan.trials)} trials done, {len(failures)} failed:", *lines]))
