"""Checks of a score transform."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract.components import ScoreTransform
from .contract import Faults, gap
from .inputs import SEED
from .inputs import TEXTS as QUERIES
from .inputs import VIDEOS as ITEMS


class ScoreTransformCase:
    """A score transform, scores [Q, G] like cosines, and those of a bank of more queries where it needs one."""

    def __init__(self, cls: type[ScoreTransform], config: Any):
        self.cls, self.transform = cls, cls(config)
        draw = torch.Generator().manual_seed(SEED)
        self.scores = torch.rand(QUERIES, ITEMS, generator=draw) * 2 - 1
        self.bank = torch.rand(2 * QUERIES, ITEMS, generator=draw) * 2 - 1

    @cached_property
    def whole(self) -> Tensor:
        return self.run(self.scores)

    def run(self, scores: Tensor, bank: Tensor | None = None) -> Tensor:
        """bank: None for its own."""
        with torch.inference_mode():
            bank = self.bank if bank is None else bank
            return self.transform(scores.clone(), *((bank.clone(),) if self.cls.needs_bank else ()))


def it_gives_a_finite_matrix(case: ScoreTransformCase) -> Faults:
    single = case.scores[:1, :1], case.bank[:, :1]
    equal = torch.zeros_like(case.scores), torch.zeros_like(case.bank)
    for scores, bank in ((case.scores, case.bank), single, equal):
        result = case.run(scores, bank)
        if result.shape != scores.shape or not result.is_floating_point() or not result.isfinite().all():
            shapes = f"{list(scores.shape)} become {list(result.shape)}"
            yield f"scores {shapes}, {result.dtype}, or not finite", "Give one finite number for each score"


def scores_are_left_as_they_are(case: ScoreTransformCase) -> Faults:
    scores, bank = case.scores.clone(), case.bank.clone()
    with torch.inference_mode():
        case.transform(scores, *((bank,) if case.cls.needs_bank else ()))
    if not (torch.equal(scores, case.scores) and torch.equal(bank, case.bank)):
        yield "the scores given were written to", "Work on a copy: stored scores are shared"


def it_is_deterministic(case: ScoreTransformCase) -> Faults:
    if words := gap({"scores": case.run(case.scores)}, {"scores": case.whole}, 0):
        yield f"{words} from one call to the next", "Draw no random numbers"


def order_does_not_matter(case: ScoreTransformCase) -> Faults:
    queries, items = torch.arange(QUERIES).flip(0), torch.arange(ITEMS).roll(2)
    result = case.run(case.scores[queries][:, items], case.bank.flip(0)[:, items])
    if words := gap({"scores": result}, {"scores": case.whole[queries][:, items]}):
        yield f"{words} when texts and videos come in another order", "Scores must move with their rows and columns"


def queries_do_not_depend_on_each_other(case: ScoreTransformCase) -> Faults:
    if case.cls.transductive(case.transform.config):
        return
    if words := gap({"scores": case.run(case.scores[1:3])}, {"scores": case.whole[1:3]}):
        yield f"{words} when some queries are scored alone", "Say so by `transductive`"


def it_reads_the_bank_that_it_needs(case: ScoreTransformCase) -> Faults:
    if case.cls.needs_bank and torch.equal(case.run(case.scores, -case.bank), case.whole):
        yield "another bank changes nothing", "Leave `needs_bank` False: the train split would be scored for nothing"


FIRST = (it_gives_a_finite_matrix,)
CHECKS = (
    scores_are_left_as_they_are,
    it_is_deterministic,
    order_does_not_matter,
    queries_do_not_depend_on_each_other,
    it_reads_the_bank_that_it_needs,
)
