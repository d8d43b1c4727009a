"""Match: scores of each query's candidates by a trained reranker, before they are added to the first stage's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...contract.settings import Spec
from ...contract.store import Draft
from ...plugins import registry
from ..scoring import Sides, match_candidates
from .encode import feature_steps
from .first_stage import StageInputs, extend_candidates, ranking
from .fit import encoder_fit
from .fit_reranker import fit_reranker_step, reranker_fields
from .seeded import SeededVariant
from .split import ReadsFeatures, features_of
from .step import Step, Workspace, arithmetic
from .weights import fitted_reranker

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class MatchInputs(ReadsFeatures):
    """The first stage that gives the candidates, the reranker's weights, and the levels that it reads."""

    flat_names = {**ReadsFeatures.flat_names, "stage": ""}
    stage: StageInputs
    fit_reranker: Step


def match_step(trial: SeededVariant, spec: Spec, direction: str) -> Step[MatchInputs]:
    """The candidates of the scored split's queries by a trained reranker."""
    split, top_k = trial.scored_split, spec.fields.top_k
    levels = registry().component("reranker", spec).reads(spec.fields)
    fields, stage = ranking(trial, direction, split, top_k)
    return Step(
        name="match",
        version=VERSION,
        fields=fields | reranker_fields(spec) | {"arithmetic": arithmetic(trial.workspace.device)},
        inputs=MatchInputs(
            stage=stage,
            fit_reranker=fit_reranker_step(trial),
            features=feature_steps(trial, split, levels, encoder_fit(trial)),
        ),
        compute=compute,
        label=trial.labelled(f"match {direction}"),
        payload=trial.source(direction),
        top_k_stored=min(top_k, trial.gallery(direction)),
    )


def compute(workspace: Workspace, members: list[Step[MatchInputs]], drafts: list[Draft]) -> None:
    """Matching scores [Q, K] by a trained reranker."""
    step = members[0]
    reranker = fitted_reranker(workspace, step.inputs.fit_reranker, step.payload.experiment, step.payload.shapes)
    sides = Sides(reranker, *features_of(workspace, step), device=workspace.device, label=step.label)

    def scores(texts: Tensor, videos: Tensor, first: Tensor) -> list[Tensor]:
        return [match_candidates(sides, texts, videos, {"first_stage": first})]

    extend_candidates(workspace, members, drafts, scores)
