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
    """Fields of every reranker.

    >>> import core
    >>> core.RerankerSettings(top_k=10)
    RerankerSettings(top_k=10)
    """

    top_k: int = setting(50, "candidates a query that get new scores", ge=1, le=10_000_000)


class Reranker(ModelPart):
    """New scores for candidates. Declares the interactions that it wants and its `after_training` fields.

    >>> import core, torch
    >>> class Flipped(core.Reranker):
    ...     name = "flipped"
    ...     def forward(self, text, video, scores):
    ...         return -scores["first_stage"]
    >>> pair = core.TextFeatures(sentence=torch.ones(1, 2)), core.VideoFeatures(video=torch.ones(1, 2))
    >>> Flipped(Flipped.Config(), {})(*pair, {"first_stage": torch.tensor([0.5])})
    tensor([-0.5000])
    """

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
    """Fields of every reranker that is trained.

    >>> import core
    >>> training = core.RerankerTraining(losses={"match": core.Spec("matching", None)})
    >>> core.TrainedRerankerSettings(top_k=10, train=training).alpha is None  # chosen on validation
    True
    """

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

    >>> import core, torch
    >>> class Matcher(core.TrainedReranker):  # besides: reads, text_side, video_side
    ...     name = "matcher"
    ...     def score_pairs(self, text, video, scores):
    ...         return (text["vector"] * video["vector"]).sum(-1)
    >>> matcher = Matcher(core.TrainedRerankerSettings(alpha=2.0, train=core.RerankerTraining(losses={})), {})
    >>> matching = matcher.score_pairs({"vector": torch.ones(1, 3)}, {"vector": torch.ones(1, 3)}, {})
    >>> matcher.fuse(matching, {"first_stage": torch.tensor([0.5])})
    tensor([4.])
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
    """Scores of queries to other scores. The rows are what asks: texts in one direction, videos in the other.

    >>> import core, torch
    >>> class Squared(core.ScoreTransform):
    ...     name = "squared"
    ...     def __call__(self, scores, bank=None):
    ...         return scores**2
    >>> Squared(Squared.Config())(torch.tensor([[1.0, 3.0]]))
    tensor([[1., 9.]])
    """

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
