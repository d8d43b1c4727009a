"""Scores of pairs: candidates of queries, and each text with its own video. P pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..components import Interaction, Reranker, Side, TrainedReranker
from ..features import TextFeatures, VideoFeatures
from ..terminal import progress
from .all_pairs import Transform, fill_block, text_sides, unchanged
from .blocks import Shrinking, TextSides, blocks, items_a_block, loaded, memory_explained, row_floats, side_rows
from .gallery import top
from .memory import block_floats

CALL = {"cpu": 3e6, "cuda": 1e9}
"""Multiply-adds that take as long as calling an interaction once."""
GATHER = 30
"""Multiply-adds that take as long as copying one float of a row."""


@torch.inference_mode()
def score_candidates(
    interaction: Interaction,
    configs: Sequence[Any],
    text: TextFeatures,
    video: VideoFeatures,
    text_rows: Tensor,
    video_rows: Tensor,
    *,
    text_transform: Transform = unchanged,
    video_transform: Transform = unchanged,
    device: Any = None,
    label: str = "score candidates",
) -> list[Tensor]:
    """Scores [P] of the pairs (text_rows[p], video_rows[p]), one for each configuration.

    Each video is read and prepared once. Computes in float32, whatever the features are stored in. Raises RunError
    where not even one pair fits on the GPU.
    """
    sides = text_sides(interaction, text, text_transform, device)
    scores = [torch.empty(len(video_rows)) for _ in configs]

    def work(videos: Tensor, counts: Tensor, pairs: Tensor) -> None:
        block = interaction.video_side(video_transform(_read(video, videos, device)))
        made = _Block(interaction, configs, sides, block, text_rows[pairs], counts, device)
        for vector, values in zip(scores, made.scores(), strict=True):
            vector[pairs] = values

    _by_video(video, video_rows, work, device, label)
    return scores


def _by_video(
    video: VideoFeatures, video_rows: Tensor, work: Callable[[Tensor, Tensor, Tensor], None], device: Any, label: str
) -> None:
    """`work(videos, counts, pairs)` on blocks of the videos that have pairs, in order: how many each has, and which
    these are, those of one video together."""
    order = torch.argsort(video_rows, stable=True)
    videos, counts = torch.unique_consecutive(video_rows[order], return_counts=True)
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]).tolist()
    at_a_time = Shrinking(items_a_block(video, device))
    for rows in progress(list(blocks(len(videos), at_a_time.size)), label):
        with memory_explained(label):
            at_a_time.run(rows, lambda r: work(videos[r], counts[r], order[edges[r.start] : edges[r.stop]]))


def _read(video: VideoFeatures, videos: Tensor, device: Any) -> VideoFeatures:
    """Rows in rising order, in float32 on the device; neighbours are read without a copy."""
    first, last = int(videos[0]), int(videos[-1])
    if last - first + 1 == len(videos):
        return loaded(video[first : last + 1], device)
    return video.batch(videos, device or "cpu")


class _Block:
    """The pairs of a block of videos, sorted by video: `counts` [V] of each, `texts` [P]."""

    def __init__(
        self,
        interaction: Interaction,
        configs: Sequence[Any],
        sides: TextSides,
        video: Side,
        texts: Tensor,
        counts: Tensor,
        device: Any,
    ):
        self.interaction, self.configs, self.video, self.device = interaction, configs, video, device
        self.counts, self.videos, self.pairs = counts, len(counts), len(texts)
        asked, self.at = texts.unique(return_inverse=True)
        self.texts, self.text = len(asked), sides[asked]
        self.alive = interaction.pair_floats(self.text, video)

    def scores(self) -> list[Tensor]:
        """[P] of each configuration, in the form that should be fastest."""
        tokens, words = row_floats(self.video), row_floats(self.text)
        call = CALL.get(torch.device(self.device or "cpu").type, CALL["cuda"])
        copied = 1.2 * self.pairs * words + self.videos * tokens
        costs = {
            self.whole: self.texts * self.videos * tokens + call,
            self.one_by_one: self.pairs * tokens + self.videos * call,
            self.in_lists: 2.4 * self.pairs * tokens + GATHER * copied + 10 * call,
        }
        return min(costs, key=lambda form: costs[form])()

    def whole(self) -> list[Tensor]:
        """Every text with every video, and the pairs among them."""
        found = [torch.empty(self.texts, self.videos) for _ in self.configs]
        texts = partial(side_rows, self.text)
        fill_block(self.interaction, self.configs, texts, self.video, found, self.alive, self.device)
        columns = torch.repeat_interleave(torch.arange(self.videos), self.counts)
        return [matrix[self.at, columns] for matrix in found]

    def one_by_one(self) -> list[Tensor]:
        """Each video with its own texts, as a matrix."""
        found = [torch.empty(self.pairs, 1) for _ in self.configs]
        start = 0
        for video, count in enumerate(self.counts.tolist()):
            rows, one = self.at[start : start + count], side_rows(self.video, slice(video, video + 1))
            texts = partial(side_rows, side_rows(self.text, rows))
            into = [vector[start : start + count] for vector in found]
            fill_block(self.interaction, self.configs, texts, one, into, self.alive, self.device)
            start += count
        return [vector[:, 0] for vector in found]

    def in_lists(self) -> list[Tensor]:
        """Videos with about as many texts in one call, their lists padded to one length."""
        found = [torch.empty(self.pairs) for _ in self.configs]
        starts = self.counts.cumsum(0) - self.counts
        alive = 2 * row_floats(self.text) + self.alive * len(self.configs)
        for videos, length in _alike(self.counts):
            there = torch.arange(length) < self.counts[videos][:, None]
            places = starts[videos][:, None] + torch.arange(length) * there
            size = block_floats(self.device) / (length * alive + 2 * row_floats(self.video))
            work = partial(self._score_lists, found, videos, places, there)
            Shrinking(size).run(slice(0, len(videos)), work)
        return found

    def _score_lists(self, found: list[Tensor], videos: Tensor, places: Tensor, there: Tensor, part: slice) -> None:
        """places [V, C]: of each video's pairs, padded with its first where not `there`."""
        texts, video = side_rows(self.text, self.at[places[part]]), side_rows(self.video, videos[part])
        made = self.interaction.score_settings(texts, video, self.configs, lists=True)
        for vector, values in zip(found, made, strict=True):
            vector[places[part][there[part]]] = values.float().cpu()[there[part]]


