"""Typed settings: a dataclass field with a doc line and limits, and the one routine that checks mappings against them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Any

from .errors import Problem, nearest

Mixture = dict[str, float]
"""Names with weights. In YAML: one name, a list of names (weight 1 each) or a mapping {name: weight}."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A component as an experiment names it: `name` and the resolved `fields` (an instance of its Config)."""

    name: str
    fields: Any

    def resolved(self) -> dict[str, Any]:
        return {"name": self.name, **plain(self.fields)}


def setting(
    default: Any = MISSING,
    doc: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    choices: tuple[Any, ...] | None = None,
    kind: str | None = None,
) -> Any:
    """A field of a Config dataclass.

    default: its value when YAML leaves it out (none: it must be given). doc: one line. ge, le, gt: limits of a
    number. choices: the allowed values. kind: the field is itself a component of that kind, `{name: …, …}`.
    """
    rules = {"doc": doc, "ge": ge, "le": le, "gt": gt, "choices": choices, "kind": kind}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=rules)
    if default is MISSING:
        return dataclasses.field(metadata=rules)
    return dataclasses.field(default=default, metadata=rules)


def plain(value: Any) -> Any:
    """Dataclasses, specs and containers as plain JSON data."""
    if isinstance(value, Spec):
        return value.resolved()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


class Checker:
    """Builds dataclasses from mappings and gathers every fault on the way.

    components: called as `components(kind, mapping, key, checker)` for a field that is a component; None while only
    the core schema is checked: component fields are then kept as they stand.
    """

    def __init__(self, components: Callable[[str, Any, str, Checker], Any] | None = None):
        self.problems: list[Problem] = []
        self.components = components

    def fail(self, key: str, message: str) -> None:
        self.problems.append(Problem(key, message))

    def build(self, cls: type, given: Any, key: str) -> Any:
        """An instance of the dataclass `cls` from a mapping; None where something was wrong with it."""
        if not isinstance(given, Mapping):
            self.fail(key, f"expected a mapping, got {show(given)}")
            return None
        before = len(self.problems)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        hints = typing.get_type_hints(cls)
        values = {}
        for name, value in given.items():
            if name not in fields:
                self.fail(join(key, name), f"unknown field.{nearest(str(name), fields)}")
            else:
                values[name] = self.value(hints[name], value, join(key, name), fields[name].metadata)
        for name, field in fields.items():
            if name not in given and field.default is MISSING and field.default_factory is MISSING:
                self.fail(join(key, name), f"is needed and missing ({field.metadata.get('doc', '')})")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except ValueError as fault:
            self.fail(key, str(fault))
            return None

    def value(self, hint: Any, given: Any, key: str, rules: Mapping[str, Any]) -> Any:
        if rules.get("kind") and given is not None:
            return self._component(rules["kind"], hint, given, key)
        before = len(self.problems)
        value = self._typed(hint, given, key)
        if len(self.problems) == before and value is not None:
            self._limits(value, key, rules)
        return value

    def _component(self, kind: str, hint: Any, given: Any, key: str) -> Any:
        if typing.get_origin(hint) is not dict:
            return self.components(kind, given, key, self) if self.components else given
        if not isinstance(given, Mapping):
            return self.fail(key, f"expected a mapping of names to components, got {show(given)}")
        kept = {name: item for name, item in given.items() if item is not None}
        return {name: self._component(kind, Spec, item, join(key, name)) for name, item in kept.items()}

    def _typed(self, hint: Any, given: Any, key: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return given
        if hint == Mixture:
            return self._mixture(given, key)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments, given, key)
        if origin in (list, tuple):
            return self._sequence(origin, arguments[0], given, key)
        if origin is dict:
            if not isinstance(given, Mapping):
                return self.fail(key, f"expected a mapping, got {show(given)}")
            return {name: self._typed(arguments[1], item, join(key, name)) for name, item in given.items()}
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast(type, hint), given, key)
        return self._scalar(hint, given, key)

    def _union(self, options: tuple[Any, ...], given: Any, key: str) -> Any:
        if given is None and type(None) in options:
            return None
        options = tuple(option for option in options if option is not type(None))
        for option in options:
            trial = Checker(self.components)
            value = trial._typed(option, given, key)
            if not trial.problems:
                return value
        if len(options) == 1:
            self.problems.extend(trial.problems)
            return None
        return self.fail(key, f"expected {' or '.join(describe(option) for option in options)}, got {show(given)}")

    def _sequence(self, origin: Any, item_hint: Any, given: Any, key: str) -> Any:
        if isinstance(given, str | Mapping) or not hasattr(given, "__iter__"):
            return self.fail(key, f"expected a list, got {show(given)}")
        return origin(self._typed(item_hint, item, f"{key}[{index}]") for index, item in enumerate(given))

    def _mixture(self, given: Any, key: str) -> Mixture | None:
        if isinstance(given, str):
            given = [given]
        if isinstance(given, list | tuple) and all(isinstance(name, str) for name in given):
            given = {name: 1.0 for name in given}
        if not isinstance(given, Mapping) or not given:
            return self.fail(key, f"expected a name, a list of names or {{name: weight}}, got {show(given)}")
        return {name: self._scalar(float, weight, join(key, name)) for name, weight in given.items() if weight is not None}

    def _scalar(self, hint: Any, given: Any, key: str) -> Any:
        if hint is float and isinstance(given, int) and not isinstance(given, bool):
            given = float(given)
        if hint is float and isinstance(given, float) and not math.isfinite(given):
            return self.fail(key, f"expected a finite number, got {show(given)}")
        if not isinstance(given, hint) or (hint is int and isinstance(given, bool)):
            return self.fail(key, f"expected {describe(hint)}, got {show(given)}")
        return given

    def _limits(self, value: Any, key: str, rules: Mapping[str, Any]) -> None:
        choices = rules.get("choices")
        for item in value if isinstance(value, list | tuple) else [value]:
            if choices and item not in choices:
                self.fail(key, f"{show(item)} is not allowed.{nearest(str(item), choices)}")
            if not isinstance(item, int | float):
                continue
            for rule, holds, words in (("ge", lambda a, b: a >= b, "at least"), ("gt", lambda a, b: a > b, "more than"), ("le", lambda a, b: a <= b, "at most")):
                bound = rules.get(rule)
                if bound is not None and not holds(item, bound):
                    self.fail(key, f"must be {words} {bound:g}, got {show(item)}")


def join(key: str, name: Any) -> str:
    """`key` and `name` as one full key; a name with dots stands in brackets."""
    name = str(name)
    part = f"[{name}]" if "." in name else name
    return f"{key}{part}" if part.startswith("[") and key else f"{key}.{part}" if key else part


def describe(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Mixture: "a mixture"}
    if typing.get_origin(hint) in (list, tuple):
        return "a list"
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def show(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value!r} ({describe(type(value))})" if isinstance(value, str | bool | int | float) else repr(value)
