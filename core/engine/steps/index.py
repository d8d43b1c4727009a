"""Candidates from an approximate index, beside the exact ones."""

from __future__ import annotations

from ...contract.store import Draft
from ..index import approximate
from ..scoring import nearest, vectors_of
from .scoring import sides_of
from .step import Step, Workspace


def index(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """`found` and `exact` [Q, K]: the best by an approximate index, -1 where it has no more, and the best there are."""
    step, draft, source = members[0], drafts[0], members[0].payload
    queries, gallery = vectors_of(sides_of(workspace, step))
    if source.direction == "v2t":
        queries, gallery = gallery, queries
    top_k = step.covers or 0
    draft.save({"found": approximate(queries, gallery, top_k), "exact": nearest(queries, gallery, top_k)[1]})
    draft.info |= {"label": step.label, "covers": top_k}
