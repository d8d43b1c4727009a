"""Checks of an interaction."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..contract.components import Interaction, Side
from ..contract.features import TextFeatures, VideoFeatures
from ..engine.scoring import side_rows
from .contract import Faults, gap, said
from .parts import COMMON, PartCase, it_can_be_built_from_shapes_alone
from .variations import with_another


class InteractionCase(PartCase):
    """Evaluated: scores [B_t, B_v] of all pairs. Trained: `match` on as many pairs as there are."""

    cls: type[Interaction]

    def evaluated(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        return {"scores": part.score(part.text_side(text), part.video_side(video))}

    def trained(self, part: Any, text: TextFeatures, video: VideoFeatures) -> dict[str, Tensor]:
        pairs = min(len(text), len(video))
        scores, auxiliary = part.match(part.text_side(text[:pairs]), part.video_side(video[:pairs]))
        return {"scores": scores, **auxiliary}

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        with torch.inference_mode():
            return self.part.text_side(self.text), self.part.video_side(self.video)

    @cached_property
    def scores(self) -> Tensor:
        return self.whole["scores"]

    @cached_property
    def lists(self) -> Tensor:
        """Texts [B_v, 3] of each video, in no order."""
        return torch.randint(len(self.text), (len(self.video), 3), generator=torch.Generator().manual_seed(0))

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor]:
        """Rows of texts and of videos, every pair once, in no order."""
        order = torch.randperm(self.scores.numel(), generator=torch.Generator().manual_seed(0))
        return order // self.scores.shape[1], order % self.scores.shape[1]


def scores_are_one_number_for_each_pair(case: InteractionCase) -> Faults:
    shape, wanted = list(case.scores.shape), [len(case.text), len(case.video)]
    if shape != wanted:
        yield f"score gives {shape}", f"It must be [B_t, B_v] = {wanted}"
    if not case.scores.is_floating_point():
        yield f"scores are {case.scores.dtype}", "Give floating point numbers"
    elif not case.scores.isfinite().all():
        yield (
            "scores are NaN or infinite",
            "Guard norms and logarithms at zero; fill masked logits with a finite number",
        )


def sides_have_a_row_for_each_item(case: InteractionCase) -> Faults:
    for name, side, count in zip(("text", "video"), case.sides, (len(case.text), len(case.video)), strict=True):
        for key, tensor in side.items():
            if not isinstance(tensor, Tensor) or tensor.shape[:1] != (count,):
                shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                yield (
                    f"`{key}` of {name}_side is {shape}",
                    f"Its first axis must be the {count} items, to be cut in blocks",
                )


def blocks_equal_the_whole(case: InteractionCase) -> Faults:
    for rows, columns in ((slice(0, 2), slice(0, 1)), (slice(2, None), slice(1, None)), (slice(0, 1), slice(2, 5))):
        of = f"texts {rows.start}:{rows.stop or ''} and videos {columns.start}:{columns.stop or ''}"
        wanted = {"scores": case.scores[rows, columns]}
        if words := gap(case.run(case.part, case.text[rows], case.video[columns]), wanted):
            yield f"{words} for {of} alone", "A row of either side must not depend on its neighbours"
        with torch.inference_mode():
            cut = case.part.score(side_rows(case.sides[0], rows), side_rows(case.sides[1], columns))
        if words := gap({"scores": cut}, wanted):
            yield f"{words} for the sides of {of}", "`score` must not depend on the other rows of its sides"


def lists_equal_their_places_in_the_whole(case: InteractionCase) -> Faults:
    for length in (3, 1):
        lists = case.lists[:, :length]
        with torch.inference_mode():
            list_scores = case.part.score_lists(side_rows(case.sides[0], lists), case.sides[1])
        if words := gap({"scores": list_scores}, {"scores": case.scores.T.gather(1, lists)}):
            yield f"{words} for lists of {length}", "score_lists gives what score gives, each video with its own texts"


def order_does_not_matter(case: InteractionCase) -> Faults:
    texts, videos = torch.arange(len(case.text)).flip(0), torch.arange(len(case.video)).roll(2)
    results = case.run(case.part, case.text[texts], case.video[videos])
    if words := gap(results, {"scores": case.scores[texts][:, videos]}):
        yield f"{words} when texts and videos come in another order", "Scores must move with their rows and columns"


def settings_after_training_equal_one_at_a_time(case: InteractionCase) -> Faults:
    listed = side_rows(case.sides[0], case.lists), case.sides[1]
    for field in sorted(case.cls.after_training):
        configs = [case.config, *with_another(case.config, field)]
        with torch.inference_mode():
            together = case.part.score_settings(*case.sides, configs)
            by_lists = case.part.score_settings(*listed, configs, lists=True)
        if case.part.config is not case.config:
            yield "score_settings leaves another configuration behind", "Put self.config back"
        for config, scores, list_scores in zip(configs, together, by_lists, strict=True):
            value = getattr(config, field)
            try:
                wanted = case.run(case.copy(config))
            except RuntimeError as error:
                yield f"`{field}`: {value} needs other weights: {said(error)}", f"Take `{field}` out of after_training"
                continue
            remedy = "The sides must not depend on it, and score_settings must give what score gives under each config"
            if words := gap({"scores": scores}, wanted):
                yield f"{words} for `{field}`: {value}", remedy
            if words := gap({"scores": list_scores}, {"scores": wanted["scores"].T.gather(1, case.lists)}):
                yield f"{words} for `{field}`: {value} with lists=True", remedy


def match_gives_scores_and_the_auxiliaries_declared(case: InteractionCase) -> Faults:
    tensors = {name: tensor.detach() for name, tensor in case.trained(case.part, case.text, case.video).items()}
    pairs = min(len(case.text), len(case.video))
    if list(tensors["scores"].shape) != [pairs, pairs]:
        yield f"the scores of {pairs} pairs are {list(tensors['scores'].shape)}", f"They must be [{pairs}, {pairs}]"
    declared, provided = case.cls.provides(case.config), set(tensors) - {"scores"}
    if declared != provided:
        yield f"auxiliary tensors: {_names(provided)}; `provides` says {_names(declared)}", "Make the two agree"
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            yield f"{name} are NaN or infinite", "Guard norms and logarithms at zero"


def an_inner_product_is_one(case: InteractionCase) -> Faults:
    if not case.cls.inner_product:
        return
    text, video = (side.get("vector") for side in case.sides)
    if text is None or video is None or text.ndim != 2 or video.ndim != 2:
        yield "a side has no `vector` [B, D]", "Give one, or leave inner_product False"
    elif words := gap({"text @ video": text @ video.T}, {"text @ video": case.scores}):
        yield words, "Make the score one dot product of the two, or leave inner_product False"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def pair_floats_are_positive(case: InteractionCase) -> Faults:
    floats = case.part.pair_floats(*case.sides)
    if not math.isfinite(floats) or floats <= 0:
        yield f"pair_floats gives {floats}", "Give the floats alive for one pair: blocks are sized by it"


def diagnostics_are_those_declared(case: InteractionCase) -> Faults:
    rows, columns = case.pairs
    with torch.inference_mode():
        measures = case.part.diagnose(side_rows(case.sides[0], rows), side_rows(case.sides[1], columns))
    if set(measures) != set(case.cls.diagnostics):
        yield (
            f"`diagnose` gives {_names(measures)}; `diagnostics` says {_names(case.cls.diagnostics)}",
            "Make the two agree",
        )
    for name, values in measures.items():
        if values.shape != rows.shape or not values.isfinite().all():
            yield (
                f"`{name}` is {list(values.shape)}, or not finite",
                "Give one finite number a pair",
            )


def token_weights_are_shares(case: InteractionCase) -> Faults:
    rows, columns = case.pairs
    with torch.inference_mode():
        weights_by_level = case.part.token_weights(side_rows(case.sides[0], rows), side_rows(case.sides[1], columns))
    for level, weights in weights_by_level.items():
        if weights.ndim != 2 or len(weights) != len(rows) or (weights < 0).any():
            yield f"`token_weights` of `{level}` is {list(weights.shape)}, or negative", "Give [P, N], none negative"
        elif words := gap({"sum": weights.sum(1)}, {"sum": torch.ones(len(rows))}):
            yield f"`token_weights` of `{level}`: {words}", "What one text gives the tokens of one video sums to 1"


FIRST = (it_can_be_built_from_shapes_alone, scores_are_one_number_for_each_pair, sides_have_a_row_for_each_item)
CHECKS = (
    *COMMON,
    blocks_equal_the_whole,
    lists_equal_their_places_in_the_whole,
    order_does_not_matter,
    settings_after_training_equal_one_at_a_time,
    match_gives_scores_and_the_auxiliaries_declared,
    an_inner_product_is_one,
    pair_floats_are_positive,
    diagnostics_are_those_declared,
    token_weights_are_shares,
)
