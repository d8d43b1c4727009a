"""Checks of an encoder."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..contract.components import Encoder, Levels
from ..contract.features import Features
from .contract import DEVICE, Faults, gap, mean_gap, not_finite, said
from .inputs import SEED

CAPTIONS = ("a red circle moves left", "two dogs", "someone cuts an onion and then fries it", "a game")
VIDEOS, FRAMES = 3, 4
NO_PATHS = "Give plain data, digests of files and no paths"


class EncoderCase:
    """An encoder with texts and frames of noise, the last video padded."""

    def __init__(self, cls: type[Encoder], config: Any, texts: Sequence[str]):
        self.cls, self.config, self.texts = cls, config, list(texts)

    def build(self, seed: int = SEED, **changes: Any) -> Any:
        encoder = self.cls(dataclasses.replace(self.config, **changes))
        encoder.load(seed)
        return encoder.eval()

    @cached_property
    def encoder(self) -> Any:
        return self.build()

    @cached_property
    def tokens(self) -> dict[str, Tensor]:
        return self.encoder.prepare_texts(self.texts)

    @cached_property
    def frames(self) -> Tensor:
        """uint8 [B, T, H, W, 3], wider than high, as decoded."""
        size = self.encoder.frame_size
        draw = torch.Generator().manual_seed(SEED)
        return torch.randint(256, (VIDEOS, FRAMES, size, size + size // 2, 3), generator=draw, dtype=torch.uint8)

    @cached_property
    def pixels(self) -> Tensor:
        return self.encoder.prepare_frames(self.frames)

    @cached_property
    def mask(self) -> Tensor:
        mask = torch.ones(VIDEOS, FRAMES, dtype=torch.bool)
        mask[-1, 2:] = False
        return mask

    @cached_property
    def whole(self) -> dict[str, Tensor]:
        return self.run(self.encoder)

    def run(self, encoder: Any, texts: slice = slice(None), videos: slice = slice(None)) -> dict[str, Tensor]:
        """Values of every level, as `side/level`."""
        device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
        tokens = {name: tensor[texts].to(device) for name, tensor in self.tokens.items()}
        with torch.inference_mode():
            text = encoder.forward_text(tokens, set(self.levels.text))
            video = encoder.forward_video(
                self.pixels[videos].to(device), self.mask[videos].to(device), set(self.levels.video)
            )
        return _values("text", text, self.levels.text) | _values("video", video, self.levels.video)

    @property
    def levels(self) -> Levels:
        return self.encoder.levels


def _values(side: str, features: Features, names: Sequence[str]) -> dict[str, Tensor]:
    return {f"{side}/{name}": features.structured(name).values for name in names}


def its_levels_are_known_before_it_is_loaded(case: EncoderCase) -> Faults:
    encoder = case.cls(case.config)
    names = {*encoder.levels.text, *encoder.levels.video}
    if set(encoder.shapes) != names:
        yield f"`shapes` has {', '.join(sorted(encoder.shapes))}", f"Give one for each of `levels`: {sorted(names)}"
    if not isinstance(encoder.frame_size, int) or encoder.frame_size < 1:
        yield f"`frame_size` is {encoder.frame_size!r}", "Give the short side, in pixels, that it wants decoded"


def levels_have_the_shapes_declared(case: EncoderCase) -> Faults:
    for key, values in case.whole.items():
        name, shape = key.partition("/")[2], case.encoder.shapes[key.partition("/")[2]]
        count = len(case.texts) if key.startswith("text/") else VIDEOS
        if name in ("sentence", "video"):
            wanted: list[int | None] = [count, shape.width]
        elif key.startswith("text/"):
            wanted = [count, shape.tokens, shape.width]
        else:
            wanted = [count, FRAMES, *([shape.tokens] if shape.tokens else []), shape.width]
        sizes = list(values.shape)
        if len(sizes) != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, sizes, strict=True)):
            yield f"`{name}` is {sizes}", f"`shapes` says {shape}, which is {wanted}"
    for name in not_finite(case.whole):
        yield f"{name} holds NaN or infinities", "A padded frame is encoded like any other"


def masks_tell_padding(case: EncoderCase) -> Faults:
    with torch.inference_mode():
        video = case.encoder.forward_video(case.pixels, case.mask, set(case.levels.video))
    for name in case.levels.video:
        tokens = video.structured(name)
        if tokens.values.ndim > 2:
            mask = torch.ones_like(case.mask) if tokens.mask is None else tokens.mask
            if not torch.equal(mask.flatten(2)[..., 0] if mask.ndim > 2 else mask, case.mask):
                yield f"the mask of `{name}` is not that of the frames", "Write Tokens(values, mask), the mask given"


def texts_are_padded_to_one_length(case: EncoderCase) -> Faults:
    for name, tensor in case.tokens.items():
        alone = case.encoder.prepare_texts(case.texts[1:2])[name]
        if tensor.shape[:1] != (len(case.texts),) or tensor.device.type != "cpu":
            yield f"`{name}` is {list(tensor.shape)} on {tensor.device}", "Give [B, L] on the CPU"
        elif not torch.equal(alone, tensor[1:2]):
            yield f"`{name}` of a text depends on the others", "Pad to one length that does not depend on the batch"


def frames_become_one_crop(case: EncoderCase) -> Faults:
    pixels = case.pixels
    if pixels.dtype != torch.uint8 or pixels.ndim != 5 or pixels.shape[:3] != (VIDEOS, FRAMES, 3):
        yield f"prepare_frames gives {pixels.dtype} {list(pixels.shape)}", "Give uint8 [..., 3, h, w]"
    elif not torch.equal(case.encoder.prepare_frames(case.frames[0]), pixels[0]):
        yield "prepare_frames of one video differs from that of several", "Treat every frame by itself"


def rows_do_not_depend_on_the_batch(case: EncoderCase) -> Faults:
    alone = case.run(case.encoder, slice(1, 2), slice(0, 1))
    for name, values in alone.items():
        wanted = case.whole[name][1:2] if name.startswith("text/") else case.whole[name][:1]
        if words := gap({name: values}, {name: wanted}, DEVICE):
            yield f"{words} for one item alone", "An item's features must not depend on the batch around it"


def it_writes_the_levels_asked_for(case: EncoderCase) -> Faults:
    with torch.inference_mode():
        for name in case.levels.text:
            features = case.encoder.forward_text(case.tokens, {name})
            if words := gap(_values("text", features, [name]), {f"text/{name}": case.whole[f"text/{name}"]}, DEVICE):
                yield f"{words} when only `{name}` is asked for", "A level must not depend on the others asked for"
        for name in case.levels.video:
            features = case.encoder.forward_video(case.pixels, case.mask, {name})
            if words := gap(_values("video", features, [name]), {f"video/{name}": case.whole[f"video/{name}"]}, DEVICE):
                yield f"{words} when only `{name}` is asked for", "A level must not depend on the others asked for"


def weights_depend_on_the_seed_where_it_says_so(case: EncoderCase) -> Faults:
    again, other = case.run(case.build()), case.run(case.build(SEED + 1))
    if words := gap(again, case.whole, 0):
        yield f"{words} when it is loaded again with the same seed", "Draw from the seed that `load` is given"
    if bool(gap(other, case.whole)) != case.encoder.random_start:
        effect = "changes nothing" if case.encoder.random_start else "changes what it gives"
        yield f"another seed {effect}, and random_start is {case.encoder.random_start}", "Make the two agree"


def the_fingerprint_is_plain_and_stable(case: EncoderCase) -> Faults:
    fingerprint = case.cls(case.config).fingerprint()
    try:
        written = json.dumps(fingerprint)
    except TypeError as error:
        yield f"it is no plain data: {said(error)}", NO_PATHS
        return
    if case.cls(case.config).fingerprint() != fingerprint:
        yield "it differs between two objects", "Make it a function of weights and preprocessing alone"
    model = str(getattr(case.config, "model", None) or "")
    if str(Path.cwd()) in written or ("/" in model and model in written):
        yield f"it holds a path: {written[:80]}", NO_PATHS


def it_can_be_trained(case: EncoderCase) -> Faults:
    encoder = case.build(trainable=True).train()
    text = encoder.forward_text(case.tokens, set(case.levels.text))
    video = encoder.forward_video(case.pixels, case.mask, set(case.levels.video))
    outputs = _values("text", text, case.levels.text) | _values("video", video, case.levels.video)
    for key, values in outputs.items():
        if not values.requires_grad:
            yield f"with `trainable: true` no gradient comes from {key}", "Do not detach; require gradients in `load`"
    terms = [values.square().sum() for values in outputs.values() if values.requires_grad]
    if terms:
        torch.stack(terms).sum().backward()
    grads = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    for name in not_finite(grads):
        yield f"the gradient of `{name}` is NaN or infinite", "Guard square roots, norms and logarithms at zero"


def what_is_exported_can_be_read_again(case: EncoderCase) -> Faults:
    """Where the weights came from a `model`."""
    if not getattr(case.config, "model", None):
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "exported"
        case.encoder.export(folder)
        if words := gap(case.run(case.build(model=str(folder))), case.whole):
            yield f"{words} after `export`, read with `model`", "Write weights, tokeniser and preprocessing"


def the_gpu_agrees_with_the_cpu(case: EncoderCase) -> Faults:
    """Within what bfloat16 leaves: an encoder may take that on a GPU."""
    if torch.cuda.is_available() and (words := mean_gap(case.run(case.build().cuda()), case.whole)):
        yield words, "Make new tensors on the device of those read"


FIRST = (its_levels_are_known_before_it_is_loaded, levels_have_the_shapes_declared)
CHECKS = (
    masks_tell_padding,
    texts_are_padded_to_one_length,
    frames_become_one_crop,
    rows_do_not_depend_on_the_batch,
    it_writes_the_levels_asked_for,
    weights_depend_on_the_seed_where_it_says_so,
    the_fingerprint_is_plain_and_stable,
    it_can_be_trained,
    what_is_exported_can_be_read_again,
    the_gpu_agrees_with_the_cpu,
)
