"""Rerankers and score transforms. P candidate pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..features import TextFeatures, VideoFeatures
from ..optimisation import RerankerTraining
from ..settings import setting
from .base import Component, Levels, Side
from .model import ModelPart


@dataclass(frozen=True, kw_only=True)
class RerankerSettings:
    """Fields of every reranker."""

    top_k: int = setting(50, "candidates a query that get new scores", ge=1, le=10_000_000)


class Reranker(ModelPart):
    """New scores for candidates. Declares the interactions that it wants and its `after_training` fields."""

    kind = "reranker"
    Config = RerankerSettings
    after_training = frozenset({"top_k"})
    pairwise: ClassVar[bool] = True
    """Each pair is scored by itself; False where it looks at a query's whole list: it is then called once a query,
    with P = K."""

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels()

    @classmethod
    def interactions(cls, config: Any) -> tuple[str, ...]:
        """Names of the interactions whose pair scores it takes."""
        return ()

    def forward(self, text: TextFeatures, video: VideoFeatures, scores: Mapping[str, Tensor]) -> Tensor:
        """(text rows, video rows, {interaction: scores [P]}) -> new scores [P]; `first_stage` is among the scores."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class TrainedRerankerSettings(RerankerSettings):
    """Fields of every reranker that is trained."""

    alpha: float | None = setting(None, "weight of the first stage's score; null: chosen on validation", ge=0)
    alphas: tuple[float, ...] = setting(
        (0.0, 1.0, 3.0, 10.0, 30.0, 100.0), "what is chosen from where alpha is null", ge=0
    )
    train: RerankerTraining = setting(doc="its own fit, with everything else frozen")


class TrainedReranker(Reranker):
    """A reranker with parameters: matching scores of pairs, to which the first stage's score is added.

    It is split as an interaction is: what one side gives by itself is computed once for each text and video. Its fit
    comes after the model's and reads the encoders' frozen levels; matching scores are stored, so that another `top_k`
    or `alpha` computes nothing again.
    """

    Config = TrainedRerankerSettings
    after_training = frozenset({"top_k", "alpha"})

    def text_side(self, text: TextFeatures) -> Side:
        """What can be computed from text alone; sees no video."""
        raise NotImplementedError

    def video_side(self, video: VideoFeatures) -> Side:
        """What can be computed from video alone; sees no text."""
        raise NotImplementedError

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        """Matching scores [P], row p of one side with row p of the other; `first_stage` [P] is among the scores."""
        raise NotImplementedError

    def fuse(self, matching: Tensor, scores: Mapping[str, Tensor]) -> Tensor:
        """The new scores, of the shape of `matching`: alpha times the first stage's score, plus the matching score.

        Raises ValueError where `alpha` is still open.
        """
        if self.config.alpha is None:
            raise ValueError("`alpha` is null: it is chosen in the fit on the validation split; give a number")
        return self.config.alpha * scores["first_stage"] + matching

    def pair_floats(self, text: Side, video: Side) -> float:
        """Floats alive for one pair inside `score_pairs`, beside the rows of both sides."""
        return 4.0

    def forward(self, text: TextFeatures, video: VideoFeatures, scores: Mapping[str, Tensor]) -> Tensor:
        return self.fuse(self.score_pairs(self.text_side(text), self.video_side(video), scores), scores)


class ScoreTransform(Component):
    """Scores of queries to other scores. The rows are what asks: texts in one direction, videos in the other."""

    kind = "score_transform"
    needs_bank: ClassVar[bool] = False
    """It is called with the scores [N, G] that the train split's texts (or videos) give the same gallery."""

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Fields of every score transform."""

        each: bool = setting(False, "act on each interaction of the first stage by itself, before they are mixed")

    def __init__(self, config: Any):
        self.config = config

    @classmethod
    def transductive(cls, config: Any) -> bool:
        """Whether it looks at the other test queries: what it gives one query then depends on who else asks."""
        return False

    def __call__(self, scores: Tensor, bank: Tensor | None = None) -> Tensor:
        """Scores [Q, G] of Q queries and the G items of the gallery -> new scores [Q, G]. `bank` comes to those that
        need one."""
        raise NotImplementedError
