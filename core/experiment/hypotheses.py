"""Hypotheses of an experiment file: parsed, and tied to the variants that they compare, before anything runs.

Under `hypotheses`, one name each, with A, B, C, D a variant's name or assignments that select it:

    {better: A, than: B, by: 0}                                    A exceeds B by more than `by`
    {no_worse: A, than: B, margin: 0.5}                            A falls short of B by less than `margin`
    {equivalent: A, to: B, within: 1}                              they differ by less than `within` either way
    {larger_gain: {of: A, over: C}, than: {of: B, over: D}, by: 0} A over C gains more than B over D, by more than `by`
    {cheaper: A, than: B, metric: cost/latency_ms, ratio: 2}       B takes at least `ratio` times what A takes; no p
    {higher: A, than: B, metric: t2v/frame.gate_entropy}           and `lower`: for diagnostics, none of them better

`metric` is one that is evaluated, `evaluate.primary` by default; bounds are in its unit. `cheaper` needs one of the
costs, which `evaluate.efficiency: true` measures. `no_worse` and `equivalent` over seeds are not shown by few of them,
since a collapse of one run in ten may stay unseen; with `seeds: as seen` they are about the seeds that were run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..contract.keys import join, split_key
from ..contract.settings import LARGEST
from ..contract.store import digest
from ..errors import ConfigError, Problem, UserError, brief, nearest, show
from ..measure.metrics import COSTS, metric
from .config import Document
from .selection import Variant, reference_fault, select, short_key, short_value

KINDS = {
    "better": ("than", "by", 0.0),
    "no_worse": ("than", "margin", None),
    "equivalent": ("to", "within", None),
    "larger_gain": ("than", "by", 0.0),
    "cheaper": ("than", "ratio", None),
    "higher": ("than", "by", 0.0),
    "lower": ("than", "by", 0.0),
}
"""Kind of claim: the word before what it is compared with, the name of its bound, the bound's default."""
GUARDED, AS_SEEN = ("no_worse", "equivalent"), "as seen"
"""Claims that nothing is lost, for which losses count that were not seen; what makes them claims about these seeds."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """A claim about `variant` against `other` on one metric; `bound` in the metric's unit (points, ranks), or a ratio.

    arms: variant and other. Of `larger_gain` four: variant over other is the gain that is claimed to be larger than
    that of the third over the fourth.
    seeds_as_seen: `no_worse` and `equivalent` of the seeds that were run, whatever others may do.
    """

    name: str
    kind: str
    arms: tuple[Variant, ...]
    metric: str
    bound: float
    seeds_as_seen: bool = False

    @property
    def variant(self) -> Variant:
        return self.arms[0]

    @property
    def other(self) -> Variant:
        return self.arms[1]

    def span(self, texts: int, videos: int) -> float | None:
        """The most by which one query can differ: 100 points, and in rank as far as the gallery reaches."""
        measured = metric(self.metric)
        gallery = videos if self.metric.startswith("t2v/") else texts
        return float(gallery - 1) if measured.unit == "rank" else measured.span

    def __str__(self) -> str:
        relation, bound, _ = KINDS[self.kind]
        limit = "" if bound == "by" and not self.bound else f", {bound} {self.bound:g}"
        names = [variant.name for variant in self.arms]
        if self.kind == "larger_gain":
            compared = "the gain of {} over {} is larger than that of {} over {}".format(*names)
        else:
            compared = f"{names[0]} is {self.kind.replace('_', ' ')} {relation} {names[1]}"
        return f"{compared} on {self.metric}{limit}{f', seeds {AS_SEEN}' if self.seeds_as_seen else ''}"

    @property
    def digest(self) -> str:
        """The digest of the claim itself: what is compared, how, on which seeds. Names and paths do not enter."""
        arms = [_substance(variant) for variant in self.arms]
        seen = [AS_SEEN] if self.seeds_as_seen else []
        return digest([self.kind, self.metric, self.bound, arms, list(self.variant.experiment.seeds), *seen])


def _substance(variant: Variant) -> dict[str, Any]:
    """The configuration of a variant, as far as a hypothesis depends on it.

    Without the columns of the table, which change no result, and the correction of the variants' p: hypotheses are a
    family of their own.
    """
    configuration, apart = variant.configuration, ("metrics", "directions", "efficiency", "correction")
    configuration["evaluate"] = {k: v for k, v in configuration["evaluate"].items() if k not in apart}
    return configuration


def read_hypotheses(document: Document, variants: list[Variant]) -> list[Hypothesis]:
    """Every hypothesis; one with an axis left open on both sides becomes one at each setting of that axis.

    Raises ConfigError with every fault found.
    """
    experiment = next(variant for variant in variants if variant.is_baseline).experiment
    hypotheses: list[Hypothesis] = []
    problems: list[Problem] = []
    for name, claim in experiment.hypotheses.items():
        if claim is None:
            continue
        key = join("hypotheses", name)
        faults = list(_faults(claim, key, variants, experiment.evaluate.primary))
        problems += faults
        if not faults:
            try:
                hypotheses += _read(name, claim, key, variants, experiment.evaluate.primary)
            except ConfigError as fault:
                problems += fault.problems
    if problems:
        raise ConfigError(document.blame(problems))
    return hypotheses


def _kinds(claim: Any) -> list[str]:
    return [kind for kind in KINDS if isinstance(claim, Mapping) and kind in claim]


def _faults(claim: Any, key: str, variants: list[Variant], primary: str) -> Iterator[Problem]:
    """What is wrong with a claim, before its sides are compared."""
    if len(_kinds(claim)) != 1:
        yield Problem(key, f"expected {{…: variant, …}} with one of {', '.join(KINDS)}, got {show(claim)}")
        return
    kind = _kinds(claim)[0]
    relation, bound_name, default = KINDS[kind]
    fields = [kind, relation, bound_name, "metric", *(["seeds"] if kind in GUARDED else [])]
    for name in claim:
        if name not in fields:
            yield Problem(join(key, name), f"unknown key.{nearest(name, fields)}")
    if relation not in claim:
        yield Problem(join(key, relation), "is needed and missing (what it is compared with)")
    yield from _bound_faults(kind, claim.get(bound_name, default), join(key, bound_name))
    if "seeds" in fields and claim.get("seeds", AS_SEEN) != AS_SEEN:
        yield Problem(join(key, "seeds"), f"expected `{AS_SEEN}` or nothing, got {show(claim['seeds'])}")
    measured = claim.get("metric", None if kind == "cheaper" else primary)
    yield from _metric_faults(kind, measured, key, variants[0])
    for name, reference in _sides(claim).items():
        if kind == "larger_gain" and "." not in name:
            message = f"expected {{of: variant, over: variant}}, which make the gain, got {show(reference)}"
            yield Problem(join(key, name), message)
        elif not _chosen(variants, reference):
            yield Problem(f"{key}.{name}", reference_fault(variants, reference))


def _sides(claim: Mapping[str, Any]) -> dict[str, Any]:
    """{key below the claim: reference}, in the order of `Hypothesis.arms`; a gain without `of` or `over` is whole."""
    kind = _kinds(claim)[0]
    sides = {name: claim[name] for name in (kind, KINDS[kind][0]) if name in claim}
    if kind != "larger_gain":
        return sides
    references: dict[str, Any] = {}
    for name, gain in sides.items():
        if isinstance(gain, Mapping) and gain.keys() == {"of", "over"}:
            references[f"{name}.of"], references[f"{name}.over"] = gain["of"], gain["over"]
        else:
            references[name] = gain
    return references


def _bound_faults(kind: str, bound: Any, key: str) -> Iterator[Problem]:
    if bound is None:
        unit = "in the metric's unit: points, or ranks"
        if kind == "cheaper":
            unit = "how many times as much the other takes"
        yield Problem(key, f"is needed and missing ({unit})")
    elif isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound < math.inf:
        yield Problem(key, f"expected a number of 0 or more, got {show(bound)}")
    elif bound > LARGEST:
        yield Problem(key, f"must be at most {LARGEST:g}, got {brief(bound)}")
    elif bound == 0 and kind == "equivalent":
        yield Problem(key, "must be more than 0: no test can show that there is no difference at all")
    elif bound <= 1 and kind == "cheaper":
        yield Problem(key, f"must be more than 1 (how many times as much the other takes), got {bound:g}")


def _chosen(variants: list[Variant], reference: Any) -> list[Variant]:
    """The variants that a reference means; none for one with a broken key."""
    try:
        return select(variants, reference)
    except ConfigError:
        return []


def _metric_faults(kind: str, name: Any, claim: str, variant: Variant) -> Iterator[Problem]:
    """Faults of the metric that a kind of claim is about; `claim`: the claim's key."""
    settings, key = variant.experiment.evaluate, join(claim, "metric")
    if kind == "cheaper":
        if name is None:
            yield Problem(key, f"is needed and missing (one of {', '.join(COSTS)})")
        elif name not in COSTS:
            yield Problem(key, f"expected one of {', '.join(COSTS)}, got {show(name)}.{nearest(str(name), COSTS)}")
        elif not variant.value("evaluate.efficiency"):
            yield Problem(key, f"`{name}` is not measured; set evaluate.efficiency: true")
        return
    if name in COSTS:
        yield Problem(claim, f"`{kind}` does not suit `{name}`; say cheaper")
        return
    evaluated = [f"{direction}/{short}" for direction in settings.directions for short in settings.metrics]
    evaluated += [f"t2v/{diagnostic}" for diagnostic in settings.diagnostics]
    if name not in [*evaluated, settings.primary]:
        yield Problem(key, f"{show(name)} is not among the evaluated metrics.{nearest(str(name), evaluated)}")
    else:
        try:
            if metric(name).summary == "median":
                yield Problem(key, f"`{name}` has an interval but no test; take MnR or a recall")
        except UserError as fault:
            yield Problem(key, str(fault))
    if isinstance(name, str) and ("." in name) != (kind in ("higher", "lower")):
        words = "higher or lower" if "." in name else "better, no_worse, equivalent or larger_gain"
        yield Problem(claim, f"`{kind}` does not suit `{name}`; say {words}")


