"""What a data set or an encoder is called for people: its kind's name with the one field that tells which it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract.settings import Spec
from ..experiment.selection import short_value

TELLING = ("path", "file", "folder", "model")
"""Fields of which the first that holds a text tells one component from others of its name."""


def named(spec: Spec) -> str:
    """`folder: my/captions.jsonl`, `clip: openai/clip-vit-base-patch32`; `shapes` where no field tells more."""
    field = _telling(spec.resolved())
    return f"{spec.name}: {spec.resolved()[field]}" if field else spec.name


def named_as_written(values: Mapping[str, Any]) -> str:
    """The same of a component as a file writes it, and what else it says: `folder: my/captions.jsonl (val:0.2)`.

    Of several under names each: `small = clip: a, large = clip: b`.
    """
    if "name" not in values:
        return ", ".join(f"{name} = {named_as_written(item)}" for name, item in values.items() if item is not None)
    field = _telling(values)
    if field is None:
        return short_value(values)
    others = [f"{name}:{short_value(item)}" for name, item in values.items() if name not in ("name", field)]
    return f"{values['name']}: {values[field]}" + (f" ({','.join(others)})" if others else "")


def _telling(values: Mapping[str, Any]) -> str | None:
    return next((field for field in TELLING if isinstance(values.get(field), str)), None)
