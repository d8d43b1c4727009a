"""A variant, its name, and which variants a reference of the experiment file means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..contract.keys import dotted, join, lookup, split_key
from ..contract.settings import Spec, plain
from ..errors import ConfigError, Problem, nearest, show
from .config import DESIGN, PROSE, Experiment

Assignments = dict[str, Any]

AS_WRITTEN = "as written"
"""The name of the file's own configuration."""

_NO_FIELD = object()


@dataclass(frozen=True)
class Variant:
    """One configuration of the comparison, named by what it assigns over the file's own values.

    written: the full key that describes it. aliases: further names, of descriptions that come to the same.
    """

    name: str
    assignments: Assignments
    experiment: Experiment
    is_baseline: bool = False
    written: str = ""
    aliases: tuple[str, ...] = ()

    def value(self, key: str) -> Any:
        """What the resolved configuration holds under a dotted key, as plain data; None where there is nothing."""
        value = _typed(self.experiment, key)
        return None if value is _NO_FIELD else plain(value)

    @property
    def configuration(self) -> dict[str, Any]:
        """Its resolved fields without those that design the comparison, name it or say where it goes."""
        left_out = {*DESIGN, *PROSE}
        return {key: value for key, value in plain(self.experiment).items() if key not in left_out}

    def scores_the_data_of(self, other: Variant) -> bool:
        """Whether both are scored on the same split of the same data set."""
        mine, others = self.experiment, other.experiment
        return mine.data.dataset == others.data.dataset and mine.evaluate.split == others.evaluate.split

    def matches(self, assignments: Assignments) -> bool:
        """Whether the configuration holds every one of these values; a component may hold further fields."""
        return all(_holds(_typed(self.experiment, key), value) for key, value in assignments.items())

    def located(self, problem: Problem) -> Problem:
        """The problem at the key that assigned the faulty value, where it is not the file's own."""
        return locate(problem, self.written, self.assignments)


def is_data_key(key: str) -> bool:
    """Whether a dotted key says which data are scored."""
    return key == "evaluate.split" or split_key(key)[:2] == ["data", "dataset"]


def baseline_of(variant: Variant, variants: Iterable[Variant]) -> Variant:
    """The baseline that a variant is compared with: that on its own data, else the first of all."""
    baselines = [other for other in variants if other.is_baseline]
    return next((other for other in baselines if variant.scores_the_data_of(other)), baselines[0])


def flat_configuration(variant: Variant) -> dict[str, Any]:
    """{dotted key: value} of a configuration, but for how it is evaluated."""
    configuration = variant.configuration
    return dict(_flat({name: value for name, value in configuration.items() if name != "evaluate"}, ""))


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every leaf under its dotted key; empty mappings and lists are leaves."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and value:
        for place, item in enumerate(value):
            yield from _flat(item, f"{key}.{place}")
    else:
        yield key, value


# ------------------------------------------------------------------------------------------ names


def name_of(assignments: Mapping[str, Any], keys: Iterable[str]) -> str:
    """`top_k=50 temperature=0.1`: each key by its shortest ending that no other key shares."""
    all_keys = list(keys)
    parts = [f"{short_key(key, all_keys)}={short_value(value)}" for key, value in assignments.items()]
    return " ".join(parts) or AS_WRITTEN


def short_key(key: str, keys: Iterable[str]) -> str:
    """The shortest ending of a key that none of the others shares."""
    parts, others = split_key(key), [split_key(other) for other in set(keys) - {key}]
    for length in range(1, len(parts)):
        if not any(other[-length:] == parts[-length:] for other in others):
            return dotted(parts[-length:])
    return dotted(parts)


