"""`${section.field}` in an experiment file: replaced by what stands there, each once, within limits."""

from __future__ import annotations

import copy
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError, Problem, nearest
from ..keys import dotted, join, split_key
from .parsing import MOST_LEVELS, MOST_VALUES

LONGEST_TEXT = 20_000
"""Letters of a text that `${…}` are part of, before and after they are replaced."""
LONGEST_CHAIN = 50
"""References that lead from one to the next."""

MOST_MISSES, MOST_HINTS = 20, 2000
"""Faults that are told with the nearest key, and keys that are looked through for it."""

OPENING = re.compile(r"(\\*)\$\{")
BRACES = re.compile(r"\$\{|\}")
ENVIRONMENT = re.compile(r"\s*oc\.env:\s*(\w+)\s*")

_allowed: set[str] = set()


def allow_environment(names: Iterable[str]) -> None:
    """Let `${oc.env:NAME}` read these environment variables from now on, and no other."""
    _allowed.clear()
    _allowed.update(names)


def allowed_environment() -> list[str]:
    return sorted(_allowed)


def has_references(value: Any) -> bool:
    """Whether there is `${…}` in a value, or `???`, which says that it must be given."""
    if isinstance(value, Mapping):
        return any(has_references(item) for item in value.values())
    if isinstance(value, list):
        return any(has_references(item) for item in value)
    return isinstance(value, str) and ("${" in value or value == "???")


