"""YAML as plain values: texts, numbers, true and false, null, lists and mappings, within limits that a file of a
stranger cannot pass."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ...contract.keys import join, split_key
from ...errors import ConfigError, Problem, show

MOST_BYTES = 2_000_000
MOST_VALUES = 200_000
MOST_LEVELS = 50
LONGEST_KEY = 1000
LONGEST_NUMBER = 100
"""Limits of a file: its size, its values with aliases and `${…}` written out, how deep they lie, the letters of a key
and of a number."""

FLOAT = r"""^(?:
     [-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
    |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$"""
"""Also without a dot: YAML 1.1 reads 1e-4 as a text."""

NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for tabs and line ends, and halves of characters."""

WORDS = {"int": "whole number", "float": "number", "bool": "true or false", "null": "null", "timestamp": "date"}


class NotYaml(Exception):
    """What is wrong with a text as a whole; `place`: the line and column, where they are known."""

    def __init__(self, message: str, mark: Any = None):
        super().__init__(message)
        self.place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


class _Faulty:
    """A scalar that is not what it says it is."""

    def __init__(self, message: str):
        self.message = message


def parsed(text: str, key: str = "") -> Any:
    """The plain values of a text, nothing shared between two places.

    key: where they will stand. Raises NotYaml for a text that cannot be read, ConfigError for values and keys that are
    none of ours.
    """
    from yaml import MarkedYAMLError, YAMLError, load

    try:
        _measure(text)
        values = load(text, Loader=_loader())  # a safe one
    except MarkedYAMLError as fault:
        raise NotYaml(fault.problem or str(fault), fault.problem_mark) from None
    except UnicodeError:
        raise NotYaml("holds bytes that are no text") from None
    except YAMLError as fault:
        raise NotYaml(" ".join(str(fault).split())) from None
    problems: list[Problem] = []
    plain = _plain(values, key, problems)
    if problems:
        raise ConfigError(problems)
    return plain


def _measure(text: str) -> None:
    """Raises NotYaml for too many values, too deep ones, and aliases that hold themselves, before any value is made.

    Sizes and heights are of what is written out: an alias counts as what it stands for.
    """
    from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent, parse

    anchors: dict[str | None, tuple[int, int] | None] = {}
    open_nodes: list[tuple[str | None, list[tuple[int, int]]]] = [(None, [])]
    for event in parse(text, Loader=_loader()):
        size, height = 1, 0
        if isinstance(event, CollectionStartEvent):
            open_nodes.append((event.anchor, []))
            anchors[event.anchor] = None
        elif isinstance(event, CollectionEndEvent):
            anchor, children = open_nodes.pop()
            size += sum(child[0] for child in children)
            height += 1 + max((child[1] for child in children), default=0)
            anchors[anchor] = (size, height)
        elif isinstance(event, AliasEvent):
            measure = anchors.get(event.anchor, (1, 0))
            if measure is None:
                raise NotYaml(f"`*{event.anchor}` stands within what it stands for", event.start_mark)
            size, height = measure
        elif isinstance(event, ScalarEvent):
            anchors[event.anchor] = (size, height)
        else:
            continue
        if len(open_nodes) - 1 + height > MOST_LEVELS:
            raise NotYaml(f"nested deeper than {MOST_LEVELS} levels", event.start_mark)
        if size > MOST_VALUES:
            raise NotYaml(f"more than {MOST_VALUES:,} values, aliases written out", event.start_mark)
        if not isinstance(event, CollectionStartEvent):
            open_nodes[-1][1].append((size, height))


@cache
def _loader() -> Any:
    """A safe loader: 1e-4 is a number, 2024-01-01 a text, a key stands once, faulty scalars are kept to be told."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def flatten_mapping(self, node: Any) -> None:
            if node not in self.__dict__.setdefault("_met", set()):  # another time, what `<<` brings stands there too
                self._met.add(node)
                seen: set[tuple[str, str]] = set()
                for name, _ in node.value:
                    if isinstance(name, yaml.ScalarNode):
                        if (name.tag, name.value) in seen:
                            message = f"found duplicate key {name.value}"
                            raise yaml.constructor.ConstructorError(None, None, message, name.start_mark)
                        seen.add((name.tag, name.value))
            super().flatten_mapping(node)

        def construct_object(self, node: Any, deep: bool = False) -> Any:
            if not isinstance(node, yaml.ScalarNode):
                return super().construct_object(node, deep)
            kind = node.tag.rpartition(":")[2]
            if kind in ("int", "float") and len(node.value) > LONGEST_NUMBER:
                return _Faulty(f"a number of {len(node.value):,} letters; at most {LONGEST_NUMBER} are read")
            try:
                return super().construct_object(node, deep)
            except (ValueError, LookupError, AttributeError, ArithmeticError):
                return _Faulty(f"`{node.value[:40]}` is no {WORDS.get(kind, kind)}, as `!!{kind}` says")

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(FLOAT, re.X), list("-+0123456789."))
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    return Loader


def _plain(value: Any, key: str, problems: list[Problem]) -> Any:
    """A copy of plain values; what is no value of ours goes to `problems`."""
    if isinstance(value, dict):
        copied = {}
        for name, item in value.items():
            if fault := _key_fault(name):
                problems.append(Problem(join(key, _shown_key(name)), fault))
            copied[name] = _plain(item, join(key, _shown_key(name)), problems)
        return copied
    if isinstance(value, list):
        return [_plain(item, f"{key}[{index}]", problems) for index, item in enumerate(value)]
    if fault := _value_fault(value):
        problems.append(Problem(key, fault))
    return value


def _shown_key(name: Any) -> str:
    if isinstance(name, bool):
        text = show(name)
    elif isinstance(name, str | int | float):
        text = str(name)
    else:
        text = "?"
    return text if len(text) <= LONGEST_KEY else f"{text[:40]}…"


def _key_fault(name: Any) -> str | None:
    """Why a key is none of ours; None where it is one."""
    if isinstance(name, bool):
        hint = "YAML reads on, off, yes, no, y and n as true and false; put it in quotes"
        return f"a key must be a text. {hint}"
    if isinstance(name, _Faulty):
        return f"a key must be a text: {name.message}"
    if not isinstance(name, str):
        return f"a key must be a text, got {name!r}; put it in quotes"
    if len(name) > LONGEST_KEY:
        return f"a key has at most {LONGEST_KEY} letters, this one {len(name):,}"
    if match := NO_TEXT.search(name):
        return f"a key holds a character that is none of a text: U+{ord(match[0]):04X}"
    if not name or split_key(join("", name), lenient=True) != [name]:
        return f"{name!r} is empty or leaves a bracket open; take another name"
    return None


def _value_fault(value: Any) -> str | None:
    """Why a scalar is none of ours; None where it is one."""
    if isinstance(value, _Faulty):
        return value.message
    if isinstance(value, str):
        match = NO_TEXT.search(value)
        return f"holds a character that is none of a text: U+{ord(match[0]):04X}" if match else None
    if value is None or isinstance(value, bool | int | float):
        return None
    kind = {"bytes": "binary data"}.get(type(value).__name__, f"a {type(value).__name__}")
    return f"expected a text, a number, true, false, null, a list or a mapping, got {kind}"
