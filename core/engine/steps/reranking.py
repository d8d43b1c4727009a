"""A reranker's fit: wrong answers of the training queries, then training with everything else frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...contract.components import Loss, Shapes, Split, TrainedReranker
from ...contract.optimisation import RerankerTraining
from ...contract.settings import Spec
from ...contract.store import Draft
from ...errors import RunError
from ...experiment.config import Experiment
from ...measure.metrics import Evaluation, metric, query_relevance, rerank_counts
from ...plugins import registry
from ..reranking import Mined, Negatives, RerankerFit
from ..reranking import mine as mined
from ..scoring import Sides, candidates_of, match_candidates, pair_rows, score_blocks
from ..training import fit
from .retrieval import FirstStage, ScoreSource, feature_steps, loaded_model
from .scoring import refuse_non_finite
from .split import Kept, inputs_of, kept, read_features
from .step import Step, Workspace

MINED = 2**24
"""Scores looked through at a time. Not what memory allows: random wrong answers are drawn block by block."""


@dataclass(frozen=True)
class MineSource:
    """What finding wrong answers reads beside its inputs: how each interaction of the first stage is scored."""

    sources: Mapping[str, ScoreSource]
    train: Split
    settings: RerankerTraining
    seed: int


@dataclass(frozen=True)
class RerankerSource:
    """What a reranker's fit reads beside its inputs."""

    experiment: Experiment
    spec: Spec
    shapes: Shapes
    train: Split
    val: Split
    seed: int


