"""From an experiment file to its variants: grids, single axes, named variants, the baseline, and references to them."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..contract.keys import assign, join, lookup, split_key
from ..contract.settings import plain
from ..errors import ConfigError, Problem, show
from .config import DESIGN, PROSE, Document, Experiment, check, has_references, read_core, resolve
from .selection import AS_WRITTEN, Assignments, Variant, is_data_key, locate, name_of, reference_fault, select

SHARED = {(key,) for key in (*DESIGN, *PROSE, "evaluate")} | {
    ("evaluate", name) for name in ("directions", "metrics", "primary", "correction")
}
"""Keys that all variants have in common: they design the comparison, make its table, or say where it goes."""

SWEEPS = ("ablate", "one_at_a_time", "variants", "hypotheses")
"""Mappings as long as there are variants, the same for all: not checked again for each where nothing refers to them."""

MOST_VARIANTS = 10_000
MOST_TRIALS = 100_000
"""Of one file; they are counted before any is made."""


def read_variants(document: Document) -> list[Variant]:
    """Every variant of an experiment file, checked; one is marked as the baseline.

    `ablate` is a grid, or named grids that are not crossed with each other. `one_at_a_time` varies each of its axes
    around the file's own configuration, which therefore is a variant too, called `as written`. `variants` are named
    by hand. Descriptions that come to the same configuration are one variant, which answers to all their names and
    bears the one given by hand. The baseline is what `baseline` selects, added where no variant has its assignments,
    and one on each data set and split where these are varied
    (`as written` adds the file's own configuration). Without that key it is the variant called `baseline`, else the
    file's own configuration where it is a variant, else the first variant.

    Faults of the core schema are raised before any plugin is loaded. Raises ConfigError with all faults of all
    variants, each once, at the key that wrote the value.
    """
    return variants_of(check_core(document))


def variants_of(described: Described) -> list[Variant]:
    """`read_variants` of a file that is checked against the core schema already."""
    document, base, drafts = described.document, described.values, described.drafts
    from ..plugins import registry

    try:
        built = _gather(drafts, lambda draft: _configured(document, draft, base, registry().specify))
        variants = _distinct(built, _short_names(drafts, base.get("baseline")))
        variants = _named_as_written(variants, check(base, registry().specify)[0])
        return _with_baseline(document, variants, base.get("baseline"), registry().specify)
    except ConfigError as fault:
        raise ConfigError(document.blame(fault.problems)) from None


@dataclass(frozen=True)
class Described:
    """A file that the core schema accepts: its resolved values, and the variants that it describes."""

    document: Document
    values: dict[str, Any]
    drafts: list[_Draft]


def check_core(document: Document) -> Described:
    """Check a file and all that it sweeps against the core schema; no plugin is loaded. Raises ConfigError with every
    fault."""
    base = read_core(document)
    try:
        drafts = _drafts(document, base)
        _gather(drafts, lambda draft: _configured(document, draft, base, None))
    except ConfigError as fault:
        raise ConfigError(document.blame(fault.problems)) from None
    return Described(document, base, drafts)


# ------------------------------------------------------------------------------------------ what the file describes


@dataclass(frozen=True)
class _Draft:
    """A variant as described: where, by which assignments (`${…}` in them), and its name if it was given one."""

    written: str
    assignments: Assignments
    name: str | None = None


def _drafts(document: Document, base: Mapping[str, Any]) -> list[_Draft]:
    """Every description, in the order of the file; duplicates among them."""
    sweeps = {key: _unresolved(document.values.get(key), base.get(key)) or {} for key in ("ablate", "variants")}
    around = _unresolved(document.values.get("one_at_a_time"), base.get("one_at_a_time")) or {}
    baseline = base.get("baseline")
    problems = [*_sweep_faults(sweeps["ablate"], around), *_variant_faults(sweeps["variants"])]
    problems += [p for key in (baseline if isinstance(baseline, Mapping) else ()) for p in _key_faults("baseline", key)]
    if not problems:
        problems = _too_many(sweeps, around, base.get("seeds"))
    if problems:
        raise ConfigError(problems)
    drafts = [draft for where, axes in _grids(sweeps["ablate"]).items() for draft in _product(where, axes)]
    single = [draft for key, values in _present(around).items() for draft in _product("one_at_a_time", {key: values})]
    if single:
        drafts += [_Draft("", {}), *single]
    drafts += [_Draft(join("variants", name), dict(v), name) for name, v in _present(sweeps["variants"]).items()]
    return drafts or [_Draft("", {})]


def _unresolved(raw: Any, resolved: Any) -> Any:
    """The raw value with its structure resolved, so that `${…}` inside can follow what a variant assigns."""
    if isinstance(raw, Mapping) and isinstance(resolved, Mapping):
        return {name: _unresolved(raw[name], resolved[name]) for name in raw}
    if isinstance(raw, list) and isinstance(resolved, list):
        return [_unresolved(*pair) for pair in zip(raw, resolved, strict=True)]
    return resolved if isinstance(resolved, Mapping | list) else raw


def _present(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The items without those that are null: null removes an item."""
    return {name: item for name, item in mapping.items() if item is not None}


def _grids(ablate: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Grids by the full key that they stand under."""
    grids = _present(ablate)
    if grids and all(isinstance(axes, Mapping) for axes in grids.values()):
        return {join("ablate", name): _present(axes) for name, axes in grids.items() if _present(axes)}
    return {"ablate": grids} if grids else {}


def _product(where: str, axes: Mapping[str, list[Any]]) -> Iterator[_Draft]:
    for values in itertools.product(*axes.values()):
        yield _Draft(where, dict(zip(axes, values, strict=True)))


def _too_many(sweeps: Mapping[str, Any], around: Mapping[str, Any], seeds: Any) -> list[Problem]:
    """More variants or trials than a file may have, at the key that describes most of them."""
    counts = {
        where: math.prod(len(values) for values in axes.values()) for where, axes in _grids(sweeps["ablate"]).items()
    }
    counts["one_at_a_time"] = sum(len(values) for values in _present(around).values())
    counts["variants"] = len(_present(sweeps["variants"]))
    most, total = max(counts, key=lambda where: counts[where]), sum(counts.values())
    if total > MOST_VARIANTS:
        return [Problem(most, f"describes {total:,} variants with those beside it; at most {MOST_VARIANTS:,} are run")]
    trials = total * (len(seeds) if isinstance(seeds, list) else 1)
    if trials > MOST_TRIALS:
        return [Problem("seeds", f"{trials:,} trials, variants times seeds; at most {MOST_TRIALS:,} are run")]
    return []


def _sweep_faults(ablate: Mapping[str, Any], around: Mapping[str, Any]) -> Iterator[Problem]:
    for where, axes in [*_grids(ablate).items(), ("one_at_a_time", _present(around))]:
        for key, values in axes.items():
            yield from _key_faults(where, key)
            if not isinstance(values, list) or not values:
                yield Problem(join(where, key), f"expected a list of values, got {show(values)}")


def _variant_faults(variants: Mapping[str, Any]) -> Iterator[Problem]:
    for name, assignments in _present(variants).items():
        where = join("variants", name)
        if not isinstance(assignments, Mapping):
            yield Problem(where, f"expected {{key: value}}, got {show(assignments)}")
            continue
        for key in assignments:
            yield from _key_faults(where, key)


def _key_faults(where: str, key: str) -> Iterator[Problem]:
    try:
        parts = split_key(key)
    except ConfigError as fault:
        yield from (Problem(join(where, key), problem.message) for problem in fault.problems)
        return
    if tuple(parts) in SHARED or (parts[0] != "evaluate" and (parts[0],) in SHARED):
        yield Problem(join(where, key), "is the same for all variants; set it outside of the ablation")


def _short_names(drafts: Iterable[_Draft], baseline: Any) -> list[str]:
    """Every key that names are made of."""
    keys = [key for draft in drafts if not draft.name for key in draft.assignments]
    return list(dict.fromkeys([*keys, *(baseline if isinstance(baseline, Mapping) else ())]))


# ------------------------------------------------------------------------------------------ checking and merging


@dataclass
class _Built:
    """A checked description, and the names of all that came to the same configuration."""

    draft: _Draft
    experiment: Experiment
    names: list[str] = field(default_factory=list)


def _gather(drafts: Iterable[_Draft], build: Callable[[_Draft], Any]) -> list[Any]:
    """`build` of each draft. Raises ConfigError with the faults of all."""
    built, problems = [], []
    for draft in drafts:
        try:
            built.append(build(draft))
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    return built


def _configured(
    document: Document, draft: _Draft, base: Mapping[str, Any], components: Callable[..., Any] | None
) -> _Built:
    """The configuration that a draft describes; `components` None: core schema only. Raises ConfigError."""
    apart: dict[str, Any] = {} if document.refers else {key: dict(document.values.get(key) or {}) for key in SWEEPS}
    values = copy.deepcopy({key: value for key, value in document.values.items() if key not in apart})
    assignments = draft.assignments
    try:
        for key in sorted(assignments, key=lambda key: len(split_key(key))):
            assign(values, key, assignments[key])
        resolved = resolve(values)
        experiment, problems = check(resolved, components)
        if experiment is None:
            raise ConfigError(problems)
        experiment = replace(experiment, **apart)
    except ConfigError as fault:
        raise ConfigError([locate(problem, draft.written, assignments, base) for problem in fault.problems]) from None
    literal = dict(assignments)
    for key, value in assignments.items():
        if has_references(value):
            literal[key] = lookup(resolved, split_key(key))
    return _Built(replace(draft, assignments=literal), experiment)


def _configuration(experiment: Experiment | None) -> str:
    """One text for each configuration; the order of mappings counts, as it does for transforms."""
    if experiment is None:
        return ""
    without: dict[str, Any] = {key: {} for key in SWEEPS}
    return json.dumps(plain(replace(experiment, **without)), default=str)


def _distinct(built: Iterable[_Built], keys: list[str]) -> list[Variant]:
    """One variant for each configuration, named by hand where any of its descriptions is. Raises ConfigError."""
    by_configuration: dict[str, _Built] = {}
    for item in built:
        name = item.draft.name or name_of(item.draft.assignments, keys)
        first = by_configuration.setdefault(_configuration(item.experiment), item)
        if item.draft.name and not first.draft.name:
            first.draft = replace(first.draft, name=name)
            first.names.insert(0, name)
        else:
            first.names.append(name)
    variants = [
        Variant(b.names[0], b.draft.assignments, b.experiment, written=b.draft.written, aliases=_further(b.names))
        for b in by_configuration.values()
    ]
    owners = {name: variant for variant in reversed(variants) for name in (variant.name, *variant.aliases)}
    clashes = [
        Problem(v.written, f"there are two different variants called `{name}`")
        for v in variants
        for name in (v.name, *v.aliases)
        if owners[name] is not v
    ]
    if clashes:
        raise ConfigError(clashes)
    return variants


def _further(names: list[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(names) if name != names[0])


# ------------------------------------------------------------------------------------------ the baseline


def _with_baseline(
    document: Document, variants: list[Variant], reference: Any, components: Callable[..., Any]
) -> list[Variant]:
    """The variants with the baseline marked, and added where it is missing: one on each of the data that are scored."""
    baselines = _baselines(variants, reference)
    if not baselines:
        for added in _added(document, variants, reference, components):
            same = [v for v in variants if _configuration(v.experiment) == _configuration(added.experiment)]
            baselines += same or [added]
            variants = variants if same else [*variants, added]
    names = {variant.name for variant in baselines}
    impostors = [variant for variant in select(variants, "baseline") if variant.name not in names]
    if impostors:
        raise ConfigError(Problem(impostors[0].written, "a variant called `baseline` must be what `baseline` selects"))
    return [replace(variant, is_baseline=variant.name in names) for variant in variants]


def _baselines(variants: list[Variant], reference: Any) -> list[Variant]:
    """The variants that are meant, or none. Raises ConfigError where several are scored on the same data."""
    if reference is None:
        return select(variants, "baseline") or select(variants, AS_WRITTEN) or variants[:1]
    selected = select(variants, reference)
    if any(a.scores_the_data_of(b) for a, b in itertools.combinations(selected, 2)):
        names = "; ".join(variant.name for variant in selected)
        hint = "" if reference else f". For the file's own configuration write `{AS_WRITTEN}`"
        raise ConfigError(Problem("baseline", f"selects {len(selected)} variants, not one: {names}{hint}"))
    return selected


def _named_as_written(variants: list[Variant], own: Experiment | None) -> list[Variant]:
    """The file's own configuration, where it is among them, answers to that name too."""
    text = _configuration(own)
    return [
        replace(variant, aliases=(*variant.aliases, AS_WRITTEN))
        if _configuration(variant.experiment) == text and AS_WRITTEN not in (variant.name, *variant.aliases)
        else variant
        for variant in variants
    ]


def _added(
    document: Document, variants: list[Variant], reference: Any, components: Callable[..., Any]
) -> Iterator[Variant]:
    """The baselines that no variant has, each a variant of its own: one for each of the data that the axes set."""
    if not isinstance(reference, Mapping) and reference != AS_WRITTEN:
        raise ConfigError(Problem("baseline", reference_fault(variants, reference)))
    written = dict(reference) if isinstance(reference, Mapping) else {}
    keys = [*written, *(key for variant in variants for key in variant.assignments)]
    for setting in _data_settings(variants) if written else [{}]:
        assignments = {key: value for key, value in setting.items() if key not in written} | written
        made = _configured(document, _Draft("baseline", assignments), document.values, components)
        name = name_of(assignments, keys)
        if select(variants, name):
            raise ConfigError(Problem("baseline", f"there is another variant called `{name}`; rename that one"))
        yield Variant(name, assignments, made.experiment, written="baseline")


def _data_settings(variants: Iterable[Variant]) -> list[Assignments]:
    """What the variants assign of the data that are scored, each setting once."""
    settings = [{key: v.assignments[key] for key in v.assignments if is_data_key(key)} for v in variants]
    return [setting for number, setting in enumerate(settings) if setting not in settings[:number]]
