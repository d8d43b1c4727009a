"""Checks of a feature transform."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract.components import FeatureTransform, Levels
from ..contract.features import Features, TextFeatures, Tokens, VideoFeatures
from .contract import Faults, gap, not_finite
from .inputs import changed, copied, same_tokens, without_tokens
from .parts import COMMON, PartCase, it_can_be_built_from_shapes_alone


class TransformCase(PartCase):
    """Evaluated: the valid tokens of the levels written, one after another, as `side/level` [sum of valid, D]."""

    cls: type[FeatureTransform]

    def evaluated(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        return {name: _valid(tokens) for name, tokens in self.written(part.text(text), part.video(video)).items()}

    def written(self, text: TextFeatures, video: VideoFeatures) -> dict[str, Tokens]:
        """The levels that it declares, as `side/level`, of what it made."""
        levels = self.writes
        text_levels = {f"text/{name}": text.structured(name) for name in levels.text}
        return text_levels | {f"video/{name}": video.structured(name) for name in levels.video}

    @property
    def writes(self) -> Levels:
        return self.cls.writes(self.config)

    def after(self, text: TextFeatures, video: VideoFeatures) -> tuple[TextFeatures, VideoFeatures]:
        """What it makes of copies of these features."""
        with torch.inference_mode():
            return self.part.text(changed(text, copied)), self.part.video(changed(video, copied))

    @cached_property
    def made(self) -> dict[str, Tokens]:
        return self.written(*self.after(self.text, self.video))


def _valid(tokens: Tokens) -> Tensor:
    flat = tokens.flat()
    return flat.values[flat.mask] if flat.mask is not None else flat.values


def it_writes_the_levels_it_declares(case: TransformCase) -> Faults:
    if not (case.writes.text or case.writes.video):
        yield "`writes` names no level", "Name what it writes"
    text, video = case.after(case.text, case.video)
    sides: list[tuple[str, tuple[str, ...], Features, Features]] = [
        ("text", case.writes.text, case.text, text),
        ("video", case.writes.video, case.video, video),
    ]
    for side, declared, before, after in sides:
        for name in dict.fromkeys((*before.names, *declared)):
            if name not in after:
                yield f"the {side} level `{name}` is not there afterwards", "Write it with features.with_level"
        for name in after.names:
            untouched = name in before and same_tokens(before.structured(name), after.structured(name))
            if name not in declared and not untouched:
                yield f"the {side} level `{name}` is written", "Name it in `writes`, or leave it as it is"
        if after.ids != before.ids or len(after) != len(before):
            yield f"the rows of the {side} side change", "Write one row for each item, and keep the ids"


def written_shapes_are_true(case: TransformCase) -> Faults:
    shapes = case.part.written_shapes()
    levels = {name.partition("/")[2]: tokens for name, tokens in case.made.items()}
    if set(shapes) != set(levels):
        yield f"shapes of {', '.join(sorted(shapes)) or 'nothing'}", f"Give those of {', '.join(sorted(levels))}"
    for name in sorted(set(shapes) & set(levels)):
        values, (tokens, width) = levels[name].values, shapes[name]
        counted = values.shape[1:-1].numel() if values.ndim > 2 else None
        if width != values.shape[-1] or tokens not in (None, counted):
            yield (
                f"`{name}` is said to have {tokens} tokens of width {width}",
                f"It is written with {counted} of width {values.shape[-1]}",
            )


def rows_do_not_depend_on_their_neighbours(case: TransformCase) -> Faults:
    for rows in (slice(0, 1), slice(1, 4)):
        alone = case.run(case.part, case.text[rows], case.video[rows])
        wanted = {name: _valid(tokens.map(lambda tensor: tensor[rows])) for name, tokens in case.made.items()}  # noqa: B023
        if words := gap(alone, wanted):
            yield f"{words} for rows {rows.start}:{rows.stop} alone", "A row must not depend on the batch around it"


def padding_is_written_finite(case: TransformCase) -> Faults:
    levels = case.written(*case.after(case.text, changed(case.video, without_tokens)))
    for name in not_finite({name: tokens.values for name, tokens in levels.items()}):
        yield f"`{name}` holds NaN or infinities where a token is masked", "Write numbers there: zero times NaN is NaN"


FIRST = (it_can_be_built_from_shapes_alone, it_writes_the_levels_it_declares)
CHECKS = (
    *COMMON,
    written_shapes_are_true,
    rows_do_not_depend_on_their_neighbours,
    padding_is_written_finite,
)
