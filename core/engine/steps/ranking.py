"""Rank and evaluate: rank counts of each direction, and the metrics that they give."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...contract.settings import plain
from ...contract.store import Draft
from ...experiment.config import PROSE
from ...measure.metrics import (
    RankCounts,
    Relevance,
    Reranking,
    per_query,
    query_relevance,
    rank_counts,
    relevant_scores,
    summarise,
)
from ..index import recall
from .retrieval import FirstStage, rerank_candidates, rows_of
from .step import Step, Workspace

COUNTS = ("indptr", "above", "above_relevant", "tied", "tied_relevant")
FACTS = {"ceiling": "ceilings", "index_recall": "index_recalls"}
"""What a rank step may say of its direction, and where evaluation says it of all."""


def rank(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Rank counts of one direction, after each member's re-ranking where there is any.

    The first stage is read, ranked and searched for candidates once for all members.
    """
    step = members[0]
    rows, stage = rows_of(workspace, step), FirstStage(workspace, step, step.fields["first_stage"])
    asked, ranked = step.fields["direction"], step.fields["ranked"]
    relevance, ids = query_relevance(rows.relevance, ranked), {"t2v": rows.text_ids, "v2t": rows.video_ids}
    specs = [member.payload.experiment.retrieve.rerank for member in members]
    counted, own = [], []
    for part, scores in stage.blocks(ranked):
        counted.append(rank_counts(scores.numpy(), relevance, part.start, ids[ranked]))
        own.append(relevant_scores(scores.numpy(), relevance, part.start))
    first = RankCounts.join(counted)
    if any(specs):
        most = max(spec.fields.top_k for spec in specs if spec)
        candidates, known = stage.candidates(asked, most)
        reranking = Reranking(first, np.concatenate(own), relevance, candidates, known, items_ask=asked != ranked)
        hits = _hits(query_relevance(rows.relevance, asked), candidates.numpy())
    for member, draft, spec in zip(members, drafts, specs, strict=True):
        counts = first
        if spec is not None:
            top_k = spec.fields.top_k
            new = rerank_candidates(workspace, member, rows, spec, candidates[:, :top_k], known[:, :top_k])
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


def evaluate(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Metrics as `result.json`, per-query values as tensors `<direction>/<metric>`, and the video of each query."""
    for step, draft in zip(members, drafts, strict=True):
        rows = rows_of(workspace, next(iter(step.inputs.values())))
        tensors, facts = _per_query(workspace, step)
        metrics = {name: summarise(values.numpy(), name) for name, values in tensors.items()}
        units = {"t2v": rows.own, "v2t": torch.arange(len(rows.videos))}  # the unit is the video, whoever is relevant
        measured = dict.fromkeys(name.partition("/")[0] for name in tensors)
        draft.save(tensors | {f"{direction}/clusters": units[direction] for direction in measured})
        costs = {"costs": workspace.read(step.inputs["efficiency"]).json()} if "efficiency" in step.inputs else {}
        counted = {"texts": len(rows.texts), "videos": len(rows.videos)}
        draft.json({"metrics": metrics, **facts, **costs, **counted})
        experiment = {k: v for k, v in plain(step.payload.experiment).items() if k == "name" or k not in PROSE}
        draft.json({"experiment": experiment, "seed": step.payload.seed}, "trial.json")
        draft.json({"texts": rows.text_ids, "videos": rows.video_ids, "skipped": rows.skipped}, "items.json")
        draft.info |= {"label": step.label}


def _per_query(workspace: Workspace, step: Step) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Values {`<direction>/<metric>`: [Q] float64} of each query, and of each direction that re-ranks the ceiling, and
    the recall of the index where there is one."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, dict[str, float]] = {name: {} for name in FACTS.values()}
    for direction in step.fields["directions"]:
        entry = workspace.read(step.inputs[direction])
        stored = entry.tensors()
        counts = RankCounts(**{name: stored[name].numpy() for name in COUNTS})
        for fact in FACTS.keys() & entry.info.keys():
            facts[FACTS[fact]][direction] = entry.info[fact]
        for name in step.fields["metrics"]:
            found = per_query(counts, name, step.fields["ties"])
            tensors[f"{direction}/{name}"] = torch.from_numpy(np.ascontiguousarray(found))
    for diagnostic in step.fields.get("diagnostics", ()):
        name, _, measure = diagnostic.rpartition(".")
        tensors[f"t2v/{diagnostic}"] = workspace.read(step.inputs[f"diagnose/{name}"]).tensors()[measure].double()
    return tensors, facts
