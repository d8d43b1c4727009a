"""Decode and encode: frames and texts to levels of tokens, a row an item, entry by entry.

Entries share rows when they differ in nothing but the items, so that a data set that grows, or one whose broken file
was mended, is encoded only where it changed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ...contract.components import Encoder
from ...contract.features import Features, Tokens
from ...contract.store import MISSING, Draft, Entry, Store, digest
from ...contract.store.files import discard
from ...contract.tensorfile import map_tensors
from ...contract.terminal import progress
from ...errors import DataError, ReadingError, StoreError, VideoError
from ..video import Clip, Sampling, read_clips
from .step import Step, Workspace

Row = TypeVar("Row")
VIDEOS, FRAMES = 32, 384
"""Most that an encoder is given at once; more frames than that only where one video has them."""
RESUME = "resume-rows.safetensors"


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


@dataclass(frozen=True)
class TextSource:
    """Texts to encode, all of a split's captions or, grouped by video, its texts of one name."""

    texts: tuple[str, ...]
    encoder: Encoder
    seed: int
    groups: tuple[tuple[int, ...], ...] | None = None


def decode(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """uint8 frames [B_v, T, 3, h, w] as the encoder takes them, with mask [B_v, T]."""
    source: VideoSource = members[0].payload
    rows = _Rows(workspace.store, members, drafts, source.items)
    for index, clip in _clips(workspace, source, rows.missing, members[0].label):
        if isinstance(clip, VideoError):
            rows.skip(index, clip)
        else:
            frames, mask = _prepared(source.encoder, clip)
            rows.put([index], {members[0].key: Tokens(frames[None], mask[None])})
    rows.finish(source.on_unreadable)


def encode_video(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Levels of a split's videos, one entry a level: `values` and `mask`, a row a video."""
    source: VideoSource = members[0].payload
    rows = _Rows(workspace.store, members, drafts, source.items)
    encoder = _encoder_for(workspace, members[0], rows)
    levels = {step.key: step.fields["level"] for step in members}
    if "decode" in members[0].inputs:
        clips = _stored_clips(workspace.read(members[0].inputs["decode"]), rows.missing)
    else:
        clips = (
            (index, clip if isinstance(clip, VideoError) else _prepared(encoder, clip))
            for index, clip in _clips(workspace, source, rows.missing, members[0].label)
        )
    for batch in _batched(clips, _batch(source), rows.skip):
        indices, frames, masks = zip(*batch, strict=True)
        with torch.inference_mode():
            made = encoder.forward_video(
                torch.stack(frames).to(workspace.device), torch.stack(masks).to(workspace.device), set(levels.values())
            )
        rows.put(list(indices), {key: _kept(encoder, made, level) for key, level in levels.items()})
    rows.finish(source.on_unreadable)


def encode_text(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Levels of a split's captions, one entry a level: `values` and `mask`, a row a caption."""
    source: TextSource = members[0].payload
    rows = _Rows(workspace.store, members, drafts, tuple(digest(text) for text in source.texts))
    encoder = _encoder_for(workspace, members[0], rows)
    levels = {step.key: step.fields["level"] for step in members}
    for part in progress(_chunks(rows.missing, 256), members[0].label):
        tokens = encoder.prepare_texts([source.texts[index] for index in part])
        with torch.inference_mode():
            made = encoder.forward_text(
                {name: tensor.to(workspace.device) for name, tensor in tokens.items()}, set(levels.values())
            )
        rows.put(part, {key: _kept(encoder, made, level) for key, level in levels.items()})
    rows.finish("fail")


def encode_video_texts(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """A video-side level [B_v, n, D]: sentence vectors of the texts that a data set attaches to its videos."""
    source: TextSource = members[0].payload
    encoder = loaded_encoder(workspace, source.encoder, source.seed, members[0].inputs.get("fit"))
    assert source.groups is not None
    longest = max((len(group) for group in source.groups), default=0) or 1
    width = encoder.shapes["sentence"].width
    shape = (len(source.groups), longest)
    values = torch.zeros(*shape, width, dtype=getattr(torch, encoder.config.stored))
    mask = torch.zeros(shape, dtype=torch.bool)
    owners = [(row, place) for row, group in enumerate(source.groups) for place in range(len(group))]
    for part in _chunks(list(range(len(owners))), 256):
        tokens = encoder.prepare_texts([source.texts[source.groups[owners[i][0]][owners[i][1]]] for i in part])
        with torch.inference_mode():
            made = encoder.forward_text({k: v.to(workspace.device) for k, v in tokens.items()}, {"sentence"})
        for index, vector in zip(part, _kept(encoder, made, "sentence").values.cpu(), strict=True):
            values[owners[index]], mask[owners[index]] = vector, True
    drafts[0].save({"values": values, "mask": mask})
    drafts[0].info |= {"label": members[0].label, "skipped": {}}


def _encoder_for(workspace: Workspace, step: Step, rows: _Rows) -> Encoder:
    """The encoder of a step, its weights read only where there are rows to encode."""
    source = step.payload
    if not rows.missing:
        return source.encoder
    return loaded_encoder(workspace, source.encoder, source.seed, step.inputs.get("fit"))


def loaded_encoder(workspace: Workspace, encoder: Encoder, seed: int, fit: Step | None) -> Encoder:
    """The encoder with weights on the device, in evaluation mode: trained ones where it was fitted."""
    wanted = (seed if encoder.random_start else None, fit and fit.key)
    if workspace.weights.get(encoder) != wanted:
        workspace.weights.pop(encoder, None)
        encoder.load(seed)
        if fit is not None:
            state = workspace.read(fit).tensors()
            trained = {n.removeprefix("encoder."): t for n, t in state.items() if n.startswith("encoder.")}
            encoder.load_state_dict(trained)
        workspace.weights[encoder] = wanted
    return encoder.to(workspace.device).eval()


def _kept(encoder: Encoder, made: Features, level: str) -> Tokens:
    """A level as it is stored. Raises DataError where float16 cannot hold it."""
    tokens = made.structured(level)
    values = tokens.values.to(getattr(torch, encoder.config.stored))
    if values.dtype == torch.float16 and not torch.equal(values.isfinite(), tokens.values.isfinite()):
        raise DataError(f"encoder.stored: `{level}` has values beyond 65,504, the most of float16; take bfloat16")
    return Tokens(values, tokens.mask)


def _batch(source: VideoSource) -> int:
    """Videos that the encoder is given at once."""
    return max(1, min(VIDEOS, FRAMES // source.sampling.num_frames))


def _prepared(encoder: Encoder, clip: Clip) -> tuple[Tensor, Tensor]:
    return encoder.prepare_frames(torch.from_numpy(clip.frames)), torch.from_numpy(clip.mask)


def _clips(
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
    for position, clip in read_clips(paths, source.sampling, workers=workspace.workers, ahead=_batch(source)):
        index = rows[position]
        if isinstance(clip, ReadingError):
            again = "Nothing of it was stored, and what was done is kept: the same command goes on from there"
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


class RowFile:
    """The draft of one level, filled row by row; what an earlier entry or a killed draft holds is copied first.

    `items` are digests of what each row is made from; `recipe` is the digest of everything else. A file
    `recipe-<digest>` in an entry's folder lets others of the same recipe be found. RESUME holds a sum of each row that
    is there: a row of a draft counts only as long as its item and its bytes have that sum.
    """

    def __init__(self, store: Store, step: Step, draft: Draft, items: Sequence[str]):
        self.store, self.folder, self.items = store, draft.folder, list(items)
        self.tensors: dict[str, Tensor] = {}
        self._sums: Tensor | None = None
        recipe = f"recipe-{step.recipe}"
        (self.folder / recipe).touch()
        self._go_on()
        draft.json(self.items, "items.json")
        for marker in sorted(self.folder.parent.glob(f"*/{recipe}")):
            if marker.parent != self.folder and len(self.done) < len(self.items):
                self._copy(marker.parent)

    @property
    def done(self) -> set[int]:
        return set() if self._sums is None else set(self._sums.nonzero().flatten().tolist())

    def put(self, indices: Sequence[int], tokens: Tokens) -> None:
        """Write rows: values, and the mask where there is one."""
        parts = {"values": tokens.values} | ({} if tokens.mask is None else {"mask": tokens.mask})
        self._write(list(indices), parts)

    def _write(self, indices: list[int], parts: Mapping[str, Tensor]) -> None:
        if self._sums is None:
            self._open({name: (tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in parts.items()})
        assert self._sums is not None
        for name, tensor in parts.items():
            self.tensors[name][indices] = tensor.cpu()
        for index in indices:
            self._sums[index] = _row_sum(self.items[index], self.tensors, index)

    def _open(self, layout: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
        rows = len(self.items)
        sized = {name: ((rows, *shape), dtype) for name, (shape, dtype) in layout.items()}
        self.tensors = map_tensors(self.folder / "tensors.safetensors", sized)
        self._sums = map_tensors(self.folder / RESUME, {"sums": ((rows,), torch.int64)})["sums"]

    def _go_on(self) -> None:
        """Take over the rows that a killed process left here, those that are whole."""
        rows, tensors = _draft_rows(self.folder)
        if not set(rows) & set(self.items):
            for name in (RESUME, "tensors.safetensors"):
                discard(self.folder / name)
            return
        self._open({name: (tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in tensors.items()})
        assert self._sums is not None
        whole = [rows.get(item) == index for index, item in enumerate(self.items)]
        self._sums[~torch.tensor(whole)] = 0

    def _copy(self, folder: Path) -> None:
        (rows, stored), done = self._rows_in(folder), self.done
        wanted = [(i, rows[item]) for i, item in enumerate(self.items) if i not in done and item in rows]
        for part in _chunks(wanted, 256):
            mine, other = zip(*part, strict=True)
            self._write(list(mine), {name: tensor[list(other)] for name, tensor in stored.items()})

    def _rows_in(self, folder: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
        """{item: row} of what another entry, if it is undamaged, or another draft holds, and the tensors of the rows.

        Nothing of one that its process finishes, or somebody removes, meanwhile.
        """
        from safetensors import SafetensorError

        if folder.name.startswith("draft-"):
            return _draft_rows(folder)
        if "-" in folder.name:
            return {}, {}
        try:
            entry = self.store.read(folder.parent.name, folder.name)
            skipped = entry.info["skipped"]
            rows = {item: row for row, item in enumerate(entry.json("items.json")) if str(row) not in skipped}
            return rows, _stored(folder)
        except (StoreError, OSError, SafetensorError):
            return {}, {}


def _draft_rows(folder: Path) -> tuple[dict[str, int], dict[str, Tensor]]:
    """{item: row} of the rows of a draft that are whole, and its tensors; none where its files do not belong
    together."""
    from safetensors import SafetensorError

    try:
        items = json.loads((folder / "items.json").read_text())
        sums = _stored(folder, RESUME)["sums"]
        tensors = _stored(folder)
        if len(sums) != len(items) or any(len(tensor) != len(items) for tensor in tensors.values()):
            return {}, {}
        there = sums.nonzero().flatten().tolist()
        return {items[row]: row for row in there if _row_sum(items[row], tensors, row) == sums[row]}, tensors
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return {}, {}


def _row_sum(item: str, tensors: Mapping[str, Tensor], row: int) -> int:
    """A sum, not 0, of a row's item and bytes."""
    value = zlib.crc32(item.encode())
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name][row].reshape(-1).view(torch.uint8).numpy().data, value)
    return 1 + value


def _stored(folder: Path, file: str = "tensors.safetensors") -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / file)


class _Rows:
    """The drafts of a group, filled together."""

    def __init__(self, store: Store, members: list[Step], drafts: list[Draft], items: Sequence[str]):
        self.members, self.drafts = members, drafts
        self.files = {step.key: RowFile(store, step, draft, items) for step, draft in zip(members, drafts, strict=True)}
        done = set.intersection(*(file.done for file in self.files.values()))
        self.missing = [index for index in range(len(items)) if index not in done]
        self.skipped: dict[int, VideoError] = {}

    def put(self, indices: Sequence[int], made: Mapping[str, Tokens]) -> None:
        for key, tokens in made.items():
            self.files[key].put(indices, tokens)

    def skip(self, index: int, fault: VideoError) -> None:
        self.skipped[index] = fault

    def finish(self, on_unreadable: str) -> None:
        """Raises DataError that lists every unreadable video, unless they are to be skipped and some remain."""
        if self.skipped and (on_unreadable == "fail" or not any(file.tensors for file in self.files.values())):
            raise unreadable(list(self.skipped.values()))
        skipped = {str(i): [fault.path, fault.reason, fault.fix] for i, fault in sorted(self.skipped.items())}
        for step, draft in zip(self.members, self.drafts, strict=True):
            draft.info |= {"label": step.label, "skipped": skipped}


def unreadable(faults: Sequence[VideoError]) -> DataError:
    shown = "\n".join(f"  {fault}" for fault in faults[:20])
    more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    verb = "video cannot" if len(faults) == 1 else "videos cannot"
    return DataError(
        f"data.dataset: {len(faults)} {verb} be used:\n{shown}{more}\n"
        "Mend or remove them, or set data.on_unreadable: skip to go on without them (they are listed in the report). "
        "What was decoded is kept."
    )
