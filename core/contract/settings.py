"""Typed settings: dataclass fields with a doc line and limits, and the routine that checks mappings against them."""

from __future__ import annotations

import dataclasses
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING
from functools import cache
from typing import Any

from ..errors import Problem, UserError, brief, nearest, show
from .keys import join
from .synonyms import unknown_key

Mixture = dict[str, float]
"""Names with weights. In YAML: one name, a list of names (weight 1 each) or a mapping {name: weight}.

>>> import core
>>> core.create("loss", "info_nce", of=["video", "frame"]).config.of
{'video': 1.0, 'frame': 1.0}
"""

BOUNDS = {"ge": (operator.ge, "at least"), "gt": (operator.gt, "more than"), "le": (operator.le, "at most")}

LARGEST_WHOLE = 2**32 - 1
LARGEST = 1e12
"""The most that a whole number, and another one, may be, either side of 0, where its field has no limit of its own."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A component as an experiment names it: `name` and the resolved `fields` (an instance of its Config).

    >>> import core
    >>> core.Spec("tib", {"temperature": 0.1}).resolved()
    {'name': 'tib', 'temperature': 0.1}
    """

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
    number, and of each number in a list or mapping; without them LARGEST_WHOLE and LARGEST. choices: the allowed
    values. kind: the field is itself a component of that kind, `{name: …, …}`.

    >>> import core, dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config:
    ...     temperature: float = core.setting(0.1, "divides the score", gt=0)
    >>> Config()
    Config(temperature=0.1)
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


def components_in(config: Any) -> Iterator[tuple[str, str, Spec]]:
    """(field, kind, component) of each component that the fields of a dataclass hold, by themselves or in lists,
    mappings and other dataclasses, however deep. Those that such a component holds itself are not among them.

    Raises UserError for a component in a field whose `setting` names no kind.
    """
    for field in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        yield from _components(getattr(config, field.name), field, config)


def _components(value: Any, field: dataclasses.Field[Any], config: Any) -> Iterator[tuple[str, str, Spec]]:
    if isinstance(value, Spec):
        kind = field.metadata.get("kind")
        if kind is None:
            owner = f"{type(config).__module__}.{type(config).__qualname__}.{field.name}"
            raise UserError(f"{owner}: holds the component `{value.name}`; say of which kind: setting(kind=…)")
        yield field.name, kind, value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((field.name, kind, spec) for _, kind, spec in components_in(value))
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _components(item, field, config)


