"""Hypotheses of an experiment file: parsed, and tied to the variants that they compare, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .config import DESIGN, PROSE, Document
from .errors import ConfigError, Problem, UserError, nearest, show
from .keys import join, split_key
from .metrics import metric
from .references import Variant, reference_fault, select, short_key, short_value
from .settings import plain
from .store import digest

KINDS = {
    "better": ("than", "by", 0.0),
    "no_worse": ("than", "margin", None),
    "equivalent": ("to", "within", None),
    "higher": ("than", "by", 0.0),
    "lower": ("than", "by", 0.0),
}
"""Kind of claim: the word before the other variant, the name of its bound, the bound's default. `higher` and `lower`
are for diagnostics, of which neither is better."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A claim about one variant against another on one metric; `bound` in the metric's unit (points, ranks)."""

    name: str
    kind: str
    variant: Variant
    other: Variant
    metric: str
    bound: float

    def __str__(self) -> str:
        relation, bound, _ = KINDS[self.kind]
        limit = "" if bound == "by" and not self.bound else f", {bound} {self.bound:g}"
        words = f"{self.kind.replace('_', ' ')} {relation}"
        return f"{self.variant.name} is {words} {self.other.name} on {self.metric}{limit}"

    @property
    def digest(self) -> str:
        """Of the claim itself: what is compared, how, on which seeds; names and paths do not enter."""
        arms = [_substance(variant) for variant in (self.variant, self.other)]
        return digest([self.kind, self.metric, self.bound, arms, list(self.variant.experiment.seeds)])


def configuration(variant: Variant) -> dict[str, Any]:
    """A variant's resolved fields without those that design the comparison, name it or say where it goes."""
    left_out = {*DESIGN, *PROSE}
    return {key: value for key, value in plain(variant.experiment).items() if key not in left_out}


def _substance(variant: Variant) -> dict[str, Any]:
    """Its configuration without the columns of the table, which change no result."""
    found = configuration(variant)
    found["evaluate"] = {k: v for k, v in found["evaluate"].items() if k not in ("metrics", "directions")}
    return found


def read_hypotheses(document: Document, variants: list[Variant]) -> list[Hypothesis]:
    """Every hypothesis; one with an axis left open on both sides becomes one at each setting of that axis.

    Raises ConfigError with every fault found.
    """
    given = next(variant for variant in variants if variant.is_baseline).experiment
    found: list[Hypothesis] = []
    problems: list[Problem] = []
    for name, claim in given.hypotheses.items():
        if claim is None:
            continue
        key = join("hypotheses", name)
        faults = list(_faults(claim, key, variants, given.evaluate.primary))
        problems += faults
        if not faults:
            try:
                found += _read(name, claim, key, variants, given.evaluate.primary)
            except ConfigError as fault:
                problems += fault.problems
    if problems:
        raise ConfigError(document.blame(problems))
    return found


def _kinds(claim: Any) -> list[str]:
    return [kind for kind in KINDS if isinstance(claim, Mapping) and kind in claim]


def _faults(claim: Any, key: str, variants: list[Variant], primary: str) -> Iterator[Problem]:
    """What is wrong with a claim, before its two sides are compared."""
    if len(_kinds(claim)) != 1:
        yield Problem(key, f"expected {{…: variant, …}} with one of {', '.join(KINDS)}, got {show(claim)}")
        return
    kind = _kinds(claim)[0]
    relation, bound_name, default = KINDS[kind]
    fields = [kind, relation, bound_name, "metric"]
    for name in claim:
        if name not in fields:
            yield Problem(join(key, name), f"unknown field.{nearest(name, fields)}")
    if relation not in claim:
        yield Problem(join(key, relation), "is needed and missing (the variant that is compared with)")
    bound = claim.get(bound_name, default)
    if bound is None:
        yield Problem(join(key, bound_name), "is needed and missing (in the metric's unit: points, or ranks)")
    elif isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound < math.inf:
        yield Problem(join(key, bound_name), f"expected a number of 0 or more, got {show(bound)}")
    elif bound == 0 and kind == "equivalent":
        yield Problem(join(key, bound_name), "must be more than 0: no test can show that there is no difference at all")
    measured = claim.get("metric", primary)
    yield from _metric_faults(measured, join(key, "metric"), variants[0])
    if isinstance(measured, str) and ("." in measured) != (kind in ("higher", "lower")):
        words = "higher or lower" if "." in measured else "better, no_worse or equivalent"
        yield Problem(key, f"`{kind}` does not suit `{measured}`; say {words}")
    for side in (kind, relation):
        if side in claim and not _chosen(variants, claim[side]):
            yield Problem(join(key, side), reference_fault(variants, claim[side]))


