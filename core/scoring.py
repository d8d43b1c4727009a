"""Scores in blocks of bounded memory: all pairs, or the candidates of each query."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .components import Interaction, Reranker, Side, TrainedReranker
from .features import TextFeatures, VideoFeatures
from .terminal import progress

BUDGET_FLOATS = int(os.environ.get("RETRIEVAL_SCORE_FLOATS", str(64 * 2**20)))
"""Floats that one block of scoring may keep alive."""

GROUPING = 50_000
"""Floats to gather for one video above which a call of its own is cheaper."""

Transform = Callable[[Any], Any]


def side_rows(side: Side, rows: Any) -> Side:
    """Some rows of one side's tensors."""
    return {name: tensor[rows] for name, tensor in side.items()}


def cat_sides(sides: Sequence[Side]) -> Side:
    return {name: torch.cat([side[name] for side in sides]) for name in sides[0]}


def blocks(total: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover `total`."""
    for start in range(0, total, max(1, size)):
        yield slice(start, min(total, start + max(1, size)))


def _video_block(video: VideoFeatures) -> int:
    return max(1, min(1024, BUDGET_FLOATS // (8 * max(1, video.item_floats))))


def _text_sides(
    interaction: Interaction, text: TextFeatures, transform: Transform, device: Any, size: int = 1024
) -> Side:
    return cat_sides([interaction.text_side(transform(text[rows].to(device))) for rows in blocks(len(text), size)])


def _identity(features: Any) -> Any:
    return features


@torch.inference_mode()
def score_blocks(
    interaction: Interaction,
    configs: Sequence[Any],
    text: TextFeatures,
    video: VideoFeatures,
    *,
    text_transform: Transform = _identity,
    video_transform: Transform = _identity,
    device: Any = None,
    label: str = "score",
    width: int | None = None,
) -> Iterator[tuple[slice, list[Tensor]]]:
    """(columns, scores [B_t, columns] of each configuration), float32 on the CPU: videos are read once, block by
    block, `width` at a time or as many as the budget holds."""
    sides = _text_sides(interaction, text, text_transform, device)
    for columns in progress(list(blocks(len(video), width or _video_block(video))), label):
        block = interaction.video_side(video_transform(video[columns].to(device)))
        found = [torch.empty(len(text), columns.stop - columns.start) for _ in configs]
        floats = interaction.pair_floats(sides, block) * (columns.stop - columns.start) * len(configs)
        for rows in blocks(len(text), int(BUDGET_FLOATS / max(1.0, floats))):
            made = interaction.score_settings(side_rows(sides, rows), block, configs)
            for matrix, values in zip(found, made, strict=True):
                matrix[rows] = values.float().cpu()
        yield columns, found


def score_settings(
    interaction: Interaction, configs: Sequence[Any], text: TextFeatures, video: VideoFeatures, **options: Any
) -> list[Tensor]:
    """Scores [B_t, B_v] on the CPU, float32, one for each configuration; options as of `score_blocks`."""
    scores = [torch.empty(len(text), len(video)) for _ in configs]
    for columns, found in score_blocks(interaction, configs, text, video, **options):
        for matrix, values in zip(scores, found, strict=True):
            matrix[:, columns] = values
    return scores


@torch.inference_mode()
def score_candidates(
    interaction: Interaction,
    configs: Sequence[Any],
    text: TextFeatures,
    video: VideoFeatures,
    text_rows: Tensor,
    video_rows: Tensor,
    *,
    text_transform: Transform = _identity,
    video_transform: Transform = _identity,
    device: Any = None,
    label: str = "score candidates",
) -> list[Tensor]:
    """Scores [P] of the pairs (text_rows[p], video_rows[p]), one for each configuration.

    Each video's tokens are read and prepared once. Where a video has many texts they are scored against it as a
    matrix; where it has few, pairs are gathered.
    """
    sides = _text_sides(interaction, text, text_transform, device)
    scores = [torch.empty(len(video_rows)) for _ in configs]
    for columns, pairs in _pairs_by_video(video, video_rows, label):
        block = interaction.video_side(video_transform(video[columns].to(device)))
        texts, videos = text_rows[pairs].to(device), (video_rows[pairs] - columns.start).to(device)
        for vector, values in zip(scores, _score_pairs(interaction, configs, sides, block, texts, videos), strict=True):
            vector[pairs] = values
    return scores


def _pairs_by_video(video: VideoFeatures, video_rows: Tensor, label: str) -> Iterator[tuple[slice, Tensor]]:
    """(block of videos, the pairs that have one of them, in order of video), so that each video is read once."""
    order = torch.argsort(video_rows, stable=True)
    ordered = video_rows[order].contiguous()
    for columns in progress(list(blocks(len(video), _video_block(video))), label):
        first, last = torch.searchsorted(ordered, torch.tensor([columns.start, columns.stop])).tolist()
        if first < last:
            yield columns, order[first:last]


@torch.inference_mode()
def match_candidates(
    reranker: TrainedReranker,
    text: TextFeatures,
    video: VideoFeatures,
    text_rows: Tensor,
    video_rows: Tensor,
    scores: Mapping[str, Tensor],
    *,
    device: Any = None,
    label: str = "match candidates",
) -> Tensor:
    """Matching scores [P] of the pairs (text_rows[p], video_rows[p]); `scores` are pair scores [P] by name.

    Each video is read and prepared once.
    """
    levels = type(reranker).reads(reranker.config)
    text, video = text.only(levels.text), video.only(levels.video)
    found = torch.empty(len(video_rows))
    prepared = [reranker.text_side(text[rows].to(device)) for rows in blocks(len(text), 1024)]
    sides = cat_sides(prepared)
    for columns, pairs in _pairs_by_video(video, video_rows, label):
        block = reranker.video_side(video[columns].to(device))
        texts, videos = text_rows[pairs].to(device), (video_rows[pairs] - columns.start).to(device)
        floats = reranker.pair_floats(sides, block) + _row_floats(sides) + _row_floats(block)
        for part in blocks(len(pairs), int(BUDGET_FLOATS / (4 * floats))):
            given = {name: values[pairs[part]].to(device) for name, values in scores.items()}
            rows = side_rows(sides, texts[part]), side_rows(block, videos[part])
            found[pairs[part]] = reranker.score_pairs(*rows, given).float().cpu()
    return found


@torch.inference_mode()
def diagnose_pairs(
    interaction: Interaction,
    text: TextFeatures,
    video: VideoFeatures,
    video_rows: Tensor,
    *,
    text_transform: Transform = _identity,
    video_transform: Transform = _identity,
    device: Any = None,
    label: str = "diagnose",
) -> dict[str, Tensor]:
    """{name: [B_t]}: what an interaction measures of each text with the video `video_rows` [B_t] gives it."""
    sides = _text_sides(interaction, text, text_transform, device)
    found = {name: torch.empty(len(text)) for name in interaction.diagnostics}
    for columns, pairs in _pairs_by_video(video, video_rows, label):
        block = interaction.video_side(video_transform(video[columns].to(device)))
        floats = 4 * (interaction.pair_floats(sides, block) + _row_floats(block))
        for part in blocks(len(pairs), int(BUDGET_FLOATS / floats)):
            rows = pairs[part]
            videos = (video_rows[rows] - columns.start).to(device)
            made = interaction.diagnose(side_rows(sides, rows.to(device)), side_rows(block, videos))
            for name, values in found.items():
                values[rows] = made[name].float().cpu()
    return found


def _row_floats(side: Side) -> int:
    return sum(tensor.shape[1:].numel() for tensor in side.values())


def _score_pairs(
    interaction: Interaction, configs: Sequence[Any], sides: Side, block: Side, texts: Tensor, videos: Tensor
) -> list[Tensor]:
    """Scores [P] of pairs of rows, sorted by video."""
    gathered = _row_floats(sides) + _row_floats(block)
    counts = torch.bincount(videos).tolist()
    alive = interaction.pair_floats(sides, block) * len(configs)
    made: list[list[Tensor]] = []
    if gathered * len(videos) > GROUPING * len(counts):
        start = 0
        for video, count in enumerate(counts):
            one = side_rows(block, slice(video, video + 1))
            for part in blocks(count, int(BUDGET_FLOATS / max(1.0, alive))):
                rows = texts[start + part.start : start + part.stop]
                made.append([m[:, 0] for m in interaction.score_settings(side_rows(sides, rows), one, configs)])
            start += count
    else:
        for part in blocks(len(videos), BUDGET_FLOATS // (4 * max(1, gathered) + int(alive))):
            both = side_rows(sides, texts[part]), side_rows(block, videos[part])
            made.append(interaction.score_settings(*both, configs, pairs=True))
    return [torch.cat(parts).float().cpu() for parts in zip(*made, strict=True)]


def score(interaction: Interaction, text: TextFeatures, video: VideoFeatures) -> Tensor:
    """Scores [B_t, B_v] of an interaction over all pairs, in blocks of bounded memory."""
    training = interaction.training
    try:
        return score_settings(interaction.eval(), [interaction.config], text, video)[0]
    finally:
        interaction.train(training)


def candidates_of(scores: Tensor, top_k: int) -> Tensor:
    """The `top_k` best columns of each row, best first, equal scores in order of column: int64 [Q, K]."""
    rows = blocks(len(scores), BUDGET_FLOATS // (4 * max(1, scores.shape[1])))
    best = [torch.sort(scores[part], dim=1, descending=True, stable=True).indices[:, :top_k] for part in rows]
    return torch.cat(best) if best else torch.empty(0, min(top_k, scores.shape[1]), dtype=torch.int64)


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
    """
    queries, top_k = candidates.shape
    rows = torch.arange(queries)[:, None].expand(queries, top_k).reshape(-1)
    columns = candidates.reshape(-1)
    if videos_ask:
        rows, columns = columns, rows
    new = torch.empty(queries * top_k)
    levels = type(reranker).reads(reranker.config)
    text, video = text.only(levels.text), video.only(levels.video)
    size = BUDGET_FLOATS // max(16, 4 * (text.item_floats + video.item_floats)) if reranker.pairwise else top_k
    flat = {name: values.reshape(-1) for name, values in scores.items()}
    for part in blocks(len(rows), size):
        pairs = {name: values[part] for name, values in flat.items()}
        new[part] = reranker(text[rows[part]], video[columns[part]], pairs).float().cpu()
    return new.reshape(queries, top_k)
