"""Score transforms of the first stage: on the scores of each interaction, then on their mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor

from ...contract.components import ScoreTransform
from ...contract.settings import Spec
from ...plugins import registry

Stage = tuple[float, Tensor, Tensor | None]
"""Weight of an interaction, scores [Q, G] of the queries, scores [N, G] of a bank where a transform needs one."""


def transformed(specs: Mapping[str, Spec], stages: Sequence[Stage]) -> Tensor:
    """The first stage's scores [Q, G] after its transforms.

    Those with `each` act on every interaction by itself, then the others on the mixture, both in the order of the
    file. A bank goes the way of the queries, as a set of its own, as far as a later transform reads it.
    """
    built: list[ScoreTransform] = [registry().make("score_transform", spec) for spec in specs.values()]
    each, after = [t for t in built if t.config.each], [t for t in built if not t.config.each]
    wanted = any(transform.needs_bank for transform in after)
    parts = [(weight, *_through(each, scores, bank, wanted)) for weight, scores, bank in stages]
    scores = reduce(torch.add, [weight * scores for weight, scores, _ in parts])
    banks = [weight * bank for weight, _, bank in parts if bank is not None]
    return _through(after, scores, reduce(torch.add, banks) if wanted else None)[0]


def _through(
    transforms: Sequence[ScoreTransform], scores: Tensor, bank: Tensor | None, wanted: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Scores and bank after some transforms; the bank after the last only where it is `wanted`."""
    for place, transform in enumerate(transforms):
        banks = (bank,) if transform.needs_bank else ()
        scores = transform(scores, *banks)
        if bank is not None and (wanted or any(later.needs_bank for later in transforms[place + 1 :])):
            bank = transform(bank, *banks)
    return scores, bank
