"""Experiment files and throw-away plugins for tests of the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch import nn

from core import (
    ConfigError,
    Dataset,
    Encoder,
    EncoderSettings,
    Interaction,
    Levels,
    Loss,
    Reranker,
    RerankerSettings,
    hookimpl,
    setting,
)
from core.contract.features import LevelShape
from core.experiment.config import Document, read_document
from core.plugins import Registry, registry

BASE: dict[str, Any] = {
    "name": "trial",
    "data": {"dataset": {"name": "shapes"}},
    "encoder": {"name": "toy_encoder"},
    "model": {
        "interactions": {
            "video": {"name": "mean_pooling"},
            "frame": {"name": "tib", "temperature": 0.1},
            "patch": {"name": "tib", "level": "patches", "temperature": 0.01},
        },
        "losses": {"contrast": {"name": "info_nce", "of": {"video": 0.5, "frame": 0.5}}},
    },
    "train": {"epochs": 2},
    "retrieve": {
        "first_stage": "video",
        "rerank": {"name": "score_fusion", "weights": {"video": 0.5, "frame": 1.0}, "top_k": 50},
    },
}


class ToyEncoder(Encoder):
    """Sentences and words, frames and patches, of width 8."""

    name = "toy_encoder"

    @dataclass(frozen=True)
    class Config(EncoderSettings):
        model: str = setting("small", "which weights")

    def __init__(self, config: Any):
        super().__init__(config)
        self.levels = Levels(("sentence", "words"), ("frames", "patches"))
        tokens = {"sentence": None, "words": 5, "frames": None, "patches": 4}
        self.shapes = {name: LevelShape(count, 8) for name, count in tokens.items()}


class ToyAttention(Interaction):
    """With parameters; offers no auxiliary tensors."""

    name = "toy_attention"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level")
        width: int = setting(8, "of the level", ge=1)

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        if shapes["frames"].width != config.width:
            raise ValueError(f"`width` is {config.width}, but `frames` have {shapes['frames'].width}")
        self.gate = nn.Linear(config.width, 1)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), (config.level,))


class ToyReranker(Reranker):
    """With parameters; reads patches."""

    name = "toy_reranker"

    @dataclass(frozen=True)
    class Config(RerankerSettings):
        level: str = setting("patches", "video level")

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        self.head = nn.Linear(8, 1)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), (config.level,))


class ToyLoss(Loss):
    """Needs a tensor that nothing offers."""

    name = "toy_loss"

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        return frozenset({"queue"})


class ToyPlugin:
    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(ToyEncoder)

    @hookimpl
    def register_interactions(self, register: Any) -> None:
        register(ToyAttention)

    @hookimpl
    def register_losses(self, register: Any) -> None:
        register(ToyLoss)

    @hookimpl
    def register_rerankers(self, register: Any) -> None:
        register(ToyReranker)


class ToyDataset(Dataset):
    """A source without videos."""

    name = "toy_dataset"


@contextlib.contextmanager
def plugged(plugin: object, package: str = "toys", into: Registry | None = None) -> Iterator[Registry]:
    """The registry with a plugin, for as long as the context lasts."""
    found = into or registry()
    found.add_plugin(plugin, package, "1.0")
    try:
        yield found
    finally:
        found.remove_plugin(plugin)


@pytest.fixture
def toy_components() -> Iterator[None]:
    """The throw-away components, registered for one test."""
    with plugged(ToyPlugin()):
        yield


class plugin_of:
    """A plugin from functions by hook name."""

    def __init__(self, **hooks: Any):
        self.__dict__.update({name: hookimpl(function) for name, function in hooks.items()})


def edited(changes: dict[str, Any]) -> dict[str, Any]:
    """BASE with values at dotted keys; ... takes one out."""
    values = yaml.safe_load(yaml.safe_dump(BASE))
    for key, value in changes.items():
        *way, last = key.split(".")
        place = values
        for part in way:
            place = place.setdefault(part, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return values


def write(folder: Path, values: Any, name: str = "trial.yaml") -> Path:
    path = folder / name
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values, sort_keys=False))
    return path


def document(folder: Path, changes: dict[str, Any] | None = None, overrides: tuple[str, ...] = ()) -> Document:
    return read_document(str(write(folder, edited(changes or {}))), overrides)


def problems_of(call: Any, *arguments: Any) -> dict[str, str]:
    """{key: message} of the ConfigError that a call raises; every problem must name a file."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert all(problem.file for problem in caught.value.problems), caught.value
    return {problem.key: problem.message for problem in caught.value.problems}
