"""Pairs, row by row: what rerankers give candidates, what interactions measure. P pairs, Q queries, K candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Interaction, Reranker, Side, TrainedReranker
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.terminal import progress
from .blocks import Shrinking, blocks, items_a_block, loaded, memory_explained, row_floats, side_rows
from .memory import block_floats
from .sides import Sides, TextSides


def pair_rows(candidates: Tensor, videos_ask: bool = False) -> tuple[Tensor, Tensor]:
    """(text rows [P], video rows [P]) of the candidates [Q, K], query by query.

    Candidates are video rows of each text; where `videos_ask` they are text rows of each video.
    """
    queries = torch.arange(len(candidates)).repeat_interleave(candidates.shape[1])
    items = candidates.reshape(-1)
    return (items, queries) if videos_ask else (queries, items)


def by_video(sides: Sides[Any], video_rows: Tensor, work: Callable[[Side, Tensor, Tensor], None]) -> None:
    """`work(side, counts, pairs)` on blocks of the videos that have pairs, in order: their side, how many pairs each
    has, and which these are, those of one video together.

    Each video is read and prepared once. Raises RunError where not even one pair fits on the GPU.
    """
    order = torch.argsort(video_rows, stable=True)
    videos, counts = torch.unique_consecutive(video_rows[order], return_counts=True)
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).tolist()

    def prepared(rows: slice) -> None:
        work(sides.videos(videos[rows]), counts[rows], order[edges[rows.start] : edges[rows.stop]])

    at_a_time = Shrinking(items_a_block(sides.video, sides.device))
    for rows in progress(list(blocks(len(videos), at_a_time.size)), sides.label):
        with memory_explained(sides.label):
            at_a_time.run(rows, prepared)


def _row_by_row(
    sides: Sides[Any], text_rows: Tensor, video_rows: Tensor, compare: Callable[[Side, Side, Tensor], None]
) -> None:
    """`compare(text, video, pairs)` on some pairs at a time: row p of either side is of the p-th of these pairs."""
    texts = TextSides(sides)

    def work(side: Side, counts: Tensor, pairs: Tensor) -> None:
        columns = torch.repeat_interleave(torch.arange(len(counts)), counts)

        def some(part: slice) -> None:
            compare(texts[text_rows[pairs[part]]], side_rows(side, columns[part]), pairs[part])

        floats = sides.part.pair_floats(texts[:1], side) + texts.floats + row_floats(side)
        Shrinking(block_floats(sides.device) / (4 * floats)).run(slice(0, len(pairs)), some)

    by_video(sides, video_rows, work)


@torch.inference_mode()
def match_candidates(
    sides: Sides[TrainedReranker], text_rows: Tensor, video_rows: Tensor, scores: Mapping[str, Tensor]
) -> Tensor:
    """Matching scores [P] of the pairs (text_rows[p], video_rows[p]); `scores` are pair scores [P] by name.

    Each video is read and prepared once. Raises RunError where not even one pair fits on the GPU.
    """
    matching = torch.empty(len(video_rows))

    def compare(text: Side, video: Side, pairs: Tensor) -> None:
        pair_scores = {name: values[pairs].to(sides.device) for name, values in scores.items()}
        matching[pairs] = sides.part.score_pairs(text, video, pair_scores).float().cpu()

    _row_by_row(sides, text_rows, video_rows, compare)
    return matching


@torch.inference_mode()
def diagnose_pairs(sides: Sides[Interaction], video_rows: Tensor) -> dict[str, Tensor]:
    """{name: [B_t]}: what an interaction measures of each text with the video `video_rows` [B_t] gives it."""
    measures = {name: torch.empty(len(video_rows)) for name in sides.part.diagnostics}

    def compare(text: Side, video: Side, pairs: Tensor) -> None:
        block = sides.part.diagnose(text, video)
        for name, values in measures.items():
            values[pairs] = block[name].float().cpu()

    _row_by_row(sides, torch.arange(len(video_rows)), video_rows, compare)
    return measures


@torch.inference_mode()
def rerank(
    reranker: Reranker,
    text: TextFeatures,
    video: VideoFeatures,
    candidates: Tensor,
    scores: dict[str, Tensor],
    videos_ask: bool = False,
) -> Tensor:
    """New scores [Q, K] of the candidates [Q, K], from pair scores {interaction: [Q, K]}.

    Candidates are video rows of each text; where `videos_ask` they are text rows of each video. A reranker that is
    not `pairwise` is given one query's candidates at a time.

    >>> import core, torch
    >>> text, video = core.TextFeatures(sentence=torch.eye(2)), core.VideoFeatures(frames=torch.eye(2)[:, None])
    >>> fusion = core.create("reranker", "score_fusion", weights={"patch": 2.0})
    >>> core.rerank(fusion, text, video, torch.tensor([[0], [1]]), {"patch": torch.tensor([[3.0], [4.0]])})
    tensor([[6.],
            [8.]])
    """
    rows, columns = pair_rows(candidates, videos_ask)
    new = torch.empty(len(rows))
    levels = type(reranker).reads(reranker.config)
    text, video = text.only(levels.text), video.only(levels.video)
    floats = 4 * (text.item_floats + video.item_floats)
    size = block_floats() // max(16, floats) if reranker.pairwise else candidates.shape[1]
    flat = {name: values.reshape(-1) for name, values in scores.items()}
    for part in blocks(len(rows), size):
        pairs = {name: values[part] for name, values in flat.items()}
        new[part] = reranker(loaded(text[rows[part]], None), loaded(video[columns[part]], None), pairs).float().cpu()
    return new.view_as(candidates)
