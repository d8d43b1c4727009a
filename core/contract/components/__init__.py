"""Base classes of the component kinds. B_t texts, B_v videos, N tokens a video, D width, P pairs."""

from collections.abc import Callable

from .base import Component, Levels, NoSettings, Shapes, Side
from .data import Dataset, Split, Text, Video
from .encoder import Encoder, EncoderSettings
from .model import FeatureTransform, Interaction, Loss, LossInputs, LossSettings, ModelPart
from .output import Output
from .retrieval import Reranker, RerankerSettings, ScoreTransform, TrainedReranker, TrainedRerankerSettings

KINDS: dict[str, type[Component]] = {
    base.kind: base
    for base in (Dataset, Encoder, FeatureTransform, Interaction, Loss, Reranker, ScoreTransform, Output)
}
Register = Callable[[type[Component]], None]

__all__ = [
    "KINDS",
    "Component",
    "Dataset",
    "Encoder",
    "EncoderSettings",
    "FeatureTransform",
    "Interaction",
    "Levels",
    "Loss",
    "LossInputs",
    "LossSettings",
    "ModelPart",
    "NoSettings",
    "Output",
    "Register",
    "Reranker",
    "RerankerSettings",
    "ScoreTransform",
    "Shapes",
    "Side",
    "Split",
    "Text",
    "TrainedReranker",
    "TrainedRerankerSettings",
    "Video",
]
