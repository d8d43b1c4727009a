"""Fit: train the model, or the model with its encoder, on a data set's training pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..components import Encoder, Levels, Shapes, Split
from ..config import Experiment
from ..features import TextFeatures, VideoFeatures
from ..metrics import evaluate, metric
from ..model import Model
from ..plugins import registry
from ..scoring import score_settings
from ..store import Draft
from ..training import Embed, Pairs, Trainee
from ..training import fit as train
from .split import Kept, kept, read_features
from .step import Step, Workspace


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
            source.encoder.load(source.seed)
            model.start_from(source.encoder.start_weights())
        trainee = Trainee(model, losses, source.encoder if trainable else None).to(workspace.device)
        pairs = _pairs(workspace, step, source)
        validator = _Validator(workspace, step, source, model) if source.val is not None else None
        fitted = train(
            trainee,
            pairs,
            experiment.train,
            source.seed,
            workspace.device,
            validator,
            metric(experiment.evaluate.primary).higher_is_better,
            draft.folder / "resume.pt",
            step.label,
        )
    draft.save(fitted.state)
    draft.json(fitted.history, "history.json")
    parameters = sum(parameter.numel() for parameter in trainee.parameters())
    draft.info |= {"label": step.label, "best_epoch": fitted.best_epoch, "parameters": parameters}
    draft.info |= {"epochs": len(fitted.history), "pairs": len(pairs.own)}


def _inputs(step: Step, split: str) -> dict[str, Step]:
    return {name.removeprefix(f"{split}/"): s for name, s in step.inputs.items() if name.startswith(f"{split}/")}


def _pairs(workspace: Workspace, step: Step, source: FitSource) -> Pairs:
    inputs = _inputs(step, "train")
    rows = kept(workspace, source.train, inputs)
    if source.encoder.config.trainable:
        embed = _from_pixels(workspace, inputs["video/pixels"], source, rows)
    else:
        embed = _from_features(*read_features(workspace, rows, inputs), source, workspace.device)
    return Pairs(rows.own, rows.sparse, embed, tuple(rows.text_ids), tuple(rows.video_ids))


def _from_features(text: TextFeatures, video: VideoFeatures, source: FitSource, device: torch.device) -> Embed:
    train, decoded = source.experiment.train, source.experiment.data.num_frames

    def embed(texts: Tensor, videos: Tensor, generator: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        batch = video[videos].to(device)
        if train.num_frames is not None:
            frames = choose_frames(decoded, train.num_frames, train.sampler, generator).to(device)
            for name in batch.names:
                tokens = batch.structured(name)
                if tokens.values.ndim > 2 and tokens.values.shape[1] == decoded:
                    batch = batch.with_level(name, tokens.map(lambda tensor: tensor[:, frames]))
        return text[texts].to(device), batch

    return embed


def _from_pixels(workspace: Workspace, pixels: Step, source: FitSource, rows: Kept) -> Embed:
    """Features from the encoder itself, from stored frames and from captions tokenised once."""
    train, device, encoder = source.experiment.train, workspace.device, source.encoder
    stored = workspace.read(pixels).tensors()
    tokens = encoder.prepare_texts([source.train.texts[row].text for row in rows.texts.tolist()])
    levels = needed_levels(source)

    def embed(texts: Tensor, videos: Tensor, generator: torch.Generator) -> tuple[TextFeatures, VideoFeatures]:
        chosen, decoded = rows.videos[videos], stored["mask"].shape[1]
        frames = choose_frames(decoded, train.num_frames or decoded, train.sampler, generator)
        values = stored["values"][chosen[:, None], frames[None, :]].to(device)
        mask = stored["mask"][chosen][:, frames].to(device)
        text = encoder.forward_text({name: tensor[texts].to(device) for name, tensor in tokens.items()}, levels.text)
        return text, encoder.forward_video(values, mask, levels.video)

    return embed


def needed_levels(source: FitSource) -> Levels:
    """The encoder's levels that the fitted part of the model reads."""
    with torch.device("meta"):
        return Model.of(source.experiment, source.interactions, source.shapes).raw


def choose_frames(decoded: int, wanted: int, sampler: str, generator: torch.Generator) -> Tensor:
    """Sorted positions [wanted] among the decoded frames: middles of equal parts, or drawn without repetition."""
    if sampler == "random":
        return torch.randperm(decoded, generator=generator)[:wanted].sort().values
    return ((torch.arange(wanted) + 0.5) * decoded / wanted).long()


class _Validator:
    """The primary metric on the validation split, by the mixture of the first contrastive loss."""

    def __init__(self, workspace: Workspace, step: Step, source: FitSource, model: Model):
        self.workspace, self.source, self.model = workspace, source, model
        self.inputs = _inputs(step, "val")
        self.rows = kept(workspace, source.val, self.inputs)
        self.relevance = self.rows.relevance
        self.label = f"{step.label}: validate"

    def __call__(self) -> float:
        text, video = self._features()
        scores = torch.zeros(len(text), len(video))
        for name, weight in self.source.mixture.items():
            interaction = self.model.interaction(name)
            made = score_settings(
                interaction,
                [interaction.config],
                text,
                video,
                text_transform=self.model.text,
                video_transform=self.model.video,
                device=self.workspace.device,
                label=self.label,
            )
            scores += weight * made[0]
        primary = self.source.experiment.evaluate.primary
        direction, name = primary.split("/")
        return evaluate(scores.numpy(), self.relevance, [name], [direction]).metrics[primary]

    def _features(self) -> tuple[TextFeatures, VideoFeatures]:
        if "video/pixels" not in self.inputs:
            return read_features(self.workspace, self.rows, self.inputs)
        stored = self.workspace.read(self.inputs["video/pixels"]).tensors()
        encoder, device, levels = self.source.encoder, self.workspace.device, needed_levels(self.source)
        tokens = encoder.prepare_texts([self.rows.split.texts[row].text for row in self.rows.texts.tolist()])
        videos, texts = [], []
        with torch.inference_mode():
            for part in self.rows.videos.split(64):
                made = encoder.forward_video(stored["values"][part].to(device), stored["mask"][part].to(device), levels.video)
                videos.append(made.to("cpu"))
            for part in torch.arange(len(self.rows.texts)).split(256):
                made = encoder.forward_text({n: t[part].to(device) for n, t in tokens.items()}, levels.text)
                texts.append(made.to("cpu"))
        return TextFeatures.cat(texts), VideoFeatures.cat(videos)
