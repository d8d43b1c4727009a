"""Hands what an experiment found to its outputs, each by itself; and all that an output may use beside `core`.

Outputs are handed Planned, Trial, and Result with its Rows and Decisions. Whatever these hold or return is here by
name, and what built-in outputs write with: texts that stay texts wherever they are written, files that are
whole or not there, addresses without what opens them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract.addresses import HIDDEN, hidden_addresses, safe_address, without
from .contract.components import Output
from .contract.escaping import code, csv_cell, markdown, markdown_sentence, plain_line, slug
from .contract.keys import join, lookup, split_key
from .contract.places import place_fault
from .contract.repository import GitState
from .contract.settings import Checker, Spec
from .contract.store import digest, write_atomically
from .contract.store.files import checked, checksum, follow_umask, locked, read_text, with_check
from .contract.store.leases import is_running
from .contract.terminal import phase
from .engine.failures import Failure, failure_of
from .engine.plan import Plan
from .engine.video import Clip
from .errors import ConfigError, Problem, RunError, UserError, counted, nearest
from .evidence.ground import question, run_command
from .evidence.hiding import hidden_in, hiding
from .evidence.rankings import Found, Gate, Rankings, Stage
from .evidence.receipt import RECEIPT, write_receipt
from .evidence.results import Decision, Refusal, Result, Row
from .evidence.trials import DataUsed, FailedTrial, Fit, Trial
from .experiment.config import Claim, Experiment
from .experiment.hypotheses import Hypothesis
from .experiment.published import Published, PublishedRow
from .experiment.selection import Variant, short_key, short_value
from .measure.metrics import metric
from .measure.significance import Comparison, Verdict, paired_medians, paired_test
from .plugins import registry

__all__ = [
    "HIDDEN",
    "Claim",
    "Clip",
    "Comparison",
    "DataUsed",
    "Decision",
    "Experiment",
    "FailedTrial",
    "Failure",
    "Fit",
    "Found",
    "Gate",
    "GitState",
    "Hypothesis",
    "Planned",
    "Published",
    "PublishedRow",
    "Rankings",
    "Refusal",
    "Result",
    "Row",
    "Stage",
    "Trial",
    "Variant",
    "Verdict",
    "checked",
    "checksum",
    "code",
    "counted",
    "csv_cell",
    "digest",
    "failure_of",
    "follow_umask",
    "is_running",
    "locked",
    "lookup",
    "markdown",
    "markdown_sentence",
    "metric",
    "paired_medians",
    "paired_test",
    "plain_line",
    "read_text",
    "safe_address",
    "short_key",
    "short_value",
    "slug",
    "split_key",
    "with_check",
    "without",
    "write_atomically",
]

COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
"""What sets colour and weight of letters on a terminal: the only signs of control that a line may hold."""


@dataclass(frozen=True)
class Planned:
    """What an experiment is about to compute. trials: their names; steps, new_steps: how many, and how many of them the
    store lacks."""

    name: str
    file: str
    question: str | None
    command: str
    experiment: Experiment
    variants: list[Variant]
    hypotheses: list[Hypothesis]
    trials: list[str]
    steps: int
    new_steps: int


class Outputs:
    """The outputs of a plan, in order. `faults`: what they raised, with output and package, to be told at the end."""

    def __init__(
        self, plan: Plan, runs: Path, say: Callable[[str], None] = lambda line: None, only: Sequence[str] | None = None
    ):
        """runs: folder of the folders of experiments. only: their keys; None: all. `say` is given each line that they
        tell the person.

        Raises ConfigError with every fault of their settings.
        """
        self._plan, self._say, self.folder = plan, say, report_folder(runs, plan.experiment.name)
        self._hide = hiding(plan)
        try:
            self._outputs = _built(_wanted(chosen(plan.experiment), only))
        except ConfigError as fault:
            raise ConfigError(plan.document.blame(fault.problems)) from None
        self._faults: dict[str, int] = {}

    @property
    def faults(self) -> list[str]:
        return [f"{told} ({times} times)" if times > 1 else told for told, times in self._faults.items()]

    def replay(self, result: Result) -> None:
        """Have every output write again what the store holds; a registration.json that is there stays."""
        self.started(registers=not (self.folder / RECEIPT).is_file())
        for trial in (trial for row in result.rows for trial in row.results):
            self.trial_finished(trial)
        self.finished(result)

    def started(self, registers: bool = True) -> None:
        """Write the folder's registration.json and tell every output, before anything is scored."""
        if registers:
            self._by_itself("registration.json", write_receipt, self._plan, self.folder)
        planned = hidden_in(_planned(self._plan), self._hide)
        for name, output in self._outputs.items():
            self._by_itself(name, output.started, planned)

    def trial_finished(self, trial: Trial) -> None:
        trial = trial.hidden_by(self._hide)
        for name, output in self._outputs.items():
            self._by_itself(name, output.trial_finished, trial)

    def finished(self, result: Result) -> None:
        """Have every output write, in their order."""
        result = result.hidden_by(self._hide)
        for name, output in self._outputs.items():
            with phase(name):
                lines = self._by_itself(name, self._lines, output, result)
            for line in lines or ():
                self._say(line)

    def _lines(self, output: Output, result: Result) -> list[str]:
        """What an output tells once it has written, all of it: a generator may fail on its way."""
        return [
            "".join(part if COLOUR.fullmatch(part) else plain_line(part) for part in COLOUR.split(line))
            for line in output.finished(result, self.folder) or ()
        ]

    def _by_itself(self, name: str, call: Callable[..., Any], *arguments: object) -> Any:
        """What a call returns; None where it raised, which is kept for the end."""
        try:
            return call(*arguments)
        except (Exception, SystemExit) as fault:  # an output may fail in any way
            told = f"{name}: {_told(fault)}"
            self._faults[told] = self._faults.get(told, 0) + 1
            return None


