"""Encode: frames and texts to levels of tokens, a row an item, entry by entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ...contract.components import Encoder, Levels
from ...contract.features import Features, Tokens
from ...contract.store import Draft, Entry, digest
from ...contract.terminal import progress
from ...errors import DataError, VideoError
from ..model import levels_of, transforms_for
from .decode import (
    VideoSource,
    batch_size,
    decode_fields,
    decode_step,
    encoder_fields,
    prepared,
    read_videos,
    video_source,
)
from .rows import Rows
from .seeded import SeededVariant
from .split import FeatureInputs
from .step import Inputs, Step, Workspace
from .weights import loaded_encoder

VERSION = 1
TEXTS = 256
"""Texts that an encoder is given at once."""
Row = TypeVar("Row")


@dataclass(frozen=True, kw_only=True)
class EncodeInputs(Inputs):
    """Of a trained encoder: its weights and, for videos, their frames."""

    fit: Step | None = None
    decode: Step | None = None


@dataclass(frozen=True)
class TextSource:
    """Texts to encode, all of a split's captions or, grouped by video, its texts of one name."""

    texts: tuple[str, ...]
    encoder: Encoder
    seed: int
    groups: tuple[tuple[int, ...], ...] | None = None


def feature_steps(trial: SeededVariant, split: str, levels: Levels, fit: Step | None) -> FeatureInputs:
    """Levels of a split and, where unreadable videos are skipped and none of these levels is decoded, one that is: all
    must leave out the same videos. fit: the one that trains the encoder, if any does."""
    return level_steps(trial, split, levels, fit) | _skipping(trial, split, levels, fit)


def level_steps(trial: SeededVariant, split: str, levels: Levels, fit: Step | None) -> FeatureInputs:
    """Levels of a split, after the fit where it trains their encoder."""
    return FeatureInputs(
        text={level: _encode_step(trial, split, "text", level, fit) for level in levels.text},
        video={level: _encode_step(trial, split, "video", level, fit) for level in levels.video},
    )


def _skipping(trial: SeededVariant, split: str, levels: Levels, fit: Step | None) -> FeatureInputs:
    model, attached = trial.experiment.model, set(trial.video_texts)
    if trial.experiment.data.on_unreadable != "skip" or set(levels.video) - attached:
        return FeatureInputs()
    _, read = transforms_for(model.transforms, levels_of(model.interactions))
    decoded = [level for level in read.video if level not in attached]
    return FeatureInputs(skip={level: _encode_step(trial, split, "video", level, fit) for level in decoded[:1]})


def _encode_step(trial: SeededVariant, split: str, side: str, level: str, fit: Step | None) -> Step[EncodeInputs]:
    """One step object for all trials that share it: to digest every item of a split takes time."""
    encoder, inner = trial.owner(level)
    fit = fit if encoder.config.trainable else None
    seed = trial.seed if encoder.random_start else None

    def make() -> Step[EncodeInputs]:
        if side == "text":
            return _encode_texts(trial, split, inner, encoder, fit)
        if level in trial.video_texts:
            return _encode_video_texts(trial, split, inner, encoder, fit)
        return _encode_videos(trial, split, inner, encoder, fit)

    return trial.workspace.once(("encode", trial.data, encoder, seed, fit and fit.key, split, side, level), make)


def _encode_texts(
    trial: SeededVariant, split: str, level: str, encoder: Encoder, fit: Step | None
) -> Step[EncodeInputs]:
    return Step(
        name="encode",
        version=VERSION,
        fields=encoder_fields(trial, encoder) | {"level": level, "items": trial.texts(split)} | _stored_as(encoder),
        inputs=EncodeInputs(fit=fit),
        compute=compute_texts,
        label=f"encode {split} texts",
        payload=TextSource(tuple(text.text for text in trial.split(split).texts), encoder, trial.seed),
        varies_within_group=("level",),
    )


def _encode_video_texts(
    trial: SeededVariant, split: str, level: str, encoder: Encoder, fit: Step | None
) -> Step[EncodeInputs]:
    groups: list[tuple[int, ...]] = []
    texts: list[str] = []
    for video in trial.split(split).videos:
        own = video.texts.get(level, ())
        groups.append(tuple(range(len(texts), len(texts) + len(own))))
        texts.extend(own)
    items = {"items": digest([texts, groups]), "grouped": True}
    return Step(
        name="encode",
        version=VERSION,
        fields=encoder_fields(trial, encoder) | items | _stored_as(encoder),
        inputs=EncodeInputs(fit=fit),
        compute=compute_video_texts,
        label=f"encode {split} {level}",
        payload=TextSource(tuple(texts), encoder, trial.seed, tuple(groups)),
    )


def _encode_videos(
    trial: SeededVariant, split: str, level: str, encoder: Encoder, fit: Step | None
) -> Step[EncodeInputs]:
    source = video_source(trial, split, encoder)
    fields = encoder_fields(trial, encoder) | {"level": level} | decode_fields(source) | _stored_as(encoder)
    return Step(
        name="encode",
        version=VERSION,
        fields=fields,
        inputs=EncodeInputs(fit=fit, decode=decode_step(trial, split) if fit else None),
        compute=compute_videos,
        label=f"encode {split} videos",
        payload=source,
        varies_within_group=("level",),
    )


