"""Rank: rank counts of one direction, after re-ranking where there is any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...contract.components import Levels, TrainedReranker
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.settings import Spec
from ...contract.store import Draft
from ...measure.metrics import RankCounts, Relevance, Reranking, query_relevance, rank_counts, relevant_scores
from ...plugins import registry
from ..index import recall
from ..scoring import rerank
from .candidates import candidates_step
from .encode import level_steps
from .first_stage import FirstStage, StageInputs, ranking, stored_scores
from .fit import encoder_fit
from .fit_reranker import fit_reranker_step, reranker_source
from .match import match_step
from .seeded import SeededVariant
from .split import Kept, ReadsFeatures, read_features, rows_of
from .step import Step, Workspace
from .weights import fitted_reranker

VERSION = 3
COUNTS = ("indptr", "above", "above_relevant", "tied", "tied_relevant")


@dataclass(frozen=True, kw_only=True)
class RankInputs(ReadsFeatures):
    """The first stage, and what a reranker needs: scores of the candidates by each interaction that it wants; of a
    trained one what it gives them, and its weights. Levels say which rows were kept, and some rerankers read them."""

    flat_names = {**ReadsFeatures.flat_names, "stage": ""}
    stage: StageInputs
    candidates: Mapping[str, Step] = field(default_factory=dict)
    match: Step | None = None
    fit_reranker: Step | None = None


def rank_step(trial: SeededVariant, direction: str) -> Step[RankInputs]:
    """Rank counts of one direction on the scored split."""
    experiment, split = trial.experiment, trial.scored_split
    asked = "t2v" if experiment.retrieve.candidates_from == "text_side" else direction
    spec = experiment.retrieve.rerank
    fields, stage = ranking(trial, asked, split, None if spec is None else spec.fields.top_k)
    fields |= {"relevance": trial.relevance(split), "ranked": direction}
    if spec is not None:
        fields |= {"rerank": spec.resolved(), "source": reranker_source(spec)}
    return Step(
        name="rank",
        version=VERSION,
        fields=fields,
        inputs=_inputs(trial, stage, spec, asked),
        compute=compute,
        label=trial.labelled(f"rank {direction}"),
        payload=trial.source(asked),
        varies_within_group=("rerank", "source", "candidates", "match", "fit_reranker"),
    )


def _inputs(trial: SeededVariant, stage: StageInputs, spec: Spec | None, asked: str) -> RankInputs:
    features = next(iter(stage.first_stage.values())).inputs.features
    if spec is None:
        return RankInputs(stage=stage, features=features)
    cls = registry().component("reranker", spec)
    wanted = [name for name in cls.interactions(spec.fields) if name != "first_stage"]
    trained = issubclass(cls, TrainedReranker)
    levels: Levels = Levels() if trained else cls.reads(spec.fields)
    return RankInputs(
        stage=stage,
        candidates={name: candidates_step(trial, name, asked, spec.fields.top_k) for name in wanted},
        match=match_step(trial, spec, asked) if trained else None,
        fit_reranker=fit_reranker_step(trial) if trained else None,
        features=features | level_steps(trial, trial.scored_split, levels, encoder_fit(trial)),
    )


def compute(workspace: Workspace, members: list[Step[RankInputs]], drafts: list[Draft]) -> None:
    """Rank counts of one direction, after each member's re-ranking where there is any.

    The first stage is read, ranked and searched for candidates once for all members.
    """
    step = members[0]
    rows, stage = rows_of(workspace, step), FirstStage(workspace, step, step.fields["first_stage"])
    asked, ranked = step.fields["direction"], step.fields["ranked"]
    relevance, ids = query_relevance(rows.relevance, ranked), {"t2v": rows.text_ids, "v2t": rows.video_ids}
    specs = [member.payload.experiment.retrieve.rerank for member in members]
    first_counts, own = [], []
    for part, scores in stage.blocks(ranked):
        first_counts.append(rank_counts(scores.numpy(), relevance, part.start, ids[ranked]))
        own.append(relevant_scores(scores.numpy(), relevance, part.start))
    first = RankCounts.join(first_counts)
    if any(specs):
        most = max(spec.fields.top_k for spec in specs if spec)
        candidates, scored = stage.candidates(asked, most)
        reranking = Reranking(first, np.concatenate(own), relevance, candidates, scored, items_ask=asked != ranked)
        hits = _hits(query_relevance(rows.relevance, asked), candidates.numpy())
    for member, draft, spec in zip(members, drafts, specs, strict=True):
        counts = first
        if spec is not None:
            top_k = spec.fields.top_k
            new = rerank_candidates(workspace, member, rows, spec, candidates[:, :top_k], scored[:, :top_k])
            counts = reranking.counts(new.numpy(), ids[asked])
            draft.info["ceiling"] = 100 * float(hits[:, :top_k].any(1).mean())  # no re-ranking can give a higher R1
            if stage.index:
                draft.info["index_recall"] = recall(candidates[:, :top_k], stage.index["exact"][:, :top_k])
        draft.save({name: torch.from_numpy(getattr(counts, name)) for name in COUNTS})
        draft.info |= {"label": member.label}


def _hits(relevance: Relevance, candidates: NDArray) -> NDArray[np.bool_]:
    """Which candidates [Q, K] are relevant."""
    rows = np.repeat(np.arange(len(candidates)), candidates.shape[1])
    return (relevance.pairs(rows, candidates.ravel()) >= 0).reshape(candidates.shape)


def rerank_candidates(
    workspace: Workspace, step: Step[RankInputs], rows: Kept, spec: Spec, candidates: Tensor, first_stage: Tensor
) -> Tensor:
    """New scores [Q, K] of the candidates [Q, K], from their scores by the first stage and by other interactions."""
    top_k, source = candidates.shape[1], step.payload
    inputs = step.inputs
    pair_scores = {name: stored_scores(workspace, scored)[:, :top_k] for name, scored in inputs.candidates.items()}
    pair_scores["first_stage"] = first_stage.float()
    if inputs.match is not None and inputs.fit_reranker is not None:
        fitted = fitted_reranker(workspace, inputs.fit_reranker, source.experiment, source.shapes)
        return fitted.fuse(stored_scores(workspace, inputs.match)[:, :top_k], pair_scores)
    reranker = registry().make("reranker", spec, source.shapes)
    text, video = TextFeatures(), VideoFeatures()
    if any(reranker.reads(spec.fields)):
        text, video = read_features(workspace, rows, inputs.features)
    return rerank(reranker, text, video, candidates, pair_scores, videos_ask=step.fields["direction"] == "v2t")
