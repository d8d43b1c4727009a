"""Index: candidates from an approximate index, beside the exact ones."""

from __future__ import annotations

from dataclasses import replace

from ...contract.store import Draft
from ..index import approximate
from ..scoring import nearest, vectors_of
from .score import ScoreInputs, scoring, sides_of
from .seeded import SeededVariant
from .step import Step, Workspace, versions

VERSION = 1


def index_step(trial: SeededVariant, direction: str, split: str, top_k: int) -> Step[ScoreInputs] | None:
    """What an approximate index finds, where the experiment asks for one."""
    retrieve = trial.experiment.retrieve
    if retrieve.index == "exact":
        return None
    (name,) = retrieve.first_stage
    fields, inputs, source = scoring(trial, name, split)
    return Step(
        name="index",
        version=VERSION,
        fields=fields | {"direction": direction, "index": retrieve.index, "faiss": versions("faiss-cpu")},
        inputs=inputs,
        compute=compute,
        label=trial.labelled(f"index {direction}"),
        payload=replace(source, direction=direction),
        top_k_stored=min(top_k, trial.gallery(direction)),
    )


def compute(workspace: Workspace, members: list[Step[ScoreInputs]], drafts: list[Draft]) -> None:
    """`found` and `exact` [Q, K]: the best by an approximate index, -1 where it has no more, and the best there are."""
    step, draft, source = members[0], drafts[0], members[0].payload
    queries, gallery = vectors_of(sides_of(workspace, step))
    if source.direction == "v2t":
        queries, gallery = gallery, queries
    top_k = step.top_k_stored or 0
    draft.save({"found": approximate(queries, gallery, top_k), "exact": nearest(queries, gallery, top_k)[1]})
    draft.info |= {"label": step.label, "covers": top_k}
