"""Fit: train the model, or the model with its encoder, on a data set's training pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Encoder, Levels, Shapes, Split
from ...contract.features import TextFeatures, VideoFeatures, gathered
from ...contract.settings import Spec, plain
from ...contract.store import Draft
from ...errors import ConfigError, Problem
from ...experiment.config import Experiment
from ...measure.metrics import evaluate, metric
from ...plugins import registry
from ..model import Model, levels_of, transforms_for
from ..scoring import Sides, score_settings
from ..training import Pairs, TrainedModel
from ..training import fit as train
from .decode import decode_step, encoder_fields
from .encode import feature_steps, level_steps
from .seeded import SeededVariant, once_a_trial
from .split import Kept, ReadsFeatures, kept, read_features
from .step import Inputs, Step, Workspace, arithmetic, source_of, versions

VERSION = 2
Batch = Callable[[Tensor, Tensor, Tensor | None], tuple[TextFeatures, VideoFeatures]]
"""(text rows, video rows, positions of the frames chosen or None for all) -> features of a batch on the device."""


@dataclass(frozen=True, kw_only=True)
class SplitInputs(ReadsFeatures):
    """Of a split: levels; where the encoder is trained, pixels in the place of its own."""

    flat_names = {"pixels": "video/pixels", "features": ""}
    pixels: Step | None = None


@dataclass(frozen=True, kw_only=True)
class FitInputs(Inputs):
    """splits: `train` and, where the best epoch is kept, the one that it is chosen on."""

    flat_names = {"splits": ""}
    splits: Mapping[str, SplitInputs]


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


@once_a_trial
def fit_step(trial: SeededVariant) -> Step[FitInputs] | None:
    """The fit, or None where nothing has parameters to train."""
    trainable = trial.main.config.trainable
    if not trial.fitted_parts and not (trainable and trial.trained):
        return None
    settings, best = trial.experiment.train, trial.experiment.train.keep == "best"
    splits, mixture = ["train", settings.select_on] if best else ["train"], validated(trial)
    fields = _fields(trial) | {"relevance": {name: trial.relevance(name) for name in splits}}
    if best:
        fields |= {"primary": trial.experiment.evaluate.primary, "selection": mixture}
    if trainable:
        fields["texts"] = {name: trial.texts(name) for name in splits}
    return Step(
        name="fit",
        version=VERSION,
        fields=fields,
        inputs=FitInputs(splits={name: _split_inputs(trial, name) for name in splits}),
        compute=compute,
        label=trial.labelled("train"),
        payload=FitSource(
            trial.experiment,
            trial.trained,
            trial.shapes,
            trial.main,
            trial.split("train"),
            trial.split(settings.select_on) if best else None,
            mixture,
            trial.seed,
        ),
    )


def encoder_fit(trial: SeededVariant) -> Step[FitInputs] | None:
    """The fit that levels are encoded after: where it trains the encoder."""
    return fit_step(trial) if trial.main.config.trainable else None


def _fields(trial: SeededVariant) -> dict[str, Any]:
    """Lists, not mappings: order decides which numbers each part draws at the start."""
    model, settings = trial.experiment.model, plain(trial.experiment.train)
    if settings["num_frames"] is None:
        del settings["sampler"]
    if not trial.main.config.trainable:
        del settings["encoder_learning_rate"]
    interactions, transforms, _ = _fitted(trial)
    return {
        "transforms": [[n, s.resolved(), source_of("feature_transform", s)] for n, s in transforms.items()],
        "interactions": [[n, s.resolved(), source_of("interaction", s)] for n, s in interactions.items()],
        "losses": [[n, s.resolved(), source_of("loss", s)] for n, s in model.losses.items()],
        "logit_scale": plain(model.logit_scale),
        "encoder": encoder_fields(trial, trial.main),
        "train": settings,
        "seed": trial.seed,
        "versions": versions("torch"),
        "arithmetic": arithmetic(trial.workspace.device),
    }


def _fitted(trial: SeededVariant) -> tuple[dict[str, Spec], dict[str, Spec], Levels]:
    """Interactions that are trained, transforms that they depend on, levels that these read."""
    interactions = {name: trial.experiment.model.interactions[name] for name in trial.trained}
    return interactions, *transforms_for(trial.experiment.model.transforms, levels_of(interactions))


def _split_inputs(trial: SeededVariant, split: str) -> SplitInputs:
    """The captions of a trained encoder are no input: they enter as a field."""
    _, _, raw = _fitted(trial)
    if not trial.main.config.trainable:
        return SplitInputs(features=feature_steps(trial, split, raw, None))
    attached = set(raw.video) & set(trial.video_texts)
    if attached:
        reason = f"training reads `{min(attached)}`, texts of the data set: their level needs a frozen encoder"
        raise ConfigError(Problem("encoder.trainable", reason))
    others = Levels(*(tuple(name for name in names if trial.owner(name)[0] is not trial.main) for names in raw))
    return SplitInputs(pixels=decode_step(trial, split), features=level_steps(trial, split, others, None))


def validated(trial: SeededVariant) -> dict[str, float]:
    """The mixture that is validated: that of the first contrastive loss, else of the first loss."""
    losses = list(trial.experiment.model.losses.values())
    contrastive = [spec for spec in losses if registry().component("loss", spec).contrastive]
    return dict((contrastive or losses)[0].fields.of)


def compute(workspace: Workspace, members: list[Step[FitInputs]], drafts: list[Draft]) -> None:
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


def _pairs(workspace: Workspace, step: Step[FitInputs], source: FitSource) -> Pairs:
    inputs = step.inputs.splits["train"]
    rows = kept(workspace, source.train, inputs.values())
    train, decoded = source.experiment.train, source.experiment.data.num_frames
    batch = _from_features(*read_features(workspace, rows, inputs.features), source, workspace.device)
    if inputs.pixels is not None:
        batch = _from_pixels(workspace, inputs.pixels, source, rows, batch)

    def embed(texts: Tensor, videos: Tensor, generator: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        if train.num_frames is None:
            return batch(texts, videos, None)
        return batch(texts, videos, choose_frames(decoded, train.num_frames, train.sampler, generator))

    return Pairs(rows.own, rows.sparse, embed, tuple(rows.text_ids), tuple(rows.video_ids))


def _from_features(text: TextFeatures, video: VideoFeatures, source: FitSource, device: torch.device) -> Batch:
    """Rows of stored levels; of those that have the decoded frames as an axis the chosen ones."""
    data, first = source.experiment.data, video[:1]
    attached = registry().component("dataset", data.dataset).video_texts(data.dataset.fields)
    axes = {name: first.structured(name).values.shape[1:-1] for name in first.names if name not in attached}
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

    def __init__(self, workspace: Workspace, step: Step[FitInputs], source: FitSource, model: Model, val: Split):
        self.workspace, self.source, self.model = workspace, source, model
        self.inputs = step.inputs.splits[source.experiment.train.select_on]
        self.rows = kept(workspace, val, self.inputs.values())
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
        text, video = read_features(self.workspace, self.rows, self.inputs.features)
        if self.inputs.pixels is None:
            return text, video
        stored = self.workspace.read(self.inputs.pixels).tensors()
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
