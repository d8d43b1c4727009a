"""Score, rank, evaluate: matrices of the first stage, pair scores of candidates, counts, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..components import Interaction, Shapes, Split
from ..config import Experiment
from ..errors import RunError
from ..metrics import Evaluation, RankCounts, query_relevance, rank_counts, rerank_counts
from ..model import Model
from ..plugins import registry
from ..scoring import candidates_of, rerank, score_candidates, score_settings
from ..settings import plain
from ..store import Draft
from .split import Kept, kept, read_features
from .step import Step, Workspace

FEATURES = ("text/", "video/", "skip/")
"""Inputs that are levels of a split, or say which of its videos were skipped."""
COUNTS = ("indptr", "above", "above_relevant", "tied", "tied_relevant")


@dataclass(frozen=True)
class ScoreSource:
    """What scoring reads beside its inputs; `config` is the interaction's, with its settings after training."""

    experiment: Experiment
    interaction: str
    config: Any
    shapes: Shapes
    split: Split
    direction: str = "t2v"
    seed: int = 0


def _feature_steps(step: Step) -> dict[str, Step]:
    return {name: s for name, s in step.inputs.items() if name.startswith(FEATURES)}


def _model(workspace: Workspace, step: Step, source: ScoreSource) -> tuple[Model, Interaction]:
    """The part of the model that one interaction needs, with its trained weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # buffers that are drawn are the same wherever they are not trained
        model = Model.of(source.experiment, [source.interaction], source.shapes)
    if "fit" in step.inputs:
        stored = workspace.read(step.inputs["fit"]).tensors()
        model.load_state_dict({name: stored[f"model.{name}"] for name in model.state_dict()})
    return model.to(workspace.device).eval(), model.interaction(source.interaction)


def score(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [B_t, B_v] of one interaction over all pairs of a split, for each member's settings."""
    source: ScoreSource = members[0].payload
    steps = _feature_steps(members[0])
    rows = kept(workspace, source.split, steps)
    text, video = read_features(workspace, rows, steps)
    model, interaction = _model(workspace, members[0], source)
    matrices = score_settings(
        interaction,
        [member.payload.config for member in members],
        text,
        video,
        text_transform=model.text,
        video_transform=model.video,
        device=workspace.device,
        label=members[0].label,
    )
    for member, draft, matrix in zip(members, drafts, matrices, strict=True):
        _refuse_non_finite(matrix, member.label, rows.text_ids)
        draft.save({"scores": matrix})
        draft.info |= {"label": member.label}


def _refuse_non_finite(scores: Tensor, label: str, ids: Sequence[str]) -> None:
    bad = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"{label}: a score of query `{ids[bad[0]]}` is NaN or infinite ({len(bad)} queries have such)")


def first_stage(workspace: Workspace, step: Step) -> Tensor:
    """The first stage's matrix [Q, gallery] of a step's direction: mixed scores, then the score transforms."""
    weights: Mapping[str, float] = step.fields["first_stage"]
    scores = sum(
        weight * workspace.read(step.inputs[f"first_stage/{name}"]).tensors()["scores"]
        for name, weight in weights.items()
    )
    assert isinstance(scores, Tensor)
    for transform in step.payload.experiment.retrieve.transforms.values():
        scores = registry().make("score_transform", transform)(scores)
    return scores if step.fields["direction"] == "t2v" else scores.T.contiguous()


