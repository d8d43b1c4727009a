"""What a text attends to in a video: weights that an interaction gives tokens, by frame and by place in the frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

from ...contract.components import FeatureTransform, Interaction
from ...contract.features import VideoFeatures
from ...contract.settings import Spec
from ...engine.model import Model
from ...engine.steps.score import ScoreInputs, loaded_model
from ...engine.steps.split import Kept, read_features
from ...engine.steps.step import Step, Workspace
from ...plugins import registry


@dataclass(frozen=True)
class Gate:
    """Weights of one text over one video. frames [T]: of each frame, in all 1. patches [T, g, g]: the same by place in
    the frame's centre square, rows from the top; None where tokens have no place."""

    interaction: str
    frames: Tensor
    patches: Tensor | None = None


class Gates:
    """The gates of a trial's interactions. A model is built when first asked for."""

    def __init__(self, workspace: Workspace, rank: Step, rows: Kept):
        self._workspace, self._rows = workspace, rows
        self._steps: dict[str, Step[ScoreInputs]] = {**rank.inputs.stage.first_stage, **rank.inputs.candidates}
        self._models: dict[str, tuple[Model, Interaction]] = {}

    def of(self, names: Iterable[str], text: int, videos: Tensor) -> list[list[Gate]]:
        """For each of some videos [P], by row, the gates of a text: those of the named interactions that offer any."""
        gates: list[list[Gate]] = [[] for _ in videos]
        for name in names:
            if name in self._steps and _offers(self._steps[name].payload.experiment.model.interactions[name]):
                for row, row_gates in enumerate(self._offered(name, text, videos)):
                    gates[row] += row_gates
        return gates

    @torch.inference_mode()
    def _offered(self, name: str, text: int, videos: Tensor) -> list[list[Gate]]:
        model, interaction = self._built(name)
        texts, gallery = read_features(self._workspace, self._rows, self._steps[name].inputs.features)
        device = self._workspace.device
        video = model.video(gallery.batch(videos, device))
        asked = interaction.text_side(model.text(texts.batch(torch.full_like(videos, text), device)))
        weights = interaction.token_weights(asked, interaction.video_side(video))
        frames = self._steps[name].payload.experiment.data.num_frames
        shaped = [_shaped(tensor.float().cpu(), level, video, model, frames) for level, tensor in weights.items()]
        gates: list[list[Gate]] = [[] for _ in videos]
        for by_frame, by_place in filter(None, shaped):
            for row, row_gates in enumerate(gates):
                row_gates.append(Gate(name, by_frame[row], None if by_place is None else by_place[row]))
        return gates

    def _built(self, name: str) -> tuple[Model, Interaction]:
        if name not in self._models:
            step = self._steps[name]
            model, interaction = loaded_model(self._workspace, step.inputs.fit, step.payload)
            interaction.config = step.payload.config
            self._models[name] = model, interaction
        return self._models[name]


def _offers(spec: Spec) -> bool:
    """Whether an interaction says how it weighs tokens."""
    return registry().component("interaction", spec).token_weights is not Interaction.token_weights


def _shaped(
    weights: Tensor, level: str, video: VideoFeatures, model: Model, num_frames: int
) -> tuple[Tensor, Tensor | None] | None:
    """(frames [P, T], patches [P, T, g, g]) of weights [P, N] over a level; None where its tokens belong to no frame.

    Tokens have a place where the encoder wrote them, as many a frame as fill a square.
    """
    shape = video.structured(level).values.shape
    if len(shape) == 3:
        return (weights, None) if shape[1] == num_frames else None
    tokens = weights.view(len(weights), shape[1], shape[2])
    side = isqrt(shape[2])
    rewritten = any(
        level in transform.writes(transform.config).video
        for transform in model.transforms.values()
        if isinstance(transform, FeatureTransform)
    )
    placed = side**2 == shape[2] and not rewritten
    return tokens.sum(2), tokens.view(*tokens.shape[:2], side, side) if placed else None
