"""Fit: train the model, or the model with its encoder, on a data set's training pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...contract.components import Encoder, Levels, Shapes, Split
from ...contract.features import TextFeatures, VideoFeatures, gathered
from ...contract.store import Draft
from ...experiment.config import Experiment
from ...measure.metrics import evaluate, metric
from ...plugins import registry
from ..model import Model, levels_of, transforms_for
from ..scoring import Sides, score_settings
from ..training import Pairs, TrainedModel
from ..training import fit as train
from .split import Kept, inputs_of, kept, read_features
from .step import Step, Workspace

Batch = Callable[[Tensor, Tensor, Tensor | None], tuple[TextFeatures, VideoFeatures]]
"""(text rows, video rows, positions of the frames chosen or None for all) -> features of a batch on the device."""


@dataclass(frozen=True)
class FitSource:
    """What a fit reads beside its inputs: interactions are those that a loss names."""

    experiment: Experiment
    interactions: tuple[str, ...]
    shapes: Shapes
    encoder: Encoder
    train: Split
    val: Split | None
    mixture: dict[str, float]
    seed: int


def fit(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Weights as `tensors.safetensors` under `model.`, `losses.`, `encoder.`; the training curve as `history.json`."""
    step, draft, source = members[0], drafts[0], members[0].payload
    experiment: Experiment = source.experiment
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(source.seed)
        model = Model.of(experiment, source.interactions, source.shapes)
        losses = {name: registry().make("loss", spec) for name, spec in experiment.model.losses.items()}
        trainable = source.encoder.config.trainable
        if trainable or any(part.starts_from_encoder for part in model.parts()):
            workspace.weights.pop(source.encoder, None)
            source.encoder.load(source.seed)
            model.start_from(source.encoder.start_weights())
        encoder = source.encoder if trainable else None
        trainee = TrainedModel(model, losses, encoder, _pairs(workspace, step, source)).to(workspace.device)
        validator = None if source.val is None else _Validator(workspace, step, source, model, source.val)
        fitted = train(
            trainee,
            experiment.train,
            source.seed,
            validator,
            metric(experiment.evaluate.primary).higher_is_better,
            draft.folder / "resume.pt",
            step.label,
        )
    draft.save(fitted.state)
    draft.json(fitted.history, "history.json")
    parameters = sum(parameter.numel() for parameter in trainee.parameters())
    draft.info |= {"label": step.label, "best_epoch": fitted.best_epoch, "parameters": parameters}
    draft.info |= {"epochs": len(fitted.history), "pairs": len(trainee), "peak_bytes": fitted.peak_bytes}


