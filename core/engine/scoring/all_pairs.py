"""Scores of all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Interaction, Side
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.terminal import progress
from .blocks import Shrinking, blocks, items_a_block, memory_explained
from .memory import block_floats
from .sides import Sides, TextSides


@torch.inference_mode()
def score_blocks(
    sides: Sides[Interaction], configs: Sequence[Any], width: int | None = None
) -> Iterator[tuple[slice, list[Tensor]]]:
    """(columns, scores [B_t, columns] of each configuration), float32 on the CPU, in order of the videos.

    Each video is read and prepared once. Blocks are `width` columns wide, or as wide as the budget holds. Raises
    RunError where not even one pair fits on the GPU.
    """
    texts = TextSides(sides)
    width = width or block_floats() // max(1, len(sides.text) * len(configs))
    at_a_time = Shrinking(items_a_block(sides.video, sides.device))
    for columns in progress(list(blocks(len(sides.video), width)), sides.label):
        matrices = [torch.empty(len(sides.text), columns.stop - columns.start) for _ in configs]

        def fill(part: slice, first: int = columns.start, matrices: list[Tensor] = matrices) -> None:
            video = sides.videos(part)
            parts = [matrix[:, part.start - first : part.stop - first] for matrix in matrices]
            fill_block(sides, configs, texts.__getitem__, video, parts, sides.part.pair_floats(texts[0:1], video))

        with memory_explained(sides.label):
            at_a_time.run(columns, fill)
        yield columns, matrices


def fill_block(
    sides: Sides[Interaction],
    configs: Sequence[Any],
    texts: Callable[[slice], Side],
    video: Side,
    into: Sequence[Tensor],
    alive: float,
) -> None:
    """Scores of texts with a block of videos, written into [B_t, B_v] of each configuration. `alive`: pair_floats."""
    count, videos = into[0].shape

    def score_rows(rows: slice) -> None:
        scores = sides.part.score_settings(texts(rows), video, configs)
        for matrix, values in zip(into, scores, strict=True):
            matrix[rows] = values.float().cpu()

    size = block_floats(sides.device) / max(1.0, alive * videos * len(configs))
    Shrinking(size).run(slice(0, count), score_rows)


def score_settings(sides: Sides[Interaction], configs: Sequence[Any]) -> list[Tensor]:
    """Scores [B_t, B_v] on the CPU, float32, one for each configuration."""
    scores = [torch.empty(len(sides.text), len(sides.video)) for _ in configs]
    for columns, block in score_blocks(sides, configs):
        for matrix, values in zip(scores, block, strict=True):
            matrix[:, columns] = values
    return scores


def score(interaction: Interaction, text: TextFeatures, video: VideoFeatures) -> Tensor:
    """Scores [B_t, B_v] of an interaction over all pairs, in blocks of bounded memory.

    >>> import core, torch
    >>> text, video = core.TextFeatures(sentence=torch.eye(2)), core.VideoFeatures(frames=torch.eye(2)[:, None])
    >>> core.score(core.create("interaction", "mean_pooling"), text, video)
    tensor([[1., 0.],
            [0., 1.]])
    """
    training = interaction.training
    try:
        return score_settings(Sides(interaction.eval(), text, video), [interaction.config])[0]
    finally:
        interaction.train(training)
