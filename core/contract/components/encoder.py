"""Encoders: raw text or frames to features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from ..features import LevelShape, TextFeatures, VideoFeatures
from ..settings import setting
from .base import Component, Levels


@dataclass(frozen=True)
class EncoderSettings:
    """Fields of every encoder.

    >>> import core, dataclasses
    >>> @dataclasses.dataclass(frozen=True)
    ... class Config(core.EncoderSettings):
    ...     model: str = core.setting("checkpoints/mine", "folder of the weights")
    >>> Config(trainable=True)
    Config(trainable=True, stored='float32', model='checkpoints/mine')
    """

    trainable: bool = setting(False, "train its weights with the model (one process, one device)")
    stored: str = setting(
        "float32",
        "type that its levels are kept in; they are computed, trained on and scored as without it",
        choices=("float32", "float16", "bfloat16"),
    )


class Encoder(Component, nn.Module):
    """Raw text or frames to features.

    After __init__ (cheap: only the configuration is read) the attributes below are known; `load` reads the weights.

    >>> import core, torch
    >>> class Lengths(core.Encoder):  # the text side alone
    ...     name = "lengths"
    ...     def forward_text(self, tokens, levels):
    ...         return core.TextFeatures(sentence=tokens["length"])
    >>> Lengths(Lengths.Config()).forward_text({"length": torch.tensor([[3.0], [4.0]])}, ["sentence"]).names
    ('sentence',)
    """

    kind = "encoder"
    Config = EncoderSettings
    frame_size: int
    """Short side, in pixels, that frames are decoded to."""
    located_by: ClassVar[frozenset[str]] = frozenset({"model", "revision"})
    """Fields that only say where weights lie; `fingerprint` stands for them in keys."""
    shapes: dict[str, LevelShape]
    """Every level that it can write."""
    levels: Levels
    """The same names, by side."""

    def __init__(self, config: Any):
        nn.Module.__init__(self)
        self.config = config

    @property
    def random_start(self) -> bool:
        """Whether the weights that `load` gives depend on the seed: by convention a field `init: random`."""
        return getattr(self.config, "init", None) == "random"

    def load(self, seed: int) -> None:
        """Read the weights, or draw them from `seed` where the configuration asks for random ones."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """Plain data that changes when the weights or the preprocessing change: digests of files, never paths."""
        raise NotImplementedError

    def prepare_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token tensors [B, L] on the CPU, padded to one length that does not depend on the batch."""
        raise NotImplementedError

    def prepare_frames(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] as decoded -> uint8 [..., 3, h, w], the crop that `forward_video` takes."""
        raise NotImplementedError

    def forward_text(self, tokens: dict[str, Tensor], levels: Iterable[str]) -> TextFeatures:
        """Token tensors [B, L] -> the levels asked for. Differentiable."""
        raise NotImplementedError

    def forward_video(self, frames: Tensor, mask: Tensor, levels: Iterable[str]) -> VideoFeatures:
        """uint8 [B, T, 3, h, w] and mask [B, T] -> the levels asked for. Differentiable."""
        raise NotImplementedError

    def start_weights(self) -> dict[str, Tensor]:
        """Weights that other components may start from, by name; needs `load`."""
        return {}

    def export(self, folder: Path) -> None:
        """Write the encoder so that its own `model:` field can read it again."""
        raise NotImplementedError