def _pairs(workspace: Workspace, step: Step, source: FitSource) -> Pairs:
    inputs = inputs_of(step, "train")
    rows = kept(workspace, source.train, inputs)
    train, decoded = source.experiment.train, source.experiment.data.num_frames
    batch = _from_features(*read_features(workspace, rows, _levels(inputs)), source, workspace.device)
    if source.encoder.config.trainable:
        batch = _from_pixels(workspace, inputs["video/pixels"], source, rows, batch)

    def embed(texts: Tensor, videos: Tensor, generator: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        if train.num_frames is None:
            return batch(texts, videos, None)
        return batch(texts, videos, choose_frames(decoded, train.num_frames, train.sampler, generator))

    return Pairs(rows.own, rows.sparse, embed, tuple(rows.text_ids), tuple(rows.video_ids))


def _levels(inputs: Mapping[str, Step]) -> dict[str, Step]:
    return {name: step for name, step in inputs.items() if name != "video/pixels"}


def _from_features(text: TextFeatures, video: VideoFeatures, source: FitSource, device: torch.device) -> Batch:
    """Rows of stored levels; of those that have the decoded frames as an axis the chosen ones."""
    data, one = source.experiment.data, video[:1]
    attached = registry().component("dataset", data.dataset).video_texts(data.dataset.fields)
    axes = {name: one.structured(name).values.shape[1:-1] for name in one.names if name not in attached}
    framed = [name for name, tokens in axes.items() if tokens[:1] == (data.num_frames,)]

    def batch(texts: Tensor, videos: Tensor, frames: Tensor | None) -> tuple[TextFeatures, VideoFeatures]:
        chosen = dict.fromkeys(framed, frames) if frames is not None else None
        return text.batch(texts, device), video.batch(videos, device, chosen)

    return batch


def _from_pixels(workspace: Workspace, pixels: Step, source: FitSource, rows: Kept, further: Batch) -> Batch:
    """Features from the encoder itself, from stored frames and captions tokenised once, beside frozen ones."""
    device, encoder = workspace.device, source.encoder
    stored = workspace.read(pixels).tensors()
    tokens = encoder.prepare_texts([source.train.texts[row].text for row in rows.texts.tolist()])
    levels = own_levels(source)

    def batch(texts: Tensor, videos: Tensor, frames: Tensor | None) -> tuple[TextFeatures, VideoFeatures]:
        values, mask = (gathered(stored[name], rows.videos[videos], device, frames) for name in ("values", "mask"))
        text = encoder.forward_text({name: tensor[texts].to(device) for name, tensor in tokens.items()}, levels.text)
        video = encoder.forward_video(values, mask, levels.video)
        other_text, other_video = further(texts, videos, frames)
        return text.beside(other_text), video.beside(other_video)

    return batch


def own_levels(source: FitSource) -> Levels:
    """The trained encoder's levels that the fitted part of the model reads."""
    model = source.experiment.model
    read = levels_of({name: model.interactions[name] for name in source.interactions})
    _, raw = transforms_for(model.transforms, read)
    own = source.encoder.levels
    return Levels(*(tuple(n for n in names if n in mine) for names, mine in zip(raw, own, strict=True)))


def choose_frames(decoded: int, wanted: int, sampler: str, generator: torch.Generator) -> Tensor:
    """Sorted positions [wanted] among the decoded frames: middles of equal parts, or drawn without repetition."""
    if sampler == "random":
        return torch.randperm(decoded, generator=generator)[:wanted].sort().values
    return ((torch.arange(wanted) + 0.5) * decoded / wanted).long()


class _Validator:
    """The primary metric on the validation split, by the mixture of the first contrastive loss."""

    def __init__(self, workspace: Workspace, step: Step, source: FitSource, model: Model, val: Split):
        self.workspace, self.source, self.model = workspace, source, model
        self.inputs = inputs_of(step, source.experiment.train.select_on)
        self.rows = kept(workspace, val, self.inputs)
        self.relevance = self.rows.relevance
        self.label = f"{step.label}: validate"

    def __call__(self) -> float:
        text, video = self._features()
        scores = torch.zeros(len(text), len(video))
        for name, weight in self.source.mixture.items():
            interaction = self.model.interaction(name)
            sides = Sides(interaction, text, video, self.model, self.workspace.device, self.label)
            scores += weight * score_settings(sides, [interaction.config])[0]
        primary = self.source.experiment.evaluate.primary
        direction, name = primary.split("/")
        return evaluate(scores.numpy(), self.relevance, [name], [direction]).metrics[primary]

    def _features(self) -> tuple[TextFeatures, VideoFeatures]:
        text, video = read_features(self.workspace, self.rows, _levels(self.inputs))
        if "video/pixels" not in self.inputs:
            return text, video
        stored = self.workspace.read(self.inputs["video/pixels"]).tensors()
        encoder, device, levels = self.source.encoder, self.workspace.device, own_levels(self.source)
        tokens = encoder.prepare_texts([self.rows.split.texts[row].text for row in self.rows.texts.tolist()])
        texts, videos = [], []
        with torch.inference_mode():
            for part in torch.arange(len(self.rows.texts)).split(256):
                batch = {name: tensor[part].to(device) for name, tensor in tokens.items()}
                texts.append(encoder.forward_text(batch, levels.text).to("cpu"))
            for part in self.rows.videos.split(64):
                values, mask = stored["values"][part].to(device), stored["mask"][part].to(device)
                videos.append(encoder.forward_video(values, mask, levels.video).to("cpu"))
        return TextFeatures.cat(texts).beside(text), VideoFeatures.cat(videos).beside(video)
