"""From an experiment file to a plan: variants, trials, and the steps that they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..contract.components import Split
from ..errors import ConfigError, Problem, UserError
from ..experiment.config import Document, Experiment, read_document
from ..experiment.hypotheses import Hypothesis, read_hypotheses
from ..experiment.published import read_published
from ..experiment.variants import Described, Variant, check_core, variants_of
from .checks import composition_faults
from .failures import Failure, plugin_faults_told
from .meter import Meter
from .steps.evaluate import EvaluateInputs, evaluate_step
from .steps.seeded import SeededVariant
from .steps.step import Step, Workspace


@dataclass(frozen=True, eq=False)
class PlannedTrial:
    """One variant with one seed; `seed` is None where nothing in it depends on one. `last` is its evaluate step."""

    variant: Variant
    seed: int | None
    last: Step[EvaluateInputs]

    @property
    def split(self) -> Split:
        """What is scored."""
        return self.last.payload.split

    @property
    def ranks(self) -> Mapping[str, Step]:
        """The steps that rank, by direction."""
        return self.last.inputs.ranks

    @property
    def name(self) -> str:
        return f"{self.variant.name} · {'seeds: none' if self.seed is None else f'seed {self.seed}'}"


@dataclass
class Plan:
    """Everything that a run will do. `steps` holds each step once, by (name, key), inputs before what needs them.

    meter: what its execution has computed. failed: steps that failed when it was last executed. apart: groups, by
    (name, group), whose members are computed one by one since they failed together.
    """

    document: Document
    variants: list[Variant]
    hypotheses: list[Hypothesis]
    workspace: Workspace
    trials: list[PlannedTrial] = field(default_factory=list)
    steps: dict[tuple[str, str], Step] = field(default_factory=dict)
    failed: dict[tuple[str, str], Failure] = field(default_factory=dict)
    apart: set[tuple[str, str]] = field(default_factory=set)
    meter: Meter = field(default_factory=Meter)

    @property
    def experiment(self) -> Experiment:
        """The first baseline's configuration: where the design and the outputs are read from."""
        return self.baselines[0].experiment

    @cached_property
    def baselines(self) -> list[Variant]:
        """One on each of the data that are scored, in the order of the file."""
        return [variant for variant in self.variants if variant.is_baseline]

    def trials_of(self, variant: Variant | str) -> list[PlannedTrial]:
        """The trials of a variant, given itself or by name."""
        return self._by_variant.get(variant if isinstance(variant, str) else variant.name, [])

    @cached_property
    def _by_variant(self) -> dict[str, list[PlannedTrial]]:
        trials: dict[str, list[PlannedTrial]] = {}
        for trial in self.trials:
            trials.setdefault(trial.variant.name, []).append(trial)
        return trials

    def group(self, step: Step) -> list[Step]:
        """The steps of this plan that are computed in one pass with `step`, itself among them."""
        return self._groups[step.name, step.group]

    @cached_property
    def _groups(self) -> dict[tuple[str, str], list[Step]]:
        groups: dict[tuple[str, str], list[Step]] = {}
        for step in self.steps.values():
            groups.setdefault((step.name, step.group), []).append(step)
        return groups

    def new_steps(self) -> list[Step]:
        """Steps whose output the store lacks."""
        return [step for step in self.steps.values() if not step.ready(self.workspace.store)]


def read_plan(path: str, overrides: Iterable[str], workspace: Workspace) -> Plan:
    """Read and check an experiment file; no data is touched. `add_trials` then lays out the steps.

    Raises ConfigError with every fault found.
    """
    return plan_of(check_core(read_document(path, overrides)), workspace)


def plan_of(described: Described, workspace: Workspace) -> Plan:
    """`read_plan` of a file that is read and checked against the core schema already."""
    with plugin_faults_told(described.document.file):
        return _plan_of(described, workspace)


def _plan_of(described: Described, workspace: Workspace) -> Plan:
    document, variants = described.document, variants_of(described)
    problems: list[Problem] = []
    try:
        read_published(document, variants[0].experiment.references)
    except ConfigError as fault:
        problems += fault.problems
    for variant in variants:
        problems += [variant.located(problem) for problem in _faults(variant, workspace)]
    if problems:
        raise ConfigError(document.blame(problems))
    return Plan(document, variants, read_hypotheses(document, variants), workspace)


def _faults(variant: Variant, workspace: Workspace) -> list[Problem]:
    try:
        trial = SeededVariant(workspace, variant.experiment, seed=0)
    except ConfigError as fault:
        return fault.problems
    except UserError as fault:
        key, colon, reason = str(fault).partition(": ")
        told = colon and key.startswith("encoder")  # an encoder that knows its field says so
        return [Problem(key, reason) if told else Problem("encoder", str(fault))]
    return composition_faults(trial)


def add_trials(plan: Plan) -> None:
    """Lay out the steps of every trial. Reads the data set, and makes it where it is generated.

    Raises ConfigError where the data set's own fields turn out to point nowhere, DataError for faults of the data.
    """
    try:
        with plugin_faults_told(plan.document.file):
            _add_trials(plan)
    except ConfigError as fault:
        raise ConfigError(plan.document.blame(fault.problems)) from None


def _add_trials(plan: Plan) -> None:
    most: dict[tuple[str, str], int] = {}
    for variant in plan.variants:
        for seed in variant.experiment.seeds:
            trial = _trial(plan, variant, seed)
            plan.trials.append(trial)
            for step in trial.last.walk():
                key = (step.name, step.key)
                plan.steps.setdefault(key, step)
                if step.top_k_stored is not None:
                    most[key] = max(most.get(key, 0), step.top_k_stored)
            if trial.seed is None:
                break
    for key, top_k in most.items():
        plan.steps[key] = replace(plan.steps[key], top_k_stored=top_k)


def _trial(plan: Plan, variant: Variant, seed: int) -> PlannedTrial:
    last = evaluate_step(SeededVariant(plan.workspace, variant.experiment, seed, f"[{variant.name} · seed {seed}]"))
    if any("seed" in step.fields for step in last.walk()):
        return PlannedTrial(variant, seed, last)
    unseeded = SeededVariant(plan.workspace, variant.experiment, seed, f"[{variant.name}]")
    return PlannedTrial(variant, None, evaluate_step(unseeded))
