"""What every kind of component shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..features import LevelShape

Shapes = Mapping[str, LevelShape]
Side = dict[str, Tensor]
"""Named tensors of one side, each with leading B_t or B_v."""


class Levels(NamedTuple):
    """Names of levels on the text side and on the video side."""

    text: tuple[str, ...] = ()
    video: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSettings:
    """The Config of a component that has no fields."""


class Component:
    """What every kind shares: a `name`, a `Config` dataclass (see `setting`) and a docstring with shapes and source."""

    name: ClassVar[str]
    kind: ClassVar[str]
    Config: ClassVar[type] = NoSettings
    after_training: ClassVar[frozenset[str]] = frozenset()
    """Config fields that may change after training without training again."""
