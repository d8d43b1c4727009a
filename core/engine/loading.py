"""A finished trial, brought back: its configuration, its encoder and its model with trained weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..contract.components import Encoder, TrainedReranker
from ..contract.store import Entry, Store
from ..errors import StoreError
from ..experiment.config import Experiment, check
from ..plugins import registry
from .execute import ensure_after_others
from .model import Model
from .plan import Plan
from .steps.evaluate import evaluate_step
from .steps.fit_reranker import fit_reranker_step
from .steps.step import Workspace
from .steps.trial import Trial
from .steps.weights import fitted_reranker, loaded_encoder


@dataclass(frozen=True)
class Loaded:
    """A trial: `model`, `encoder` and a trained `reranker` in evaluation mode, on the CPU; `metrics` as reported."""

    experiment: Experiment
    seed: int
    model: Model
    encoder: Encoder
    metrics: dict[str, float]
    reranker: TrainedReranker | None = None


def load(trial: str, store: str | Path = "store") -> Loaded:
    """The trial with this key (the `trial` tag in MLflow; a unique beginning will do).

    Interactions that the trial does not use are as at the start of training. Raises StoreError where no trial, or
    several, have such a key, or where the trained weights are gone.

    >>> import core
    >>> try:
    ...     core.load("3f2a", store="/no/such/store")
    ... except core.StoreError as fault:
    ...     print(fault)
    /no/such/store: no trial with a key that begins with `3f2a`; `python -m core.store` lists them
    """
    workspace = Workspace(Store(store), torch.device("cpu"))
    entry = find_trial(workspace.store, trial)
    told = entry.json("trial.json")
    experiment, problems = check(told["experiment"], registry().specify)
    if experiment is None:
        raise StoreError(f"{entry.folder}: its configuration is not understood any more: {problems[0]}")
    planned = Trial(workspace, experiment, told["seed"])
    model = Model.of(experiment, list(experiment.model.interactions), planned.shapes)
    fit = next((step for step in evaluate_step(planned).walk() if step.name == "fit"), None)
    if fit is not None:
        if not fit.ready(workspace.store):
            raise StoreError(f"{entry.folder}: its weights are gone, or code or data changed since; run it again")
        stored = workspace.read(fit).tensors()
        model.load_state_dict({name: stored.get(f"model.{name}", given) for name, given in model.state_dict().items()})
    trained = fit if planned.main.config.trainable else None
    encoder = loaded_encoder(workspace, planned.main, told["seed"], trained)
    return Loaded(experiment, told["seed"], model.eval(), encoder, entry.json()["metrics"], _reranker(planned, entry))


def _reranker(trial: Trial, entry: Entry) -> TrainedReranker | None:
    rerank = trial.experiment.retrieve.rerank
    if rerank is None or not issubclass(registry().component("reranker", rerank), TrainedReranker):
        return None
    fit = fit_reranker_step(trial)
    if not fit.ready(trial.workspace.store):
        raise StoreError(
            f"{entry.folder}: its reranker's weights are gone, or code or data changed since; run it again"
        )
    return fitted_reranker(trial.workspace, fit, trial.experiment, trial.shapes)


def find_trial(store: Store, key: str) -> Entry:
    """The result of the trial with this key, or a unique beginning of it. Raises StoreError for none or several."""
    trials = [entry.meta["key"] for entry in store.entries() if entry.meta["step"] == "evaluate"]
    found = [known for known in trials if known.startswith(key)]
    if len(found) != 1:
        several = f"several trials: {', '.join(found[:5])}" if found else "no trial"
        raise StoreError(
            f"{store.root}: {several} with a key that begins with `{key}`; `python -m core.store` lists them"
        )
    return store.read("evaluate", found[0])


def trained_encoder(plan: Plan) -> Encoder:
    """The encoder of a plan's first trial, as trained where it was, on the CPU.

    Raises UserError where its training is not in the store and fails.
    """
    trial = plan.trials[0]
    encoder = plan.workspace.encoder(next(iter(trial.variant.experiment.encoder.values())))
    fits = [step for step in trial.last.walk() if step.name == "fit" and encoder.config.trainable]
    for fit in fits:
        ensure_after_others(plan, plan.steps[fit.name, fit.key])
    return loaded_encoder(plan.workspace, encoder, trial.seed or 0, fits[0] if fits else None).to("cpu")