def short_value(value: Any) -> str:
    """A value in few letters: `score_fusion(top_k:5)`, `[a,b]`, `none`."""
    if isinstance(value, Mapping):
        inner = [f"{key}:{short_value(item)}" for key, item in value.items() if key != "name"]
        return str(value.get("name", "")) + ("(" + ",".join(inner) + ")" if inner or "name" not in value else "")
    if isinstance(value, list):
        return "[" + ",".join(short_value(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return str(value)


# ------------------------------------------------------------------------------------------ references


def select(variants: list[Variant], reference: Any) -> list[Variant]:
    """The variants that a reference may mean: by name, or those that hold every assignment."""
    if reference == "baseline" and any(variant.is_baseline for variant in variants):
        return [variant for variant in variants if variant.is_baseline]
    if isinstance(reference, str):
        return [variant for variant in variants if reference in (variant.name, *variant.aliases)]
    if isinstance(reference, Mapping):
        return [variant for variant in variants if variant.matches(dict(reference))]
    return []


def reference_fault(variants: list[Variant], reference: Any) -> str:
    """Why a reference selects none of the variants, and what would."""
    names = [variant.name for variant in variants]
    if isinstance(reference, str):
        return f"there is no variant called `{reference}`.{nearest(reference, names)}"
    if not isinstance(reference, Mapping):
        return f"expected the name of a variant, or assignments, got {show(reference)}"
    for key, value in reference.items():
        try:
            fits = [variant for variant in variants if variant.matches({key: value})]
        except ConfigError as fault:
            return f"`{key}`: {fault.problems[0].message}"
        contents = [_typed(variant.experiment, key) for variant in variants]
        if _NO_FIELD in contents and all(item is _NO_FIELD or item is None for item in contents):
            return f"no variant has a field `{key}`"
        if not fits:
            values = dict.fromkeys(short_value(variant.value(key)) for variant in variants)
            return f"no variant has `{key}` = {short_value(value)}; there are: {', '.join(values)}"
    return f"no variant has all of these values; there are: {'; '.join(names)}"


def _typed(experiment: Experiment, key: str) -> Any:
    """What an experiment holds under a dotted key, typed; None where a mapping has no such entry."""
    place: Any = experiment
    for part in split_key(key):
        place = _unnamed(place)
        if isinstance(place, Spec):
            place = place.name if part == "name" else getattr(place.fields, part, _NO_FIELD)
        elif dataclasses.is_dataclass(place):
            place = getattr(place, part, _NO_FIELD)
        elif place is None or isinstance(place, Mapping):
            place = place.get(part) if place else None
        else:
            return _NO_FIELD
    return _unnamed(place)


def _unnamed(place: Any) -> Any:
    """A single encoder stands under an empty name."""
    return place.get("", place) if isinstance(place, Mapping) else place


def _holds(value: Any, wanted: Any) -> bool:
    """Whether a typed value is the one written. A component or section may hold more fields than were written, as
    each has its default; all other mappings are compared whole."""
    if isinstance(value, Spec) or dataclasses.is_dataclass(value):
        fields = value.fields if isinstance(value, Spec) else value
        wanted_fields = dict(wanted) if isinstance(wanted, Mapping) else {"name": None}
        if isinstance(value, Spec) and wanted_fields.pop("name", None) != value.name:
            return False
        return all(_holds(getattr(fields, name, _NO_FIELD), item) for name, item in wanted_fields.items())
    if isinstance(value, Mapping):
        named = [wanted] if isinstance(wanted, str) else wanted
        items = dict.fromkeys(named, 1.0) if isinstance(named, list) else named
        if not isinstance(items, Mapping):
            return False
        items = {name: item for name, item in items.items() if item is not None}
        return items.keys() == value.keys() and all(_holds(value[name], items[name]) for name in items)
    # 1 == True, but neither is written for the other
    return isinstance(value, bool) == isinstance(wanted, bool) and plain(value) == plain(wanted)


# ------------------------------------------------------------------------------------------ faults


def locate(problem: Problem, written: str, assignments: Assignments, base: Mapping[str, Any] | None = None) -> Problem:
    """The problem at the key that wrote the faulty value, or that made what is faulty by a misspelt way to it."""
    faulty = split_key(problem.key, lenient=True)
    for key in sorted(assignments, key=lambda key: -len(split_key(key))):
        parts = split_key(key)
        place = join(written, key)
        if faulty[: len(parts)] == parts:
            return Problem("".join([place, *(f".{part}" for part in faulty[len(parts) :])]), problem.message)
        if base is not None and parts[: len(faulty)] == faulty and lookup(base, faulty) is None:
            there = lookup(base, faulty[:-1])
            hint = nearest(faulty[-1], there) if isinstance(there, Mapping) else ""
            return Problem(place, f"there is no `{problem.key}`.{hint}")
    return problem
