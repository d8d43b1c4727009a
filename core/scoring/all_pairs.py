"""Scores of all pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..components import Interaction, Side
from ..features import TextFeatures, VideoFeatures
from ..terminal import progress
from .blocks import Shrinking, TextSides, blocks, items_a_block, loaded, memory_explained
from .memory import block_floats

Transform = Callable[[Any], Any]


def unchanged(features: Any) -> Any:
    return features


def text_sides(interaction: Interaction, text: TextFeatures, transform: Transform, device: Any) -> TextSides:
    return TextSides(lambda features: interaction.text_side(transform(features)), text, device)


@torch.inference_mode()
def score_blocks(
    interaction: Interaction,
    configs: Sequence[Any],
    text: TextFeatures,
    video: VideoFeatures,
    *,
    text_transform: Transform = unchanged,
    video_transform: Transform = unchanged,
    device: Any = None,
    label: str = "score",
    width: int | None = None,
) -> Iterator[tuple[slice, list[Tensor]]]:
    """(columns, scores [B_t, columns] of each configuration), float32 on the CPU, in order of the videos.

    Each video is read and prepared once. Blocks are `width` columns wide, or as wide as the budget holds. Computes in
    float32, whatever the features are stored in. Raises RunError where not even one pair fits on the GPU.
    """
    sides = text_sides(interaction, text, text_transform, device)
    width = width or block_floats() // max(1, len(text) * len(configs))
    at_a_time = Shrinking(items_a_block(video, device))
    for columns in progress(list(blocks(len(video), width)), label):
        found = [torch.empty(len(text), columns.stop - columns.start) for _ in configs]

        def fill(part: slice, first: int = columns.start, found: list[Tensor] = found) -> None:
            block = interaction.video_side(video_transform(loaded(video[part], device)))
            shown = [matrix[:, part.start - first : part.stop - first] for matrix in found]
            alive = interaction.pair_floats(sides[0:1], block)
            fill_block(interaction, configs, sides.__getitem__, block, shown, alive, device)

        with memory_explained(label):
            at_a_time.run(columns, fill)
        yield columns, found


def fill_block(
    interaction: Interaction,
    configs: Sequence[Any],
    texts: Callable[[slice], Side],
    block: Side,
    into: list[Tensor],
    alive: float,
    device: Any,
) -> None:
    """Scores of texts with a block of videos, written into [B_t, B_v] of each configuration. `alive`: pair_floats."""
    count, videos = into[0].shape

    def score_rows(rows: slice) -> None:
        made = interaction.score_settings(texts(rows), block, configs)
        for matrix, values in zip(into, made, strict=True):
            matrix[rows] = values.float().cpu()

    size = block_floats(device) / max(1.0, alive * videos * len(configs))
    Shrinking(size).run(slice(0, count), score_rows)


def score_settings(
    interaction: Interaction, configs: Sequence[Any], text: TextFeatures, video: VideoFeatures, **options: Any
) -> list[Tensor]:
    """Scores [B_t, B_v] on the CPU, float32, one for each configuration; options as of `score_blocks`."""
    scores = [torch.empty(len(text), len(video)) for _ in configs]
    for columns, found in score_blocks(interaction, configs, text, video, **options):
        for matrix, values in zip(scores, found, strict=True):
            matrix[:, columns] = values
    return scores


def score(interaction: Interaction, text: TextFeatures, video: VideoFeatures) -> Tensor:
    """Scores [B_t, B_v] of an interaction over all pairs, in blocks of bounded memory."""
    training = interaction.training
    try:
        return score_settings(interaction.eval(), [interaction.config], text, video)[0]
    finally:
        interaction.train(training)