def _alike(counts: Tensor) -> Iterator[tuple[Tensor, int]]:
    """(videos, longest) in runs whose counts differ by a quarter at most."""
    order = torch.argsort(counts)
    rising = counts[order].tolist()
    start = 0
    for place in range(1, len(rising) + 1):
        if place == len(rising) or rising[place] > 1.25 * rising[start] + 1:
            yield order[start:place], rising[place - 1]
            start = place


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

    Each video is read and prepared once. Raises RunError where not even one pair fits on the GPU.
    """
    levels = type(reranker).reads(reranker.config)
    text, video = text.only(levels.text), video.only(levels.video)
    found = torch.empty(len(video_rows))
    sides = TextSides(reranker.text_side, text, device)

    def work(videos: Tensor, counts: Tensor, pairs: Tensor) -> None:
        block = reranker.video_side(_read(video, videos, device))
        columns = torch.repeat_interleave(torch.arange(len(counts)), counts)

        def match(part: slice) -> None:
            rows = pairs[part]
            given = {name: values[rows].to(device) for name, values in scores.items()}
            both = sides[text_rows[rows]], side_rows(block, columns[part])
            found[rows] = reranker.score_pairs(*both, given).float().cpu()

        floats = reranker.pair_floats(sides[:1], block) + sides.floats + row_floats(block)
        Shrinking(block_floats(device) / (4 * floats)).run(slice(0, len(pairs)), match)

    _by_video(video, video_rows, work, device, label)
    return found


@torch.inference_mode()
def diagnose_pairs(
    interaction: Interaction,
    text: TextFeatures,
    video: VideoFeatures,
    video_rows: Tensor,
    *,
    text_transform: Transform = unchanged,
    video_transform: Transform = unchanged,
    device: Any = None,
    label: str = "diagnose",
) -> dict[str, Tensor]:
    """{name: [B_t]}: what an interaction measures of each text with the video `video_rows` [B_t] gives it."""
    sides = text_sides(interaction, text, text_transform, device)
    found = {name: torch.empty(len(text)) for name in interaction.diagnostics}

    def work(videos: Tensor, counts: Tensor, pairs: Tensor) -> None:
        block = interaction.video_side(video_transform(_read(video, videos, device)))
        columns = torch.repeat_interleave(torch.arange(len(counts)), counts)

        def diagnose(part: slice) -> None:
            rows = pairs[part]
            made = interaction.diagnose(sides[rows], side_rows(block, columns[part]))
            for name, values in found.items():
                values[rows] = made[name].float().cpu()

        floats = 4 * (interaction.pair_floats(sides[:1], block) + row_floats(block))
        Shrinking(block_floats(device) / floats).run(slice(0, len(pairs)), diagnose)

    _by_video(video, video_rows, work, device, label)
    return found


def candidates_of(scores: Tensor, top_k: int) -> Tensor:
    """The `top_k` best columns of each row, best first, equal scores in order of column: int64 [Q, K]."""
    rows = blocks(len(scores), block_floats() // (4 * max(1, scores.shape[1])))
    best = [top(scores[part], top_k) for part in rows]
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
    size = block_floats() // max(16, 4 * (text.item_floats + video.item_floats)) if reranker.pairwise else top_k
    flat = {name: values.reshape(-1) for name, values in scores.items()}
    for part in blocks(len(rows), size):
        pairs = {name: values[part] for name, values in flat.items()}
        new[part] = reranker(loaded(text[rows[part]], None), loaded(video[columns[part]], None), pairs).float().cpu()
    return new.reshape(queries, top_k)
