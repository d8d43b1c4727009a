"""The rankings that a variant passes through, from scores that the store holds. Q queries, K candidates, B_v videos."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...contract.settings import Mixture, Spec
from ...engine.steps.first_stage import FirstStage
from ...engine.steps.rank import rerank_candidates
from ...engine.steps.split import Kept
from ...engine.steps.step import Step, Workspace
from ...experiment.config.schema import Retrieve
from ...measure.metrics import Relevance
from ...plugins import registry

FIRST = "first_stage"


@dataclass(frozen=True)
class Stage:
    """One ranking of the videos for every text.

    name: what made it. added: interactions that came in here. matrix: scores of all pairs. candidates, new [Q, K]: who
    got other scores than the matrix has, and which; None where nobody did.
    """

    name: str
    added: tuple[str, ...]
    matrix: FirstStage = field(repr=False)
    candidates: Tensor | None = field(default=None, repr=False)
    new: Tensor | None = field(default=None, repr=False)

    def ranked(self, part: slice) -> tuple[Tensor, Tensor]:
        """Videos of some queries, best first, and their scores, [queries, B_v] both; equal scores in order of the
        stage before, then of the gallery. The score is nan for videos that were not re-ranked."""
        return self._ordered(part, self.matrix.rows("t2v", part))

    def first_right(self, relevance: Relevance) -> NDArray[np.int64]:
        """The place, from 1, of the best placed relevant video of each query, [Q]."""
        places = []
        for part, scores in self.matrix.blocks("t2v"):
            order, _ = self._ordered(part, scores)
            right = torch.zeros(order.shape, dtype=torch.bool)
            for row, query in enumerate(range(len(relevance.degree))[part]):
                right[row, torch.from_numpy(relevance.rows(query))] = True
            places.append(right.gather(1, order).int().argmax(1) + 1)
        return torch.cat(places).numpy()

    def _ordered(self, part: slice, scores: Tensor) -> tuple[Tensor, Tensor]:
        ordered, order = scores.sort(dim=1, descending=True, stable=True)
        if self.candidates is None or self.new is None:
            return order, ordered
        new, by = self.new[part].sort(dim=1, descending=True, stable=True)
        candidates = self.candidates[part]
        chosen = torch.zeros(order.shape, dtype=torch.bool).scatter_(1, candidates, True)
        others = order[~chosen.gather(1, order)].view(len(order), -1)
        unknown = torch.full(others.shape, torch.nan)
        return torch.cat([candidates.gather(1, by), others], dim=1), torch.cat([new, unknown], dim=1)


def stage_count(retrieve: Retrieve) -> int:
    """How many rankings `stages` gives under this section of an experiment."""
    return len(retrieve.first_stage) if retrieve.rerank is None else 1 + len(_rerankings(retrieve, retrieve.rerank))


def stages(workspace: Workspace, rank: Step, rows: Kept) -> list[Stage]:
    """Of a rank step t2v: without re-ranking its first stage, one interaction after another; else its first stage, and
    its re-ranked candidates, where the reranker has `weights` with one of them more at a time.

    Raises StoreError where scores were removed from the store.
    """
    retrieve: Retrieve = rank.payload.experiment.retrieve
    weights, spec = retrieve.first_stage, retrieve.rerank
    transforms = "".join(f", {transform.name}" for transform in retrieve.transforms.values())
    if spec is None:
        parts = _growing(weights)
        names = [f"first stage: {_told(parts[0])}{transforms}", *(f"+ {_told(_last(part))}" for part in parts[1:])]
        return [
            Stage(name, tuple(_last(part)), FirstStage(workspace, rank, part))
            for name, part in zip(names, parts, strict=True)
        ]
    matrix = FirstStage(workspace, rank, weights)
    candidates, scores = matrix.candidates("t2v", spec.fields.top_k)
    rankings = [Stage(f"first stage: {_told(weights)}{transforms}", tuple(weights), matrix)]
    for name, added, narrowed in _rerankings(retrieve, spec):
        rankings.append(
            Stage(
                name, added, matrix, candidates, rerank_candidates(workspace, rank, rows, narrowed, candidates, scores)
            )
        )
    return rankings


def _rerankings(retrieve: Retrieve, spec: Spec) -> list[tuple[str, tuple[str, ...], Spec]]:
    """(name, interactions that come in, reranker) of each ranking after the first stage. A first weight that only
    repeats the first stage makes none of its own."""
    cls, start = registry().component("reranker", spec), f"best {spec.fields.top_k} re-ranked"
    if "weights" not in cls.after_training or not isinstance(spec.fields.weights, dict):
        return [(f"{start} by {spec.name}", cls.interactions(spec.fields), spec)]
    parts = _growing(spec.fields.weights)
    ((begun, weight),) = parts[0].items()
    repeats = begun == FIRST or ([begun] == list(retrieve.first_stage) and not retrieve.transforms)
    parts = parts[1:] if repeats and weight > 0 and len(parts) > 1 else parts
    names = [f"{start} by {_told(parts[0])}", *(f"+ {_told(_last(part))}" for part in parts[1:])]
    return [
        (name, tuple(_last(part)), Spec(spec.name, replace(spec.fields, weights=part)))
        for name, part in zip(names, parts, strict=True)
    ]


def _growing(weights: Mixture) -> list[Mixture]:
    """The first weight, the first two, and so on."""
    items = list(weights.items())
    return [dict(items[:count]) for count in range(1, len(items) + 1)]


def _last(weights: Mixture) -> Mixture:
    return dict(list(weights.items())[-1:])


def _told(weights: Mixture) -> str:
    """`0.5 video + frame`"""
    return " + ".join(f"{name}" if weight == 1 else f"{weight:g} {name}" for name, weight in weights.items())
