"""Axes of a comparison: what its variants vary, and how that is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.outputs import Result, Row, Variant, lookup, short_key, short_value, split_key

SHARES = {0.25: "¼", 0.5: "½", 0.75: "¾"}


@dataclass(frozen=True)
class Axis:
    """An axis of the comparison by its shortest name, and its values in words. That of a lone curve has no name."""

    name: str
    values: tuple[str, ...]


def axis(key: str, values: Iterable[Any], keys: Iterable[str]) -> Axis:
    return Axis(short_key(key, keys), tuple(words(value) for value in values))


def keys_of(result: Result) -> list[str]:
    """Every key that some variant assigns."""
    return list(dict.fromkeys(key for variant in result.variants for key in variant.assignments))


def varying(variants: Sequence[Variant], among: Iterable[str], keys: list[str]) -> list[str]:
    """Those of `among` under which the variants hold different values."""
    return [key for key in among if len(distinct(own(variant, key, keys) for variant in variants)) > 1]


def own(variant: Variant, key: str, keys: Iterable[str]) -> Any:
    """What a variant holds under a key, without what stands under longer ones among the keys."""
    value, parts = variant.value(key), split_key(key)
    for other in map(split_key, keys):
        if len(other) > len(parts) and other[: len(parts)] == parts:  # a longer key below this one
            *way, last = other[len(parts) :]
            place = lookup(value, way)
            if isinstance(place, dict):
                place.pop(last, None)
    return value


def distinct(values: Iterable[Any]) -> list[Any]:
    """Each value once, where it comes first; values need no hash."""
    firsts: list[Any] = []
    for value in values:
        if value not in firsts:
            firsts.append(value)
    return firsts


def shared_settings(result: Result, variants: Sequence[Variant], drawn: Iterable[str]) -> str:
    """What some variants have in common, of the keys that the experiment varies and a figure does not draw."""
    keys, left_out = keys_of(result), set(drawn)
    varied = varying(result.variants, [key for key in keys if key not in left_out], keys)
    return settings_in_words(variants[0], [key for key in varied if variants[0].value(key) is not None], keys)


def settings_in_words(variant: Variant, among: Iterable[str], keys: list[str]) -> str:
    """`first_stage frame, rerank none`"""
    return ", ".join(f"{short_key(key, keys)} {words(own(variant, key, keys))}" for key in among)


def marked(row: Row) -> str:
    """A variant's name, with a mark where its scores are transductive."""
    return row.name + (" [transductive]" if row.transductive else "")


def compared_with(result: Result) -> str:
    """What differences are to: the baseline's name, or that each has one on its own data."""
    return marked(result.baseline) if len(result.baselines) == 1 else "the baseline on the same data"


def words(value: Any) -> str:
    """A value as a reader says it: `½ brief, ½ dominant` for a mixture, `brief` where it is all of it."""
    if value == {}:
        return "none"
    mixture = isinstance(value, Mapping) and value and all(isinstance(part, int | float) for part in value.values())
    if not mixture:
        return short_value(value)
    if len(value) == 1:
        return str(next(iter(value)))
    return ", ".join(f"{SHARES.get(share, f'{share:g}')} {name}" for name, share in value.items())
