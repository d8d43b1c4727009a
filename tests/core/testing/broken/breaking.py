"""How a component is made that breaks one rule, and the list of those that do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from tests.core.testing.sound import Sound

NUMBERS = ("10 20 30", "200 100 0", "255 255 255")
BROKEN: list[Any] = []
"""pytest parameters: component, what check_component is given, the rule, a pattern of what is said."""


def broken(base: type, rule: str, words: str, given: Mapping[str, Any] | None = None, **members: Any) -> None:
    """A subclass with other members breaks a rule, and is told so in words that match a pattern."""
    cls = type("Broken", (base,), {"__doc__": "Breaks a rule.", "__module__": __name__, **members})
    BROKEN.append(pytest.param(cls, dict(given or {}), rule, words, id=f"{base.__name__}: {rule}: {words[:40]}"))


def with_init(base, extra):
    """__init__ that does more, after the base's."""

    def __init__(self, *arguments):
        base.__init__(self, *arguments)
        extra(self)

    return __init__


def changed(method, change):
    """A method of Sound whose tensors are changed: `change(self, tensor)`."""

    def call(self, *arguments):
        made = getattr(Sound, method)(self, *arguments)
        if isinstance(made, dict):
            return {name: tensor if name == "mask" else change(self, tensor) for name, tensor in made.items()}
        return change(self, made)

    return call


def has_a_spare_parameter(self):
    self.spare = nn.Parameter(torch.ones(2))
