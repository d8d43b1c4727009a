"""Training a reranker: wrong answers from the first stage, and batches of pairs with wrong answers for who asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from ..contract.components import Loss, LossInputs, TrainedReranker
from ..contract.features import TextFeatures, VideoFeatures
from ..contract.optimisation import RerankerTraining
from .scoring import side_rows
from .training import Trainee


@dataclass(frozen=True)
class Negatives:
    """Wrong answers of Q queries: items [Q, pool] with their first-stage scores [Q, pool]; -inf where there is no
    more."""

    items: Tensor
    scores: Tensor

    def draw(self, rows: Tensor, settings: RerankerTraining, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(items, first-stage scores) [B, negatives] of some queries, without repetition as far as there are enough.

        In proportion to exp(score / temperature) among the first stage's best, alike among random ones.
        """
        items, scores = self.items[rows], self.scores[rows]
        there = torch.isfinite(scores)
        hard = settings.negatives_from == "first_stage"
        chances = scores / settings.temperature if hard else torch.zeros_like(scores)
        exponential = -torch.rand(scores.shape, generator=generator).clamp_min(1e-20).log()
        keys = (chances - exponential.log()).masked_fill(~there, -torch.inf)  # Gumbel top-n: a draw without repetition
        picks = keys.topk(min(settings.negatives, keys.shape[1]), dim=1).indices
        picks = torch.where(there.gather(1, picks), picks, picks[:, :1])
        short = settings.negatives - picks.shape[1]
        picks = torch.cat([picks, picks[:, :1].expand(-1, short)], dim=1)
        return items.gather(1, picks), scores.gather(1, picks)


@dataclass(frozen=True)
class Mined:
    """Wrong answers of texts and of videos, and the first-stage score [B_t] of each text with its own video."""

    t2v: Negatives
    v2t: Negatives
    own: Tensor


def mine(
    blocks: Iterable[tuple[slice, Tensor]],
    relevance: csr_array,
    own: Tensor,
    pool: int,
    generator: torch.Generator | None = None,
) -> Mined:
    """The `pool` best wrong answers of every text and video, or random ones with a generator.

    blocks: (video columns, first-stage scores [B_t, columns]) that cover the videos in order. relevance: bool
    [B_t, B_v]. own: the video of each text [B_t]. No more than a block and the pools is held.
    """
    texts = len(own)
    own_scores = torch.empty(texts)
    t2v: list[Tensor] = []
    by_video: list[tuple[Tensor, Tensor]] = []
    for columns, scores in blocks:
        inside = ((own >= columns.start) & (own < columns.stop)).nonzero().flatten()
        own_scores[inside] = scores[inside, own[inside] - columns.start]
        right = torch.from_numpy(np.asarray(relevance[:, columns].toarray(), dtype=bool))
        keys = scores if generator is None else torch.rand(scores.shape, generator=generator)
        keys = keys.masked_fill(right, -torch.inf)
        by_video.append(_best(keys.T, scores.T, torch.arange(texts), pool))
        at = torch.arange(columns.start, columns.stop)
        t2v = _merged(t2v, keys, scores, at, pool)
    items, item_scores = (torch.cat(parts) for parts in zip(*by_video, strict=True))
    return Mined(Negatives(t2v[2], t2v[1]), Negatives(items, item_scores), own_scores)


def _best(keys: Tensor, scores: Tensor, at: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    """(items, scores) [Q, pool] of the largest keys."""
    top, places = keys.topk(min(pool, keys.shape[1]), dim=1)
    return at[places], scores.gather(1, places).masked_fill(top == -torch.inf, -torch.inf)


def _merged(kept: list[Tensor], keys: Tensor, scores: Tensor, at: Tensor, pool: int) -> list[Tensor]:
    """[keys, scores, items] of the best so far and of one more block."""
    scores = scores.masked_fill(keys == -torch.inf, -torch.inf)
    joined = [keys, scores, at.expand(len(keys), -1)]
    if kept:
        joined = [torch.cat(pair, dim=1) for pair in zip(kept, joined, strict=True)]
    places = joined[0].topk(min(pool, joined[0].shape[1]), dim=1).indices
    return [tensor.gather(1, places) for tensor in joined]


class RerankerFit(Trainee):
    """A reranker and its losses; batches [R, 1 + negatives], a row for each text and for each video that asks.

    Column 0 is the pair's own score; the other columns are wrong answers.
    """

    def __init__(
        self,
        reranker: TrainedReranker,
        losses: Mapping[str, Loss],
        settings: RerankerTraining,
        text: TextFeatures,
        video: VideoFeatures,
        own: Tensor,
        mined: Mined,
    ):
        super().__init__(losses)
        self.reranker, self.settings = reranker, settings
        self.text, self.video, self.own, self.mined = text, video, own, mined
        self.unit: Tensor
        self.register_buffer("unit", torch.ones(()), persistent=False)

    def __len__(self) -> int:
        return len(self.own)

    def batch(self, rows: Tensor, generator: torch.Generator, step: int) -> LossInputs:
        videos, count = self.own[rows], self.settings.negatives
        texts, columns, first = [rows], [videos], [self.mined.own[rows]]
        for direction in self.settings.directions:
            asks, negatives = (rows, self.mined.t2v) if direction == "t2v" else (videos, self.mined.v2t)
            items, scores = negatives.draw(asks, self.settings, generator)
            pairs = asks.repeat_interleave(count), items.flatten()
            texts.append(pairs[direction == "v2t"])
            columns.append(pairs[direction == "t2v"])
            first.append(scores.flatten())
        stage = torch.cat(first).to(self.unit)
        matching = self._scores(torch.cat(texts), torch.cat(columns), stage)
        return LossInputs(
            scores={name: self._rows(flat, len(rows)) for name, flat in (("rerank", matching), ("first_stage", stage))},
            relevance=self._relevance(len(rows), matching.device),
            auxiliary={},
            logit_scale=self.unit,
            training_step=step,
        )

    def _scores(self, texts: Tensor, videos: Tensor, first: Tensor) -> Tensor:
        """Matching scores of pairs; each text and video is prepared once."""
        device = self.unit.device
        (texts, text_at), (videos, video_at) = (rows.unique(return_inverse=True) for rows in (texts, videos))
        text = self.reranker.text_side(self.text.batch(texts, device))
        video = self.reranker.video_side(self.video.batch(videos, device))
        sides = side_rows(text, text_at.to(device)), side_rows(video, video_at.to(device))
        return self.reranker.score_pairs(*sides, {"first_stage": first})

    def _rows(self, flat: Tensor, pairs: int) -> Tensor:
        """[pairs · (1 + directions · negatives)] -> [directions · pairs, 1 + negatives]."""
        wrong = flat[pairs:].view(len(self.settings.directions), pairs, -1)
        return torch.cat([torch.cat([flat[:pairs, None], part], dim=1) for part in wrong])

    def _relevance(self, pairs: int, device: torch.device) -> Tensor:
        relevance = torch.zeros(pairs * len(self.settings.directions), 1 + self.settings.negatives, dtype=torch.bool)
        relevance[:, 0] = True
        return relevance.to(device)