def report_folder(runs: Path, name: str) -> Path:
    """The folder of an experiment: another than that of a name which differs in capital letters alone, also where the
    disk does not tell these apart."""
    folder = runs / slug(name)
    if folder.exists() and folder.name not in os.listdir(runs):
        return folder.with_name(f"{folder.name[:180]}-{digest(name)[:8]}")
    return folder


def _planned(plan: Plan) -> Planned:
    return Planned(
        name=plan.experiment.name,
        file=plan.document.file,
        question=question(plan.document.file),
        command=run_command(plan),
        experiment=plan.experiment,
        variants=plan.variants,
        hypotheses=plan.hypotheses,
        trials=[trial.name for trial in plan.trials],
        steps=len(plan.steps),
        new_steps=len(plan.new_steps()),
    )


def _told(fault: BaseException) -> str:
    if isinstance(fault, UserError):
        return hidden_addresses(str(fault))
    return hidden_addresses(str((isinstance(fault, OSError) and place_fault(fault)) or failure_of(fault)))


def chosen(experiment: Experiment) -> dict[str, Spec]:
    """The outputs of an experiment by key: those that are there by default, as the file has them, then its others.

    Raises ConfigError where it leaves out one that is not there, and where one that is lacks settings.
    """
    named, checker = experiment.outputs, Checker(registry().specify)
    defaults = {
        name: item.component
        for (kind, name), item in registry().found.items()
        if kind == "output" and issubclass(item.component, Output) and item.component.by_default
    }
    for key in (key for key, spec in named.items() if spec is None and key not in defaults):
        checker.fail(join("outputs", key), f"there is no such output.{nearest(key, defaults)}")
    default_outputs = {
        name: named[name] if name in named else Spec(name, checker.build(component.Config, {}, join("outputs", name)))
        for name, component in defaults.items()
    }
    if checker.problems:
        raise ConfigError(checker.problems)
    return {key: spec for key, spec in (default_outputs | named).items() if spec is not None}


def _wanted(outputs: dict[str, Spec], only: Sequence[str] | None) -> dict[str, Spec]:
    strange = [key for key in only or () if key not in outputs]
    if strange:
        problems = [Problem("--only", f"there is no output `{key}`.{nearest(key, outputs)}") for key in strange]
        raise ConfigError([Problem(p.key, p.message, "command line") for p in problems])
    return {key: spec for key, spec in outputs.items() if only is None or key in only}


def _built(outputs: dict[str, Spec]) -> dict[str, Output]:
    """{what it is called in messages: output}"""
    built: dict[str, Output] = {}
    problems: list[Problem] = []
    for key, spec in outputs.items():
        item = registry().get("output", spec.name)
        try:
            built[f"output `{key}` ({item.package})"] = registry().make("output", spec)
        except ConfigError as fault:
            problems += [Problem(join(f"outputs.{key}", p.key), p.message, p.file) for p in fault.problems]
        except (Exception, SystemExit) as fault:
            problems.append(Problem(join("outputs", key), str(failure_of(fault))))
    if problems:
        raise ConfigError(problems)
    return built


def trial_named(text: str) -> str | None:
    """The key of the trial that a text names for any output, as it is without settings; None for none.

    Raises UserError where none names one, and an output cannot tell.
    """
    faults: list[UserError] = []
    for (kind, name), item in registry().found.items():
        if kind != "output":
            continue
        try:
            output = registry().make("output", Spec(name, item.component.Config()))
        except (Exception, SystemExit):  # it has fields that must be given
            continue
        try:
            if (key := output.trial_of(text)) is not None:
                return str(key)
        except UserError as fault:
            faults.append(fault)
        except (Exception, SystemExit) as fault:  # an output may fail in any way
            faults.append(RunError(str(failure_of(fault))))
    if faults:
        raise faults[0]
    return None
