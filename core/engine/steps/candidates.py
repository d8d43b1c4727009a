"""Candidates: scores of each query's candidates by one interaction."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...contract.store import Draft
from ..scoring import score_candidates
from .first_stage import StageInputs, extend_candidates, ranking
from .score import ScoreInputs, scoring, sides_of
from .seeded import SeededVariant
from .step import Step, Workspace

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class CandidateInputs(ScoreInputs):
    """What a score reads, and the first stage that gives the candidates."""

    flat_names = {**ScoreInputs.flat_names, "stage": ""}
    stage: StageInputs


def candidates_step(trial: SeededVariant, name: str, direction: str, top_k: int) -> Step[CandidateInputs]:
    """The candidates of the scored split's queries by one interaction."""
    fields, inputs, source = scoring(trial, name, trial.scored_split)
    stage = ranking(trial, direction, trial.scored_split, top_k)
    return Step(
        name="candidates",
        version=VERSION,
        fields=fields | stage.fields,
        inputs=CandidateInputs(features=inputs.features, fit=inputs.fit, stage=stage.inputs),
        compute=compute,
        label=trial.labelled(f"re-score {name} {direction}"),
        payload=replace(source, direction=direction),
        varies_within_group=("settings",),
        top_k_stored=min(top_k, trial.gallery(direction)),
    )


def compute(workspace: Workspace, members: list[Step[CandidateInputs]], drafts: list[Draft]) -> None:
    """Scores [Q, K] by one interaction, for each member's settings."""
    sides = sides_of(workspace, members[0])
    configs = [member.payload.config for member in members]
    extend_candidates(
        workspace, members, drafts, lambda texts, videos, _: score_candidates(sides, configs, texts, videos)
    )
