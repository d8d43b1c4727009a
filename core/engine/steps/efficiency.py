"""Efficiency: what one variant's retrieval costs on the machine that this runs on, and what its training cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Levels, Side, TrainedReranker
from ...contract.features import VideoFeatures
from ...contract.settings import Spec
from ...contract.store import Draft
from ...contract.tensorfile import map_tensors
from ...contract.terminal import progress
from ...plugins import registry
from ..efficiency import MappedVideoSide, Retrieval, VideoSide, as_side, retrieval_costs
from ..model import Model
from ..scoring import blocks
from ..scoring.blocks import items_a_block
from ..scoring.memory import FLOAT, allowed_floats
from .encode import feature_steps
from .first_stage import ranking, stored_banks
from .fit import encoder_fit
from .fit_reranker import fit_reranker_step, reranker_source
from .score import Scoring, scoring
from .seeded import SeededVariant, once_a_trial
from .split import FeatureInputs, ReadsFeatures, RetrievalSource, features_of
from .step import Step, Workspace
from .transforms import transformed
from .weights import fitted_reranker, trained_model

VERSION = 1
ANSWERS = 10
"""Videos that a query is given where nothing is re-ranked."""


@dataclass(frozen=True, kw_only=True)
class EfficiencyInputs(ReadsFeatures):
    """What the interactions and the reranker read: levels, weights, and the scores of a bank where one is asked for."""

    fit: Step | None = None
    bank: Mapping[str, Step] = field(default_factory=dict)
    fit_reranker: Step | None = None


@dataclass(frozen=True, kw_only=True)
class EfficiencySource(RetrievalSource):
    """What measuring reads besides: the configurations, after training, of the interactions that are used."""

    configs: Mapping[str, Any]


@once_a_trial
def efficiency_step(trial: SeededVariant) -> Step[EfficiencyInputs]:
    """Costs of the first seed, which stand for every seed's. Texts ask for videos, whatever is evaluated."""
    experiment, first = trial.experiment, trial.experiment.seeds[0]
    if trial.seed != first:
        return efficiency_step(SeededVariant(trial.workspace, experiment, first, trial.label))
    split, spec = experiment.evaluate.split, experiment.retrieve.rerank
    scored = {name: scoring(trial, name, split) for name in _used(trial, spec)}
    fields, stage = ranking(trial, "t2v", split)
    fields |= {
        "interactions": {name: part.fields for name, part in scored.items()},
        "device": trial.workspace.device.type,
        "threads": torch.get_num_threads(),
    }
    if spec is not None:
        fields |= {"rerank": spec.resolved(), "source": reranker_source(spec)}
    configs = {name: part.source.config for name, part in scored.items()}
    return Step(
        name="efficiency",
        version=VERSION,
        fields=fields,
        inputs=_inputs(trial, scored, stage.bank, spec),
        compute=compute,
        label=trial.labelled("measure"),
        payload=EfficiencySource(experiment=experiment, shapes=trial.shapes, split=trial.split(split), configs=configs),
    )


def _inputs(
    trial: SeededVariant, scored: Mapping[str, Scoring], bank: Mapping[str, Step], spec: Spec | None
) -> EfficiencyInputs:
    features = reduce(or_, [part.inputs.features for part in scored.values()], FeatureInputs())
    fit_reranker = None
    if spec is not None:
        cls = registry().component("reranker", spec)
        levels: Levels = cls.reads(spec.fields)
        features |= feature_steps(trial, trial.scored_split, levels, encoder_fit(trial))
        fit_reranker = fit_reranker_step(trial) if issubclass(cls, TrainedReranker) else None
    fits = [part.inputs.fit for part in scored.values() if part.inputs.fit is not None]  # one, where there is any
    return EfficiencyInputs(features=features, fit=next(iter(fits), None), bank=bank, fit_reranker=fit_reranker)


def _used(trial: SeededVariant, spec: Spec | None) -> list[str]:
    """Interactions that retrieval uses, in the model's order."""
    wanted = registry().component("reranker", spec).interactions(spec.fields) if spec is not None else ()
    names = {*trial.experiment.retrieve.first_stage, *wanted}
    return [name for name in trial.experiment.model.interactions if name in names]


