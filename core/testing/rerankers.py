"""Checks of a reranker, of pairs or of lists, trained or not."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract.components import Reranker, Side, TrainedReranker
from ..contract.features import TextFeatures, VideoFeatures
from ..engine.scoring import side_rows
from .contract import Faults, gap, said
from .inputs import SEED
from .parts import COMMON, PartCase, it_can_be_built_from_shapes_alone
from .variations import with_another

PAIRS = 12
Scores = dict[str, Tensor]


class RerankerCase(PartCase):
    """Evaluated: new scores [P]. Of some pairs, in no order; where the reranker looks at a whole list, of the first
    text's videos and, as `reverse`, of the first video's texts."""

    cls: type[Reranker]

    def evaluated(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        return {name: self.rerank(part, text, video, *rows) for name, rows in self.lists.items()}

    def rerank(self, part: Any, text: TextFeatures, video: VideoFeatures, rows: Tensor, columns: Tensor) -> Tensor:
        like = text.structured(text.names[0]).values if text.names else None
        return part(text[rows], video[columns], self.scores(rows, columns, like))

    @cached_property
    def lists(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Rows of texts and of videos of each call."""
        texts, videos = torch.arange(len(self.text)), torch.arange(len(self.video))
        if not self.cls.pairwise:
            return {"scores": (0 * videos, videos), "reverse": (texts, 0 * texts)}
        order = torch.randperm(len(texts) * len(videos), generator=torch.Generator().manual_seed(SEED))[:PAIRS]
        return {"scores": (order // len(videos), order % len(videos))}

    @cached_property
    def matrices(self) -> Scores:
        """A score of each pair for each interaction that it names, and the first stage's."""
        draw = torch.Generator().manual_seed(SEED)
        names = ("first_stage", *self.cls.interactions(self.config))
        return {name: torch.randn(len(self.text), len(self.video), generator=draw) for name in dict.fromkeys(names)}

    def scores(self, rows: Tensor, columns: Tensor, like: Tensor | None = None) -> Scores:
        """Pair scores [P], where and in the precision that the reranker computes in."""
        scores = {name: matrix[rows, columns] for name, matrix in self.matrices.items()}
        return scores if like is None else {name: values.to(like) for name, values in scores.items()}


def new_scores_are_one_number_for_each_pair(case: RerankerCase) -> Faults:
    for name, (rows, _) in case.lists.items():
        scores = case.whole[name]
        if scores.shape != rows.shape:
            yield f"{list(rows.shape)} pairs have scores {list(scores.shape)}", "Give [P]"
        elif not scores.is_floating_point() or not scores.isfinite().all():
            yield f"the scores are {scores.dtype}, or NaN or infinite", "Give finite floating point numbers"


def it_takes_the_scores_it_declares(case: RerankerCase) -> Faults:
    rows, columns = case.lists["scores"]
    scores = case.scores(rows, columns)
    text, video = case.text[rows], case.video[columns]
    for name in scores:
        if name == "first_stage":
            continue
        fewer = {other: values for other, values in scores.items() if other != name}
        try:
            with torch.inference_mode():
                case.part(text, video, fewer)
        except Exception:  # whatever it says, it wanted the score
            continue
        yield f"declares `{name}` and runs without it", "Take it out of `interactions`: it is computed for nothing"


def candidates_in_another_order_have_the_same_scores(case: RerankerCase) -> Faults:
    for name, (rows, columns) in case.lists.items():
        order = torch.arange(len(rows)).roll(2)
        with torch.inference_mode():
            scores = case.rerank(case.part, case.text, case.video, rows[order], columns[order])
        if words := gap({name: scores}, {name: case.whole[name][order]}):
            yield f"{words} when the candidates come in another order", "A score must move with its pair"


def pairs_do_not_depend_on_the_list(case: RerankerCase) -> Faults:
    if not case.cls.pairwise:
        return
    rows, columns = case.lists["scores"]
    for part in (slice(0, 1), slice(1, 8)):
        with torch.inference_mode():
            alone = case.rerank(case.part, case.text, case.video, rows[part], columns[part])
        if words := gap({"scores": alone}, {"scores": case.whole["scores"][part]}):
            yield f"{words} for pairs {part.start}:{part.stop} alone", "Say `pairwise = False` where the list counts"


def fields_after_training_need_no_training(case: RerankerCase) -> Faults:
    for field in sorted(case.cls.after_training):
        for config in with_another(case.config, field):
            value = getattr(config, field)
            try:
                other = case.copy(config)
            except RuntimeError as error:
                yield f"`{field}`: {value} needs other weights: {said(error)}", f"Take `{field}` out of after_training"
                continue
            if issubclass(case.cls, TrainedReranker):
                words = gap({"scores": _matching(case, other)}, {"scores": _matching(case, case.part)})
                if words:
                    yield f"score_pairs: {words} for `{field}`: {value}", "Use it in `fuse` alone: matching is stored"


def _sides(case: RerankerCase, part: Any) -> tuple[Side, Side]:
    return part.text_side(case.text), part.video_side(case.video)


def _matching(case: RerankerCase, part: Any) -> Tensor:
    """Matching scores of the pairs, with each side computed once."""
    rows, columns = case.lists["scores"]
    with torch.inference_mode():
        text, video = _sides(case, part)
        return part.score_pairs(side_rows(text, rows), side_rows(video, columns), case.scores(rows, columns))


def sides_computed_once_give_the_same(case: RerankerCase) -> Faults:
    """What a trained reranker computes of each text and video alone."""
    if not issubclass(case.cls, TrainedReranker):
        return
    rows, columns = case.lists["scores"]
    scores = case.scores(rows, columns)
    with torch.inference_mode():
        sides = _sides(case, case.part)
        fused = case.part.fuse(_matching(case, case.part), scores)
        column = {name: values[:, None] for name, values in scores.items()}
        square = case.part.fuse(_matching(case, case.part)[:, None], column)
        floats = case.part.pair_floats(*sides)
    for name, side, count in zip(("text", "video"), sides, (len(case.text), len(case.video)), strict=True):
        for key, tensor in side.items():
            if tensor.shape[:1] != (count,):
                yield f"`{key}` of {name}_side is {list(tensor.shape)}", f"Its first axis must have the {count} items"
    if words := gap({"scores": fused}, case.whole):
        yield f"{words} by way of text_side, video_side, score_pairs and fuse", "forward must be these four, in turn"
    if words := gap({"scores": square[:, 0]}, {"scores": fused}):
        yield f"`fuse` of one candidate a query: {words}", "It must work on any shape, value by value"
    if not math.isfinite(floats) or floats <= 0:
        yield f"pair_floats gives {floats}", "Give the floats alive for one pair: blocks are sized by it"


FIRST = (it_can_be_built_from_shapes_alone, new_scores_are_one_number_for_each_pair)
CHECKS = (
    *COMMON,
    it_takes_the_scores_it_declares,
    candidates_in_another_order_have_the_same_scores,
    pairs_do_not_depend_on_the_list,
    fields_after_training_need_no_training,
    sides_computed_once_give_the_same,
)
