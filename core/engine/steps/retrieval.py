"""A variant's retrieval, from what is stored: its rows and features, its model, its first stage, its re-ranked
candidates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Interaction, Shapes, Split, TrainedReranker
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.settings import Spec
from ...experiment.config import Experiment
from ...plugins import registry
from ..index import completed
from ..model import Model
from ..scoring import blocks, candidates_of, rerank
from ..scoring.memory import block_floats
from .split import Kept, inputs_of, kept, read_features
from .step import Step, Workspace
from .transforms import transformed

FEATURES = ("text/", "video/", "skip/")
"""Inputs that are levels of a split, or say which of its videos were skipped."""


@dataclass(frozen=True, kw_only=True)
class RetrievalSource:
    """What a step of retrieval reads beside its inputs: `split` is searched, in one direction, by one seed's trial."""

    experiment: Experiment
    shapes: Shapes
    split: Split
    direction: str = "t2v"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoreSource(RetrievalSource):
    """What scoring reads besides; `config` is the interaction's, with its settings after training.

    bank: a split whose queries ask the gallery of `split`, in the place of its own, in this `direction`.
    """

    interaction: str
    config: Any
    bank: Split | None = None

    @property
    def ids(self) -> tuple[list[str], list[str]]:
        """Ids of the texts and of the videos that are scored with each other."""
        asking = self.bank or self.split
        texts, videos = (asking, self.split) if self.direction == "t2v" else (self.split, asking)
        return [text.id for text in texts.texts], [video.id for video in videos.videos]


def feature_steps(inputs: Mapping[str, Step]) -> dict[str, Step]:
    """Those of a step's inputs that say what the rows of a split are."""
    return {name: step for name, step in inputs.items() if name.startswith(FEATURES)}


def rows_of(workspace: Workspace, step: Step) -> Kept:
    """The rows of its payload's split that a step scores or ranks, found once a process."""
    split, steps = step.payload.split, feature_steps(step.inputs)
    key = ("kept", id(split), *sorted(given.key for given in steps.values()))
    return workspace.once(key, lambda: kept(workspace, split, steps))


def features_of(workspace: Workspace, step: Step) -> tuple[TextFeatures, VideoFeatures]:
    """The levels of a split that are a step's inputs."""
    return read_features(workspace, rows_of(workspace, step), feature_steps(step.inputs))


def trained_model(
    workspace: Workspace, inputs: Mapping[str, Step], source: RetrievalSource, names: Iterable[str]
) -> Model:
    """The part of the model that some interactions need, with its trained weights, in evaluation mode.

    Only what has no parameters can be without a stored tensor.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # buffers that are drawn are the same wherever they are not trained
        model = Model.of(source.experiment, names, source.shapes)
    if "fit" in inputs:
        stored, weights = workspace.read(inputs["fit"]).tensors(), dict(model.named_parameters())
        buffers = {name: given for name, given in model.state_dict().items() if name not in weights}
        trained = {name: stored[f"model.{name}"] for name in weights}
        model.load_state_dict(trained | {name: stored.get(f"model.{name}", given) for name, given in buffers.items()})
    return model.to(workspace.device).eval()


def loaded_model(workspace: Workspace, inputs: Mapping[str, Step], source: ScoreSource) -> tuple[Model, Interaction]:
    """One interaction, and the part of the model that it needs."""
    model = trained_model(workspace, inputs, source, [source.interaction])
    return model, model.interaction(source.interaction)


def stored_scores(workspace: Workspace, step: Step) -> Tensor:
    """Scores as a step has stored them, mapped from their file."""
    return workspace.read(step).tensors()["scores"]


def stored_banks(workspace: Workspace, step: Step, names: Iterable[str]) -> list[Tensor | None]:
    """The bank's scores by each interaction of the first stage; None where no score transform needs one."""
    steps = [step.inputs.get(f"bank/{name}") for name in names]
    return [None if bank is None else stored_scores(workspace, bank) for bank in steps]


class FirstStage:
    """The first stage's scores: mixed as they are read, in blocks of queries, from matrices that stay in their files.

    Score transforms look at the whole matrix, as it is asked in one direction (None: the step's own field): where there
    are any it is in memory.
    """

    def __init__(self, workspace: Workspace, step: Step, weights: Mapping[str, float], direction: str | None = None):
        def asked(scores: Tensor) -> Tensor:
            return scores if (direction or step.fields["direction"]) == "t2v" else scores.T

        self._matrices = [
            (weight, stored_scores(workspace, step.inputs[f"first_stage/{name}"])) for name, weight in weights.items()
        ]
        transforms = step.payload.experiment.retrieve.transforms
        if transforms:
            banks = [None if bank is None else asked(bank) for bank in stored_banks(workspace, step, weights)]
            stages = [(weight, asked(m), bank) for (weight, m), bank in zip(self._matrices, banks, strict=True)]
            self._matrices = [(1.0, asked(transformed(transforms, stages)))]
        self.index = workspace.read(step.inputs["index"]).tensors() if "index" in step.inputs else {}

    def rows(self, direction: str, part: slice = slice(None)) -> Tensor:
        """[queries of the part, gallery]"""
        scores = sum(weight * (m[part] if direction == "t2v" else m[:, part].T) for weight, m in self._matrices)
        assert isinstance(scores, Tensor)
        return scores.contiguous()

    def blocks(self, direction: str) -> Iterator[tuple[slice, Tensor]]:
        """(queries, their scores [queries, gallery])"""
        queries, gallery = self._matrices[0][1].shape[:: 1 if direction == "t2v" else -1]
        for part in blocks(queries, block_floats() // (8 * max(1, gallery))):
            yield part, self.rows(direction, part)

    def candidates(self, direction: str, top_k: int) -> tuple[Tensor, Tensor]:
        """Each query's candidates [Q, K], the best or those that the index found, and their scores [Q, K]."""
        chosen, known = [], []
        for part, scores in self.blocks(direction):
            found = self.index.get("found")
            best = candidates_of(scores, top_k) if found is None else completed(found[part, :top_k], scores)
            chosen.append(best)
            known.append(scores.gather(1, best))
        return torch.cat(chosen), torch.cat(known)


def rerank_candidates(
    workspace: Workspace, step: Step, rows: Kept, spec: Spec, candidates: Tensor, first_stage: Tensor
) -> Tensor:
    """New scores [Q, K] of the candidates [Q, K], from their scores by the first stage and by other interactions."""
    top_k, source = candidates.shape[1], step.payload
    scored = inputs_of(step, "candidates")
    pair_scores = {name: stored_scores(workspace, s)[:, :top_k] for name, s in scored.items()}
    pair_scores["first_stage"] = first_stage.float()
    if "match" in step.inputs:
        reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], source.experiment, source.shapes)
        return reranker.fuse(stored_scores(workspace, step.inputs["match"])[:, :top_k], pair_scores)
    reranker = registry().make("reranker", spec, source.shapes)
    text, video = TextFeatures(), VideoFeatures()
    if any(reranker.reads(spec.fields)):
        text, video = read_features(workspace, rows, feature_steps(step.inputs))
    return rerank(reranker, text, video, candidates, pair_scores, videos_ask=step.fields["direction"] == "v2t")


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
