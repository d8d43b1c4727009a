"""What `${…}` may stand in an experiment file, and what it takes to write it out: looked at before OmegaConf is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ...contract.keys import join
from .parsing import MOST_VALUES

LONGEST_TEXT = 20_000
"""Letters of a text that `${…}` are part of."""
DEEPEST = 30
"""References and levels from a `${…}` down to the last value; OmegaConf's own end is at 50 to 60 references."""
A_REFERENCE, A_LETTER_BESIDE = 40, 2
"""What they cost, where a value and 10 letters of a plain text cost 1: MOST_VALUES take OmegaConf a second or two."""

PART = r"""[^\\{}()\[\]:. \t'"]+"""
KEY = rf"(?P<dots>\.*)(?P<key>(?:{PART}|\[{PART}\])(?:\.{PART}|\[{PART}\])*)"
REFERENCE = re.compile(rf"\$\{{[ \t]*(?:{KEY}|oc\.env:[ \t]*(?P<variable>\w+))[ \t]*\}}")
OPENING = re.compile(r"(\\*)(\$\{)")

Path = tuple[str | int, ...]
_allowed: set[str] = set()


def allow_environment(names: Iterable[str]) -> None:
    """Let `${oc.env:NAME}` read these environment variables from now on, and no other."""
    _allowed.clear()
    _allowed.update(names)


def allowed_environment() -> list[str]:
    return sorted(_allowed)


class Refused(Exception):
    """Why OmegaConf is not asked for a value."""


def references(value: Any) -> list[re.Match[str]]:
    r"""The `${…}` of a text, but for `\${`. Raises Refused for all but keys, and variables that --allow-env names."""
    if not isinstance(value, str) or "${" not in value:
        return []
    if len(value) > LONGEST_TEXT:
        raise Refused(f"a text with `${{…}}` has at most {LONGEST_TEXT:,} letters, this one {len(value):,}")
    openings = [opening.start(2) for opening in OPENING.finditer(value) if len(opening[1]) % 2 == 0]
    return [_reference(value, start) for start in openings]


def _reference(text: str, start: int) -> re.Match[str]:
    match = REFERENCE.match(text, start)
    if not match:
        raise Refused(_unreadable(text[start + 2 :], in_address="://" in text[:start]))
    name = match["variable"]
    if name and name not in _allowed:
        raise Refused(f"reads the environment variable {name}: only with --allow-env {name}")
    if name and name not in os.environ:
        raise Refused(f"there is no environment variable {name}")
    return match


def _unreadable(rest: str, in_address: bool) -> str:
    """Why what stands behind a `${` is none of ours. Within an address it may be a part of a password: it is not
    shown."""
    excerpt = "…" if in_address else rest[:60]
    if re.match(r"[^{}]*:", rest):
        return (
            f"`${{{excerpt}` calls a resolver, and an experiment file calls none; `${{section.field}}` repeats a "
            "value, and `${oc.env:NAME}` reads an environment variable that --allow-env names"
        )
    return f"expected a whole key, such as `${{section.field}}`, got `${{{excerpt}`"


# ------------------------------------------------------------------------------------------------ costs


class Cost(NamedTuple):
    """What a value takes with its references written out, and how deep they lead.

    place: where it is written, the end of a chain of references.
    """

    place: Path
    cost: int
    depth: int = 0


class Costs:
    """Costs by place, each found once, and the sections that were looked into."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values
        self.known: dict[Path, Cost | Refused] = {}
        self.waiting: set[Path] = set()
        self.sections: set[str | int] = set()

    def of(self, path: Path) -> Cost:
        """Raises Refused for what refers to itself, is beyond the limits, or is no `${…}` of ours."""
        if path not in self.known:
            try:
                self.known[path] = self._new(path)
            except Refused as fault:
                self.known[path] = fault
        cost = self.known[path]
        if isinstance(cost, Refused):
            raise cost
        return cost

    def _new(self, path: Path) -> Cost:
        if path in self.waiting:
            raise Refused("refers to itself, directly or by way of others")
        self.waiting.add(path)
        try:
            if len(self.waiting) > DEEPEST + 1:
                raise Refused(f"a chain of more than {DEEPEST} references and levels")
            return self._counted(at(self.values, path), path)
        finally:
            self.waiting.remove(path)

    def _counted(self, value: Any, path: Path) -> Cost:
        self.sections.add(path[0])
        if isinstance(value, Mapping):
            own = 1 + sum(len(name) // 10 for name in value)
            return _together(path, own, [self.of((*path, name)) for name in value])
        if isinstance(value, list):
            return _together(path, 1, [self.of((*path, index)) for index in range(len(value))])
        matches = references(value)
        if not matches:
            return Cost(path, 1 + len(str(value)) // 10)
        parts = [self._followed(reference, path) for reference in matches]
        whole = matches[0][0] == value
        return _together(parts[0].place if whole else path, A_LETTER_BESIDE * len(value), parts)

    def _followed(self, reference: re.Match[str], path: Path) -> Cost:
        """The cost of what a reference leads to, also by way of others; little where it leads nowhere."""
        if reference["variable"]:
            return Cost(path, A_REFERENCE + len(os.environ[reference["variable"]]) // 10)
        place: Path = path[: -len(reference["dots"])] if reference["dots"] else ()
        passed = []
        for part in re.findall(PART, reference["key"]):
            if references(at(self.values, place)):
                passed.append(self.of(place))
                place = passed[-1].place
            inner = _step(at(self.values, place), part)
            if inner is None:
                return _together(path, A_REFERENCE, passed, levels=0)
            place = (*place, inner)
        return _together(self.of(place).place, A_REFERENCE, [*passed, self.of(place)], levels=0)


def _together(place: Path, own: int, parts: list[Cost], levels: int = 1) -> Cost:
    cost = own + sum(part.cost for part in parts)
    depth = levels + max((part.depth for part in parts), default=0)
    if depth > DEEPEST:
        raise Refused(f"a chain of more than {DEEPEST} references and levels")
    return Cost(place, within_limit(cost), depth)


def within_limit(cost: int) -> int:
    """Raises Refused."""
    if cost > MOST_VALUES:
        raise Refused(f"more than {MOST_VALUES:,} values, references written out, each of which costs {A_REFERENCE}")
    return cost


def _step(value: Any, part: str) -> str | int | None:
    """Where a part of a key leads, as OmegaConf has it."""
    if isinstance(value, Mapping):
        return part if part in value else None
    try:
        return range(len(value))[int(part)] if isinstance(value, list) else None
    except (ValueError, IndexError):
        return None


def at(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def places(values: Any, path: Path = (), key: str = "") -> Iterator[tuple[Path, str, Any]]:
    """Every value within others, with its place and full key."""
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(values, Mapping):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    for name, item in items:
        inner = f"{key}[{name}]" if isinstance(values, list) else join(key, name)
        yield (*path, name), inner, item
        yield from places(item, (*path, name), inner)
