"""Checks of a score transform."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..components import ScoreTransform
from .contract import Faults, gap
from .inputs import SEED, TEXTS, VIDEOS


class ScoreTransformCase:
    """A score transform and scores [B_t, B_v], like cosines."""

    def __init__(self, cls: type[ScoreTransform], config: Any):
        self.cls, self.transform = cls, cls(config)
        draw = torch.Generator().manual_seed(SEED)
        self.scores = torch.rand(TEXTS, VIDEOS, generator=draw) * 2 - 1

    @cached_property
    def whole(self) -> Tensor:
        return self.run(self.scores)

    def run(self, scores: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.transform(scores.clone())


def it_gives_a_finite_matrix(case: ScoreTransformCase) -> Faults:
    for scores in (case.scores, case.scores[:1, :1], torch.zeros_like(case.scores)):
        made = case.run(scores)
        if made.shape != scores.shape or not made.is_floating_point() or not made.isfinite().all():
            shapes = f"{list(scores.shape)} become {list(made.shape)}"
            yield f"scores {shapes}, {made.dtype}, or not finite", "Give one finite number for each score"


def scores_are_left_as_they_are(case: ScoreTransformCase) -> Faults:
    scores = case.scores.clone()
    with torch.inference_mode():
        case.transform(scores)
    if not torch.equal(scores, case.scores):
        yield "the scores given were written to", "Work on a copy: stored scores are shared"


def it_is_deterministic(case: ScoreTransformCase) -> Faults:
    if words := gap({"scores": case.run(case.scores)}, {"scores": case.whole}, 0):
        yield f"{words} from one call to the next", "Draw no random numbers"


def order_does_not_matter(case: ScoreTransformCase) -> Faults:
    texts, videos = torch.arange(TEXTS).flip(0), torch.arange(VIDEOS).roll(2)
    made = case.run(case.scores[texts][:, videos])
    if words := gap({"scores": made}, {"scores": case.whole[texts][:, videos]}):
        yield f"{words} when texts and videos come in another order", "Scores must move with their rows and columns"


def queries_do_not_depend_on_each_other(case: ScoreTransformCase) -> Faults:
    """Texts ask in one direction, videos in the other."""
    if case.cls.transductive:
        return
    for of, rows, columns in (("texts", slice(1, 3), slice(None)), ("videos", slice(None), slice(1, 3))):
        if words := gap({"scores": case.run(case.scores[rows, columns])}, {"scores": case.whole[rows, columns]}):
            yield f"{words} when some {of} are scored alone", "Say `transductive = True`"


FIRST = (it_gives_a_finite_matrix,)
CHECKS = (
    scores_are_left_as_they_are,
    it_is_deterministic,
    order_does_not_matter,
    queries_do_not_depend_on_each_other,
)
