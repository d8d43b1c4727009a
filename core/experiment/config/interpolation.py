"""`${section.field}` in an experiment file: OmegaConf puts in what stands there, once it is known to be little."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ConfigError, Problem, nearest
from .references import Costs, Path, Refused, at, places, references, within_limit

MOST_HANDED = 20_000
"""Values of the sections that OmegaConf is given: it takes a second or two."""
MOST_HINTS, MOST_KEYS = 20, 2000
"""Faults that are told with the nearest key, and keys that are looked through for it."""


def has_references(value: Any) -> bool:
    """Whether there is `${…}` in a value, or `???`, which says that it must be given."""
    if isinstance(value, Mapping):
        return any(has_references(item) for item in value.values())
    if isinstance(value, list):
        return any(has_references(item) for item in value)
    return isinstance(value, str) and ("${" in value or value == "???")


def resolve(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every `${…}` replaced. Raises ConfigError for those that point nowhere or ask for more."""
    resolved = copy.deepcopy(dict(values))
    if not has_references(values):
        return resolved
    from omegaconf import Container, OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    texts = {path: key for path, key, value in places(values) if isinstance(value, str) and has_references(value)}
    config = OmegaConf.create(_handed(values, texts))
    problems: list[Problem] = []
    for path, key in texts.items():
        try:
            value = at(config, path)
            if isinstance(value, Container):
                value = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
            at(resolved, path[:-1])[path[-1]] = value
        except MissingMandatoryValue:
            problems.append(Problem(key, "is needed: the file leaves it open with ???"))
        except OmegaConfBaseException as fault:
            problems.append(Problem(key, _told(fault, values if len(problems) < MOST_HINTS else {})))
    if problems:
        raise ConfigError(problems)
    return resolved


def malformed(values: Any, key: str = "") -> Iterator[Problem]:
    """Texts whose `${…}` is none of ours, below a full key."""
    for _, place, value in [((), key, values), *places(values, (), key)]:
        try:
            references(value)
        except Refused as fault:
            yield Problem(place, str(fault))


def _handed(values: Mapping[str, Any], texts: Mapping[Path, str]) -> dict[str, Any]:
    """The sections that references stand in or point to. Raises ConfigError for what would take OmegaConf long."""
    costs, problems, total = Costs(values), [], 0
    for path, key in texts.items():
        try:
            total = within_limit(total + costs.of(path).cost)
        except Refused as fault:
            problems.append(Problem(key, str(fault)))
    handed = {name: item for name, item in values.items() if name in costs.sections}
    if not problems and sum(1 for _ in places(handed)) > MOST_HANDED:
        largest = max(handed, key=lambda name: sum(1 for _ in places({name: handed[name]})))
        message = f"sections with `${{…}}` and those that they point to hold at most {MOST_HANDED:,} values together"
        problems.append(Problem(largest, message))
    if problems:
        raise ConfigError(problems)
    return handed


def _told(fault: Exception, values: Mapping[str, Any]) -> str:
    """What OmegaConf says, with the key among the values that is nearest to one that is not there."""
    message = str(fault).partition("\n")[0]
    pointed = re.search(r"key '([^']+)' not found", message)
    if not pointed:
        return message
    keys = [key for path, key, _ in places(values) if isinstance(path[-1], str)]
    return f"{message}.{nearest(pointed[1], keys[:MOST_KEYS])}"
