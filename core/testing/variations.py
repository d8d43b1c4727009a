"""Other values of a configuration's fields."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from ..contract.settings import Checker, Mixture


def with_another(config: Any, field: str) -> Iterator[Any]:
    """Configurations that differ in one field: numbers halved and doubled, other choices, the other truth value."""
    rules = next(f.metadata for f in dataclasses.fields(config) if f.name == field)
    hint, now = typing.get_type_hints(type(config))[field], getattr(config, field)
    for value in _others(hint, now, rules.get("choices")):
        checker = Checker()
        checker.value(hint, value, field, rules)
        if not checker.problems:
            try:
                yield dataclasses.replace(config, **{field: value})
            except ValueError:  # a combination that the component refuses
                continue


def _others(hint: Any, now: Any, choices: tuple[Any, ...] | None) -> list[Any]:
    if choices:
        return [choice for choice in choices if choice != now]
    if isinstance(now, bool):
        return [not now]
    if isinstance(now, int):
        return [now + 1, 2 * now, now // 2]
    if isinstance(now, float):
        return [now / 2, 2 * now, now + 0.5]
    if hint == Mixture:
        return [{name: weight * (place + 2) for place, (name, weight) in enumerate(now.items())}]
    if now is None:
        return [option for option in (1, 0.5, True) if type(option) in typing.get_args(hint)]
    return []
