"""Fit_reranker: train a reranker on wrong answers of the training queries, with everything else frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Loss, Shapes, Split, TrainedReranker
from ...contract.optimisation import RerankerTraining
from ...contract.settings import Spec, plain
from ...contract.store import Draft
from ...experiment.config import Experiment
from ...measure.metrics import Evaluation, metric, query_relevance, rerank_counts
from ...plugins import registry
from ..reranking import Mined, Negatives, RerankerFit
from ..scoring import Sides, candidates_of, match_candidates, pair_rows
from ..training import fit
from .encode import feature_steps
from .first_stage import FirstStage, StageInputs, ranking
from .fit import encoder_fit
from .mine import mine_step
from .seeded import SeededVariant, once_a_trial
from .split import FeatureInputs, kept, read_features
from .step import Inputs, Step, Workspace, arithmetic, source_of, sources_in, versions

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RerankerInputs(Inputs):
    """Wrong answers of the training queries, levels of both splits, and the first stage on the validation split."""

    flat_names = {"stage": ""}
    mine: Step
    stage: StageInputs
    train: FeatureInputs
    val: FeatureInputs


@dataclass(frozen=True)
class RerankerSource:
    """What a reranker's fit reads beside its inputs."""

    experiment: Experiment
    spec: Spec
    shapes: Shapes
    train: Split
    val: Split
    seed: int


@once_a_trial
def fit_reranker_step(trial: SeededVariant) -> Step[RerankerInputs]:
    """The reranker's fit; its best alpha is chosen whether or not the experiment gives one, so that it is in no key."""
    experiment = trial.experiment
    spec = experiment.retrieve.rerank
    assert spec is not None
    levels = registry().component("reranker", spec).reads(spec.fields)
    direction = experiment.evaluate.primary.partition("/")[0]
    validation, stage = ranking(trial, direction, "val")
    train, val = (feature_steps(trial, split, levels, encoder_fit(trial)) for split in ("train", "val"))
    return Step(
        name="fit_reranker",
        version=VERSION,
        fields=reranker_fields(spec) | _fields(trial, spec, validation),
        inputs=RerankerInputs(mine=mine_step(trial, spec), stage=stage, train=train, val=val),
        compute=compute,
        label=trial.labelled("train reranker"),
        payload=RerankerSource(experiment, spec, trial.shapes, trial.split("train"), trial.split("val"), trial.seed),
    )


def _fields(trial: SeededVariant, spec: Spec, validation: dict[str, Any]) -> dict[str, Any]:
    """What decides a reranker's training; validation: the fields of the ranking that it is validated on."""
    train: RerankerTraining = spec.fields.train
    others = sources_in(train, left_out=("losses",))
    return {
        "train": {k: v for k, v in plain(train).items() if k != "losses"},
        "losses": [[n, s.resolved(), source_of("loss", s)] for n, s in train.losses.items()],
        "relevance": {name: trial.relevance(name) for name in ("train", "val")},
        "alphas": list(spec.fields.alphas),
        "primary": trial.experiment.evaluate.primary,
        "validation": validation,
        "seed": trial.seed,
        "arithmetic": arithmetic(trial.workspace.device),
    } | ({"train_sources": others} if others else {})


def reranker_fields(spec: Spec) -> dict[str, Any]:
    """What decides a reranker's matching scores beside its weights."""
    cls = registry().component("reranker", spec)
    resolved = {k: v for k, v in spec.resolved().items() if k not in cls.after_training and k != "train"}
    return {"reranker": resolved, "source": reranker_source(spec), "versions": versions("torch")}


def reranker_source(spec: Spec) -> str:
    """Without what only its fit reads, which `fit_reranker` counts."""
    trained = issubclass(registry().component("reranker", spec), TrainedReranker)
    return source_of("reranker", spec, left_out=("train",) if trained else ())


def compute(workspace: Workspace, members: list[Step[RerankerInputs]], drafts: list[Draft]) -> None:
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


def _trainee(
    workspace: Workspace, step: Step[RerankerInputs], reranker: TrainedReranker, losses: Mapping[str, Loss]
) -> RerankerFit:
    source, inputs = step.payload, step.inputs.train
    rows = kept(workspace, source.train, inputs.values())
    stored = workspace.read(step.inputs.mine).tensors()
    t2v, v2t = (Negatives(stored[f"{side}/items"], stored[f"{side}/scores"]) for side in ("t2v", "v2t"))
    text, video = read_features(workspace, rows, inputs)
    mined = Mined(t2v, v2t, stored["own"])
    return RerankerFit(reranker, losses, source.spec.fields.train, text, video, rows.own, mined)


class _Validator:
    """The primary metric after re-ranking the validation split, with the best alpha, which it keeps."""

    alpha = 0.0

    def __init__(self, workspace: Workspace, step: Step[RerankerInputs], reranker: TrainedReranker):
        source: RerankerSource = step.payload
        self.alphas, self.primary = source.spec.fields.alphas, source.experiment.evaluate.primary
        inputs = step.inputs.val
        rows = kept(workspace, source.val, inputs.values())
        features, label = read_features(workspace, rows, inputs), f"{step.label}: validate"
        self.sides, self.relevance = Sides(reranker, *features, device=workspace.device, label=label), rows.relevance
        validation = step.fields["validation"]
        self.direction = validation["direction"]
        self.scores = FirstStage(workspace, step, validation["first_stage"], self.direction).rows(self.direction)
        self.chosen = candidates_of(self.scores, source.spec.fields.train.validate_on)
        self.first = self.scores.gather(1, self.chosen).float()

    def __call__(self) -> float:
        matching = self._matching()
        values = {alpha: self._metric(matching, alpha) for alpha in self.alphas}
        best = max if metric(self.primary).higher_is_better else min
        self.alpha = best(values, key=lambda alpha: values[alpha])
        return values[self.alpha]

    def _matching(self) -> Tensor:
        """Matching scores [Q, K]."""
        pairs = pair_rows(self.chosen, videos_ask=self.direction == "v2t")
        scores = match_candidates(self.sides, *pairs, {"first_stage": self.first.reshape(-1)})
        return scores.view_as(self.chosen)

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
        evaluation = Evaluation.from_counts({self.direction: counts}, self.relevance, [name], "expected")
        return evaluation.metrics[self.primary]
