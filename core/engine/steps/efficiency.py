"""What one variant's retrieval costs on the machine that this runs on, and what its training cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...contract.components import Side
from ...contract.features import VideoFeatures
from ...contract.store import Draft
from ...contract.tensorfile import map_tensors
from ...contract.terminal import progress
from ...plugins import registry
from ..efficiency import MappedVideoSide, Retrieval, VideoSide, as_side, retrieval_costs
from ..model import Model
from ..scoring import blocks
from ..scoring.blocks import items_a_block
from ..scoring.memory import FLOAT, allowed_floats
from .retrieval import RetrievalSource, features_of, fitted_reranker, stored_banks, trained_model
from .step import Step, Workspace
from .transforms import transformed

ANSWERS = 10
"""Videos that a query is given where nothing is re-ranked."""
FITS = ("fit", "fit_reranker")


@dataclass(frozen=True, kw_only=True)
class EfficiencySource(RetrievalSource):
    """What measuring reads besides: the configurations, after training, of the interactions that are used."""

    configs: Mapping[str, Any]


def efficiency(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
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


def _retrieval(workspace: Workspace, step: Step) -> Retrieval:
    """The variant's retrieval with trained weights, before it has a gallery."""
    source: EfficiencySource = step.payload
    experiment, reranker = source.experiment, None
    spec = experiment.retrieve.rerank
    if "fit_reranker" in step.inputs:
        reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], experiment, source.shapes)
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


def _mixing(workspace: Workspace, step: Step) -> Callable[[Sequence[Tensor]], Tensor]:
    """What makes one matrix of the first stage's, with its score transforms; their banks are in memory before."""
    retrieve = step.payload.experiment.retrieve
    banks = stored_banks(workspace, step, retrieve.first_stage)
    weights = retrieve.first_stage.values()
    return lambda scores: transformed(retrieve.transforms, list(zip(weights, scores, banks, strict=True)))


def _model(workspace: Workspace, step: Step) -> Model:
    """The part of the model that retrieval uses, in evaluation mode; transforms that interactions share are in it
    once."""
    source: EfficiencySource = step.payload
    model = trained_model(workspace, step.inputs, source, source.configs)
    for name, config in source.configs.items():
        model.interaction(name).config = config
    return model


def gallery_sides(retrieval: Retrieval, video: VideoFeatures, scratch: Path, label: str) -> dict[str, VideoFeatures]:
    """Sides of all the videos: where they are made if they fit into what scoring may take, else mapped onto a file."""
    rooms: dict[str, Side] = {}
    for part in progress(list(blocks(len(video), items_a_block(video, retrieval.device))), label):
        made = {name: as_side(features) for name, features in retrieval.offline(video[part]).items()}
        rooms = rooms or _rooms(made, len(video), scratch)
        for name, side in made.items():
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
        made = iter(map_tensors(scratch, layout).values())
    else:
        made = (tensor.new_empty(shape) for shape, tensor in zip(shapes, tensors, strict=True))
    return {name: {level: next(made) for level in side} for name, side in first.items()}


def _training(workspace: Workspace, step: Step) -> dict[str, float]:
    """Seconds of its fits, validation among them, and the peak of the one that took most memory, where that was seen;
    0 where nothing is trained."""
    fits = [workspace.read(step.inputs[name]) for name in FITS if name in step.inputs]
    seconds = sum(record["seconds"] for fit in fits for record in fit.json("history.json"))
    peaks = [fit.info["peak_bytes"] for fit in fits if fit.info.get("peak_bytes") is not None]
    found = {"cost/training_seconds": float(seconds)}
    return found | ({"cost/training_peak_bytes": max(peaks, default=0)} if len(peaks) == len(fits) else {})
