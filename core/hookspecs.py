"""The hooks: one a kind of component.

A plugin module implements what it needs and is named in its package's entry points, group "retrieval_ablations":

    from core import hookimpl

    @hookimpl
    def register_interactions(register):
        register(MyInteraction)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .contract.components import Register

PROJECT = "retrieval_ablations"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin that implements a hook.

>>> import core
>>> class Dot(core.Interaction):
...     name = "dot"
>>> @core.hookimpl
... def register_interactions(register):
...     register(Dot)
>>> register_interactions(lambda component: print(component.kind, component.name))
interaction dot
"""


@hookspec
def register_datasets(register: Register) -> None:
    """Call `register(cls)` for each Dataset: a source of videos and texts."""


@hookspec
def register_encoders(register: Register) -> None:
    """Call `register(cls)` for each Encoder: raw text or frames to features."""


@hookspec
def register_feature_transforms(register: Register) -> None:
    """Call `register(cls)` for each FeatureTransform: features to features."""


@hookspec
def register_interactions(register: Register) -> None:
    """Call `register(cls)` for each Interaction: features of both sides to a score matrix."""


@hookspec
def register_losses(register: Register) -> None:
    """Call `register(cls)` for each Loss: what training minimises."""


@hookspec
def register_rerankers(register: Register) -> None:
    """Call `register(cls)` for each Reranker: new scores for candidates."""


@hookspec
def register_score_transforms(register: Register) -> None:
    """Call `register(cls)` for each ScoreTransform: score matrix to score matrix."""


@hookspec
def register_outputs(register: Register) -> None:
    """Call `register(cls)` for each Output: shows, writes or sends what an experiment found."""
