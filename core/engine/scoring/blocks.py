"""Rows of one side or of features, and blocks of rows that shrink where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from ...contract.components import Side
from ...contract.features import Features
from ...errors import RunError
from .memory import block_floats

AnyFeatures = TypeVar("AnyFeatures", bound=Features)


def side_rows(side: Side, rows: Any) -> Side:
    """Some rows of one side's tensors."""
    return {name: tensor[rows] for name, tensor in side.items()}


def cat_sides(sides: Sequence[Side]) -> Side:
    """Sides one after another; a single one as it is."""
    return sides[0] if len(sides) == 1 else {name: torch.cat([side[name] for side in sides]) for name in sides[0]}


def row_floats(side: Side) -> int:
    return sum(tensor.shape[1:].numel() for tensor in side.values())


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `total`."""
    for start in range(0, total, max(1, size)):
        yield slice(start, min(total, start + max(1, size)))


HALF = (torch.float16, torch.bfloat16)


def loaded(features: AnyFeatures, device: Any) -> AnyFeatures:
    """Features on the device; what is stored in half precision becomes float32."""
    moved = features.to(device)
    half = any(moved.structured(name).values.dtype in HALF for name in moved.names)
    return moved.to(dtype=torch.float32) if half else moved


def items_a_block(features: Features, device: Any) -> int:
    """Items whose features and side, with what comes in between, fit into a block."""
    return max(1, block_floats(device) // (8 * max(1, features.item_floats)))


class Shrinking:
    """Work on rows, `size` at a time; where a GPU's memory runs out, the size is halved, for good."""

    def __init__(self, size: float):
        self.size = max(1, int(size))

    def run(self, rows: slice, work: Callable[[slice], None]) -> None:
        """`work` on parts that cover the rows. Raises torch.OutOfMemoryError where one row is too many."""
        start = rows.start
        while start < rows.stop:
            part = slice(start, min(rows.stop, start + self.size))
            if _fits(work, part):
                start = part.stop
                continue
            torch.cuda.empty_cache()
            if part.stop - part.start == 1:
                raise torch.OutOfMemoryError(f"row {part.start} alone is too many")
            self.size = (part.stop - part.start) // 2


def _fits(work: Callable[[slice], None], part: slice) -> bool:
    """Whether there was memory enough. What the work held is let go when this returns."""
    try:
        work(part)
    except torch.OutOfMemoryError:
        return False
    return True


@contextmanager
def memory_explained(label: str) -> Iterator[None]:
    """Says what to do where even the smallest block does not fit."""
    try:
        yield
    except torch.OutOfMemoryError as fault:
        raise RunError(
            f"{label}: the GPU has no memory left for a single text and video ({fault}). "
            "Free some of it, or run with --device cpu"
        ) from None