def _chosen(variants: list[Variant], reference: Any) -> list[Variant]:
    """The variants that a reference means; none for one with a broken key."""
    try:
        return select(variants, reference)
    except ConfigError:
        return []


def _metric_faults(name: Any, key: str, variant: Variant) -> Iterator[Problem]:
    settings = variant.experiment.evaluate
    known = [f"{direction}/{short}" for direction in settings.directions for short in settings.metrics]
    known += [f"t2v/{diagnostic}" for diagnostic in settings.diagnostics]
    if name not in [*known, settings.primary]:
        yield Problem(key, f"{show(name)} is not among the evaluated metrics.{nearest(str(name), known)}")
        return
    try:
        if metric(name).summary == "median":
            yield Problem(key, f"`{name}` has an interval but no test; take MnR or a recall")
    except UserError as fault:
        yield Problem(key, str(fault))


def _read(name: str, claim: Mapping[str, Any], key: str, variants: list[Variant], primary: str) -> list[Hypothesis]:
    """The hypotheses that a faultless claim makes: one, or one at each setting of the axes that it leaves open."""
    kind = _kinds(claim)[0]
    relation, bound_name, default = KINDS[kind]
    bound, measured = float(claim.get(bound_name, default)), claim.get("metric", primary)
    pairs, open_axes = _pairs(claim, key, kind, relation, variants)
    return [
        Hypothesis(f"{name} [{_setting(a, open_axes)}]" if len(pairs) > 1 else name, kind, a, b, measured, bound)
        for a, b in pairs
    ]


def _pairs(
    claim: Mapping[str, Any], key: str, kind: str, relation: str, variants: list[Variant]
) -> tuple[list[tuple[Variant, Variant]], list[str]]:
    """The variants that are compared, and the axes that both sides leave open: a pair agrees on those."""
    sides = [claim[kind], claim[relation]]
    left, right = (_chosen(variants, side) for side in sides)
    if len(left) == len(right) == 1:
        if left[0] is right[0]:
            raise ConfigError(Problem(key, f"compares a variant with itself: {left[0].name}"))
        return [(left[0], right[0])], []
    bound = [split_key(axis) for side in sides if isinstance(side, Mapping) for axis in side]
    axes = dict.fromkeys(axis for variant in variants for axis in variant.assignments)
    free = [axis for axis in axes if not any(_overlap(split_key(axis), other) for other in bound)]
    pairs = [(a, b) for a in left for b in right if a is not b and all(a.value(x) == b.value(x) for x in free)]
    once = len({a.name for a, _ in pairs}) == len({b.name for _, b in pairs}) == len(pairs)
    if not once or len(pairs) != len(left) or len(pairs) != len(right):
        side, found = (kind, left) if len(left) > 1 else (relation, right)
        names = "; ".join(variant.name for variant in found)
        raise ConfigError(Problem(join(key, side), f"selects {len(found)} variants, not one: {names}"))
    return pairs, [axis for axis in free if len({str(a.value(axis)) for a, _ in pairs}) > 1]


def _overlap(one: list[str], other: list[str]) -> bool:
    """Whether one key is the other, or lies under it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def _setting(variant: Variant, axes: list[str]) -> str:
    return " ".join(f"{short_key(axis, axes)}={short_value(variant.value(axis))}" for axis in axes) or variant.name
