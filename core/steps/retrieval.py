"""Score, rank, evaluate: matrices of the first stage, counts, metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..components import Interaction, Shapes, Split, TrainedReranker
from ..config import Experiment
from ..errors import RunError
from ..metrics import Evaluation, RankCounts, Relevance, query_relevance, rank_counts, rerank_counts
from ..model import Model
from ..plugins import registry
from ..scoring import candidates_of, rerank, score_settings
from ..settings import Spec, plain
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


def feature_steps(inputs: Mapping[str, Step]) -> dict[str, Step]:
    """Those of a step's inputs that say what the rows of a split are."""
    return {name: step for name, step in inputs.items() if name.startswith(FEATURES)}


def loaded_model(workspace: Workspace, inputs: Mapping[str, Step], source: ScoreSource) -> tuple[Model, Interaction]:
    """The part of the model that one interaction needs, with its trained weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # buffers that are drawn are the same wherever they are not trained
        model = Model.of(source.experiment, [source.interaction], source.shapes)
    if "fit" in inputs:
        stored = workspace.read(inputs["fit"]).tensors()
        model.load_state_dict({name: stored[f"model.{name}"] for name in model.state_dict()})
    return model.to(workspace.device).eval(), model.interaction(source.interaction)


def score(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [B_t, B_v] of one interaction over all pairs of a split, for each member's settings."""
    source: ScoreSource = members[0].payload
    steps = feature_steps(members[0].inputs)
    rows = kept(workspace, source.split, steps)
    text, video = read_features(workspace, rows, steps)
    model, interaction = loaded_model(workspace, members[0].inputs, source)
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
        refuse_non_finite(matrix, member.label, rows.text_ids)
        draft.save({"scores": matrix})
        draft.info |= {"label": member.label}


def refuse_non_finite(scores: Tensor, label: str, ids: Sequence[str]) -> None:
    bad = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"{label}: a score of query `{ids[bad[0]]}` is NaN or infinite ({len(bad)} queries have such)")


def first_stage(workspace: Workspace, step: Step, ranking: Mapping[str, Any] | None = None) -> Tensor:
    """The first stage's matrix [Q, gallery]: mixed scores, then the score transforms. `ranking` holds the weights and
    the direction; None: the step's own fields do."""
    ranking = ranking or step.fields
    scores = sum(
        weight * workspace.read(step.inputs[f"first_stage/{name}"]).tensors()["scores"]
        for name, weight in ranking["first_stage"].items()
    )
    assert isinstance(scores, Tensor)
    for transform in step.payload.experiment.retrieve.transforms.values():
        scores = registry().make("score_transform", transform)(scores)
    return scores if ranking["direction"] == "t2v" else scores.T.contiguous()


def rank(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Rank counts of one direction, after re-ranking where there is any."""
    step, draft, source = members[0], drafts[0], members[0].payload
    steps = feature_steps(step.inputs)
    rows = kept(workspace, source.split, steps)
    asked, ranked = step.fields["direction"], step.fields["ranked"]
    relevance = query_relevance(rows.relevance, ranked)
    ids = rows.text_ids if ranked == "t2v" else rows.video_ids
    scores = first_stage(workspace, step)
    spec = source.experiment.retrieve.rerank
    if spec is not None:
        chosen = candidates_of(scores, spec.fields.top_k)
        new = _rerank(workspace, step, rows, spec, scores, chosen)
        draft.info["ceiling"] = _ceiling(chosen, query_relevance(rows.relevance, asked))
    if asked != ranked:
        scores = (scores if spec is None else _lifted(scores, chosen, new)).T.contiguous()
    if spec is None or asked != ranked:
        counts = rank_counts(scores.numpy(), relevance, ids=ids)
    else:
        counts = rerank_counts(scores.numpy(), chosen.numpy(), new.numpy(), relevance, ids=ids)
    draft.save({name: torch.from_numpy(getattr(counts, name)) for name in COUNTS})
    draft.info |= {"label": step.label}


def _ceiling(chosen: Tensor, relevance: Relevance) -> float:
    """Percent of queries with a relevant item among their candidates: no re-ranking can give a higher R1."""
    bounds = zip(relevance.indptr[:-1], relevance.indptr[1:], chosen.numpy(), strict=True)
    return 100 * float(np.mean([np.isin(row, relevance.indices[first:last]).any() for first, last, row in bounds]))


def _lifted(scores: Tensor, chosen: Tensor, new: Tensor) -> Tensor:
    """The matrix with new scores for the candidates [Q, K], every one above all that is no candidate; float64."""
    scores, new = scores.double(), new.double()
    return (scores - (scores.max() - new.min() + 1)).scatter(1, chosen, new)


def _rerank(workspace: Workspace, step: Step, rows: Kept, spec: Spec, scores: Tensor, chosen: Tensor) -> Tensor:
    """New scores [Q, K] of the candidates."""
    top_k, source = chosen.shape[1], step.payload
    pair_scores = {
        name.removeprefix("candidates/"): workspace.read(s).tensors()["scores"][:, :top_k]
        for name, s in step.inputs.items()
        if name.startswith("candidates/")
    }
    pair_scores["first_stage"] = scores.gather(1, chosen)
    if "match" in step.inputs:
        reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], source.experiment, source.shapes)
        return reranker.fuse(workspace.read(step.inputs["match"]).tensors()["scores"][:, :top_k], pair_scores)
    reranker = registry().make("reranker", spec, source.shapes)
    text, video = read_features(workspace, rows, feature_steps(step.inputs))
    return rerank(reranker, text, video, chosen, pair_scores, videos_ask=step.fields["direction"] == "v2t")


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


def evaluate(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Metrics as `result.json`, per-query values as tensors `<direction>/<metric>`, and the video of each query."""
    step, draft, source = members[0], drafts[0], members[0].payload
    rows = kept(workspace, source.split, feature_steps(next(iter(step.inputs.values())).inputs))
    counts, ceilings = {}, {}
    for direction in step.fields["directions"]:
        entry = workspace.read(step.inputs[direction])
        stored = entry.tensors()
        if "ceiling" in entry.info:
            ceilings[direction] = entry.info["ceiling"]
        counts[direction] = RankCounts(**{name: stored[name].numpy() for name in COUNTS})
    made = Evaluation.from_counts(counts, rows.relevance, step.fields["metrics"], step.fields["ties"])
    tensors = {
        f"{direction}/{name}": torch.from_numpy(np.ascontiguousarray(values))
        for direction, metrics in made.per_query.items()
        for name, values in metrics.items()
    }
    metrics = dict(made.metrics)
    for diagnostic in step.fields.get("diagnostics", ()):
        name, _, measure = diagnostic.rpartition(".")
        values = workspace.read(step.inputs[f"diagnose/{name}"]).tensors()[measure].double()
        tensors[f"t2v/{diagnostic}"], metrics[f"t2v/{diagnostic}"] = values, values.mean().item()
    units = {"t2v": rows.own, "v2t": torch.arange(len(rows.videos))}  # the video is the unit, whoever else is relevant
    measured = dict.fromkeys(name.partition("/")[0] for name in tensors)
    tensors |= {f"{direction}/clusters": units[direction] for direction in measured}
    draft.save(tensors)
    draft.json({"metrics": metrics, "ceilings": ceilings, "texts": len(rows.texts), "videos": len(rows.videos)})
    draft.json({"experiment": plain(source.experiment), "seed": source.seed}, "trial.json")
    draft.json({"texts": rows.text_ids, "videos": rows.video_ids, "skipped": rows.skipped}, "items.json")
    draft.info |= {"label": step.label}
