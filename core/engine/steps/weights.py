"""Encoders, parts of the model and rerankers, brought back with what fits have stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from ...contract.components import Encoder, Shapes, TrainedReranker
from ...contract.settings import Spec
from ...experiment.config import Experiment
from ...plugins import registry
from ..model import Model
from .step import Step, Workspace


def loaded_encoder(workspace: Workspace, encoder: Encoder, seed: int, fit: Step | None) -> Encoder:
    """The encoder with weights on the device, in evaluation mode: trained ones where it was fitted."""
    wanted = (seed if encoder.random_start else None, fit and fit.key)
    if workspace.weights.get(encoder) != wanted:
        workspace.weights.pop(encoder, None)
        encoder.load(seed)
        if fit is not None:
            state = workspace.read(fit).tensors()
            trained = {n.removeprefix("encoder."): t for n, t in state.items() if n.startswith("encoder.")}
            encoder.load_state_dict(trained)
        workspace.weights[encoder] = wanted
    return encoder.to(workspace.device).eval()


def trained_model(
    workspace: Workspace, fit: Step | None, experiment: Experiment, shapes: Shapes, names: Iterable[str]
) -> Model:
    """The part of the model that some interactions need, with its trained weights, in evaluation mode.

    Only what has no parameters can be without a stored tensor.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # buffers that are drawn are the same wherever they are not trained
        model = Model.of(experiment, names, shapes)
    if fit is not None:
        stored, weights = workspace.read(fit).tensors(), dict(model.named_parameters())
        buffers = {name: value for name, value in model.state_dict().items() if name not in weights}
        trained = {name: stored[f"model.{name}"] for name in weights}
        model.load_state_dict(trained | {name: stored.get(f"model.{name}", value) for name, value in buffers.items()})
    return model.to(workspace.device).eval()


def fitted_reranker(workspace: Workspace, fit: Step, experiment: Experiment, shapes: Shapes) -> TrainedReranker:
    """The experiment's reranker with trained weights, in evaluation mode; `alpha` as chosen where it was left open."""
    spec, entry = experiment.retrieve.rerank, workspace.read(fit)
    assert spec is not None
    if spec.fields.alpha is None:
        spec = Spec(spec.name, replace(spec.fields, alpha=entry.json("chosen.json")["alpha"]))
    reranker = registry().make("reranker", spec, shapes)
    stored = entry.tensors()
    reranker.load_state_dict({name: stored[f"reranker.{name}"] for name in reranker.state_dict()})
    return reranker.to(workspace.device).eval()
