"""Frames as CLIP wants them: what transformers' CLIPImageProcessor does, on tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core import DataError

from .files import read_json

FILTERS = {2: "bilinear", 3: "bicubic"}
"""Resampling filters by their number in PIL, as preprocessor_config.json has it."""
STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize")


@dataclass(frozen=True)
class Pixels:
    """Preprocessing of CLIPImageProcessor: short side and centre crop in pixels; (value · rescale − mean) / std."""

    short_side: int
    crop_size: int
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    rescale: float = 1 / 255
    resample: str = "bicubic"

    @classmethod
    def read(cls, folder: Path | None, image_size: int) -> Pixels:
        """From preprocessor_config.json (or processor_config.json) of `folder`; CLIP's own values where it has none."""
        given = _preprocessor(folder) if folder else {}
        size = _side(given.get("size"), "shortest_edge", image_size)
        crop = _side(given.get("crop_size"), "height", image_size)
        resample = given.get("resample", 3)
        if size is None or crop != image_size or size < crop or resample not in list(FILTERS):
            raise DataError(
                f"encoder.model: {folder}: cannot prepare frames as its preprocessor asks (size {given.get('size')}, "
                f"crop {given.get('crop_size')}, resample {resample}) for images of {image_size} px; "
                f"size {{shortest_edge: {image_size} or more}}, that crop, and resample 2 or 3 are known"
            )
        if not all(given.get(step, True) for step in STEPS):
            raise DataError(f"encoder.model: {folder}: its preprocessor must have {', '.join(STEPS)} true")
        mean, std = _floats(given.get("image_mean", cls.mean), 3), _floats(given.get("image_std", cls.std), 3)
        rescale = _floats([given.get("rescale_factor", cls.rescale)], 1)
        if not (mean and std and rescale) or 0 in (*std, *rescale):
            got = [repr(given.get(name))[:60] for name in ("image_mean", "image_std", "rescale_factor")]
            raise DataError(
                f"encoder.model: {folder}: its preprocessor must have three numbers as image_mean, three as image_std "
                f"and one as rescale_factor, none of the latter two 0; got {', '.join(got)}"
            )
        return cls(size, crop, mean, std, rescale[0], FILTERS[resample])

    def as_written(self) -> dict[str, Any]:
        """The content of preprocessor_config.json."""
        return {
            "image_processor_type": "CLIPImageProcessor",
            **dict.fromkeys((*STEPS, "do_convert_rgb"), True),
            "size": {"shortest_edge": self.short_side},
            "crop_size": {"height": self.crop_size, "width": self.crop_size},
            "resample": next(number for number, name in FILTERS.items() if name == self.resample),
            "rescale_factor": self.rescale,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def factor_and_shift(self) -> tuple[Tensor, Tensor]:
        """[3, 1, 1] each: pixel · factor − shift is the normalised pixel."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (self.rescale / std)[:, None, None], (mean / std)[:, None, None]

    def crop(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] on the CPU -> uint8 [..., 3, crop, crop], contiguous.

        NumPy copies: torch's threads would wait for each other wherever decoding keeps the cores busy.
        """
        high, wide = frames.shape[-3:-1]
        short = min(high, wide)
        if short != self.short_side:
            size = [self.short_side if side == short else self.short_side * side // short for side in (high, wide)]
            images = frames.reshape(-1, high, wide, 3).permute(0, 3, 1, 2)
            images = nn.functional.interpolate(images, size=size, mode=self.resample, antialias=True)
            frames = images.permute(0, 2, 3, 1).reshape(*frames.shape[:-3], *size, 3)
            high, wide = size
        top, left = (high - self.crop_size) // 2, (wide - self.crop_size) // 2
        cut = frames[..., top : top + self.crop_size, left : left + self.crop_size, :]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(cut.numpy(), -1, -3)))


def _preprocessor(folder: Path) -> Mapping[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            found = read_json(folder / name)
            inner = found.get("image_processor", found)
            return inner if isinstance(inner, Mapping) else found
    return {}


def _side(given: Any, name: str, default: int) -> int | None:
    """A side in pixels; None where what is given is no whole number."""
    value = given.get(name) if isinstance(given, Mapping) else default if given is None else given
    return value if type(value) is int else None


def _floats(given: Any, count: int) -> tuple[float, ...]:
    """`count` finite numbers; none where what is given is anything else."""
    numbers = given if isinstance(given, list | tuple) and len(given) == count else ()
    fit = all(type(number) in (int, float) and abs(number) < 1e30 for number in numbers)
    return tuple(numbers) if fit else ()
