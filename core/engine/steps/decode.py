"""Decode: frames as the main encoder takes them, kept where a trained encoder reads them more than once; and how every
step that reads videos reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contract.components import Encoder
from ...contract.features import Tokens
from ...contract.settings import Spec, plain
from ...contract.store import MISSING, Draft, digest
from ...contract.terminal import progress
from ...errors import ReadingError, VideoError
from ..video import Clip, Sampling, read_clips
from .rows import Rows
from .seeded import SeededVariant
from .step import Inputs, Step, Workspace, arithmetic, source_of, versions

VERSION = 1
VIDEOS, FRAMES = 32, 384
"""Most that an encoder is given at once; more frames than that only where one video has them."""
SKIPPED = "skip those whose file is at fault"
"""Another value than the setting's: earlier versions also skipped, and stored so, what a killed reader had."""


@dataclass(frozen=True)
class VideoSource:
    """What decoding reads: files with their digests, and how frames are chosen."""

    paths: tuple[str, ...]
    items: tuple[str, ...]
    sampling: Sampling
    frame_order: str
    encoder: Encoder
    seed: int
    on_unreadable: str


def decode_step(trial: SeededVariant, split: str) -> Step[Inputs]:
    """The main encoder's frames of a split; one step object for all trials that share it."""

    def make() -> Step[Inputs]:
        source = video_source(trial, split, trial.main)
        return Step(
            name="decode",
            version=VERSION,
            fields=encoder_fields(trial, trial.main) | decode_fields(source),
            inputs=Inputs(),
            compute=compute,
            label=f"decode {split} videos",
            payload=source,
        )

    return trial.workspace.once(("decode", trial.data, trial.main, split), make)


def video_source(trial: SeededVariant, split: str, encoder: Encoder) -> VideoSource:
    data = trial.experiment.data
    paths = [video.path for video in trial.split(split).videos]
    return VideoSource(
        paths=tuple(paths),
        items=tuple(trial.workspace.once(("files", *paths), lambda: trial.workspace.digests.of(paths))),
        sampling=Sampling(data.num_frames, data.sampler, encoder.frame_size, data.short_videos),
        frame_order=data.frame_order,
        encoder=encoder,
        seed=trial.seed,
        on_unreadable=data.on_unreadable,
    )


def encoder_fields(trial: SeededVariant, encoder: Encoder) -> dict[str, Any]:
    """What decides how an encoder prepares and encodes."""
    left_out = {*encoder.located_by, "trainable", "stored"}
    read = {name: value for name, value in plain(encoder.config).items() if name not in left_out}
    return {
        "encoder": encoder.name,
        "settings": read,
        "weights": trial.workspace.once(("fingerprint", encoder), encoder.fingerprint),
        "source": source_of("encoder", Spec(encoder.name, encoder.config)),
        "versions": versions("torch", "transformers"),
        "arithmetic": arithmetic(trial.workspace.device),
    } | ({"seed": trial.seed} if encoder.random_start and not encoder.config.trainable else {})


def decode_fields(source: VideoSource) -> dict[str, Any]:
    """What decides which frames of which files are read."""
    return {
        "sampling": plain(source.sampling),
        "frame_order": source.frame_order,
        "items": digest(source.items),
        "reader": versions("decord"),
    } | ({"on_unreadable": SKIPPED} if source.on_unreadable == "skip" else {})


def compute(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """uint8 frames [B_v, T, 3, h, w] as the encoder takes them, with mask [B_v, T]."""
    source: VideoSource = members[0].payload
    rows = Rows(workspace.store, members, drafts, source.items)
    for index, clip in read_videos(workspace, source, rows.missing, members[0].label):
        if isinstance(clip, VideoError):
            rows.skip(index, clip)
        else:
            frames, mask = prepared(source.encoder, clip)
            rows.put([index], {members[0].key: Tokens(frames[None], mask[None])})
    rows.finish(source.on_unreadable)


def batch_size(source: VideoSource) -> int:
    """Videos that the encoder is given at once."""
    return max(1, min(VIDEOS, FRAMES // source.sampling.num_frames))


def prepared(encoder: Encoder, clip: Clip) -> tuple[Tensor, Tensor]:
    return encoder.prepare_frames(torch.from_numpy(clip.frames)), torch.from_numpy(clip.mask)


def read_videos(
    workspace: Workspace, source: VideoSource, missing: list[int], label: str
) -> Iterator[tuple[int, Clip | VideoError]]:
    """(row, clip or the fault of its file) of each row, those with a fault last.

    A fault counts where the file was read whole, is the one that was digested, and has the fault still: what a disk or
    a share did for a moment is not stored. Raises ReadingError where a video cannot be read as things are.
    """
    faulty: list[int] = []
    for index, clip in progress(_read(workspace, source, missing), label, total=len(missing)):
        if isinstance(clip, VideoError):
            faulty.append(index)
        else:
            yield index, clip
    for index in faulty:
        if workspace.digests.read_anew(source.paths[index]) != source.items[index]:
            raise _changed(source.paths[index])
    yield from _read(workspace, source, faulty)


def _read(workspace: Workspace, source: VideoSource, rows: list[int]) -> Iterator[tuple[int, Clip | VideoError]]:
    paths = [source.paths[index] for index in rows]
    for position, clip in read_clips(paths, source.sampling, workers=workspace.workers, ahead=batch_size(source)):
        index = rows[position]
        if isinstance(clip, ReadingError):
            again = "Nothing of it was stored, and what was done is kept: the same command resumes"
            raise ReadingError(clip.path, clip.reason, f"{clip.fix}. {again}".removeprefix(". "))
        if isinstance(clip, VideoError):
            yield index, clip
        elif source.items[index] == MISSING:
            raise _changed(source.paths[index])
        else:
            yield index, reordered(clip, source.frame_order, source.items[index])


def _changed(path: str) -> ReadingError:
    return ReadingError(path, "is not what it was when the run began", "Let nothing write there, and start again")


def reordered(clip: Clip, frame_order: str, item: str) -> Clip:
    """Valid frames reversed, or shuffled by a permutation that depends on the file's content alone."""
    valid = int(clip.mask.sum())
    order = np.arange(len(clip.mask))
    if frame_order == "reversed":
        order[:valid] = order[:valid][::-1]
    elif frame_order == "shuffled":
        order[:valid] = np.random.default_rng(int(item[:12], 16)).permutation(valid)
    return replace(clip, frames=clip.frames[order])