def _stored_as(encoder: Encoder) -> dict[str, Any]:
    """The field of the levels' own precision; pixels and weights do not depend on it."""
    return {} if encoder.config.stored == "float32" else {"stored": encoder.config.stored}


def compute_videos(workspace: Workspace, members: list[Step[EncodeInputs]], drafts: list[Draft]) -> None:
    """Levels of a split's videos, one entry a level: `values` and `mask`, a row a video."""
    source: VideoSource = members[0].payload
    rows = Rows(workspace.store, members, drafts, source.items)
    encoder = _encoder_for(workspace, members[0], rows)
    levels = {step.key: step.fields["level"] for step in members}
    if (decoded := members[0].inputs.decode) is not None:
        clips = _stored_clips(workspace.read(decoded), rows.missing)
    else:
        clips = (
            (index, clip if isinstance(clip, VideoError) else prepared(encoder, clip))
            for index, clip in read_videos(workspace, source, rows.missing, members[0].label)
        )
    for batch in _batched(clips, batch_size(source), rows.skip):
        indices, frames, masks = zip(*batch, strict=True)
        with torch.inference_mode():
            features = encoder.forward_video(
                torch.stack(frames).to(workspace.device), torch.stack(masks).to(workspace.device), set(levels.values())
            )
        rows.put(list(indices), {key: _as_stored(encoder, features, level) for key, level in levels.items()})
    rows.finish(source.on_unreadable)


def compute_texts(workspace: Workspace, members: list[Step[EncodeInputs]], drafts: list[Draft]) -> None:
    """Levels of a split's captions, one entry a level: `values` and `mask`, a row a caption."""
    source: TextSource = members[0].payload
    rows = Rows(workspace.store, members, drafts, tuple(digest(text) for text in source.texts))
    encoder = _encoder_for(workspace, members[0], rows)
    levels = {step.key: step.fields["level"] for step in members}
    for part in progress(_chunks(rows.missing, TEXTS), members[0].label):
        tokens = encoder.prepare_texts([source.texts[index] for index in part])
        with torch.inference_mode():
            features = encoder.forward_text(
                {name: tensor.to(workspace.device) for name, tensor in tokens.items()}, set(levels.values())
            )
        rows.put(part, {key: _as_stored(encoder, features, level) for key, level in levels.items()})
    rows.finish("fail")


def compute_video_texts(workspace: Workspace, members: list[Step[EncodeInputs]], drafts: list[Draft]) -> None:
    """A video-side level [B_v, n, D]: sentence vectors of the texts that a data set attaches to its videos."""
    source: TextSource = members[0].payload
    encoder = loaded_encoder(workspace, source.encoder, source.seed, members[0].inputs.fit)
    assert source.groups is not None
    longest = max((len(group) for group in source.groups), default=0) or 1
    width = encoder.shapes["sentence"].width
    shape = (len(source.groups), longest)
    values = torch.zeros(*shape, width, dtype=getattr(torch, encoder.config.stored))
    mask = torch.zeros(shape, dtype=torch.bool)
    owners = [(row, place) for row, group in enumerate(source.groups) for place in range(len(group))]
    for part in _chunks(list(range(len(owners))), TEXTS):
        tokens = encoder.prepare_texts([source.texts[source.groups[owners[i][0]][owners[i][1]]] for i in part])
        with torch.inference_mode():
            features = encoder.forward_text({k: v.to(workspace.device) for k, v in tokens.items()}, {"sentence"})
        for index, vector in zip(part, _as_stored(encoder, features, "sentence").values.cpu(), strict=True):
            values[owners[index]], mask[owners[index]] = vector, True
    drafts[0].save({"values": values, "mask": mask})
    drafts[0].info |= {"label": members[0].label, "skipped": {}}


def _encoder_for(workspace: Workspace, step: Step[EncodeInputs], rows: Rows) -> Encoder:
    """The encoder of a step, its weights read only where there are rows to encode."""
    source = step.payload
    if not rows.missing:
        return source.encoder
    return loaded_encoder(workspace, source.encoder, source.seed, step.inputs.fit)


def _as_stored(encoder: Encoder, features: Features, level: str) -> Tokens:
    """A level as it is stored. Raises DataError where float16 cannot hold it."""
    tokens = features.structured(level)
    values = tokens.values.to(getattr(torch, encoder.config.stored))
    if values.dtype == torch.float16 and not torch.equal(values.isfinite(), tokens.values.isfinite()):
        raise DataError(f"encoder.stored: `{level}` has values beyond 65,504, the most of float16; take bfloat16")
    return Tokens(values, tokens.mask)


def _stored_clips(entry: Entry, missing: list[int]) -> Iterator[tuple[int, tuple[Tensor, Tensor] | VideoError]]:
    stored = entry.tensors()
    skipped = entry.info["skipped"]
    for index in missing:
        fault = skipped.get(str(index))
        yield index, VideoError(*fault) if fault else (stored["values"][index], stored["mask"][index])


def _batched(
    clips: Any, size: int, skip: Callable[[int, VideoError], None]
) -> Iterator[list[tuple[int, Tensor, Tensor]]]:
    batch: list[tuple[int, Tensor, Tensor]] = []
    for index, clip in clips:
        if isinstance(clip, VideoError):
            skip(index, clip)
            continue
        batch.append((index, *clip))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _chunks(rows: Sequence[Row], size: int) -> list[list[Row]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
