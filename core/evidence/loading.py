"""A finished trial, brought back: its configuration, its encoder and its model with trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..contract.components import Encoder, TrainedReranker
from ..contract.store import Entry, Store
from ..engine.failures import known_failure
from ..engine.model import Model
from ..engine.plan import Plan, PlannedTrial, plan_of
from ..engine.steps.evaluate import evaluate_step
from ..engine.steps.fit_reranker import fit_reranker_step
from ..engine.steps.seeded import SeededVariant
from ..engine.steps.step import Workspace
from ..engine.steps.weights import fitted_reranker, loaded_encoder
from ..errors import ConfigError, Problem, StoreError
from ..experiment.config import Experiment, check, read_document
from ..experiment.selection import Variant, reference_fault, select
from ..experiment.variants import check_core
from ..plugins import registry
from .ground import run_command
from .stored import stored_plan, workspaces

EXPERIMENT_FILES = (".yaml", ".yml")


@dataclass(frozen=True)
class Loaded:
    """A trial: `model`, `encoder` and a trained `reranker` in evaluation mode, on the CPU; `metrics` as reported."""

    experiment: Experiment
    seed: int
    model: Model
    encoder: Encoder
    metrics: dict[str, float]
    reranker: TrainedReranker | None = None


def load(
    trial: str | Path,
    store: str | Path = "store",
    *,
    variant: str | Mapping[str, Any] | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
) -> Loaded:
    """A trial that the store has: that with this key, or that of an experiment file.

    trial: a key (the `trial` tag in MLflow; a unique beginning will do), or an experiment file: then `variant` (its
    name, `baseline`, or assignments that only it has) and `seed` say which of its trials, where there are several, and
    `overrides` are what the command line set.

        core.load("experiments/ablate_topk.yaml", variant="top_k=50", seed=0)

    Interactions that the trial does not use are as at the start of training. Nothing is computed.
    Raises ConfigError for faults of the file, and for a variant or seed that it does not have; StoreError where no
    trial, or several, have such a key, where the store lacks the trial (what computes it is told), or where its
    trained weights are gone.

    >>> import core
    >>> try:
    ...     core.load("3f2a", store="/no/such/store")
    ... except core.StoreError as fault:
    ...     print(fault)
    /no/such/store: no trial with a key that begins with `3f2a`; `python -m core.store` lists them
    """
    if str(trial).endswith(EXPERIMENT_FILES):
        return _loaded(Store(store), _entry_of(str(trial), store, variant, seed, overrides))
    if variant is not None or seed is not None or overrides:
        reason = f"`{trial}` is a key, which says already which trial is meant; only an experiment file has several"
        raise ConfigError(Problem("variant, seed, overrides", reason))
    return _loaded(Store(store), find_trial(Store(store), str(trial)))


def find_trial(store: Store, key: str) -> Entry:
    """The result of the trial with this key, or a unique beginning of it. Raises StoreError for none or several."""
    trials = [entry.meta["key"] for entry in store.entries() if entry.meta["step"] == "evaluate"]
    matches = [trial for trial in trials if trial.startswith(key)]
    if len(matches) != 1:
        several = f"several trials: {', '.join(matches[:5])}" if matches else "no trial"
        raise StoreError(
            f"{store.root}: {several} with a key that begins with `{key}`; `python -m core.store` lists them"
        )
    return store.read("evaluate", matches[0])


# ------------------------------------------------------------------------------------------ of an experiment file


def _entry_of(
    file: str,
    store: str | Path,
    variant: str | Mapping[str, Any] | None,
    seed: int | None,
    overrides: Sequence[str],
) -> Entry:
    """The result of one trial of an experiment file, wherever its trials were computed; no store is made."""
    places, described = workspaces(str(store)), check_core(read_document(file, overrides))
    if Path(store).is_dir():
        plans = [stored_plan(described, [place]) for place in places]
    else:
        plans = [plan_of(described, places[0])]
    chosen = _variant(plans[0], variant)
    _check_seed(plans[0], chosen, seed)
    for plan in plans:
        planned = _trial(plan, chosen, seed)
        if planned is not None and planned.last.ready(plan.workspace.store):
            return plan.workspace.read(planned.last)
    raise StoreError(_missing(plans[0], chosen, seed, str(store)))


def _variant(plan: Plan, reference: str | Mapping[str, Any] | None) -> Variant:
    """The one variant that is meant. Raises ConfigError where it is none or several."""
    meant = plan.variants if reference is None else select(plan.variants, reference)
    if len(meant) == 1:
        return meant[0]
    names = "; ".join(variant.name for variant in meant)
    wrong = f"say which one: {names}" if meant else reference_fault(plan.variants, reference)
    raise ConfigError(Problem("variant", wrong, plan.document.file))


def _check_seed(plan: Plan, variant: Variant, seed: int | None) -> None:
    """Raises ConfigError for a seed that the file does not have, or where none is given and results depend on it."""
    seeds = ", ".join(map(str, variant.experiment.seeds))
    if seed is not None and seed not in variant.experiment.seeds:
        raise ConfigError(Problem("seed", f"there is no seed {seed}; there are: {seeds}", plan.document.file))
    if seed is None and len(plan.trials_of(variant)) > 1:
        raise ConfigError(Problem("seed", f"say which one: {seeds}", plan.document.file))


def _trial(plan: Plan, variant: Variant, seed: int | None) -> PlannedTrial | None:
    """The trial of a variant with a seed, or the only one, which may depend on none; None where nothing is laid out."""
    trials = plan.trials_of(variant)
    return trials[0] if len(trials) == 1 else next((trial for trial in trials if trial.seed == seed), None)


def _missing(plan: Plan, variant: Variant, seed: int | None, store: str) -> str:
    """That the store lacks a trial, why as far as is known, and what computes it."""
    trial = _trial(plan, variant, seed)
    failure = known_failure(plan.workspace.store, trial) if trial else None
    name = trial.name if trial else variant.name if seed is None else f"{variant.name} · seed {seed}"
    why = f", which failed when it was last run ({failure})" if failure else ""
    why = why if plan.trials else " and its data set"
    return f"{store} lacks the trial {name} of {plan.document.file}{why}; compute it by: {run_command(plan, store)}"


# ------------------------------------------------------------------------------------------ from the store


def _loaded(store: Store, entry: Entry) -> Loaded:
    told = entry.json("trial.json")
    experiment, problems = check(told["experiment"], registry().specify)
    if experiment is None:
        raise StoreError(f"{entry.folder}: its configuration is not understood any more: {problems[0]}")
    workspace, seed = Workspace(store, torch.device("cpu")), told["seed"]
    planned = _as_computed(store, entry, experiment, seed)
    model = Model.of(experiment, list(experiment.model.interactions), planned.shapes)
    fit = next((step for step in evaluate_step(planned).walk() if step.name == "fit"), None)
    if fit is not None:
        if not fit.ready(store):
            raise StoreError(f"{entry.folder}: its weights are gone, or code or data changed since; run it again")
        stored = workspace.read(fit).tensors()
        model.load_state_dict({name: stored.get(f"model.{name}", start) for name, start in model.state_dict().items()})
    trained = fit if planned.main.config.trainable else None
    encoder = loaded_encoder(workspace, planned.main, seed, trained)
    reranker = _reranker(workspace, planned, entry)
    return Loaded(experiment, seed, model.eval(), encoder, entry.json()["metrics"], reranker)


def _as_computed(store: Store, entry: Entry, experiment: Experiment, seed: int) -> SeededVariant:
    """The trial on the kind of device that computed it, which its steps' keys depend on; it need not be there."""
    trials = [SeededVariant(place, experiment, seed) for place in workspaces(str(store.root))]
    return next((trial for trial in trials if evaluate_step(trial).key == entry.meta["key"]), trials[0])


def _reranker(workspace: Workspace, trial: SeededVariant, entry: Entry) -> TrainedReranker | None:
    rerank = trial.experiment.retrieve.rerank
    if rerank is None or not issubclass(registry().component("reranker", rerank), TrainedReranker):
        return None
    fit = fit_reranker_step(trial)
    if not fit.ready(workspace.store):
        raise StoreError(
            f"{entry.folder}: its reranker's weights are gone, or code or data changed since; run it again"
        )
    return fitted_reranker(workspace, fit, trial.experiment, trial.shapes)
