"""What is compared: texts and videos, and the sides that an interaction or a trained reranker makes of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from torch import Tensor

from ...contract.components import Interaction, Side, TrainedReranker
from ...contract.features import TextFeatures, VideoFeatures
from ..model import Model
from .blocks import blocks, cat_sides, items_a_block, loaded, row_floats, side_rows
from .memory import allowed_floats

Part = TypeVar("Part", Interaction, TrainedReranker)


@dataclass(frozen=True)
class Sides(Generic[Part]):
    """B_t texts and B_v videos, what makes their sides, and where.

    part: whose sides they are. text, video: features as the encoder gave them, in any precision;
    sides are made of float32. model: its feature transforms come first; None: there are none. device: where sides are
    made and compared; None: the CPU. label: what progress and errors call it.
    """

    part: Part
    text: TextFeatures
    video: VideoFeatures
    model: Model | None = None
    device: Any = None
    label: str = "score"

    def texts(self, rows: slice) -> Side:
        """The side of some texts."""
        text = loaded(self.text[rows], self.device)
        return self.part.text_side(text if self.model is None else self.model.text(text))

    def videos(self, rows: slice | Tensor) -> Side:
        """The side of some videos, by slice or by rising index, of which neighbours are read without a copy."""
        if isinstance(rows, Tensor) and int(rows[-1]) - int(rows[0]) + 1 == len(rows):
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
        if isinstance(rows, slice):
            video = loaded(self.video[rows], self.device)
        else:
            video = self.video.batch(rows, self.device or "cpu")
        return self.part.video_side(video if self.model is None else self.model.video(video))


class TextSides:
    """Sides of texts by row: kept where they fit in half of what is allowed, else made whenever they are asked for."""

    def __init__(self, sides: Sides[Any]):
        self._sides = sides
        self._size = items_a_block(sides.text, sides.device)
        parts = list(blocks(len(sides.text), self._size)) or [slice(0, 0)]
        first = sides.texts(parts[0])
        self.floats = row_floats(first)
        self._kept: Side | None = None
        if self.floats * len(sides.text) <= allowed_floats(sides.device) // 2:
            self._kept = cat_sides([first, *(sides.texts(part) for part in parts[1:])])

    def __getitem__(self, rows: slice | Tensor) -> Side:
        """Of some rows, by slice or index."""
        if self._kept is not None:
            return side_rows(self._kept, rows)
        some = replace(self._sides, text=self._sides.text[rows])
        return cat_sides([some.texts(part) for part in blocks(len(some.text), self._size)])
