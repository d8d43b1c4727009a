"""Failures of trials: what went wrong, in whose code, and the records of them that a store keeps.

A record is a small file `failures/<trial>.json`, no entry: it says why a result is missing, keeps nothing from being
tried again, and goes when the trial succeeds.
"""

from __future__ import annotations

import errno
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..contract.addresses import hidden_addresses
from ..contract.escaping import plain_line
from ..contract.places import place_fault
from ..contract.store import write_atomically
from ..contract.store.files import checked, read_text, with_check
from ..errors import RunError, StoreError, UserError
from ..plugins import Registered, registry

if TYPE_CHECKING:
    from ..contract.store import Store
    from .plan import Plan, PlannedTrial
    from .steps.step import Step

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
FORBIDDEN = {errno.EACCES, errno.EPERM}
"""What the store cannot be written for: every further trial would fail of it too."""


@dataclass(frozen=True)
class Failure:
    """Why a step failed, and with it every trial that needs it.

    step: what was being computed. message: what went wrong, on one line. component: whose code it was in, with its
    package and place; "" where it was in no component's. traceback: Python's, whole. time: in seconds since 1970.
    fault: the error itself where it is one of ours. What opens an address is hidden in all texts, and nothing in them
    moves a terminal's cursor.
    """

    step: str
    message: str
    component: str = ""
    traceback: str = ""
    time: float = 0.0
    fault: UserError | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("step", "message", "component", "traceback"):
            lines = hidden_addresses(getattr(self, name)).split("\n")
            object.__setattr__(self, name, "\n".join(map(plain_line, lines)))

    def __str__(self) -> str:
        told = self.message.removeprefix(f"{self.step}: ")
        return ": ".join(part for part in (_shared(self.step), self.component, told) if part)


class Failed(Exception):
    """A step that cannot be computed, or one whose input cannot."""

    def __init__(self, failure: Failure):
        super().__init__(str(failure))
        self.failure = failure


def _shared(label: str) -> str:
    """A step's label without the trial that it was first laid out for."""
    return label.partition(" [")[0]


def failure_of(fault: BaseException, step: str = "", owner: str = "") -> Failure:
    """What is kept of an exception. `owner`: the component, where the traceback shows none."""
    text = "".join(traceback.format_exception(fault))
    own = fault.with_traceback(None) if isinstance(fault, UserError) else None
    component = _component(fault) or owner
    if own is not None:
        own.__context__ = own.__cause__ = None  # their frames would keep tensors alive
    return Failure(step, _message(fault), component, text, time.time(), own)


def failed_step(step: Step, fault: BaseException) -> Failure:
    """The failure of a step; of a score that is no number, the interaction that gave it is the component."""
    name = getattr(step.payload, "interaction", None)
    owner = ""
    if name is not None:
        spec = step.payload.experiment.model.interactions[name]
        owner = _called("interaction", registry().get("interaction", spec.name))
    return failure_of(fault, step.label, owner)


def _message(fault: BaseException) -> str:
    if isinstance(fault, SystemExit):
        return f"sys.exit({fault.code!r}) was called"
    lines = [line for line in str(fault).splitlines() if line.strip()]
    told = lines[0].strip() if lines else ""
    if len(lines) > 1:
        told += " …"
    if isinstance(fault, UserError):
        return told
    return f"{type(fault).__name__}: {told}" if told else type(fault).__name__


# ------------------------------------------------------------------------------------------------ whose code it was


def _component(fault: BaseException) -> str:
    """The component that the innermost frame of one belongs to: ``loss `odd` (my-package, odd.py line 40)``."""
    frames = list(reversed(list(traceback.walk_tb(fault.__traceback__))))  # the innermost first
    owners = {item.component: (kind, item) for (kind, _), item in registry().found.items()}
    for frame, _ in frames:
        owner = _owner(frame, owners)
        if owner is not None:
            home = owner[1].component.__module__.partition(".")[0]
            places = (_place(inner, line) for inner, line in frames if _module(inner).partition(".")[0] == home)
            return _called(*owner, next(places, ""))
    return ""


def _owner(frame: FrameType, owners: dict[type, tuple[str, Registered]]) -> tuple[str, Registered] | None:
    """The component whose method a frame runs, or the only one that its module defines."""
    for name in ("self", "cls"):
        value = frame.f_locals.get(name)
        owner = value if isinstance(value, type) else type(value)
        if owner in owners:
            return owners[owner]
    alike = [item for cls, item in owners.items() if cls.__module__ == _module(frame)]
    return alike[0] if len(alike) == 1 else None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _place(frame: FrameType, line: int) -> str:
    return f"{Path(frame.f_code.co_filename).name} line {line}"


