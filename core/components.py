"""Base classes of the component kinds. B_t texts, B_v videos, N tokens a video, D width, P pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from .features import LevelShape, TextFeatures, VideoFeatures
from .settings import Mixture, setting

Shapes = Mapping[str, LevelShape]
Side = dict[str, Tensor]
"""Named tensors of one side, each with leading B_t or B_v."""


class Levels(NamedTuple):
    """Names of levels on the text side and on the video side."""

    text: tuple[str, ...] = ()
    video: tuple[str, ...] = ()


@dataclass(frozen=True)
class NoSettings:
    """The Config of a component that has no fields."""


class Component:
    """What every kind shares: a `name`, a `Config` dataclass (see `setting`) and a docstring with shapes and source."""

    name: ClassVar[str]
    kind: ClassVar[str]
    Config: ClassVar[type] = NoSettings
    after_training: ClassVar[frozenset[str]] = frozenset()
    """Config fields that may change after training without training again."""


# --------------------------------------------------------------------------------------------------- data sets


@dataclass(frozen=True)
class Video:
    """A video file, or a folder of frames; `texts` are further texts that belong to it (tags, auxiliary captions)."""

    id: str
    path: str
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Text:
    """A caption. `video` is the row, in its split, of the video that it was written for."""

    id: str
    text: str
    video: int


@dataclass(frozen=True)
class Split:
    """Videos and texts of one split. `also_relevant` holds (text row, video row) beyond each text's own video."""

    videos: tuple[Video, ...]
    texts: tuple[Text, ...]
    also_relevant: tuple[tuple[int, int], ...] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every relevant (text row, video row), sorted, once each."""
        return sorted({(row, text.video) for row, text in enumerate(self.texts)} | set(self.also_relevant))


class Dataset(Component):
    """A source of videos and texts, in splits `train`, `val`, `test` (those that it has)."""

    kind = "dataset"

    def __init__(self, config: Any):
        self.config = config

    @classmethod
    def video_texts(cls, config: Any) -> tuple[str, ...]:
        """Names of the texts that it attaches to videos; each is a level on the video side."""
        return ()

    def ready(self, folder: Path) -> bool:
        """Whether `prepare` has nothing left to make; `--dry-run` then reads the data set."""
        return True

    def prepare(self, folder: Path) -> dict[str, Split]:
        """The splits. `folder` is kept for this configuration: a generated set writes its files there, once.

        Raises DataError for input that is missing or contradicts itself.
        """
        raise NotImplementedError


# --------------------------------------------------------------------------------------------------- encoders


@dataclass(frozen=True)
class EncoderSettings:
    """Fields of every encoder."""

    trainable: bool = setting(False, "train its weights with the model (one process, one device)")


class Encoder(Component, nn.Module):
    """Raw text or frames to features.

    After __init__ (cheap: only the configuration is read) the attributes below are known; `load` reads the weights.
    """

    kind = "encoder"
    Config = EncoderSettings
    frame_size: int
    """Short side, in pixels, that frames are decoded to."""
    located_by: ClassVar[frozenset[str]] = frozenset({"model", "revision"})
    """Fields that only say where weights lie; `fingerprint` stands for them in keys."""
    shapes: dict[str, LevelShape]
    """Every level that it can write."""
    levels: Levels
    """The same names, by side."""

    def __init__(self, config: Any):
        nn.Module.__init__(self)
        self.config = config

    @property
    def random_start(self) -> bool:
        """Whether the weights that `load` gives depend on the seed: by convention a field `init: random`."""
        return getattr(self.config, "init", None) == "random"

    def load(self, seed: int) -> None:
        """Read the weights, or draw them from `seed` where the configuration asks for random ones."""
        raise NotImplementedError

    def fingerprint(self) -> Any:
        """Plain data that changes when the weights or the preprocessing change: digests of files, never paths."""
        raise NotImplementedError

    def prepare_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Token tensors [B, L] on the CPU, padded to one length that does not depend on the batch."""
        raise NotImplementedError

    def prepare_frames(self, frames: Tensor) -> Tensor:
        """uint8 [..., H, W, 3] as decoded -> uint8 [..., 3, h, w], the crop that `forward_video` takes."""
        raise NotImplementedError

    def forward_text(self, tokens: dict[str, Tensor], levels: Iterable[str]) -> TextFeatures:
        """Token tensors [B, L] -> the levels asked for. Differentiable."""
        raise NotImplementedError

    def forward_video(self, frames: Tensor, mask: Tensor, levels: Iterable[str]) -> VideoFeatures:
        """uint8 [B, T, 3, h, w] and mask [B, T] -> the levels asked for. Differentiable."""
        raise NotImplementedError

    def start_weights(self) -> dict[str, Tensor]:
        """Weights that other components may start from, by name; needs `load`."""
        return {}

    def export(self, folder: Path) -> None:
        """Write the encoder so that its own `model:` field can read it again."""
        raise NotImplementedError


