"""The model: feature transforms, interactions and one logit scale; which of its parts a score depends on; and what is
known of a part before it is built."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..contract.components import FeatureTransform, Interaction, Levels, Shapes
from ..contract.features import LevelShape, TextFeatures, VideoFeatures
from ..contract.settings import Spec
from ..experiment.config import Experiment, LogitScale
from ..plugins import registry

RANDOM_STARTS = {"uniform_", "normal_", "kaiming_uniform_"}
"""Functions that fill a tensor in place and return it; those of torch.nn.init end in one of them."""


def transforms_for(transforms: Mapping[str, Spec], levels: Levels) -> tuple[dict[str, Spec], Levels]:
    """The transforms that `levels` depend on, in order, and the levels that remain for the encoder to write."""
    text, video, kept = set(levels.text), set(levels.video), []
    for name in reversed(list(transforms)):
        spec = transforms[name]
        cls = registry().component("feature_transform", spec)
        reads, writes = cls.reads(spec.fields), cls.writes(spec.fields)
        if text & set(writes.text) or video & set(writes.video):
            kept.append(name)
            text = text - (set(writes.text) - set(reads.text)) | set(reads.text)
            video = video - (set(writes.video) - set(reads.video)) | set(reads.video)
    return {name: transforms[name] for name in reversed(kept)}, Levels(tuple(sorted(text)), tuple(sorted(video)))


def levels_of(interactions: Mapping[str, Spec]) -> Levels:
    """All levels that some interactions read."""
    read = [registry().component("interaction", spec).reads(spec.fields) for spec in interactions.values()]
    return Levels(
        tuple(sorted({name for levels in read for name in levels.text})),
        tuple(sorted({name for levels in read for name in levels.video})),
    )


class Model(nn.Module):
    """Some interactions of an experiment with the transforms that they need.

    transforms, interactions: by name. shapes: of the encoder's levels. `raw` names the levels to feed it.
    """

    def __init__(
        self, transforms: Mapping[str, Spec], interactions: Mapping[str, Spec], shapes: Shapes, scale: LogitScale
    ):
        super().__init__()
        needed, self.raw = transforms_for(transforms, levels_of(interactions))
        level_shapes: dict[str, LevelShape] = dict(shapes)
        self.transforms = nn.ModuleDict()
        for name, spec in needed.items():
            transform = registry().make("feature_transform", spec, level_shapes)
            self.transforms[name] = transform
            level_shapes.update(transform.written_shapes())
        self.interactions = nn.ModuleDict(
            {name: registry().make("interaction", spec, level_shapes) for name, spec in interactions.items()}
        )
        self.max_scale = scale.max
        self.log_scale = nn.Parameter(torch.tensor(math.log(min(scale.init, scale.max))))

    @classmethod
    def of(cls, experiment: Experiment, names: Iterable[str], shapes: Shapes) -> Model:
        """The part of an experiment's model that the named interactions make up."""
        model = experiment.model
        return cls(model.transforms, {name: model.interactions[name] for name in names}, shapes, model.logit_scale)

    @property
    def logit_scale(self) -> Tensor:
        """The scale; `limit_scale` keeps it at most `max_scale`."""
        return self.log_scale.exp()

    def limit_scale(self) -> None:
        """To be called after each step. A clamp in `logit_scale` would stop the gradient, and hold it there."""
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(self.max_scale))

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Give an encoder's start weights to every part that asks for them."""
        for part in self.parts():
            if part.starts_from_encoder:
                part.start_from(weights)

    def parts(self) -> list[Any]:
        return [*self.transforms.values(), *self.interactions.values()]

    def interaction(self, name: str) -> Interaction:
        return self.interactions[name]  # type: ignore[return-value]

    def text(self, features: TextFeatures) -> TextFeatures:
        for transform in self.transforms.values():
            assert isinstance(transform, FeatureTransform)
            features = transform.text(features)
        return features

    def video(self, features: VideoFeatures) -> VideoFeatures:
        for transform in self.transforms.values():
            assert isinstance(transform, FeatureTransform)
            features = transform.video(features)
        return features


@dataclass(frozen=True)
class Outline:
    """What is known of a component without its numbers: whether it has parameters, and the shapes that it writes."""

    parametric: bool
    writes: Mapping[str, LevelShape]


def outline(kind: str, spec: Spec, shapes: Shapes) -> Outline:
    """The outline of a feature transform, an interaction or a reranker that reads levels of these shapes.

    Raises what the component raises, ValueError where it refuses the shapes.
    """
    with torch.random.fork_rng(devices=[]), _Unfilled():
        component = registry().make(kind, spec, shapes)
    writes = component.written_shapes() if kind == "feature_transform" else {}
    return Outline(any(True for _ in component.parameters()), writes)


class _Unfilled(TorchFunctionMode):
    """Within it tensors stay as they are allocated where random numbers would fill them: memory that is never touched
    costs nothing. (The device `meta` does that too, but its first use takes a second or more, for torch._dynamo.)"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM_STARTS:
            return arguments["tensor"] if "tensor" in arguments else args[0]
        return func(*args, **arguments)
