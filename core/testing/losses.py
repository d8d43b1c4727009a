"""Checks of a loss, on batches of pairs and on batches of candidates, whichever it takes."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract.components import Loss, LossInputs
from .contract import Faults, gap, said
from .inputs import SEED, WIDTH

PAIRS, CANDIDATES = 6, 4
SCALE = 20.0


class LossCase:
    """A loss and batches for it.

    pairs: scores [N, N]; the first two texts are captions of one video, so each is relevant to both columns.
    candidates: scores [R, C] of a reranker, each row's own answer first, `paired` None. Auxiliary tensors are unit
    vectors [N, …] of the shapes given, [N, 16] by default.
    """

    def __init__(self, cls: type[Loss], config: Any, auxiliary: Mapping[str, tuple[int, ...]]):
        self.cls, self.config = cls, config
        self.shapes = {name: tuple(auxiliary.get(name, (WIDTH,))) for name in sorted(cls.needs(config))}

    def build(self, config: Any = None, seed: int = SEED) -> Any:
        torch.manual_seed(seed)
        return self.cls(self.config if config is None else config).eval()

    @cached_property
    def batches(self) -> dict[str, LossInputs]:
        """Those that it takes; a ValueError says that it does not."""
        batches, refused = {}, []
        for name, batch in (("pairs", self.pairs()), ("candidates", self.candidates())):
            try:
                value(self.build(), batch)
            except ValueError as error:
                refused.append(f"{name}: {said(error)}")
            else:
                batches[name] = batch
        if not batches:
            raise ValueError(f"it takes no batch ({'; '.join(refused)})")
        return batches

    @property
    def any_batch(self) -> LossInputs:
        """One that it takes, for rules that do not depend on the kind of batch."""
        return next(iter(self.batches.values()))

    def pairs(self, count: int = PAIRS) -> LossInputs:
        relevance = torch.eye(count, dtype=torch.bool)
        relevance[:2, :2] = True
        ids = [f"{kind}{row}" for kind in ("text", "video") for row in range(count)]
        return LossInputs(
            **self._drawn(count, count),
            relevance=relevance,
            paired=torch.arange(count),
            text_ids=tuple(ids[:count]),
            video_ids=tuple(ids[count:]),
        )

    def candidates(self) -> LossInputs:
        relevance = torch.zeros(PAIRS, CANDIDATES, dtype=torch.bool)
        relevance[:, 0] = True
        return LossInputs(**self._drawn(PAIRS, CANDIDATES), relevance=relevance)

    def _drawn(self, rows: int, columns: int) -> dict[str, Any]:
        draw = torch.Generator().manual_seed(SEED)

        def unit(*shape: int) -> Tensor:
            return torch.nn.functional.normalize(torch.randn(*shape, generator=draw), dim=-1)

        scores = {name: 0.5 * torch.randn(rows, columns, generator=draw) for name in self.config.of}
        auxiliary = {name: {key: unit(rows, *shape) for key, shape in self.shapes.items()} for name in self.config.of}
        return {"scores": scores, "auxiliary": auxiliary, "logit_scale": torch.tensor(SCALE)}


def value(loss: Any, batch: LossInputs) -> Tensor:
    """The loss of a copy of the batch."""
    return loss(
        dataclasses.replace(
            batch,
            scores={name: tensor.clone() for name, tensor in batch.scores.items()},
            relevance=batch.relevance.clone(),
            auxiliary={name: {k: t.clone() for k, t in side.items()} for name, side in batch.auxiliary.items()},
        )
    )


def _leaves(batch: LossInputs) -> tuple[LossInputs, dict[str, Tensor]]:
    """The batch with tensors that collect gradients, and those by name."""
    scores = {name: tensor.clone().requires_grad_() for name, tensor in batch.scores.items()}
    auxiliary = {
        name: {key: tensor.clone().requires_grad_() for key, tensor in side.items()}
        for name, side in batch.auxiliary.items()
    }
    scale = batch.logit_scale.clone().requires_grad_()
    leaves = {"logit_scale": scale} | {f"scores of {name}": tensor for name, tensor in scores.items()}
    leaves |= {f"{key} of {name}": tensor for name, side in auxiliary.items() for key, tensor in side.items()}
    return dataclasses.replace(batch, scores=scores, auxiliary=auxiliary, logit_scale=scale), leaves


def _gradients(loss: Any, batch: LossInputs) -> tuple[Tensor, dict[str, Tensor]]:
    batch, leaves = _leaves(batch)
    result = value(loss, batch)
    if result.requires_grad:
        result.backward()
    leaves |= dict(loss.named_parameters())
    return result.detach(), {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def it_is_a_finite_scalar(case: LossCase) -> Faults:
    try:
        batches = case.batches
    except ValueError as error:
        yield str(error), "Take pairs or candidates; check it with `auxiliary=` for tensors that are no vectors"
        return
    for name, batch in batches.items():
        result = value(case.build(), batch)
        if not isinstance(result, Tensor) or result.ndim or not result.is_floating_point():
            shape = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
            yield f"a batch of {name} gives {shape}", "Give a scalar tensor"
        elif not result.isfinite():
            yield f"a batch of {name} gives {result.item()}", "Leave out of sums what is not there; guard logarithms"


def gradients_are_finite_and_flow(case: LossCase) -> Faults:
    for name, batch in case.batches.items():
        _, gradients = _gradients(case.build().train(), batch)
        for key, gradient in gradients.items():
            if not gradient.isfinite().all():
                yield f"that of {key} is NaN or infinite ({name})", "Guard square roots, norms and logarithms at zero"
        if not gradients:  # zeros are a gradient: a margin may be kept everywhere
            yield f"no input of a batch of {name} gets any", "Do not detach what should learn"
        for key, _ in case.build().named_parameters():
            if key not in gradients:
                yield f"parameter `{key}` gets none ({name})", "Use it in forward, or make it a buffer"


def odd_batches_are_finite(case: LossCase) -> Faults:
    for words, batch in _odd(case):
        result, gradients = _gradients(case.build().train(), batch)
        broken = [key for key, gradient in {"the loss": result, **gradients}.items() if not gradient.isfinite().all()]
        if broken:
            yield f"{words}: {', '.join(broken)} NaN or infinite", "Such batches occur; guard what they leave empty"


def _odd(case: LossCase) -> Iterator[tuple[str, LossInputs]]:
    for name, batch in case.batches.items():
        single = case.pairs(1) if name == "pairs" else _rows(batch, torch.arange(1))
        yield f"{name}, one row", single
        yield f"{name}, all relevant", dataclasses.replace(batch, relevance=torch.ones_like(batch.relevance))
        equal = {key: torch.zeros_like(tensor) for key, tensor in batch.scores.items()}
        yield f"{name}, equal scores", dataclasses.replace(batch, scores=equal)
        yield f"{name}, logit_scale 1000", dataclasses.replace(batch, logit_scale=torch.tensor(1000.0))


def _rows(batch: LossInputs, rows: Tensor) -> LossInputs:
    """Rows of a batch of candidates, or pairs in another order."""
    columns = slice(None) if batch.paired is None else rows
    return dataclasses.replace(
        batch,
        scores={name: tensor[rows][:, columns] for name, tensor in batch.scores.items()},
        relevance=batch.relevance[rows][:, columns],
        auxiliary={name: {k: tensor[rows] for k, tensor in side.items()} for name, side in batch.auxiliary.items()},
        text_ids=tuple(batch.text_ids[row] for row in rows.tolist()) if batch.text_ids else (),
        video_ids=tuple(batch.video_ids[row] for row in rows.tolist()) if batch.video_ids else (),
    )


def order_of_the_batch_does_not_matter(case: LossCase) -> Faults:
    if any(True for _ in case.build().buffers()):
        return  # a queue remembers an order
    for name, batch in case.batches.items():
        other = _rows(batch, torch.arange(PAIRS).roll(2))
        if words := gap({"loss": value(case.build(), other)}, {"loss": value(case.build(), batch)}):
            yield f"{words} when the rows of a batch of {name} change places", "Go by `paired` and `relevance`"


def it_needs_the_auxiliaries_it_declares(case: LossCase) -> Faults:
    batch = case.any_batch
    for missing in case.shapes:
        auxiliary = {name: {k: t for k, t in s.items() if k != missing} for name, s in batch.auxiliary.items()}
        try:
            value(case.build(), dataclasses.replace(batch, auxiliary=auxiliary))
        except Exception:  # whatever it says, it wanted the tensor
            continue
        yield f"declares `{missing}` and runs without it", "Take it out of `needs`"


def its_weight_is_left_to_the_trainer(case: LossCase) -> Faults:
    twice = case.build(dataclasses.replace(case.config, weight=2 * case.config.weight + 1))
    if words := gap({"loss": value(twice, case.any_batch)}, {"loss": value(case.build(), case.any_batch)}):
        yield f"{words} when `weight` changes", "Give the loss before its weight"


def inputs_are_left_as_they_are(case: LossCase) -> Faults:
    for batch in case.batches.values():
        scores = {name: tensor.clone() for name, tensor in batch.scores.items()}
        relevance = batch.relevance.clone()
        case.build()(dataclasses.replace(batch, scores=scores, relevance=relevance))
        if not torch.equal(relevance, batch.relevance) or gap(scores, batch.scores, 0):
            yield "scores or relevance were written to", "Work on a copy: other losses read them"


def state_dict_holds_all_that_counts(case: LossCase) -> Faults:
    loss = case.build()
    for _ in range(2):
        value(loss, case.any_batch)
        loss.after_step()
    written = io.BytesIO()
    torch.save(loss.state_dict(), written)
    written.seek(0)
    other = case.build(seed=SEED + 1)
    other.load_state_dict(torch.load(written, weights_only=True))
    if words := gap({"loss": value(other, case.any_batch)}, {"loss": value(loss, case.any_batch)}):
        yield f"{words} after its state was saved and loaded", "Keep queues and momentum in buffers"


FIRST = (it_is_a_finite_scalar,)
CHECKS = (
    gradients_are_finite_and_flow,
    odd_batches_are_finite,
    order_of_the_batch_does_not_matter,
    it_needs_the_auxiliaries_it_declares,
    its_weight_is_left_to_the_trainer,
    inputs_are_left_as_they_are,
    state_dict_holds_all_that_counts,
)
