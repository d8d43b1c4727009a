"""Scores of each query's candidates, in first-stage order, so that fewer candidates are the first columns; and what an
interaction measures of each text with its own video."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...contract.store import Draft
from ..scoring import Sides, diagnose_pairs, pair_rows
from ..scoring import match_candidates as match
from ..scoring import score_candidates as score
from .retrieval import FirstStage, RetrievalSource, features_of, fitted_reranker, rows_of, stored_scores
from .scoring import refuse_non_finite, sides_of
from .step import Step, Workspace

Score = Callable[[Tensor, Tensor, Tensor], list[Tensor]]
"""(text rows [P], video rows [P], first-stage scores [P]) -> scores [P] of each member."""


def score_candidates(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [Q, K] by one interaction, for each member's settings."""
    sides = sides_of(workspace, members[0])
    configs = [member.payload.config for member in members]
    _extend(workspace, members, drafts, lambda texts, videos, _: score(sides, configs, texts, videos))


def diagnose(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """What one interaction measures of each text with its own video, [B_t] in percent, by name."""
    step, draft, rows = members[0], drafts[0], rows_of(workspace, members[0])
    sides = sides_of(workspace, step)
    sides.part.config = step.payload.config
    found = diagnose_pairs(sides, rows.own)
    for values in found.values():
        refuse_non_finite(values[:, None], step.label, rows.text_ids)
    draft.save({name: 100 * values for name, values in found.items()})
    draft.info |= {"label": step.label}


def match_candidates(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Matching scores [Q, K] by a trained reranker."""
    step = members[0]
    reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], step.payload.experiment, step.payload.shapes)
    sides = Sides(reranker, *features_of(workspace, step), device=workspace.device, label=step.label)

    def scores(texts: Tensor, videos: Tensor, first: Tensor) -> list[Tensor]:
        return [match(sides, texts, videos, {"first_stage": first})]

    _extend(workspace, members, drafts, scores)


def _extend(workspace: Workspace, members: list[Step], drafts: list[Draft], score_pairs: Score) -> None:
    """Fill each draft; columns that an earlier entry holds are kept."""
    source: RetrievalSource = members[0].payload
    top_k = max(member.covers or 0 for member in members)
    stage = FirstStage(workspace, members[0], members[0].fields["first_stage"])
    found, known = stage.candidates(source.direction, top_k)
    before = [
        stored_scores(workspace, member) if workspace.store.has(member.name, member.key) else None for member in members
    ]
    start = min(0 if old is None else old.shape[1] for old in before)
    pairs = pair_rows(found[:, start:], videos_ask=source.direction == "v2t")
    made = score_pairs(*pairs, known[:, start:].reshape(-1).float())
    rows = rows_of(workspace, members[0])
    ids = rows.text_ids if source.direction == "t2v" else rows.video_ids
    for member, draft, old, new in zip(members, drafts, before, made, strict=True):
        scores = new.reshape(len(found), -1)
        if old is not None:
            scores = torch.cat([old[:, :start], scores], dim=1)
        refuse_non_finite(scores, member.label, ids)
        draft.save({"scores": scores})
        draft.info |= {"label": member.label, "covers": top_k}
