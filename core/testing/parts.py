"""Checks that interactions, feature transforms and rerankers share: what they read, masks, precision, gradients,
state."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..contract.components import Levels, ModelPart
from ..contract.features import LevelShape, TextFeatures, VideoFeatures
from ..contract.settings import plain
from .contract import DEVICE, Faults, gap, mean_gap, not_finite, said
from .inputs import (
    SEED,
    Sample,
    changed,
    copied,
    same_tokens,
    trainable,
    with_more_padding,
    with_other_padding,
    without_tokens,
)

MASK_REMEDY = (
    "Leave out what Tokens.mask says is False; where a released program does not, declare that as a field `ignore_mask`"
)


class PartCase:
    """A part of the model with features to run it on. What `evaluated` gives is compared; what `trained` gives is
    differentiated."""

    def __init__(self, cls: type[ModelPart], config: Any, inputs: Sample):
        self.cls, self.config, self.text, self.video = cls, config, inputs.text, inputs.video
        self.levels: Levels = cls.reads(config)
        read = {*self.levels.text, *self.levels.video}
        self.shapes = {name: shape for name, shape in inputs.shapes.items() if name in read}

    def build(self, config: Any = None, shapes: Mapping[str, LevelShape] | None = None, seed: int = SEED) -> Any:
        """A part in evaluation mode, its parameters moved from their start, where a zero may hide what is wrong."""
        torch.manual_seed(seed)
        part = self.cls(self.config if config is None else config, shapes or self.shapes)
        with torch.no_grad():
            for parameter in part.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return part.eval()

    def copy(self, config: Any = None) -> Any:
        """Another object with the same weights, as it would be built under another configuration."""
        if config is None:
            return copy.deepcopy(self.part)
        part = self.build(config, seed=SEED + 1)
        part.load_state_dict(self.part.state_dict())
        return part

    @cached_property
    def part(self) -> Any:
        return self.build()

    @cached_property
    def whole(self) -> dict[str, Tensor]:
        """What the part makes of the whole sample."""
        return self.run(self.part)

    def run(self, part: Any, text: TextFeatures | None = None, video: VideoFeatures | None = None) -> dict[str, Tensor]:
        """The same on copies of these features, or of those of the sample."""
        with torch.inference_mode():
            text, video = self.text if text is None else text, self.video if video is None else video
            return self.evaluated(part, changed(text, copied), changed(video, copied))

    def evaluated(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        raise NotImplementedError

    def trained(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        return self.evaluated(part, text, video)

    @property
    def masks_are_ignored(self) -> bool:
        """Whether a field `ignore_mask`, its own or that of a component inside, says so."""
        return _switched_on(plain(self.config))


def _switched_on(fields: Any) -> bool:
    if not isinstance(fields, Mapping):
        return False
    return fields.get("ignore_mask") is True or any(_switched_on(field) for field in fields.values())


# ------------------------------------------------------------------------------------------------ what it reads


def it_can_be_built_from_shapes_alone(case: PartCase) -> Faults:
    """As an experiment's check does, before anything is loaded."""
    try:
        with torch.device("meta"):
            case.cls(case.config, case.shapes)
    except ValueError as error:
        sizes = ", ".join(f"`{name}` {shape.tokens} x {shape.width}" for name, shape in case.shapes.items())
        yield f"it refuses {sizes or 'no shapes'}: {said(error)}", "Check it with `shapes=` or fields that it takes"
    except RuntimeError as error:
        yield f"on the device `meta`: {said(error)}", "Read no tensor's value in __init__"


def it_reads_the_levels_it_declares(case: PartCase) -> Faults:
    declared = "Levels(text={}, video={})".format(*case.levels)
    try:
        alone = case.run(case.part, case.text.only(case.levels.text), case.video.only(case.levels.video))
    except KeyError as error:
        yield f"given {declared} alone: {said(error)}", "Name every level that it reads in `reads`"
        return
    if words := gap(alone, case.whole):
        yield f"{words} when there are further levels than {declared}", "Name every level that it reads in `reads`"
    for side, names in (("text", case.levels.text), ("video", case.levels.video)):
        for name in names:
            features = getattr(case, side)
            try:
                case.run(case.part, **{side: features.only(other for other in features.names if other != name)})
            except Exception:  # whatever it says, it wanted the level
                continue
            yield f"declares `{name}` and runs without it", "Take it out of `reads`: it would be encoded for nothing"


def masked_tokens_change_nothing(case: PartCase) -> Faults:
    if case.masks_are_ignored:
        return
    for side, names in (("text", case.levels.text), ("video", case.levels.video)):
        for name in names:
            features = changed(getattr(case, side), with_other_padding, [name])
            if words := gap(case.run(case.part, **{side: features}), case.whole):
                yield f"{words} when masked tokens of `{name}` have other values", MASK_REMEDY


def appended_padding_changes_nothing(case: PartCase) -> Faults:
    """Where the number of tokens is not part of the component: it can be built without knowing it."""
    if case.masks_are_ignored:
        return
    try:
        part = case.build(shapes={name: LevelShape(None, shape.width) for name, shape in case.shapes.items()})
        before = case.run(part)
    except ValueError:
        return
    except Exception as error:
        yield (
            f"with LevelShape(None, width), a number of tokens that varies: {type(error).__name__}: {said(error)}",
            "Make no use of the number, or raise ValueError that names the level",
        )
        return
    try:
        after = case.run(part, changed(case.text, with_more_padding), changed(case.video, with_more_padding))
    except ValueError:
        return
    if words := gap(after, before):
        yield f"{words} when masked tokens are appended", MASK_REMEDY