def resolve(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every `${…}` replaced. Raises ConfigError for those that point nowhere or ask for more."""
    if not has_references(values):
        return copy.deepcopy(dict(values))
    resolver = _Resolver(values)
    problems = []
    for path, key in _texts(values, (), ""):
        try:
            resolver.at(path)
        except _Fault as fault:
            problems.append(Problem(key, str(fault)))
    if not problems:
        try:
            return dict(resolver.at(()).value)
        except _Fault as fault:
            problems.append(Problem("", str(fault)))
    raise ConfigError(problems)


def malformed(values: Any, key: str = "") -> Iterator[Problem]:
    """Texts whose `${…}` cannot be read, below a full key."""
    for path, place in _texts(values, (), key):
        try:
            _pieces(_raw(values, path))
        except _Fault as fault:
            yield Problem(place, str(fault))


class _Fault(Exception):
    """Why a value cannot be had."""


@dataclass(frozen=True)
class _Resolved:
    """A value, how many values it holds, and how deep they lie."""

    value: Any
    size: int = 1
    height: int = 0


Path = tuple[str | int, ...]


class _Resolver:
    """Values by their place, each resolved once."""

    def __init__(self, values: Mapping[str, Any]):
        self.values = values
        self.resolved: dict[Path, _Resolved | _Fault] = {}
        self.waiting: dict[Path, None] = {}
        self.expanded = self.misses = 0

    def at(self, path: Path) -> _Resolved:
        """What stands at a place of the values. Raises _Fault."""
        if path not in self.resolved:
            self.resolved[path] = self._new(path)
        found = self.resolved[path]
        if isinstance(found, _Fault):
            raise found
        return found

    def _new(self, path: Path) -> _Resolved | _Fault:
        if path in self.waiting:
            return _Fault("refers to itself, directly or by way of others")
        if len(self.waiting) > LONGEST_CHAIN + MOST_LEVELS:
            return _Fault(f"a chain of more than {LONGEST_CHAIN} references")
        self.waiting[path] = None
        try:
            return self._of(_raw(self.values, path), path)
        except _Fault as fault:
            return fault
        finally:
            self.waiting.pop(path)

    def _of(self, raw: Any, path: Path) -> _Resolved:
        if isinstance(raw, Mapping):
            named = {name: self.at((*path, name)) for name in raw}
            return _container({name: item.value for name, item in named.items()}, named.values())
        if isinstance(raw, list):
            items = [self.at((*path, index)) for index in range(len(raw))]
            return _container([item.value for item in items], items)
        if raw == "???":
            raise _Fault("is needed: the file leaves it open with ???")
        if isinstance(raw, str) and "${" in raw:
            return self._text(raw, path)
        return _Resolved(raw)

    def _text(self, text: str, path: Path) -> _Resolved:
        """A text with its `${…}` replaced; what it points to itself, where it is nothing else."""
        pieces = _pieces(text)
        if len(pieces) == 1 and isinstance(pieces[0], _Reference):
            return self._copied(self._target(pieces[0], path))
        joined = "".join(piece if isinstance(piece, str) else self._within(piece, path) for piece in pieces)
        return self._copied(_Resolved(joined, 1 + len(joined) // 100))

    def _copied(self, found: _Resolved) -> _Resolved:
        self._spend(found.size)
        if isinstance(found.value, str) and len(found.value) > LONGEST_TEXT:
            raise _Fault(f"a text of {len(found.value):,} letters, once `${{…}}` is replaced; at most {LONGEST_TEXT:,}")
        return _Resolved(copy.deepcopy(found.value), found.size, found.height)

    def _spend(self, size: int) -> None:
        self.expanded += size
        if self.expanded > MOST_VALUES:
            raise _Fault(f"the file's `${{…}}` come to more than {MOST_VALUES:,} values")

    def _within(self, reference: _Reference, path: Path) -> str:
        value = self._target(reference, path).value
        if isinstance(value, dict | list):
            raise _Fault(f"`${{{reference.text}}}` is a {'mapping' if isinstance(value, dict) else 'list'}, no text")
        return str(value)

    def _target(self, reference: _Reference, path: Path) -> _Resolved:
        self._spend(1)
        pieces = _pieces(reference.text)
        if any(isinstance(piece, str) and ":" in piece for piece in pieces):
            return _Resolved(_environment(reference.text))
        key = "".join(piece if isinstance(piece, str) else self._within(piece, path) for piece in pieces).strip()
        if len(key) > LONGEST_TEXT:
            raise _Fault(f"a key of more than {LONGEST_TEXT:,} letters")
        name = key.lstrip(".")
        dots = len(key) - len(name)
        try:
            parts = split_key(name)
            if dots > len(path):
                raise LookupError
            return self._found((*path[: len(path) - dots], *parts) if dots else tuple(parts))
        except (LookupError, ConfigError):
            raise self._missing(key) from None

    def _missing(self, key: str) -> _Fault:
        """That a key is not there, with the nearest that is, as long as there are few such faults."""
        self.misses += 1
        known = list(itertools.islice(_keys(self.values), MOST_HINTS)) if self.misses <= MOST_MISSES else []
        shown = key if len(key) <= 100 else f"{key[:100]}…"
        return _Fault(f"Interpolation key '{shown}' not found.{nearest(shown, known)}")

    def _found(self, parts: Path) -> _Resolved:
        """What parts of a key lead to, also by way of `${…}`. Raises LookupError where they lead nowhere."""
        place: Any = self.values
        for index, part in enumerate(parts):
            if isinstance(place, str) and "${" in place:
                whole = self.at(_as_path(self.values, parts[:index]))
                return _Resolved(_inside(whole.value, parts[index:]), whole.size, whole.height)
            place = _inside(place, (part,))
        if place == "???":
            raise _Fault(f"points to `{dotted(map(str, parts))}`, which the file leaves open with ???")
        return self.at(_as_path(self.values, parts))


def _container(value: Any, parts: Iterable[_Resolved]) -> _Resolved:
    parts = list(parts)
    size, height = 1 + sum(part.size for part in parts), 1 + max((part.height for part in parts), default=0)
    if size > 2 * MOST_VALUES:
        raise _Fault(f"more than {MOST_VALUES:,} values, references written out")
    if height > MOST_LEVELS:
        raise _Fault(f"nested deeper than {MOST_LEVELS} levels, references written out")
    return _Resolved(value, size, height)


def _raw(values: Any, path: Path) -> Any:
    for part in path:
        values = values[part]
    return values


def _inside(value: Any, parts: Path) -> Any:
    for part in parts:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and re.fullmatch("[0-9]{1,6}", str(part)) and int(part) < len(value):
            value = value[int(part)]
        else:
            raise LookupError(part)
    return value


def _as_path(values: Any, parts: Path) -> Path:
    """The parts of a key with those that stand for places of lists as numbers."""
    path: list[str | int] = []
    for part in parts:
        path.append(int(part) if isinstance(values, list) else part)
        values = values[path[-1]]
    return tuple(path)


def _environment(call: str) -> str:
    """The environment variable that `oc.env:NAME` reads. Raises _Fault for one that is not allowed, and for every other
    resolver."""
    asked = ENVIRONMENT.fullmatch(call)
    if not asked:
        raise _Fault(
            f"`${{{call[:60]}}}` calls a resolver, and an experiment file calls none; `${{section.field}}` repeats a "
            "value, and `${oc.env:NAME}` reads an environment variable that --allow-env names"
        )
    if asked[1] not in _allowed:
        raise _Fault(f"reads the environment variable {asked[1]}: only with --allow-env {asked[1]}")
    if asked[1] not in os.environ:
        raise _Fault(f"there is no environment variable {asked[1]}")
    return os.environ[asked[1]]


# ------------------------------------------------------------------------------------------------ texts


@dataclass(frozen=True)
class _Reference:
    """What stands between `${` and its `}`."""

    text: str


def _pieces(text: str) -> list[str | _Reference]:
    r"""A text cut at its references. `\${` is no reference; of other backslashes before one, half are kept."""
    if len(text) > LONGEST_TEXT:
        raise _Fault(f"a text with `${{…}}` has at most {LONGEST_TEXT:,} letters, this one {len(text):,}")
    pieces: list[str | _Reference] = []
    written, start = "", 0
    while found := OPENING.search(text, start):
        slashes = len(found[1])
        written += text[start : found.start()] + "\\" * (slashes // 2)
        if slashes % 2:
            written, start = written + "${", found.end()
            continue
        end = _end(text, found.end())
        pieces += [written] * bool(written) + [_Reference(text[found.end() : end])]
        written, start = "", end + 1
    written += text[start:]
    return pieces + [written] * bool(written)


def _end(text: str, start: int) -> int:
    """Where the `}` of the reference that begins there stands."""
    depth = 1
    for mark in BRACES.finditer(text, start):
        depth += 1 if mark[0] == "${" else -1
        if depth > LONGEST_CHAIN:
            raise _Fault(f"`${{` within `${{`, more than {LONGEST_CHAIN} deep")
        if not depth:
            return mark.start()
    raise _Fault("a `${` has no `}`")


def _texts(values: Any, path: Path, key: str) -> Iterator[tuple[Path, str]]:
    """Place and full key of every text that is to be replaced, or to be given."""
    if isinstance(values, Mapping):
        for name, item in values.items():
            yield from _texts(item, (*path, name), join(key, name))
    elif isinstance(values, list):
        for index, item in enumerate(values):
            yield from _texts(item, (*path, index), f"{key}[{index}]")
    elif has_references(values):
        yield path, key


def _keys(values: Mapping[str, Any], key: str = "") -> Iterator[str]:
    for name, item in values.items():
        yield join(key, name)
        if isinstance(item, Mapping):
            yield from _keys(item, join(key, name))
