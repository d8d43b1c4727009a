"""What a component breaks, how it is gathered and told, and how near two results must be to count as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError

SAME = 1e-4
"""Largest gap between two ways to one number in float32, as a share of the largest number: sums in another order
differ by about 1e-7, and a softmax at temperature 0.01 makes a hundred times that of it. What the checks look for
(a padding token that is seen, a row that sees its neighbours) is larger than 1e-2."""

HALF = 0.1
"""Mean gap between bfloat16 and float32, as a share of the mean size: bfloat16 keeps 3 digits (4e-3), and a softmax or
a choice of tokens in between enlarges that. The mean, because the choice may fall on another of two equal tokens."""

DEVICE = 1e-3
"""Largest gap between CPU and GPU, as a share of the largest number: other kernels, other orders of summation."""

Tensors = Mapping[str, Tensor]
Faults = Iterator[tuple[str, str]]
"""(what was observed, what to do about it), one for each fault."""
Check = Callable[[Any], Faults]
"""A check of one case. Its name, with spaces, is what is said to fail."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One broken rule: its name, what was observed, what to do."""

    rule: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.seen}. {self.remedy}"


class ContractError(UserError, AssertionError):
    """Every rule that a component breaks, together; pytest shows it as a failed assertion."""

    def __init__(self, subject: str, faults: Sequence[Fault]):
        self.subject, self.faults = subject, list(faults)
        count = "one rule" if len(self.faults) == 1 else f"{len(self.faults)} rules"
        lines = "".join(f"\n- {fault}" for fault in self.faults)
        super().__init__(f"{subject} breaks {count} of its contract:{lines}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.subject, self.faults)


def faults_of(case: Any, checks: Sequence[Check]) -> list[Fault]:
    """What the checks find. One that raises is a fault by itself; nothing of it is lost."""
    faults = []
    for check in checks:
        rule = check.__name__.replace("_", " ")
        try:
            faults += [Fault(rule, *fault) for fault in check(case)]
        except Exception as error:  # a component may fail in any way; the other checks still say what they see
            faults.append(Fault(rule, f"{type(error).__name__}: {said(error)}", "It must not raise here"))
    return faults


def said(error: Exception) -> str:
    """The first line of an exception's message; a KeyError's without its quotes."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    return str(text).strip().partition("\n")[0].rstrip(".")


def gap(results: Tensors, wanted: Tensors, limit: float = SAME) -> str:
    """How the first of some tensors that differs does so, in words; '' where they agree within the limit."""
    if set(results) != set(wanted):
        return f"{', '.join(sorted(results)) or 'nothing'} instead of {', '.join(sorted(wanted)) or 'nothing'}"
    for name in wanted:
        words = _gap(results[name].detach().double().cpu(), wanted[name].detach().double().cpu(), limit)
        if words:
            return f"{name} {words}"
    return ""


def _gap(result: Tensor, wanted: Tensor, limit: float) -> str:
    if result.shape != wanted.shape:
        return f"{list(result.shape)} instead of {list(wanted.shape)}"
    if not result.isfinite().all():
        return "NaN or infinite"
    if not result.numel():
        return ""
    largest, size = (result - wanted).abs().max().item(), wanted.abs().max().item()
    if largest <= (limit * size + 1e-7 if limit else 0):
        return ""
    return f"differ by up to {largest:.2g}, where values reach {size:.2g}"


def mean_gap(results: Tensors, wanted: Tensors) -> str:
    """The same for results of another precision: by the mean gap, within HALF."""
    for name in wanted:
        low, high = results[name].detach().double().cpu(), wanted[name].detach().double().cpu()
        if low.shape != high.shape or not low.isfinite().all():
            return f"{name} {_gap(low, high, HALF)}"
        mean, size = (low - high).abs().mean().item(), high.abs().mean().item()
        if low.numel() and mean > HALF * size + 1e-7:
            return f"{name} differ by {mean:.2g} in the mean, where values are about {size:.2g}"
    return ""


def not_finite(tensors: Tensors) -> list[str]:
    """Names of the tensors that hold NaN or infinities."""
    return [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