def _called(kind: str, item: Registered, place: str = "") -> str:
    where = ", ".join(part for part in (item.package, place) if part)
    return f"{kind.replace('_', ' ')} `{item.component.name}` ({where})"


@contextmanager
def plugin_faults_told(doing: str) -> Iterator[None]:
    """Have what a component raises, which is none of our errors, and `sys.exit` raise RunError that says whose it is.

    What a full disk or the like raises, and what was raised in no component's code, is left as it is.
    """
    try:
        yield
    except SystemExit as fault:
        raise RunError(str(failure_of(fault, doing))) from None
    except UserError:
        raise
    except Exception as fault:
        failure = failure_of(fault, doing)
        if not failure.component or (isinstance(fault, OSError) and place_fault(fault)):
            raise
        raise RunError(str(failure)) from fault


# ------------------------------------------------------------------------------------------------ faults of the store


@contextmanager
def store_faults_told(root: Path) -> Iterator[None]:
    """Have a store that cannot be written raise StoreError, once and for all trials."""
    try:
        yield
    except StoreError:
        raise
    except Exception as fault:
        reason = store_fault(fault, root)
        if not reason:
            raise
        told = place_fault(fault) if isinstance(fault, OSError) else None
        kept = "What was computed is kept, and the same command resumes"
        raise StoreError(f"{root}: the store cannot be written: {told or f'{reason}. {kept}'}") from None


def store_fault(fault: BaseException, root: Path) -> str:
    """Why the store cannot be read or written, where an exception says so; "" for any other."""
    if isinstance(fault, StoreError):
        return str(fault)
    if isinstance(fault, OSError):
        names = [name for name in (fault.filename, fault.filename2) if isinstance(name, str)]
        inside = any(Path(name).resolve().is_relative_to(root) for name in names)
        ours = fault.errno in FORBIDDEN | FULL if inside else fault.errno in FULL and not names
        return (fault.strerror or str(fault)) if ours else ""
    if type(fault).__module__.partition(".")[0].startswith("safetensors"):  # tells the number in its text alone
        number = re.search(r"(?:os error|code:) (\d+)", str(fault))
        return str(fault) if number and int(number[1]) in FULL else ""
    if re.search(r"PytorchStreamWriter failed writing|inline_container.*unexpected pos", str(fault)):
        return "torch could not write a file to its end"  # it does not say why: most often there is no space left
    return ""


# ------------------------------------------------------------------------------------------------ records


def failure_file(store: Store, trial: PlannedTrial) -> Path:
    """Where it is written why a trial failed, with the traceback."""
    return store.root / "failures" / f"{trial.last.key}.json"


def keep_failure(plan: Plan, trial: PlannedTrial, failure: Failure) -> Path:
    """Write down why a trial failed; the file."""
    file = failure_file(plan.workspace.store, trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {"experiment": plan.experiment.name, "trial": trial.name, "step": failure.step}
    told |= {"component": failure.component, "message": failure.message, "time": failure.time}
    write_atomically(file, with_check(told | {"traceback": failure.traceback.splitlines()}))
    return file


def known_failure(store: Store, trial: PlannedTrial) -> Failure | None:
    """Why a trial failed when it was last tried; None where it was not, or has succeeded since."""
    if trial.last.ready(store):
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = checked(read_text(failure_file(store, trial)))
        text = "\n".join(told["traceback"])
        return Failure(told["step"], told["message"], told["component"], text, told["time"])
    return None


def forget_failures(plan: Plan) -> None:
    """Remove the records of trials that have a result, and those of a plan's trials from when code or data were
    others."""
    store, keys = plan.workspace.store, {trial.last.key for trial in plan.trials}
    names = {trial.name for trial in plan.trials}
    for file in (store.root / "failures").glob("*.json"):
        told: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            told = checked(read_text(file))
        mine = told.get("experiment") == plan.experiment.name and told.get("trial") in names
        if store.has("evaluate", file.stem) or (mine and file.stem not in keys):
            file.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------ how a run fared


@dataclass
class Tally:
    """How the trials of a run fared so far: how many are done, which failed of what."""

    store: Store
    trials: int = 0
    done: int = 0
    failed: dict[PlannedTrial, Failure] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        """A line for each trial that failed, then `52 of 60 trials done, 3 failed, 5 not tried`.

        None where all are done, where all failed (the error of the run says why) and where none was tried.
        """
        if self.done == self.trials or len(self.failed) == self.trials or self.done + len(self.failed) == 0:
            return []
        told = [
            f"failed: {trial.name}: {failure} (traceback: {failure_file(self.store, trial)})"
            for trial, failure in self.failed.items()
        ]
        counts = [f"{self.done} of {self.trials} trials done"]
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        untried = self.trials - self.done - len(self.failed)
        counts += [f"{untried} not tried"] if untried else []
        return [*told, ", ".join(counts)]