def candidates(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [Q, K] of one interaction for each query's K candidates; columns that are stored are kept.

    Candidates are in first-stage order, so that fewer of them are the first columns.
    """
    source: ScoreSource = members[0].payload
    top_k = max(member.covers or 0 for member in members)
    steps = _feature_steps(members[0])
    rows = kept(workspace, source.split, steps)
    text, video = read_features(workspace, rows, steps)
    chosen = candidates_of(first_stage(workspace, members[0]), top_k)
    before = [
        workspace.read(member).tensors()["scores"] if workspace.store.has(member.name, member.key) else None
        for member in members
    ]
    start = min(0 if old is None else old.shape[1] for old in before)
    queries = torch.arange(len(chosen))[:, None].expand(-1, chosen.shape[1] - start).reshape(-1)
    items = chosen[:, start:].reshape(-1)
    model, interaction = _model(workspace, members[0], source)
    made = score_candidates(
        interaction,
        [member.payload.config for member in members],
        text,
        video,
        *((queries, items) if source.direction == "t2v" else (items, queries)),
        text_transform=model.text,
        video_transform=model.video,
        device=workspace.device,
        label=members[0].label,
    )
    ids = rows.text_ids if source.direction == "t2v" else rows.video_ids
    for member, draft, old, new in zip(members, drafts, before, made, strict=True):
        scores = new.reshape(len(chosen), -1)
        if old is not None:
            scores = torch.cat([old[:, :start], scores], dim=1)
        _refuse_non_finite(scores, member.label, ids)
        draft.save({"scores": scores})
        draft.info |= {"label": member.label, "covers": top_k}


def rank(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Rank counts of one direction, after re-ranking where there is any."""
    step, draft, source = members[0], drafts[0], members[0].payload
    steps = _feature_steps(step)
    rows = kept(workspace, source.split, steps)
    direction = step.fields["direction"]
    relevance = query_relevance(rows.relevance, direction)
    scores = first_stage(workspace, step)
    ids = rows.text_ids if direction == "t2v" else rows.video_ids
    spec = source.experiment.retrieve.rerank
    if spec is None:
        counts = rank_counts(scores.numpy(), relevance, ids=ids)
    else:
        chosen = candidates_of(scores, spec.fields.top_k)
        new = _rerank(workspace, step, rows, spec, scores, chosen)
        counts = rerank_counts(scores.numpy(), chosen.numpy(), new.numpy(), relevance, ids=ids)
    draft.save({name: torch.from_numpy(getattr(counts, name)) for name in COUNTS})
    draft.info |= {"label": step.label}


def _rerank(workspace: Workspace, step: Step, rows: Kept, spec: Any, scores: Tensor, chosen: Tensor) -> Tensor:
    top_k = chosen.shape[1]
    pair_scores = {
        name.removeprefix("candidates/"): workspace.read(s).tensors()["scores"][:, :top_k]
        for name, s in step.inputs.items()
        if name.startswith("candidates/")
    }
    pair_scores["first_stage"] = scores.gather(1, chosen)
    reranker = registry().make("reranker", spec, step.payload.shapes)
    text, video = read_features(workspace, rows, _feature_steps(step))
    return rerank(reranker, text, video, chosen, pair_scores, videos_ask=step.fields["direction"] == "v2t")


def evaluate(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Metrics as `result.json`, per-query values as tensors `<direction>/<metric>`, and the video of each query."""
    step, draft, source = members[0], drafts[0], members[0].payload
    rows = kept(workspace, source.split, _feature_steps(next(iter(step.inputs.values()))))
    counts = {}
    for direction in step.fields["directions"]:
        stored = workspace.read(step.inputs[direction]).tensors()
        counts[direction] = RankCounts(**{name: stored[name].numpy() for name in COUNTS})
    made = Evaluation.from_counts(counts, rows.relevance, step.fields["metrics"], step.fields["ties"])
    tensors = {
        f"{direction}/{name}": torch.from_numpy(np.ascontiguousarray(values))
        for direction, metrics in made.per_query.items()
        for name, values in metrics.items()
    }
    units = {"t2v": rows.own, "v2t": torch.arange(len(rows.videos))}  # the video is the unit, whoever else is relevant
    tensors |= {f"{direction}/clusters": units[direction] for direction in made.per_query}
    draft.save(tensors)
    draft.json({"metrics": made.metrics, "texts": len(rows.texts), "videos": len(rows.videos)})
    draft.json({"experiment": plain(source.experiment), "seed": source.seed}, "trial.json")
    draft.json({"texts": rows.text_ids, "videos": rows.video_ids, "skipped": rows.skipped}, "items.json")
    draft.info |= {"label": step.label}