def _read(name: str, claim: Mapping[str, Any], key: str, variants: list[Variant], primary: str) -> list[Hypothesis]:
    """The hypotheses that a faultless claim makes: one, or one at each setting of the axes that it leaves open."""
    kind = _kinds(claim)[0]
    _, bound_name, default = KINDS[kind]
    bound, measured = float(claim.get(bound_name, default)), claim.get("metric", primary)
    as_seen = claim.get("seeds") == AS_SEEN
    arm_sets, open_axes = _arms(claim, key, variants)
    for arms in arm_sets:
        if fault := _sameness(arms):
            raise ConfigError(Problem(key, fault))
    names = [f"{name} [{_setting(arms[0], open_axes)}]" if len(arm_sets) > 1 else name for arms in arm_sets]
    return [
        Hypothesis(full_name, kind, arms, measured, bound, as_seen)
        for full_name, arms in zip(names, arm_sets, strict=True)
    ]


def _arms(claim: Mapping[str, Any], key: str, variants: list[Variant]) -> tuple[list[tuple[Variant, ...]], list[str]]:
    """The variants that are compared with each other, and the axes that all sides leave open: arms agree on those."""
    sides = _sides(claim)
    chosen = {name: _chosen(variants, reference) for name, reference in sides.items()}
    if all(len(candidates) == 1 for candidates in chosen.values()):
        return [tuple(candidates[0] for candidates in chosen.values())], []
    bound = [split_key(axis) for reference in sides.values() if isinstance(reference, Mapping) for axis in reference]
    axes = dict.fromkeys(axis for variant in variants for axis in variant.assignments)
    free = [axis for axis in axes if not any(_overlap(split_key(axis), other) for other in bound)]
    # by side: {digest of a setting of the free axes: the variant there}; arms are variants with one digest
    at = {
        name: {digest([v.value(axis) for axis in free]): v for v in candidates} for name, candidates in chosen.items()
    }
    first = next(iter(at.values()))
    if any(settings.keys() != first.keys() or len(settings) < len(chosen[name]) for name, settings in at.items()):
        side, candidates = next((name, candidates) for name, candidates in chosen.items() if len(candidates) > 1)
        names = "; ".join(variant.name for variant in candidates)
        raise ConfigError(Problem(f"{key}.{side}", f"selects {len(candidates)} variants, not one: {names}"))
    together = [tuple(settings[setting] for settings in at.values()) for setting in first]
    return together, [axis for axis in free if len({str(arms[0].value(axis)) for arms in together}) > 1]


def _sameness(arms: tuple[Variant, ...]) -> str | None:
    """Why arms make no comparison, or one that is to be written otherwise; None where they make one."""
    for variant, other in zip(arms[::2], arms[1::2], strict=True):
        if variant is other:
            return f"compares a variant with itself: {variant.name}"
    if len(arms) == 4:
        first, first_base, second, second_base = arms
        if first is second and first_base is second_base:
            return f"compares a gain with itself: {first.name} over {first_base.name}"
        if first_base is second_base:
            return f"both gains are over {first_base.name}: write {{better: {first.name}, than: {second.name}}}"
        if first is second:
            return f"both gains are of {first.name}: write {{better: {second_base.name}, than: {first_base.name}}}"
    return None


def _overlap(key: list[str], other: list[str]) -> bool:
    """Whether one key is the other, or lies under it."""
    shorter = min(len(key), len(other))
    return key[:shorter] == other[:shorter]


def _setting(variant: Variant, axes: list[str]) -> str:
    return " ".join(f"{short_key(axis, axes)}={short_value(variant.value(axis))}" for axis in axes) or variant.name
