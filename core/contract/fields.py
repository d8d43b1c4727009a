"""The fields of a Config or of a section of the experiment file in words: type, default, limits, what each is."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from .keys import join
from .settings import BOUNDS, Mixture, describe, plain, section_of

OF_ITEMS = {int: "whole numbers", float: "numbers", str: "texts"}


@dataclasses.dataclass(frozen=True)
class FieldWords:
    """A field for a person who writes YAML.

    default: as YAML; None where it must be given, "" where it holds fields that have theirs.
    """

    key: str
    type: str
    default: str | None
    limits: str
    doc: str


def fields_in_words(cls: type, key: str = "") -> Iterator[FieldWords]:
    """Every field of a dataclass by its key below `key`, those of a dataclass within it after it."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner, own_key = section_of(hints[field.name]), join(key, field.name)
        default = None if is_needed(field) else "" if inner else as_yaml(plain(default_of(field)))
        words = type_in_words(hints[field.name], field.metadata.get("kind"))
        yield FieldWords(own_key, words, default, _limits(field), field.metadata.get("doc") or "")
        if inner:
            yield from fields_in_words(inner, own_key)


def is_needed(field: Any) -> bool:
    """Whether a field must be given."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def default_of(field: Any) -> Any:
    """The value of a field that is left out."""
    return field.default if field.default is not dataclasses.MISSING else field.default_factory()


def type_in_words(hint: Any, kind: str | None = None) -> str:
    """`a number or null`, `a list of texts`, `named losses`; kind: of the component that the field is."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    or_null = " or null" if type(None) in typing.get_args(hint) else ""
    if kind:
        named = typing.get_origin(hint) is dict
        return f"named {plural(kind).replace('_', ' ')}" if named else with_article(kind) + or_null
    return " or ".join(map(_one_type, options if or_null else [hint])) + or_null


def _one_type(hint: Any) -> str:
    if hint is Any:
        return "any value"
    if hint == Mixture:
        return "a mixture {name: weight}"
    items = typing.get_args(hint)
    if typing.get_origin(hint) in (list, tuple) and items and items[0] in OF_ITEMS:
        return f"a list of {OF_ITEMS[items[0]]}"
    return describe(hint)


def _limits(field: Any) -> str:
    """`at least 0, at most 1`, `query | own_caption`."""
    rules = field.metadata
    bounds = [f"{words} {rules[rule]:,}" for rule, (_, words) in BOUNDS.items() if rules.get(rule) is not None]
    choices = [" | ".join(map(str, rules["choices"]))] if rules.get("choices") else []
    return ", ".join([*bounds, *choices])


def plural(kind: str) -> str:
    return {"loss": "losses"}.get(kind, kind + "s")


def with_article(kind: str) -> str:
    words = kind.replace("_", " ")
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def as_yaml(value: Any) -> str:
    """Plain data as one line of YAML."""
    from yaml import safe_dump

    text = safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