def a_video_without_valid_tokens_is_finite(case: PartCase) -> Faults:
    """A video that has none of a data set's tags, say."""
    video = changed(case.video, without_tokens)
    remedy = "Guard the empty sum: one such number ends a run"
    for name in not_finite(case.run(case.part, video=video)):
        yield f"{name} are NaN or infinite", remedy
    for name in not_finite(_gradients(case, case.text, video)):
        yield f"the gradient of {name} is NaN or infinite", remedy


def features_are_left_as_they_are(case: PartCase) -> Faults:
    text, video = changed(case.text, copied), changed(case.video, copied)
    with torch.inference_mode():
        case.evaluated(case.part, text, video)
    for ours, theirs in ((case.text, text), (case.video, video)):
        for name in ours.names:
            if not same_tokens(ours.structured(name), theirs.structured(name)):
                yield f"`{name}` was written to", "Work on a copy: stored features are shared"


# ------------------------------------------------------------------------------------------------ numbers and state


def evaluation_is_deterministic(case: PartCase) -> Faults:
    torch.manual_seed(SEED + 2)
    if words := gap(case.run(case.part), case.whole, 0):
        yield f"{words} from one call to the next", "Draw random numbers only where self.training"


def gradients_are_finite_and_reach_every_parameter(case: PartCase) -> Faults:
    gradients = _gradients(case, case.text, case.video)
    for name in not_finite(gradients):
        yield f"the gradient of {name} is NaN or infinite", "Guard square roots, norms and logarithms at zero"
    trained = [name for name, parameter in case.part.named_parameters() if parameter.requires_grad]
    for name in trained:
        if name not in gradients or not gradients[name].any():
            yield f"parameter `{name}` gets none", "Use it where training does (`match`), or make it a buffer"
    for side, names in (("text", case.levels.text), ("video", case.levels.video)):
        if names and not any(f"{side}/{name}" in gradients and gradients[f"{side}/{name}"].any() for name in names):
            yield f"none reaches the {side} levels {', '.join(names)}", "Do not detach; a trained encoder needs it"


def _gradients(case: PartCase, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
    """Gradients of a random weighing of what training uses: of parameters by name, of levels as `side/level`."""
    part = case.copy().train()
    leaves = changed(text, trainable), changed(video, trainable)
    torch.manual_seed(SEED)
    outputs = case.trained(part, *leaves)
    terms = [(tensor * torch.randn_like(tensor)).sum() for tensor in outputs.values() if tensor.requires_grad]
    if not terms:
        return {}
    torch.stack(terms).sum().backward()
    return dict(_collected(part, *leaves))


def _collected(part: nn.Module, text: TextFeatures, video: VideoFeatures) -> Iterator[tuple[str, Tensor]]:
    for name, parameter in part.named_parameters():
        if parameter.grad is not None:
            yield name, parameter.grad
    for side, features in (("text", text), ("video", video)):
        for name in features.names:
            grad = features.structured(name).values.grad
            if grad is not None:
                yield f"{side}/{name}", grad


def bfloat16_is_close_to_float32(case: PartCase) -> Faults:
    text, video = case.text.to(dtype=torch.bfloat16), case.video.to(dtype=torch.bfloat16)
    try:
        half = case.run(case.copy().to(torch.bfloat16), text, video)
    except RuntimeError as error:
        yield f"with bfloat16 features and weights: {said(error)}", "Make new tensors of the dtype of those read"
        return
    if words := mean_gap(half, case.whole):
        yield words, "Take sums, norms and small temperatures in float32, or constants from torch.finfo"


def state_dict_holds_all_that_counts(case: PartCase) -> Faults:
    written = io.BytesIO()
    torch.save(case.part.state_dict(), written)
    written.seek(0)
    other = case.build(seed=SEED + 3)
    other.load_state_dict(torch.load(written, weights_only=True))
    if words := gap(case.run(other), case.whole):
        yield f"{words} after its state was saved and loaded", "Keep what is drawn or trained in parameters or buffers"


def the_gpu_agrees_with_the_cpu(case: PartCase) -> Faults:
    if not torch.cuda.is_available():
        return
    try:
        there = case.run(case.copy().cuda(), case.text.to("cuda"), case.video.to("cuda"))
    except RuntimeError as error:
        yield f"on the GPU: {said(error)}", "Make new tensors on the device of those read"
        return
    if words := gap(there, case.whole, DEVICE):
        yield words, "Make new tensors on the device, and of the dtype, of those read"


COMMON = (
    it_reads_the_levels_it_declares,
    masked_tokens_change_nothing,
    appended_padding_changes_nothing,
    a_video_without_valid_tokens_is_finite,
    features_are_left_as_they_are,
    evaluation_is_deterministic,
    gradients_are_finite_and_reach_every_parameter,
    bfloat16_is_close_to_float32,
    state_dict_holds_all_that_counts,
    the_gpu_agrees_with_the_cpu,
)
