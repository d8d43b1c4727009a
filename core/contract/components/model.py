"""Parts of the model: feature transforms, interactions, losses. B_t texts, B_v videos, D width, P pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..features import LevelShape, TextFeatures, VideoFeatures
from ..settings import Mixture, setting
from .base import Component, Levels, Shapes, Side


class ModelPart(Component, nn.Module):
    """Base of components with parameters: built as `Cls(config, shapes)`, shapes of the levels it reads."""

    def __init__(self, config: Any, shapes: Shapes):
        nn.Module.__init__(self)
        self.config, self.shapes = config, dict(shapes)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        """The levels it reads under this configuration."""
        raise NotImplementedError

    @property
    def starts_from_encoder(self) -> bool:
        """Whether `start_from` is to be called: by convention a field `init: encoder`."""
        return getattr(self.config, "init", None) == "encoder"

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take start weights that the encoder offers, by name."""


class FeatureTransform(ModelPart):
    """Features to features: a temporal encoder, a token selector. Identity on a side by default.

    >>> import core, torch
    >>> class Halved(core.FeatureTransform):  # besides: reads, writes, written_shapes
    ...     name = "halved"
    ...     def video(self, features):
    ...         return features.with_level("video", core.Tokens(features.structured("video").values / 2))
    >>> Halved(Halved.Config(), {}).video(core.VideoFeatures(video=torch.ones(1, 3))).structured("video").values
    tensor([[0.5000, 0.5000, 0.5000]])
    """

    kind = "feature_transform"

    @classmethod
    def writes(cls, config: Any) -> Levels:
        """The levels it writes."""
        raise NotImplementedError

    def written_shapes(self) -> dict[str, LevelShape]:
        """Shapes of the levels it writes."""
        raise NotImplementedError

    def text(self, features: TextFeatures) -> TextFeatures:
        return features

    def video(self, features: VideoFeatures) -> VideoFeatures:
        return features


class Interaction(ModelPart):
    """(text features, video features) -> scores [B_t, B_v], in parts: what needs one side only is computed once a side.

    >>> import core, torch
    >>> class Nearness(core.Interaction):  # besides: reads, text_side, video_side
    ...     name = "nearness"
    ...     def score(self, text, video):
    ...         return -torch.cdist(text["vector"], video["vector"])
    >>> Nearness(Nearness.Config(), {}).score({"vector": torch.zeros(1, 2)}, {"vector": torch.tensor([[3.0, 4.0]])})
    tensor([[-5.]])
    """

    kind = "interaction"
    inner_product: ClassVar[bool] = False
    """The score is one dot product of `vector` [B, D] of either side."""
    diagnostics: ClassVar[tuple[str, ...]] = ()
    """Names of what `diagnose` measures."""

    @classmethod
    def transductive(cls, config: Any, direction: str) -> str:
        """Why the scores of a query (of a text in `t2v`) are taken to depend on the other queries; "" for no reason."""
        return ""

    @classmethod
    def provides(cls, config: Any) -> frozenset[str]:
        """Names of the auxiliary tensors that `match` gives."""
        return frozenset()

    def text_side(self, text: TextFeatures) -> Side:
        """What can be computed from text alone; sees no video."""
        raise NotImplementedError

    def video_side(self, video: VideoFeatures) -> Side:
        """What can be computed from video alone; sees no text."""
        raise NotImplementedError

    def score(self, text: Side, video: Side) -> Tensor:
        """[B_t, B_v], unscaled, in evaluation form. An `inner_product` has it from here."""
        if not self.inner_product:
            raise NotImplementedError
        return text["vector"] @ video["vector"].T

    def score_lists(self, text: Side, video: Side) -> Tensor:
        """[B_v, C]: each video with C texts of its own; text tensors are [B_v, C, …]. Default: a video at a time."""
        if self.inner_product:
            return (text["vector"] @ video["vector"][:, :, None]).squeeze(2)
        count, listed = next(iter(text.values())).shape[:2]
        scores = [self.score(_row(text, row), _rows(video, row)).reshape(listed) for row in range(count)]
        return torch.stack(scores) if scores else next(iter(text.values())).new_zeros(0, listed)

    def score_pairs(self, text: Side, video: Side) -> Tensor:
        """[P]: row p of one side with row p of the other."""
        return self.score_lists({name: tensor[:, None] for name, tensor in text.items()}, video)[:, 0]

    def match(self, text: Side, video: Side) -> tuple[Tensor, Side]:
        """(scores [N, N], auxiliary) of a training batch; row i of one side is paired with row i of the other."""
        return self.score(text, video), {}

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, lists: bool = False) -> list[Tensor]:
        """What `score`, or `score_lists`, gives under each configuration (they differ in `after_training` fields
        only)."""
        kept = self.config
        try:
            scores = []
            for self.config in configs:
                scores.append((self.score_lists if lists else self.score)(text, video))
            return scores
        finally:
            self.config = kept

    def diagnose(self, text: Side, video: Side) -> Side:
        """{name: [P]} for each name in `diagnostics`, from 0 to 1: how row p of one side is compared with row p of the
        other."""
        return {}

    def token_weights(self, text: Side, video: Side) -> Side:
        """{video level: [P, N]} of each level whose tokens a text weighs: what row p's text gives those of row p's
        video, in all 1. For pictures; nothing is trained or ranked by it."""
        return {}

    def pair_floats(self, text: Side, video: Side) -> float:
        """Floats alive for one (text, video) pair inside `score`, so that blocks can be sized."""
        return 4.0


