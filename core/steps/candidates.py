"""Scores of each query's candidates, in first-stage order, so that fewer candidates are the first columns; and what an
interaction measures of each text with its own video."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..features import TextFeatures, VideoFeatures
from ..scoring import diagnose_pairs
from ..scoring import match_candidates as match
from ..scoring import score_candidates as score
from ..store import Draft
from .retrieval import FirstStage, ScoreSource, feature_steps, fitted_reranker, loaded_model, refuse_non_finite
from .split import kept, read_features
from .step import Step, Workspace

Score = Callable[[TextFeatures, VideoFeatures, Tensor, Tensor, Tensor], list[Tensor]]
"""(text, video, text rows [P], video rows [P], first-stage scores [P]) -> scores [P] of each member."""


def score_candidates(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [Q, K] by one interaction, for each member's settings."""
    model, interaction = loaded_model(workspace, members[0].inputs, members[0].payload)

    def scores(text: TextFeatures, video: VideoFeatures, texts: Tensor, videos: Tensor, _: Tensor) -> list[Tensor]:
        return score(
            interaction,
            [member.payload.config for member in members],
            text,
            video,
            texts,
            videos,
            text_transform=model.text,
            video_transform=model.video,
            device=workspace.device,
            label=members[0].label,
        )

    _extend(workspace, members, drafts, scores)


def diagnose(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """What one interaction measures of each text with its own video, [B_t] in percent, by name."""
    step, draft, source = members[0], drafts[0], members[0].payload
    rows = kept(workspace, source.split, feature_steps(step.inputs))
    text, video = read_features(workspace, rows, feature_steps(step.inputs))
    model, interaction = loaded_model(workspace, step.inputs, source)
    interaction.config = source.config
    found = diagnose_pairs(
        interaction,
        text,
        video,
        rows.own,
        text_transform=model.text,
        video_transform=model.video,
        device=workspace.device,
        label=step.label,
    )
    for values in found.values():
        refuse_non_finite(values[:, None], step.label, rows.text_ids)
    draft.save({name: 100 * values for name, values in found.items()})
    draft.info |= {"label": step.label}


def match_candidates(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Matching scores [Q, K] by a trained reranker."""
    step = members[0]
    reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], step.payload.experiment, step.payload.shapes)

    def scores(text: TextFeatures, video: VideoFeatures, texts: Tensor, videos: Tensor, first: Tensor) -> list[Tensor]:
        given = {"first_stage": first}
        return [match(reranker, text, video, texts, videos, given, device=workspace.device, label=step.label)]

    _extend(workspace, members, drafts, scores)


def _extend(workspace: Workspace, members: list[Step], drafts: list[Draft], score_pairs: Score) -> None:
    """Fill each draft; columns that an earlier entry holds are kept."""
    source: ScoreSource = members[0].payload
    top_k = max(member.covers or 0 for member in members)
    steps = feature_steps(members[0].inputs)
    rows = kept(workspace, source.split, steps)
    text, video = read_features(workspace, rows, steps)
    stage = FirstStage(workspace, members[0], members[0].fields["first_stage"])
    found, known = stage.candidates(source.direction, top_k)
    before = [
        workspace.read(member).tensors()["scores"] if workspace.store.has(member.name, member.key) else None
        for member in members
    ]
    start = min(0 if old is None else old.shape[1] for old in before)
    queries = torch.arange(len(found))[:, None].expand(-1, found.shape[1] - start).reshape(-1)
    items = found[:, start:].reshape(-1)
    first = known[:, start:].reshape(-1).float()
    made = score_pairs(text, video, *((queries, items) if source.direction == "t2v" else (items, queries)), first)
    ids = rows.text_ids if source.direction == "t2v" else rows.video_ids
    for member, draft, old, new in zip(members, drafts, before, made, strict=True):
        scores = new.reshape(len(found), -1)
        if old is not None:
            scores = torch.cat([old[:, :start], scores], dim=1)
        refuse_non_finite(scores, member.label, ids)
        draft.save({"scores": scores})
        draft.info |= {"label": member.label, "covers": top_k}