def mine(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Tensors `<direction>/items` and `<direction>/scores` [Q, pool], and `own` [B_t]: see engine.reranking.Mined."""
    step, draft, source = members[0], drafts[0], members[0].payload
    inputs = {name: inputs_of(step, name) for name in source.sources}
    levels = {f"{n}/{key}": s for n, given in inputs.items() for key, s in feature_steps(given).items()}
    rows = kept(workspace, source.train, levels)
    width = max(1, min(1024, MINED // max(1, len(rows.texts))))
    generator = None
    if source.settings.negatives_from == "random":
        generator = torch.Generator().manual_seed(source.seed)
    found = mined(_mixed(workspace, step, rows, width), rows.sparse, rows.own, source.settings.pool, generator)
    for negatives, ids in ((found.t2v, rows.text_ids), (found.v2t, rows.video_ids)):
        alone = (~torch.isfinite(negatives.scores).any(1)).nonzero().flatten().tolist()
        if alone:
            raise RunError(f"{step.label}: `{ids[alone[0]]}` has no wrong answer in the train split")
    draft.save(
        {
            "t2v/items": found.t2v.items,
            "t2v/scores": found.t2v.scores,
            "v2t/items": found.v2t.items,
            "v2t/scores": found.v2t.scores,
            "own": found.own,
        }
    )
    draft.info |= {"label": step.label}


def _mixed(workspace: Workspace, step: Step, rows: Kept, width: int) -> Iterator[tuple[slice, Tensor]]:
    """(columns, the first stage's scores [B_t, columns]) of the train split, before any score transform."""
    weights: Mapping[str, float] = step.fields["first_stage"]
    streams = []
    for name, source in step.payload.sources.items():
        inputs = inputs_of(step, name)
        model, interaction = loaded_model(workspace, inputs, source)
        features = read_features(workspace, rows, feature_steps(inputs))
        sides = Sides(interaction, *features, model, workspace.device, step.label)
        streams.append(score_blocks(sides, [source.config], width))
    for found in zip(*streams, strict=True):
        scores = torch.stack([w * made[0] for w, (_, made) in zip(weights.values(), found, strict=True)]).sum(0)
        refuse_non_finite(scores, step.label, rows.text_ids)
        yield found[0][0], scores


def fit_reranker(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Weights under `reranker.` and `losses.`, the training curve, and `chosen.json` with the best alpha on val."""
    step, draft, source = members[0], drafts[0], members[0].payload
    settings: RerankerTraining = source.spec.fields.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        reranker = registry().make("reranker", source.spec, source.shapes)
        losses = {name: registry().make("loss", spec) for name, spec in settings.losses.items()}
        trainee = _trainee(workspace, step, reranker, losses).to(workspace.device)
        validator = _Validator(workspace, step, reranker)
        higher = metric(source.experiment.evaluate.primary).higher_is_better
        validate = validator if settings.keep == "best" else None
        fitted = fit(trainee, settings, source.seed, validate, higher, draft.folder / "resume.pt", step.label)
        trainee.load_state_dict(fitted.state)
        trainee.eval()
        validator()
    draft.save(fitted.state)
    draft.json(fitted.history, "history.json")
    draft.json({"alpha": validator.alpha}, "chosen.json")
    draft.info |= {"label": step.label, "best_epoch": fitted.best_epoch, "epochs": len(fitted.history)}
    draft.info |= {"parameters": sum(p.numel() for p in reranker.parameters()), "pairs": len(trainee)}
    draft.info |= {"peak_bytes": fitted.peak_bytes}


def _trainee(workspace: Workspace, step: Step, reranker: TrainedReranker, losses: Mapping[str, Loss]) -> RerankerFit:
    source, inputs = step.payload, inputs_of(step, "train")
    rows = kept(workspace, source.train, inputs)
    stored = workspace.read(step.inputs["mine"]).tensors()
    t2v, v2t = (Negatives(stored[f"{side}/items"], stored[f"{side}/scores"]) for side in ("t2v", "v2t"))
    text, video = read_features(workspace, rows, inputs)
    mined = Mined(t2v, v2t, stored["own"])
    return RerankerFit(reranker, losses, source.spec.fields.train, text, video, rows.own, mined)


class _Validator:
    """The primary metric after re-ranking the validation split, with the best alpha, which it keeps."""

    alpha = 0.0

    def __init__(self, workspace: Workspace, step: Step, reranker: TrainedReranker):
        source: RerankerSource = step.payload
        self.alphas, self.primary = source.spec.fields.alphas, source.experiment.evaluate.primary
        inputs = inputs_of(step, "val")
        rows = kept(workspace, source.val, inputs)
        features, label = read_features(workspace, rows, inputs), f"{step.label}: validate"
        self.sides, self.relevance = Sides(reranker, *features, device=workspace.device, label=label), rows.relevance
        ranking = step.fields["validation"]
        self.direction = ranking["direction"]
        self.scores = FirstStage(workspace, step, ranking["first_stage"], self.direction).rows(self.direction)
        self.chosen = candidates_of(self.scores, source.spec.fields.train.validate_on)
        self.first = self.scores.gather(1, self.chosen).float()

    def __call__(self) -> float:
        matching = self._matching()
        found = {alpha: self._metric(matching, alpha) for alpha in self.alphas}
        best = max if metric(self.primary).higher_is_better else min
        self.alpha = best(found, key=lambda alpha: found[alpha])
        return found[self.alpha]

    def _matching(self) -> Tensor:
        """Matching scores [Q, K]."""
        pairs = pair_rows(self.chosen, videos_ask=self.direction == "v2t")
        made = match_candidates(self.sides, *pairs, {"first_stage": self.first.reshape(-1)})
        return made.view_as(self.chosen)

    def _metric(self, matching: Tensor, alpha: float) -> float:
        reranker = self.sides.part
        kept_config = reranker.config
        reranker.config = replace(kept_config, alpha=alpha)
        try:
            new = reranker.fuse(matching, {"first_stage": self.first})
        finally:
            reranker.config = kept_config
        relevance, name = query_relevance(self.relevance, self.direction), self.primary.partition("/")[2]
        counts = rerank_counts(self.scores.numpy(), self.chosen.numpy(), new.numpy(), relevance)
        made = Evaluation.from_counts({self.direction: counts}, self.relevance, [name], "expected")
        return made.metrics[self.primary]
