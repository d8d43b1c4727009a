"""A variant's first stage, from what is stored; the candidates that it gives, and how their scores are extended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...contract.store import Draft
from ...plugins import registry
from ..index import completed
from ..scoring import blocks, candidates_of, pair_rows
from ..scoring.memory import block_floats
from .index import index_step
from .score import refuse_non_finite, score_step
from .seeded import SeededVariant
from .split import RetrievalSource, rows_of
from .step import Inputs, Step, Workspace, source_of
from .transforms import transformed

Score = Callable[[Tensor, Tensor, Tensor], list[Tensor]]
"""(text rows [P], video rows [P], first-stage scores [P]) -> scores [P] of each member."""


@dataclass(frozen=True, kw_only=True)
class StageInputs(Inputs):
    """Scores by each interaction of the first stage and, where a score transform asks for one, of a bank's queries with
    the gallery; what an approximate index finds, where there is one."""

    first_stage: Mapping[str, Step]
    bank: Mapping[str, Step] = field(default_factory=dict)
    index: Step | None = None


class Ranking(NamedTuple):
    """What any step reads that ranks or searches by the first stage."""

    fields: dict[str, Any]
    inputs: StageInputs


def ranking(trial: SeededVariant, direction: str, split: str, top_k: int | None = None) -> Ranking:
    """By the first stage's matrix; top_k: candidates that are searched for, by an index where there is one."""
    retrieve = trial.experiment.retrieve
    transforms = retrieve.transforms.values()
    fields = {
        "direction": direction,
        "first_stage": dict(retrieve.first_stage),
        "score_transforms": [[spec.resolved(), source_of("score_transform", spec)] for spec in transforms],
    }
    needs_bank = any(registry().component("score_transform", spec).needs_bank for spec in transforms)
    inputs = StageInputs(
        first_stage={name: score_step(trial, name, split) for name in retrieve.first_stage},
        bank={name: score_step(trial, name, split, direction) for name in retrieve.first_stage if needs_bank},
        index=None if top_k is None else index_step(trial, direction, split, top_k),
    )
    return Ranking(fields, inputs)


def stored_scores(workspace: Workspace, step: Step) -> Tensor:
    """Scores as a step has stored them, mapped from their file."""
    return workspace.read(step).tensors()["scores"]


def stored_banks(workspace: Workspace, bank: Mapping[str, Step], names: Iterable[str]) -> list[Tensor | None]:
    """The bank's scores by each interaction of the first stage; None where no score transform needs one."""
    return [stored_scores(workspace, bank[name]) if name in bank else None for name in names]


class FirstStage:
    """The first stage's scores: mixed as they are read, in blocks of queries, from matrices that stay in their files.

    Score transforms look at the whole matrix, as it is asked in one direction (None: the step's own field): where there
    are any it is in memory.
    """

    def __init__(self, workspace: Workspace, step: Step, weights: Mapping[str, float], direction: str | None = None):
        def asked(scores: Tensor) -> Tensor:
            return scores if (direction or step.fields["direction"]) == "t2v" else scores.T

        stage: StageInputs = step.inputs.stage
        self._matrices = [
            (weight, stored_scores(workspace, stage.first_stage[name])) for name, weight in weights.items()
        ]
        transforms = step.payload.experiment.retrieve.transforms
        if transforms:
            banks = [None if bank is None else asked(bank) for bank in stored_banks(workspace, stage.bank, weights)]
            stages = [(weight, asked(m), bank) for (weight, m), bank in zip(self._matrices, banks, strict=True)]
            self._matrices = [(1.0, asked(transformed(transforms, stages)))]
        self.index = {} if stage.index is None else workspace.read(stage.index).tensors()

    def rows(self, direction: str, part: slice = slice(None)) -> Tensor:
        """[queries of the part, gallery]"""
        scores = sum(weight * (m[part] if direction == "t2v" else m[:, part].T) for weight, m in self._matrices)
        assert isinstance(scores, Tensor)
        return scores.contiguous()

    def blocks(self, direction: str) -> Iterator[tuple[slice, Tensor]]:
        """(queries, their scores [queries, gallery])"""
        texts, videos = self._matrices[0][1].shape
        queries, gallery = (texts, videos) if direction == "t2v" else (videos, texts)
        for part in blocks(queries, block_floats() // (8 * max(1, gallery))):
            yield part, self.rows(direction, part)

    def candidates(self, direction: str, top_k: int) -> tuple[Tensor, Tensor]:
        """Each query's candidates [Q, K], the best or those that the index found, and their scores [Q, K]."""
        by_index = self.index.get("found")
        candidates, candidate_scores = [], []
        for part, scores in self.blocks(direction):
            best = candidates_of(scores, top_k) if by_index is None else completed(by_index[part, :top_k], scores)
            candidates.append(best)
            candidate_scores.append(scores.gather(1, best))
        return torch.cat(candidates), torch.cat(candidate_scores)


def extend_candidates(workspace: Workspace, members: list[Step], drafts: list[Draft], score_pairs: Score) -> None:
    """Fill each draft with scores [Q, K] of each query's candidates, in first-stage order, so that fewer candidates are
    the first columns; columns that an earlier entry holds are kept."""
    source: RetrievalSource = members[0].payload
    top_k = max(member.top_k_stored or 0 for member in members)
    stage = FirstStage(workspace, members[0], members[0].fields["first_stage"])
    candidates, first = stage.candidates(source.direction, top_k)
    before = [
        stored_scores(workspace, member) if workspace.store.has(member.name, member.key) else None for member in members
    ]
    start = min(0 if old is None else old.shape[1] for old in before)
    pairs = pair_rows(candidates[:, start:], videos_ask=source.direction == "v2t")
    columns = score_pairs(*pairs, first[:, start:].reshape(-1).float())
    rows = rows_of(workspace, members[0])
    ids = rows.text_ids if source.direction == "t2v" else rows.video_ids
    for member, draft, old, new in zip(members, drafts, before, columns, strict=True):
        scores = new.reshape(len(candidates), -1)
        if old is not None:
            scores = torch.cat([old[:, :start], scores], dim=1)
        refuse_non_finite(scores, member.label, ids)
        draft.save({"scores": scores})
        draft.info |= {"label": member.label, "covers": top_k}
