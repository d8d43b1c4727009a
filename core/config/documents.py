"""Reading an experiment file: extends, overrides of the command line, interpolation."""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Problem, nearest, show
from ..inputs import looked_for
from ..keys import assign, dotted, join, split_key
from .schema import DESIGN, check


@dataclass
class Document:
    """An experiment file as read: plain values with `${…}` still in them, and who wrote which key."""

    file: str
    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    def origin(self, key: str) -> str:
        """The file, or 'command line', that wrote `key` or the nearest key above it."""
        parts = split_key(key, lenient=True)
        for end in range(len(parts), 0, -1):
            known = self.origins.get(dotted(parts[:end]))
            if known:
                return known
        return self.file

    def blame(self, problems: Iterable[Problem]) -> list[Problem]:
        return [Problem(p.key, p.message, p.file or self.origin(p.key)) for p in problems]


def read_document(path: str, overrides: Iterable[str] = ()) -> Document:
    """Read an experiment file with what it extends, then apply `key=value` overrides of the command line.

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
    if inside and re.fullmatch(r"[A-Za-z_][\w.]+", package):
        tried = [_package_folder(package, name) / inside]
    else:
        tried = [Path(name)] if beside is None else [beside.parent / name, Path(name)]
    for path in tried:
        if path.is_file():
            return path
    looked = " and ".join(looked_for(path) for path in dict.fromkeys(tried))
    hint = nearest(tried[0].name, [path.name for path in tried[0].parent.glob("*.y*ml")])
    by = "" if beside is None else f", which {beside} extends"
    raise ConfigError(Problem("", f"no such file{by}: looked for {looked}.{hint}", name))


def _package_folder(package: str, name: str) -> Path:
    from importlib.resources import files

    try:
        return Path(str(files(package)))
    except (ModuleNotFoundError, TypeError):
        raise ConfigError(Problem("", f"no installed package `{package}`", name)) from None


def _read_chain(path: Path, above: tuple[Path, ...]) -> Document:
    if path.resolve() in above:
        raise ConfigError(Problem("extends", "the files extend each other in a circle", str(path)))
    values = _read_yaml(path)
    parent = values.pop("extends", None)
    own = {key: str(path) for key in _keys(values)}
    if parent is None:
        return Document(str(path), values, own)
    if not isinstance(parent, str):
        raise ConfigError(Problem("extends", f"expected a file name, got {show(parent)}", str(path)))
    base = _read_chain(_locate(parent, path), (*above, path.resolve()))
    merged = _merge(base.values, values)
    return Document(str(path), merged, {key: own.get(key) or base.origins[key] for key in _keys(merged)})


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        loaded = _parsed(path.read_text(encoding="utf-8"))
    except _NotYaml as fault:
        raise ConfigError(Problem(fault.key, f"is not valid YAML: {fault.place}{fault}", str(path))) from None
    except (UnicodeDecodeError, OSError) as fault:
        raise ConfigError(Problem("", f"cannot be read: {fault}", str(path))) from None
    if not isinstance(loaded, dict):
        raise ConfigError(Problem("", f"expected a mapping of sections, got {show(loaded)}", str(path)))
    problems = list(_odd_keys(loaded, str(path)))
    if problems:
        raise ConfigError(problems)
    return loaded


class _NotYaml(Exception):
    """What is wrong with a text; its place and key where those are known."""

    place = ""
    key = ""


def _parsed(text: str) -> Any:
    """YAML as plain values, as OmegaConf reads it: 1e-4 is a number, a key stands once. {} for an empty text."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError, YAMLError

    try:
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except MarkedYAMLError as fault:
        found = _NotYaml(fault.problem)
        if mark := fault.problem_mark:
            found.place = f"line {mark.line + 1}, column {mark.column + 1}: "
    except OmegaConfBaseException as fault:
        found = _NotYaml(_first_line(fault))
        found.key = str(fault.full_key or "")
    except YAMLError as fault:
        found = _NotYaml(_first_line(fault))
    except OSError:
        return text.strip()
    raise found from None


def _first_line(fault: Exception) -> str:
    return str(fault).partition("\n")[0]


def _odd_keys(values: Any, file: str, key: str = "") -> Iterator[Problem]:
    """Keys that are not texts, or that no full key could name."""
    if isinstance(values, list):
        for index, item in enumerate(values):
            yield from _odd_keys(item, file, f"{key}[{index}]")
    if isinstance(values, dict):
        for name, item in values.items():
            if isinstance(name, bool):
                hint = "YAML reads on, off, yes, no, y and n as true and false; put it in quotes"
                yield Problem(join(key, show(name)), f"a key must be a text. {hint}", file)
            elif not isinstance(name, str):
                yield Problem(join(key, name), f"a key must be a text, got {name!r}; put it in quotes", file)
            elif not name or split_key(join("", name), lenient=True) != [name]:
                yield Problem(join(key, name), f"{name!r} is empty or leaves a bracket open; take another name", file)
            yield from _odd_keys(item, file, join(key, name))


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
    parts = split_key(key)
    if parts == ["extends"]:
        raise ConfigError(Problem(key, "can only be written in a file"))
    try:
        value = _parsed(f"value: {written}")["value"]
    except _NotYaml as fault:
        raise ConfigError(Problem(key, f"the value {written!r} is not YAML: {fault}")) from None
    problems = list(_odd_keys(value, "", key))
    if problems:
        raise ConfigError(problems)
    assign(document.values, key, value)
    depth = len(parts)
    for known in [known for known in document.origins if split_key(known)[:depth] == parts]:
        del document.origins[known]
    document.origins[dotted(parts)] = "command line"


def resolve(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with every `${…}` replaced. Raises ConfigError for those that point nowhere."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not has_references(values):
        return copy.deepcopy(dict(values))
    try:
        config = OmegaConf.create(dict(values))
    except OmegaConfBaseException as fault:
        raise ConfigError(Problem(str(fault.full_key or ""), _first_line(fault))) from None
    known = list(_keys(values))
    problems: list[Problem] = []
    resolved = _resolved(config, "", known, problems)
    if problems:
        raise ConfigError(problems)
    return resolved


def has_references(value: Any) -> bool:
    """Whether there is `${…}` in a value, or `???`, which says that it must be given."""
    if isinstance(value, Mapping):
        return any(has_references(item) for item in value.values())
    if isinstance(value, list):
        return any(has_references(item) for item in value)
    return isinstance(value, str) and ("${" in value or value == "???")


def _resolved(node: Any, key: str, known: list[str], problems: list[Problem]) -> Any:
    from omegaconf import DictConfig, ListConfig
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    def child(name: Any, inner: str) -> Any:
        try:
            return _resolved(node[name], inner, known, problems)
        except MissingMandatoryValue:
            problems.append(Problem(inner, "is needed: the file leaves it open with ???"))
        except OmegaConfBaseException as fault:
            message = _first_line(fault)
            pointed = re.search(r"key '([^']+)' not found", message)
            problems.append(Problem(inner, message + ("." + nearest(pointed[1], known) if pointed else "")))

    if isinstance(node, DictConfig):
        return {str(name): child(name, join(key, name)) for name in node.keys()}  # noqa: SIM118
    if isinstance(node, ListConfig):
        return [child(index, f"{key}[{index}]") for index in range(len(node))]
    return node
