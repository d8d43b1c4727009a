"""Trials of the store as an experiment file: what varies among them becomes its variants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import DESIGN, PROSE
from ..keys import join, lookup, split_key
from ..loading import find_trial
from ..references import name_of
from ..store import Store, digest, write_atomically


def write_experiment(trials: Sequence[str], store: str, root: Path) -> Path:
    """Write `<root>/trials_<digest>/experiment.yaml`, which compares these trials with the first; its path.

    Each trial by its key or a unique beginning. Raises StoreError where none or several have such a key.
    """
    from yaml import safe_dump

    told = [find_trial(Store(store), trial).json("trial.json") for trial in trials]
    values = experiment_of([one["experiment"] for one in told], [one["seed"] for one in told])
    values = {"name": f"trials_{digest(list(trials))[:8]}", **values}
    folder = root / values["name"]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "experiment.yaml"
    write_atomically(file, safe_dump(values, sort_keys=False, allow_unicode=True, width=120))
    return file


def experiment_of(experiments: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """An experiment file without a name whose variants are these resolved configurations, the first the baseline."""
    found: list[dict[str, Any]] = []
    for experiment in experiments:
        configuration = {key: value for key, value in experiment.items() if key not in (*DESIGN, *PROSE)}
        configuration["encoder"] = configuration["encoder"].get("", configuration["encoder"])
        found += [] if configuration in found else [configuration]
    base = found[0]
    keys = list(dict.fromkeys(key for other in found[1:] for key in _differing(base, other, "")))
    keys = [key for key in keys if not any(key != other and _holds(other, key) for other in keys)]
    assigned = [{key: lookup(one, split_key(key)) for key in keys} for one in found]
    variants = {name_of(values, keys): values for values in assigned}
    return {**base, "seeds": sorted(set(seeds)), "variants": variants, "baseline": next(iter(variants))}


def _differing(base: Any, other: Any, key: str) -> Iterator[str]:
    """The longest keys under which two configurations differ; a component or mapping of another kind is one value."""
    alike = isinstance(base, Mapping) and isinstance(other, Mapping)
    if alike and base.keys() == other.keys() and base.get("name") == other.get("name"):
        for name in base:
            yield from _differing(base[name], other[name], join(key, name))
    elif base != other:
        yield key


def _holds(outer: str, inner: str) -> bool:
    """Whether one key lies under another."""
    return split_key(inner)[: len(split_key(outer))] == split_key(outer)