def compute(workspace: Workspace, members: list[Step[EfficiencyInputs]], drafts: list[Draft]) -> None:
    """`result.json`: costs by name, `cost/…`."""
    step, draft = members[0], drafts[0]
    text, video = features_of(workspace, step)
    retrieval = _retrieval(workspace, step)
    scratch = draft.folder / "sides"
    retrieval = retrieval.over(video, gallery_sides(retrieval, video, scratch, step.label))
    costs = retrieval_costs(retrieval, text, video) | _training(workspace, step)
    scratch.unlink(missing_ok=True)
    draft.json(costs)
    draft.info |= {"label": step.label, **{name: step.fields[name] for name in ("device", "threads")}}


def _retrieval(workspace: Workspace, step: Step[EfficiencyInputs]) -> Retrieval:
    """The variant's retrieval with trained weights, before it has a gallery."""
    source: EfficiencySource = step.payload
    experiment, reranker = source.experiment, None
    spec = experiment.retrieve.rerank
    if step.inputs.fit_reranker is not None:
        reranker = fitted_reranker(workspace, step.inputs.fit_reranker, experiment, source.shapes)
    elif spec is not None:
        reranker = registry().make("reranker", spec, source.shapes).eval()
    return Retrieval(
        model=_model(workspace, step),
        first_stage=tuple(experiment.retrieve.first_stage),
        mixed=_mixing(workspace, step),
        reranker=reranker,
        top_k=spec.fields.top_k if spec is not None else ANSWERS,
        device=workspace.device,
    )


def _mixing(workspace: Workspace, step: Step[EfficiencyInputs]) -> Callable[[Sequence[Tensor]], Tensor]:
    """What makes one matrix of the first stage's, with its score transforms; their banks are in memory before."""
    retrieve = step.payload.experiment.retrieve
    banks = stored_banks(workspace, step.inputs.bank, retrieve.first_stage)
    weights = retrieve.first_stage.values()
    return lambda scores: transformed(retrieve.transforms, list(zip(weights, scores, banks, strict=True)))


def _model(workspace: Workspace, step: Step[EfficiencyInputs]) -> Model:
    """The part of the model that retrieval uses, in evaluation mode; transforms that interactions share are in it
    once."""
    source: EfficiencySource = step.payload
    model = trained_model(workspace, step.inputs.fit, source.experiment, source.shapes, source.configs)
    for name, config in source.configs.items():
        model.interaction(name).config = config
    return model


def gallery_sides(retrieval: Retrieval, video: VideoFeatures, scratch: Path, label: str) -> dict[str, VideoFeatures]:
    """Sides of all the videos: where they are made if they fit into what scoring may take, else mapped onto a file."""
    rooms: dict[str, Side] = {}
    for part in progress(list(blocks(len(video), items_a_block(video, retrieval.device))), label):
        sides = {name: as_side(features) for name, features in retrieval.offline(video[part]).items()}
        rooms = rooms or _rooms(sides, len(video), scratch)
        for name, side in sides.items():
            for level, tensor in side.items():
                rooms[name][level][part] = tensor
    kept = MappedVideoSide if scratch.exists() else VideoSide
    return {name: kept.made(side, len(video)) for name, side in rooms.items()}


def _rooms(first: Mapping[str, Side], videos: int, scratch: Path) -> dict[str, Side]:
    """Room for so many videos, by what was made of the first ones; in the file `scratch` where it would be too much."""
    tensors = [tensor for side in first.values() for tensor in side.values()]
    shapes = [(videos, *tensor.shape[1:]) for tensor in tensors]
    size = videos * sum(tensor[0].numel() * tensor.element_size() for tensor in tensors)
    if tensors and size > FLOAT * allowed_floats(tensors[0].device):
        pairs = zip(shapes, tensors, strict=True)
        layout = {str(number): (shape, tensor.dtype) for number, (shape, tensor) in enumerate(pairs)}
        empty = iter(map_tensors(scratch, layout).values())
    else:
        empty = (tensor.new_empty(shape) for shape, tensor in zip(shapes, tensors, strict=True))
    return {name: {level: next(empty) for level in side} for name, side in first.items()}


def _training(workspace: Workspace, step: Step[EfficiencyInputs]) -> dict[str, float]:
    """Seconds of its fits, validation among them, and the peak of the one that took most memory, where that was seen;
    0 where nothing is trained."""
    fits = [workspace.read(fit) for fit in (step.inputs.fit, step.inputs.fit_reranker) if fit is not None]
    seconds = sum(record["seconds"] for fit in fits for record in fit.json("history.json"))
    peaks = [fit.info["peak_bytes"] for fit in fits if fit.info.get("peak_bytes") is not None]
    costs = {"cost/training_seconds": float(seconds)}
    return costs | ({"cost/training_peak_bytes": max(peaks, default=0)} if len(peaks) == len(fits) else {})
