"""Paths in an experiment file: they start in the folder of the file that writes them.

Which texts are paths is known by the names of their fields, so that a file can be read before any plugin is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ...contract.keys import join, split_key
from ...errors import ConfigError, Problem

PATHS = ("path", "root", "file", "folder", "page")
"""Text fields of any component that are paths."""
PERHAPS = ("model", "rows", "cols")
"""Those that may be something else, as a hub id: a path where something lies there."""
SECTIONS = ("data", "encoder", "model", "retrieve", "outputs")
"""Sections that hold components with such fields."""
BESIDE = "references"
"""The list of files that stands by itself."""

Change = Callable[[str, str, bool], str]
"""(full key, text, whether it is a path for certain) -> what stands in its place."""


def from_working_directory(values: Mapping[str, Any], file: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of an experiment file with its paths from the working directory, and {path as written: path}.

    A path that lies below the working directory, or was reached from it (`../x.yaml`), stays relative. Absolute ones,
    `~`, addresses, `???` and what begins with `${…}` stay as they are. Raises ConfigError for every path where nothing
    lies from the file's folder and something from the working directory.
    """
    written: dict[str, str] = {}
    problems: list[Problem] = []

    def change(key: str, text: str, is_certain: bool) -> str:
        if not _is_relative(text):
            return text
        try:
            path = _path(file.parent, text, is_certain)
        except ValueError as fault:
            problems.append(Problem(key, str(fault), str(file)))
            return text
        written[text] = path
        return path

    changed = _changed(values, change)
    if problems:
        raise ConfigError(problems)
    return changed, written


def from_folder(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The reverse: values whose paths start at the working directory, as a file in `folder` has to write them."""

    def change(key: str, text: str, is_certain: bool) -> str:
        if not _is_relative(text) or not (is_certain or _is_there(text)):
            return text
        return os.path.relpath(text, folder)

    changed = _changed(values, change)
    parent = changed.get("extends")
    if isinstance(parent, str) and _is_relative(parent) and _is_there(parent):
        changed["extends"] = os.path.relpath(parent, folder)
    return changed


def misplaced(folder: Path, text: str) -> str:
    """What to do with a path that is there from the working directory alone; "" where it is not."""
    if not _is_relative(text) or not _is_there(text):
        return ""
    return (
        f"There is {text} in the working directory, but paths in a file start in the file's folder: write "
        f"{os.path.relpath(text, folder)}"
    )


# ------------------------------------------------------------------------------------------ one path


def _is_relative(text: str) -> bool:
    return text not in ("", "???") and not (os.path.isabs(text) or text.startswith(("~", "${")) or "://" in text)


def _path(folder: Path, text: str, is_certain: bool) -> str:
    """A path of a file in `folder`, from the working directory. Raises ValueError where it is misplaced."""
    if os.path.abspath(folder) == os.getcwd():
        return text
    path = _joined(folder, text)
    if _is_there(path):
        return path
    if hint := misplaced(folder, text):
        raise ValueError(f"looked for {path}, which does not exist. {hint}")
    if is_certain:
        return path
    if text.startswith(("./", "../")):
        raise ValueError(f"looked for {path}, which does not exist")
    return text


def _joined(folder: Path, text: str) -> str:
    """Without `..` within, unless a link makes it lead elsewhere."""
    joined = os.path.join(folder, text)
    path = os.path.normpath(joined)
    if _is_there(joined) and not _is_there(path):
        path = joined
    below = os.path.relpath(path) if os.path.isabs(path) else path
    return path if os.path.isabs(path) and below.split(os.sep)[0] == os.pardir else below


def _is_there(path: str) -> bool:
    """A file or folder, or the file of `FILE:key`."""
    return os.path.exists(path) or (":" in path and os.path.exists(path.rpartition(":")[0]))


# ------------------------------------------------------------------------------------------ where paths stand


def _changed(values: Mapping[str, Any], change: Change) -> dict[str, Any]:
    return {name: _section(name, item, change) for name, item in values.items()}


def _section(name: str, value: Any, change: Change) -> Any:
    if name == BESIDE:
        return _texts(value, name, True, change)
    if name in SECTIONS:
        return _fields(value, (name,), name, change)
    if name in ("one_at_a_time", "baseline") or (name == "ablate" and not _are_grids(value)):
        return _assigned(value, name, change)
    if name in ("ablate", "variants", "hypotheses") and isinstance(value, Mapping):
        return {inner: _assigned(item, join(name, inner), change) for inner, item in value.items()}
    return value


def _are_grids(ablate: Any) -> bool:
    """Whether they are named grids, not axes."""
    items = ablate.values() if isinstance(ablate, Mapping) else [None]
    return all(item is None or isinstance(item, Mapping) for item in items)


def _assigned(value: Any, key: str, change: Change) -> Any:
    """{dotted key: value, or values of an axis}; mappings of such, as in a hypothesis."""
    if not isinstance(value, Mapping):
        return value
    changed = {}
    for name, item in value.items():
        parts, inner = tuple(split_key(str(name), lenient=True)), join(key, name)
        if parts[0] not in SECTIONS:
            changed[name] = _assigned(item, inner, change)
        elif len(parts) > 1 and parts[-1] in PATHS + PERHAPS:
            changed[name] = _texts(item, inner, parts[-1] in PATHS, change)
        else:
            changed[name] = _fields(item, parts, inner, change)
    return changed


def _fields(value: Any, place: tuple[str, ...], key: str, change: Change) -> Any:
    """What stands at a place of the configuration; of a list each item."""
    if isinstance(value, list):
        return [_fields(item, place, f"{key}[{index}]", change) for index, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    is_component = _has_component(place) or isinstance(value.get("name"), str)
    changed = {}
    for name, item in value.items():
        if is_component and name in PATHS + PERHAPS:
            item = _texts(item, join(key, name), name in PATHS, change)
        changed[name] = _fields(item, (*place, name), join(key, name), change)
    return changed


def _has_component(place: tuple[str, ...]) -> bool:
    """Whether a component stands there, though its name may stand in the file that is extended."""
    if place[0] == "model":
        return len(place) == 3
    if place[:2] == ("retrieve", "transforms"):
        return len(place) == 3
    return place in (("data", "dataset"), ("encoder",), ("retrieve", "rerank")) or (
        place[0] in ("encoder", "outputs") and len(place) == 2
    )


def _texts(value: Any, key: str, is_certain: bool, change: Change) -> Any:
    """A path or a list of paths changed; else the value."""
    if isinstance(value, list):
        return [_texts(item, f"{key}[{index}]", is_certain, change) for index, item in enumerate(value)]
    return change(key, value, is_certain) if isinstance(value, str) else value
