"""The candidates of queries, and their scores. P pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Interaction, Side
from .all_pairs import fill_block
from .blocks import Shrinking, blocks, row_floats, side_rows
from .gallery import top
from .memory import block_floats
from .pairs import by_video
from .sides import Sides, TextSides

CALL = {"cpu": 3e6, "cuda": 1e9}
"""Multiply-adds that take as long as calling an interaction once."""
GATHER = 30
"""Multiply-adds that take as long as copying one float of a row."""


def candidates_of(scores: Tensor, top_k: int) -> Tensor:
    """The `top_k` best columns of each row, best first, equal scores in order of column: int64 [Q, K]."""
    rows = blocks(len(scores), block_floats() // (4 * max(1, scores.shape[1])))
    best = [top(scores[part], top_k) for part in rows]
    return torch.cat(best) if best else torch.empty(0, min(top_k, scores.shape[1]), dtype=torch.int64)


@torch.inference_mode()
def score_candidates(
    sides: Sides[Interaction], configs: Sequence[Any], text_rows: Tensor, video_rows: Tensor
) -> list[Tensor]:
    """Scores [P] of the pairs (text_rows[p], video_rows[p]), one for each configuration.

    Each video is read and prepared once. Raises RunError where not even one pair fits on the GPU.
    """
    texts = TextSides(sides)
    scores = [torch.empty(len(video_rows)) for _ in configs]

    def work(video: Side, counts: Tensor, pairs: Tensor) -> None:
        results = _Block(sides, configs, texts, text_rows[pairs], video, counts).scores()
        for vector, values in zip(scores, results, strict=True):
            vector[pairs] = values

    by_video(sides, video_rows, work)
    return scores


class _Block:
    """The pairs of a block of videos, sorted by video: `counts` [V] of each, `rows` [P] of their texts."""

    def __init__(
        self,
        sides: Sides[Interaction],
        configs: Sequence[Any],
        texts: TextSides,
        rows: Tensor,
        video: Side,
        counts: Tensor,
    ):
        self.sides, self.configs, self.video = sides, configs, video
        self.counts, self.videos, self.pairs = counts, len(counts), len(rows)
        asked, self.at = rows.unique(return_inverse=True)
        self.texts, self.text = len(asked), texts[asked]
        self.alive = sides.part.pair_floats(self.text, video)

    def scores(self) -> list[Tensor]:
        """[P] of each configuration, in the form that should be fastest."""
        tokens, words = row_floats(self.video), row_floats(self.text)
        call = CALL.get(torch.device(self.sides.device or "cpu").type, CALL["cuda"])
        copied = 1.2 * self.pairs * words + self.videos * tokens
        costs = {
            self.whole: self.texts * self.videos * tokens + call,
            self.one_by_one: self.pairs * tokens + self.videos * call,
            self.in_lists: 2.4 * self.pairs * tokens + GATHER * copied + 10 * call,
        }
        return min(costs, key=lambda form: costs[form])()

    def whole(self) -> list[Tensor]:
        """Every text with every video, and the pairs among them."""
        matrices = [torch.empty(self.texts, self.videos) for _ in self.configs]
        self._fill(self.text, self.video, matrices)
        columns = torch.repeat_interleave(torch.arange(self.videos), self.counts)
        return [matrix[self.at, columns] for matrix in matrices]

    def one_by_one(self) -> list[Tensor]:
        """Each video with its own texts, as a matrix."""
        vectors = [torch.empty(self.pairs, 1) for _ in self.configs]
        start = 0
        for video, count in enumerate(self.counts.tolist()):
            rows, single = self.at[start : start + count], side_rows(self.video, slice(video, video + 1))
            self._fill(side_rows(self.text, rows), single, [vector[start : start + count] for vector in vectors])
            start += count
        return [vector[:, 0] for vector in vectors]

    def _fill(self, text: Side, video: Side, into: Sequence[Tensor]) -> None:
        fill_block(self.sides, self.configs, partial(side_rows, text), video, into, self.alive)

    def in_lists(self) -> list[Tensor]:
        """Videos with about as many texts in one call, their lists padded to one length."""
        vectors = [torch.empty(self.pairs) for _ in self.configs]
        starts = self.counts.cumsum(0) - self.counts
        alive = 2 * row_floats(self.text) + self.alive * len(self.configs)
        for videos, length in _alike(self.counts):
            there = torch.arange(length) < self.counts[videos][:, None]
            places = starts[videos][:, None] + torch.arange(length) * there
            size = block_floats(self.sides.device) / (length * alive + 2 * row_floats(self.video))
            work = partial(self._score_lists, vectors, videos, places, there)
            Shrinking(size).run(slice(0, len(videos)), work)
        return vectors

    def _score_lists(self, vectors: list[Tensor], videos: Tensor, places: Tensor, there: Tensor, part: slice) -> None:
        """places [V, C]: of each video's pairs, padded with its first where not `there`."""
        texts, video = side_rows(self.text, self.at[places[part]]), side_rows(self.video, videos[part])
        scores = self.sides.part.score_settings(texts, video, self.configs, lists=True)
        for vector, values in zip(vectors, scores, strict=True):
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