# --------------------------------------------------------------------------------------------------- the model


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
    """Features to features: a temporal encoder, a token selector. Identity on a side by default."""

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
    """(text features, video features) -> scores [B_t, B_v], split by when a thing can be computed."""

    kind = "interaction"
    inner_product: ClassVar[bool] = False
    """The score is one dot product of `vector` [B, D] of either side."""

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
        """[B_t, B_v], unscaled, in evaluation form."""
        raise NotImplementedError

    def score_pairs(self, text: Side, video: Side) -> Tensor:
        """[P]: row p of one side with row p of the other."""
        rows = range(len(next(iter(text.values()))))
        one = [self.score(_rows(text, row), _rows(video, row)).reshape(()) for row in rows]
        return torch.stack(one) if one else next(iter(text.values())).new_zeros(0)

    def match(self, text: Side, video: Side) -> tuple[Tensor, Side]:
        """(scores [N, N], auxiliary) of a training batch; row i of one side is paired with row i of the other."""
        return self.score(text, video), {}

    def score_settings(self, text: Side, video: Side, configs: Sequence[Any], *, pairs: bool = False) -> list[Tensor]:
        """One score tensor for each configuration (they differ in `after_training` fields only)."""
        kept = self.config
        try:
            scores = []
            for self.config in configs:
                scores.append((self.score_pairs if pairs else self.score)(text, video))
            return scores
        finally:
            self.config = kept

    def pair_floats(self, text: Side, video: Side) -> float:
        """Floats alive for one (text, video) pair inside `score`, so that blocks can be sized."""
        return 4.0


def _rows(side: Side, row: int) -> Side:
    return {name: tensor[row : row + 1] for name, tensor in side.items()}


@dataclass(frozen=True)
class LossInputs:
    """What a loss sees; it may grow. R rows (texts) by C columns (videos).

    scores: {interaction: [R, C]}, unscaled. relevance: bool [R, C]. auxiliary: {interaction: {name: tensor}}.
    logit_scale: the model's one scale, a scalar. paired: column of each row's own video [R], None if the batch is
    not N pairs. training_step: how many steps were taken before this one.
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
    """Fields of every loss."""

    of: Mixture = setting(doc="the interactions that it reads, with weights where they are mixed")
    weight: float = setting(1.0, "its factor in the sum of losses", ge=0)


class Loss(Component, nn.Module):
    """A scalar from a batch. A module: its parameters and buffers are saved and resumed."""

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


# --------------------------------------------------------------------------------------------------- retrieval


@dataclass(frozen=True)
class RerankerSettings:
    """Fields of every reranker."""

    top_k: int = setting(50, "candidates a query that get new scores", ge=1)


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


class ScoreTransform(Component):
    """Score matrix [B_t, B_v] -> score matrix. `transductive` ones look at the other test queries, and say so."""

    kind = "score_transform"
    transductive: ClassVar[bool] = False

    def __init__(self, config: Any):
        self.config = config

    def __call__(self, scores: Tensor) -> Tensor:
        raise NotImplementedError


KINDS: dict[str, type[Component]] = {
    base.kind: base for base in (Dataset, Encoder, FeatureTransform, Interaction, Loss, Reranker, ScoreTransform)
}
Register = Callable[[type[Component]], None]