class Checker:
    """Builds dataclasses from mappings and gathers every fault on the way.

    components: called as `components(kind, mapping, key, checker)` for a field that is a component; None while only
    the core schema is checked: component fields are then kept as they stand. whole: the dataclass of the whole file,
    where there is one: a key in the wrong place is told the right one.
    """

    def __init__(self, components: Callable[[str, Any, str, Checker], Any] | None = None, whole: type | None = None):
        self.problems: list[Problem] = []
        self.components, self.whole = components, whole

    def fail(self, key: str, message: str) -> Any:
        """Note a fault. Returns None, which stands for what is faulty."""
        self.problems.append(Problem(key, message))

    def build(self, cls: type, mapping: Any, key: str) -> Any:
        """An instance of the dataclass `cls` from a mapping; None where something was wrong with it.

        null for a field that is itself a mapping is the same as leaving it out.
        """
        if not isinstance(mapping, Mapping):
            return self.fail(key, f"expected a mapping, got {show(mapping)}")
        before = len(self.problems)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        hints = _hints(cls)
        mapping = {n: v for n, v in mapping.items() if v is not None or n not in fields or not _is_mapping(hints[n])}
        values = {}
        for name, value in mapping.items():
            if name not in fields:
                whole = None if self.whole is None else list(keys_below(self.whole))
                self.fail(join(key, name), unknown_key(str(name), key, list(keys_below(cls, key)), whole))
            else:
                values[name] = self.value(hints[name], value, join(key, name), fields[name].metadata)
        for name, field in fields.items():
            if name not in mapping and field.default is MISSING and field.default_factory is MISSING:
                doc = field.metadata.get("doc")
                self.fail(join(key, name), "is needed and missing" + (f" ({doc})" if doc else ""))
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except ValueError as fault:
            return self.fail(key, str(fault))

    def value(self, hint: Any, entry: Any, key: str, rules: Mapping[str, Any]) -> Any:
        """One value, checked against its type hint and the rules of its `setting`."""
        if rules.get("kind") and (entry is not None or not _admits_none(hint)):
            return self._component(rules["kind"], hint, entry, key)
        before = len(self.problems)
        value = self._typed(hint, entry, key)
        if len(self.problems) == before and value is not None:
            self._limits(value, key, rules, typed=not _holds_any(hint))
        return value

    def _component(self, kind: str, hint: Any, entry: Any, key: str) -> Any:
        if typing.get_origin(hint) is not dict:
            return self._one_component(kind, entry, key)
        if not isinstance(entry, Mapping):
            return self.fail(key, f"expected a mapping of names to components, got {show(entry)}")
        hint = typing.get_args(hint)[1]
        kept = {name: item for name, item in entry.items() if item is not None or _admits_none(hint)}
        return {
            name: None if item is None else self._component(kind, Spec, item, join(key, name))
            for name, item in kept.items()
        }

    def _one_component(self, kind: str, entry: Any, key: str) -> Any:
        words = kind.replace("_", " ")
        if isinstance(entry, str):
            return self.fail(key, f"expected {{name: …}} naming a {words}; write {{name: {entry}}}")
        if not isinstance(entry, Mapping):
            return self.fail(key, f"expected {{name: …}} naming a {words}, got {show(entry)}")
        if not isinstance(entry.get("name"), str):
            return self.fail(key, f"has no `name` that says which {words} it is")
        return self.components(kind, entry, key, self) if self.components else entry

    def _typed(self, hint: Any, entry: Any, key: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return entry
        if hint == Mixture:
            return self._mixture(entry, key)
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments, entry, key)
        if origin in (list, tuple):
            return self._sequence(origin, arguments, entry, key)
        if origin is dict:
            return self._mapping(arguments[1], entry, key)
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast(type, hint), entry, key)
        return self._scalar(hint, entry, key)

    def _union(self, options: tuple[Any, ...], entry: Any, key: str) -> Any:
        if entry is None and type(None) in options:
            return None
        options = tuple(option for option in options if option is not type(None))
        for option in options:
            trial = Checker(self.components, self.whole)
            value = trial._typed(option, entry, key)
            if not trial.problems:
                return value
        if len(options) == 1:
            self.problems.extend(trial.problems)
            return None
        return self.fail(key, f"expected {' or '.join(describe(option) for option in options)}, got {show(entry)}")

    def _sequence(self, origin: Any, hints: tuple[Any, ...], entry: Any, key: str) -> Any:
        if not isinstance(entry, list | tuple):
            return self.fail(key, f"expected a list, got {show(entry)}")
        if origin is list or hints[-1] is Ellipsis:
            hints = (hints[0],) * len(entry)
        elif len(entry) != len(hints):
            return self.fail(key, f"expected {len(hints)} items, got {len(entry)}")
        pairs = zip(hints, entry, strict=True)
        return origin([self._typed(hint, item, f"{key}[{index}]") for index, (hint, item) in enumerate(pairs)])

    def _mapping(self, hint: Any, entry: Any, key: str) -> Any:
        """Each item by itself; null removes one, unless the items may be null."""
        if not isinstance(entry, Mapping):
            return self.fail(key, f"expected a mapping, got {show(entry)}")
        kept = {name: item for name, item in entry.items() if item is not None or _admits_none(hint)}
        return {name: self._typed(hint, item, join(key, name)) for name, item in kept.items()}

    def _mixture(self, entry: Any, key: str) -> Any:
        names = [entry] if isinstance(entry, str) else entry
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            if len(set(names)) < len(names):
                return self.fail(key, f"a name stands twice in {show(entry)}; to weigh it, write {{name: weight}}")
            names = dict.fromkeys(names, 1.0)
        if not isinstance(names, Mapping) or all(weight is None for weight in names.values()):
            return self.fail(key, f"expected a name, a list of names or {{name: weight}}, got {show(entry)}")
        kept = {name: weight for name, weight in names.items() if weight is not None}
        return {name: self._scalar(float, weight, join(key, name)) for name, weight in kept.items()}

    def _scalar(self, hint: Any, entry: Any, key: str) -> Any:
        if hint is float and isinstance(entry, int) and not isinstance(entry, bool):
            if entry.bit_length() > 1000:
                return self.fail(key, f"must be at most {LARGEST:g}, got {brief(entry)}")
            entry = float(entry)
        if hint is float and isinstance(entry, float) and not math.isfinite(entry):
            return self.fail(key, f"expected a finite number, got {entry}")
        if not isinstance(entry, hint) or (hint is int and isinstance(entry, bool)):
            return self.fail(key, f"expected {describe(hint)}, got {show(entry)}")
        return entry

    def _limits(self, value: Any, key: str, rules: Mapping[str, Any], typed: bool) -> None:
        choices = rules.get("choices")
        for item in _items(value):
            if choices and item not in choices:
                self.fail(key, f"{show(item)} is not allowed.{nearest(str(item), choices)}")
        limits = {number: _limits_of(number, rules) for number in (int, float)}
        for number in _numbers(value) if typed else ():
            for bound, holds, words in limits[type(number)]:
                if not holds(number, bound):
                    limit = f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
                    self.fail(key, f"must be {words} {limit}, got {brief(number)}")


