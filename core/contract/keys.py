"""Full keys: `retrieve.rerank.top_k`, `ablate[retrieve.rerank.top_k]`; and plain mappings read and written by them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError, Problem, show


def join(key: str, name: Any) -> str:
    """`key` and `name` as one full key; a name with dots or brackets stands in brackets, an empty one adds nothing."""
    name = str(name)
    if not name:
        return key
    if re.search(r"[.\[\]]", name):
        return f"{key}[{name}]"
    return f"{key}.{name}" if key else name


def split_key(key: str, lenient: bool = False) -> list[str]:
    """`ablate[retrieve.rerank.top_k].x` -> ["ablate", "retrieve.rerank.top_k", "x"]; the inverse of `dotted`.

    Raises ConfigError for what is no key; `lenient` gives [key] instead.
    """
    parts, rest = [], key if key.startswith("[") else f".{key}"
    while rest:
        bare = re.match(r"\.([^.\[\]]+)", rest)
        end = bare.end() if bare else _closing(rest)
        if end < 2:
            if lenient:
                return [key]
            raise ConfigError(Problem(key, "not a key; write section.field, or section[a.dotted.name]"))
        parts.append(bare[1] if bare else rest[1 : end - 1])
        rest = rest[end:]
    return parts


def _closing(text: str) -> int:
    """The end of the bracket that a text opens with, other pairs within it; 0 where there is none, or none inside."""
    depth = 0
    for index, letter in enumerate(text if text.startswith("[") and not text.startswith("[]") else ""):
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if not depth:
            return index + 1
    return 0


def dotted(parts: Iterable[str]) -> str:
    """The full key of its parts."""
    key = ""
    for part in parts:
        key = join(key, part)
    return key


def lookup(values: Any, parts: Iterable[str]) -> Any:
    """What plain mappings hold under the parts of a key; None where the way ends early."""
    for part in parts:
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one key in place. The value replaces what was there, whole; mappings on the way are made where missing.

    Raises ConfigError where something on the way is null or no mapping.
    """
    *way, last = split_key(key)
    place = values
    for index, part in enumerate(way):
        inner = place.setdefault(part, {})
        if not isinstance(inner, dict):
            above = dotted(way[: index + 1])
            raise ConfigError(Problem(key, f"cannot be set, because `{above}` is {show(inner)}; set `{above}` first"))
        place = inner
    place[last] = copy.deepcopy(value)
