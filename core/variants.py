"""From an experiment file to its variants: grids, single axes, named variants, the baseline, and references to them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .config import DESIGN, Document, Experiment, assign, check, resolve, split_key
from .errors import ConfigError, Problem, nearest
from .plugins import registry
from .settings import join, plain, show

Assignments = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One configuration of the comparison, named by what it assigns over the file's own values."""

    name: str
    assignments: Assignments
    experiment: Experiment
    is_baseline: bool = False

    def value(self, key: str) -> Any:
        """What the resolved configuration holds under a dotted key; None where the way ends early."""
        place: Any = plain(self.experiment)
        for part in split_key(key):
            place = place.get(part) if isinstance(place, Mapping) else None
        return place

    def matches(self, assignments: Assignments) -> bool:
        return all(_holds(self.value(key), value) for key, value in assignments.items())


def _holds(found: Any, wanted: Any) -> bool:
    """Whether a resolved value is the one written: defaults may stand beside what a mapping names."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(_holds(found.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, str) and isinstance(found, Mapping):
        return dict(found) == {wanted: 1.0}
    return plain(found) == plain(wanted)


def read_variants(document: Document) -> list[Variant]:
    """Every variant of an experiment file, checked; the baseline marked, and added where the grid lacks it.

    Raises ConfigError with all faults of all variants, each once.
    """
    base = resolve(document.values)
    _, problems = check(base, None)
    if problems:
        raise ConfigError(document.blame(problems))
    sweeps = _sweeps(document, base)
    baseline = base.get("baseline")
    wanted = _named(sweeps, base.get("variants") or {})
    problems, variants = [], []
    for name, assignments in wanted:
        problems += _add(variants, document, name, assignments)
    if isinstance(baseline, Mapping) and not problems and not any(v.matches(dict(baseline)) for v in variants):
        problems += _add(variants, document, name_of(baseline, baseline), dict(baseline))
    if problems:
        raise ConfigError(document.blame(problems))
    chosen = _baseline(document, variants, baseline)
    return [replace(variant, is_baseline=variant is chosen) for variant in variants]


def _sweeps(document: Document, base: Mapping[str, Any]) -> list[dict[str, list[Any]]]:
    """Each sweep is a grid {key: values}; one sweep after another, not crossed."""
    given = base.get("ablate") or {}
    named = given and all(isinstance(axes, Mapping) for axes in given.values())
    sweeps = [(f"ablate[{name}]", axes) for name, axes in given.items()] if named else [("ablate", given)] if given else []
    sweeps += [("one_at_a_time", {key: values}) for key, values in (base.get("one_at_a_time") or {}).items()]
    problems = []
    for where, axes in sweeps:
        for key, values in axes.items():
            if not isinstance(values, list) or not values:
                problems.append(Problem(join(where, key), f"expected a list of values, got {show(values)}"))
            if split_key(key)[0] in DESIGN:
                problems.append(Problem(join(where, key), "designs the comparison and cannot be swept"))
    if problems:
        raise ConfigError(document.blame(problems))
    return [dict(axes) for _, axes in sweeps]


def _named(sweeps: list[dict[str, list[Any]]], explicit: Mapping[str, Any]) -> list[tuple[str, Assignments]]:
    keys = [key for axes in sweeps for key in axes]
    wanted: list[tuple[str, Assignments]] = []
    for axes in sweeps:
        for values in itertools.product(*axes.values()):
            assignments = dict(zip(axes, values, strict=True))
            wanted.append((name_of(assignments, keys), assignments))
    wanted += [(name, dict(assignments or {})) for name, assignments in explicit.items()]
    return wanted or [("as written", {})]


def name_of(assignments: Mapping[str, Any], keys: Iterable[str]) -> str:
    """`top_k=50 temperature=0.1`: each key by its shortest ending that no other key shares."""
    return " ".join(f"{short_key(key, keys)}={short_value(value)}" for key, value in assignments.items())


def short_key(key: str, keys: Iterable[str]) -> str:
    parts, others = split_key(key), [split_key(other) for other in set(keys) - {key}]
    for length in range(1, len(parts)):
        if not any(other[-length:] == parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return ".".join(parts)


def short_value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = [f"{key}:{short_value(item)}" for key, item in value.items() if key != "name"]
        return str(value.get("name", "")) + ("(" + ",".join(inner) + ")" if inner else "")
    if isinstance(value, list):
        return "[" + ",".join(short_value(item) for item in value) + "]"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _add(variants: list[Variant], document: Document, name: str, assignments: Assignments) -> list[Problem]:
    """Check one variant and append it, unless its configuration is there already. The faults found."""
    values = copy.deepcopy(document.values)
    try:
        for key in sorted(assignments, key=lambda key: len(split_key(key))):
            assign(values, key, assignments[key])
        resolved = resolve(values)
    except ConfigError as fault:
        return document.blame(fault.problems)
    experiment, problems = check(resolved, registry().specify)
    if experiment is None:
        return [_at_axis(problem, assignments) for problem in document.blame(problems)]
    if not any(plain(variant.experiment) == plain(experiment) for variant in variants):
        if any(variant.name == name for variant in variants):
            return document.blame([Problem(f"variants.{name}", "two variants have this name")])
        variants.append(Variant(name, assignments, experiment))
    return []


def _at_axis(problem: Problem, assignments: Assignments) -> Problem:
    """Point at the axis where it, not the file's own value, brought the fault in."""
    for key in assignments:
        if problem.key == key or problem.key.startswith((f"{key}.", f"{key}[")):
            return Problem(problem.key, f"{problem.message} (assigned by the ablation)", problem.file)
    return problem


def select(variants: list[Variant], reference: Any) -> list[Variant]:
    """The variants that a reference may mean: by name, or those that hold every assignment."""
    if isinstance(reference, str):
        if reference == "baseline":
            return [variant for variant in variants if variant.is_baseline]
        return [variant for variant in variants if variant.name == reference]
    if isinstance(reference, Mapping):
        return [variant for variant in variants if variant.matches(dict(reference))]
    return []


def _baseline(document: Document, variants: list[Variant], reference: Any) -> Variant:
    if reference is None:
        return variants[0]
    found = select(variants, reference)
    if len(found) == 1:
        return found[0]
    names = [variant.name for variant in (found or variants)]
    reason = f"selects {len(found)} variants: {', '.join(names)}" if found else f"no such variant.{nearest(str(reference), names)}"
    raise ConfigError(document.blame([Problem("baseline", reason)]))
