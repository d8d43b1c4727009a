"""Reading an experiment file: extends, paths, overrides of the command line, interpolation."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...contract.inputs import looked_for
from ...contract.keys import assign, dotted, join, split_key
from ...errors import ConfigError, Problem, nearest, show
from .interpolation import has_references, malformed, resolve
from .parsing import LONGEST_KEY, MOST_BYTES, NO_TEXT, NotYaml, parsed
from .paths import from_working_directory, misplaced
from .schema import DESIGN, check

LONGEST_CHAIN = 20
"""Files that extend one another."""


@dataclass
class Document:
    """An experiment file as read: plain values with `${…}` still in them, and who wrote which key.

    Paths in the values start at the working directory; written: {path as a file writes it: that path}.
    """

    file: str
    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """The file, or 'command line', that wrote `key` or, where none did, the nearest key above it, or one below."""
        parts = split_key(key, lenient=True)
        for end in range(len(parts), 0, -1):
            writer = self.origins.get(dotted(parts[:end]))
            if writer:
                return writer
        below = (writer for name, writer in self.origins.items() if split_key(name)[: len(parts)] == parts)
        return next(below, self.file)

    @cached_property
    def refers(self) -> bool:
        """Whether there is any `${…}` in it; to be asked once it is read."""
        return has_references(self.values)

    def blame(self, problems: Iterable[Problem]) -> list[Problem]:
        return [Problem(p.key, p.message, p.file or self.origin(p.key)) for p in problems]


def read_document(path: str, overrides: Iterable[str] = ()) -> Document:
    """Read an experiment file with what it extends, then apply `key=value` overrides of the command line.

    A path that a file writes starts in its own folder, one of the command line at the working directory.
    Raises ConfigError for a missing file, YAML faults, keys that are not texts, circular extends, bad overrides.
    """
    document = _read_chain(_locate(path, None), ())
    problems: list[Problem] = []
    for override in overrides:
        try:
            _override(document, override)
        except ConfigError as fault:
            problems += [Problem(p.key, p.message, "command line") for p in fault.problems]
    if problems:
        raise ConfigError(problems)
    return document


def read_core(document: Document) -> dict[str, Any]:
    """The resolved values of a file that the core schema accepts. Raises ConfigError with every fault."""
    try:
        values = resolve(document.values)
    except ConfigError as fault:
        raise ConfigError(document.blame(fault.problems)) from None
    _, problems = check(values, None)
    if problems:
        raise ConfigError(document.blame(problems))
    return values


def _locate(name: str, beside: Path | None) -> Path:
    package, _, inside = name.partition(":")
    is_inside = inside and re.fullmatch(r"[A-Za-z_][\w.]+", package)
    path = _package_folder(package, name) / inside if is_inside else (beside.parent if beside else Path()) / name
    hint = ""
    with suppress(OSError, ValueError):  # a name too long, or none at all
        if path.is_file():
            return path
        misplaced_hint = "" if beside is None or is_inside else misplaced(beside.parent, name)
        names = [other.name for other in path.parent.glob("*.y*ml")]
        hint = f" {misplaced_hint}" if misplaced_hint else nearest(path.name, names)
    by = "" if beside is None else f", which {beside} extends"
    raise ConfigError(Problem("", f"no such file{by}: looked for {looked_for(path)}.{hint}", name))


def _package_folder(package: str, name: str) -> Path:
    """Where a package lies; its code is not run."""
    from importlib.util import find_spec

    outer, *inner = package.split(".")
    try:
        return Path((find_spec(outer).submodule_search_locations or [])[0], *inner)  # type: ignore[union-attr]
    except (AttributeError, IndexError, ValueError):
        raise ConfigError(Problem("", f"no installed package `{package}`", name)) from None


def _read_chain(path: Path, above: tuple[Path, ...]) -> Document:
    if path.resolve() in above:
        raise ConfigError(Problem("extends", "the files extend each other in a circle", str(path)))
    if len(above) >= LONGEST_CHAIN:
        raise ConfigError(Problem("extends", f"more than {LONGEST_CHAIN} files extend one another", str(path)))
    values = _read_yaml(path)
    parent = values.pop("extends", None)
    values, written = from_working_directory(values, path)
    own = {key: str(path) for key in _keys(values)}
    if parent is None:
        return Document(str(path), values, own, written)
    if not isinstance(parent, str):
        raise ConfigError(Problem("extends", f"expected a file name, got {show(parent)}", str(path)))
    base = _read_chain(_locate(parent, path), (*above, path.resolve()))
    merged = _merge(base.values, values)
    origins = {key: own.get(key) or base.origins[key] for key in _keys(merged)}
    return Document(str(path), merged, origins, base.written | {parent: base.file} | written)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ConfigError(
                Problem("", f"has {size:,} bytes; an experiment file has at most {MOST_BYTES:,}", str(path))
            )
        loaded = parsed(path.read_text(encoding="utf-8"))
        if problems := list(malformed(loaded)):
            raise ConfigError(problems)
    except NotYaml as fault:
        raise ConfigError(Problem("", f"is not valid YAML: {fault.place}{fault}", str(path))) from None
    except ConfigError as fault:
        raise ConfigError([replace(problem, file=str(path)) for problem in fault.problems]) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(Problem("", f"cannot be read: expected UTF-8: {fault}", str(path))) from None
    except OSError as fault:
        raise ConfigError(Problem("", f"cannot be read: {fault}", str(path))) from None
    loaded = {} if loaded is None else loaded
    if not isinstance(loaded, dict):
        raise ConfigError(Problem("", f"expected a mapping of sections, got {show(loaded)}", str(path)))
    return loaded


def _keys(values: Mapping[str, Any], key: str = "") -> Iterator[str]:
    for name, item in values.items():
        yield join(key, name)
        if isinstance(item, Mapping):
            yield from _keys(item, join(key, name))


def _merge(base: Any, over: Any, key: str = "") -> Any:
    """Mappings merge, all else replaces; so does a component of another name, and the keys of DESIGN."""
    if not isinstance(base, dict) or not isinstance(over, dict) or key in DESIGN:
        return copy.deepcopy(over)
    if key and over.get("name", base.get("name")) != base.get("name"):
        return copy.deepcopy(over)
    merged = dict(base)
    for name, value in over.items():
        merged[name] = _merge(base.get(name), value, join(key, name))
    return merged


# ------------------------------------------------------------------------------------------------ keys and values


def _override(document: Document, text: str) -> None:
    key, equals, written = text.partition("=")
    if not equals:
        raise ConfigError(Problem(text, "expected key=value"))
    if len(key) > LONGEST_KEY or NO_TEXT.search(key):
        raise ConfigError(
            Problem(key[:40], f"a key has at most {LONGEST_KEY} letters, none of them a control character")
        )
    parts = split_key(key)
    if parts == ["extends"]:
        raise ConfigError(Problem(key, "can only be written in a file"))
    try:
        value = parsed(written, key)
    except NotYaml as fault:
        raise ConfigError(Problem(key, f"the value {written[:200]!r} is not YAML: {fault}")) from None
    if problems := list(malformed(value, key)):
        raise ConfigError(problems)
    assign(document.values, key, value)
    depth = len(parts)
    for name in [name for name in document.origins if split_key(name)[:depth] == parts]:
        del document.origins[name]
    document.origins[dotted(parts)] = "command line"