def _limits_of(kind: type, rules: Mapping[str, Any]) -> list[tuple[float, Callable[[Any, Any], bool], str]]:
    """Limits of a number of one type, each with how it is compared and in words."""
    most = LARGEST if kind is float else LARGEST_WHOLE
    own = {rule: rules[rule] for rule in BOUNDS if rules.get(rule) is not None}
    lowest = {} if own.keys() & {"ge", "gt"} else {"ge": -most}
    limits = {"le": most, **lowest, **own}
    return [(limits[rule], *BOUNDS[rule]) for rule in BOUNDS if rule in limits]


def _items(value: Any) -> Iterable[Any]:
    """What a list or mapping holds; any other value itself."""
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else [value]


def _numbers(value: Any) -> Iterator[int | float]:
    """Every number in a value, however deep."""
    if isinstance(value, Mapping | list | tuple):
        for item in _items(value):
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def section_of(hint: Any) -> type | None:
    """The dataclass that a field of this type holds, also where it may be null; None where it holds none."""
    for option in (hint, *(typing.get_args(hint) if _admits_none(hint) else ())):
        if dataclasses.is_dataclass(option) and option is not Spec:
            return typing.cast(type, option)
    return None


def keys_below(cls: type, key: str = "") -> Iterator[str]:
    """The keys of all fields of a dataclass below `key`, and of the fields of dataclasses within it."""
    for field in dataclasses.fields(cls):
        if field.init:
            yield join(key, field.name)
            if section := section_of(_hints(cls)[field.name]):
                yield from keys_below(section, join(key, field.name))


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _is_mapping(hint: Any) -> bool:
    return typing.get_origin(hint) is dict or (dataclasses.is_dataclass(hint) and hint is not Spec)


def _admits_none(hint: Any) -> bool:
    return hint is Any or type(None) in typing.get_args(hint)


def _holds_any(hint: Any) -> bool:
    """Whether values of any type may stand there, which are checked where they are used."""
    return hint is Any or any(_holds_any(argument) for argument in typing.get_args(hint))


def describe(hint: Any) -> str:
    """A type, in the words of the person who writes YAML."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Mixture: "a mixture"}
    if hint in names:
        return names[hint]
    if (typing.get_origin(hint) or hint) in (list, tuple):
        return "a list"
    if _is_mapping(hint) or hint in (dict, Spec):
        return "a mapping"
    return getattr(hint, "__name__", str(hint))