def _row(side: Side, row: int) -> Side:
    return {name: tensor[row] for name, tensor in side.items()}


def _rows(side: Side, row: int) -> Side:
    return {name: tensor[row : row + 1] for name, tensor in side.items()}


@dataclass(frozen=True)
class LossInputs:
    """What a loss sees; it may grow. R rows (texts) by C columns (videos).

    scores: {interaction: [R, C]}, unscaled. relevance: bool [R, C]. auxiliary: {interaction: {name: tensor}}.
    logit_scale: the model's one scale, a scalar. paired: column of each row's own video [R], None if the batch is
    not N pairs. training_step: how many steps were taken before this one.

    >>> import core, torch
    >>> scores = {"dot": torch.eye(2), "other": torch.ones(2, 2)}
    >>> inputs = core.LossInputs(scores, torch.eye(2, dtype=torch.bool), auxiliary={}, logit_scale=torch.tensor(100.0))
    >>> inputs.mixed({"dot": 1.0, "other": 0.5})
    tensor([[1.5000, 0.5000],
            [0.5000, 1.5000]])
    """

    scores: Mapping[str, Tensor]
    relevance: Tensor
    auxiliary: Mapping[str, Side]
    logit_scale: Tensor
    paired: Tensor | None = None
    text_ids: tuple[str, ...] = ()
    video_ids: tuple[str, ...] = ()
    training_step: int = 0

    def mixed(self, of: Mapping[str, float]) -> Tensor:
        """The weighted sum of scores [R, C] of a mixture of interactions, unscaled."""
        return torch.stack([weight * self.scores[name] for name, weight in of.items()]).sum(0)


@dataclass(frozen=True)
class LossSettings:
    """Fields of every loss.

    >>> import core
    >>> core.LossSettings(of={"video": 0.5, "frame": 0.5}, weight=0.1).of["frame"]
    0.5
    """

    of: Mixture = setting(doc="the interactions that it reads, with weights where they are mixed")
    weight: float = setting(1.0, "its factor in the sum of losses", ge=0)


class Loss(Component, nn.Module):
    """A scalar from a batch. A module: its parameters and buffers are saved and resumed.

    >>> import core, torch
    >>> class Pull(core.Loss):
    ...     name = "pull"
    ...     def forward(self, inputs):
    ...         return -inputs.mixed(self.config.of)[inputs.relevance].mean()
    >>> relevance = torch.eye(2, dtype=torch.bool)
    >>> inputs = core.LossInputs({"dot": torch.eye(2)}, relevance, {}, torch.tensor(1.0))
    >>> Pull(core.LossSettings(of={"dot": 2.0}))(inputs)
    tensor(-2.)
    """

    kind = "loss"
    Config = LossSettings
    contrastive: ClassVar[bool] = False
    """It trains scores to rank. `train.keep: best` follows the mixture of the first contrastive loss."""

    def __init__(self, config: Any):
        nn.Module.__init__(self)
        self.config = config

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Auxiliary tensors that each interaction under `of` must provide."""
        return frozenset()

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss, a scalar, before its weight."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each optimiser step (queues, momentum)."""
