"""What every kind of component shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from ..features import LevelShape

Shapes = Mapping[str, LevelShape]
"""Sizes of levels, by name.

>>> import core
>>> shapes: core.Shapes = {"frames": core.LevelShape(tokens=12, width=512)}
>>> shapes["frames"].width
512
"""
Side = dict[str, Tensor]
"""Named tensors of one side, each with leading B_t or B_v.

>>> import core, torch
>>> side: core.Side = {"vector": torch.ones(3, 512)}  # of three videos
>>> len(side["vector"])
3
"""


class Levels(NamedTuple):
    """Names of levels on the text side and on the video side.

    >>> import core
    >>> core.Levels(("sentence",), ("frames", "patches")).video
    ('frames', 'patches')
    """

    text: tuple[str, ...] = ()
    video: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSettings:
    """The Config of a component that has no fields."""


class Component:
    """What every kind shares: a `name`, a `Config` dataclass (see `setting`) and a docstring with shapes and source.

    >>> import core
    >>> class Silent(core.Output):
    ...     name = "silent"
    >>> Silent.kind, Silent.Config()
    ('output', NoSettings())
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    Config: ClassVar[type] = NoSettings
    after_training: ClassVar[frozenset[str]] = frozenset()
    """Config fields that may change after training without training again."""
