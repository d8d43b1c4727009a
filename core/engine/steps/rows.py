"""Levels as they are filled, a row an item. Entries share rows when they differ in nothing but the items, so that a
data set that grows, or one whose broken file was mended, is encoded only where it changed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...contract.features import Tokens
from ...contract.store import Draft, Store
from ...contract.store.files import discard
from ...contract.tensorfile import map_tensors
from ...errors import DataError, StoreError, VideoError
from .step import Step

RESUME = "resume-rows.safetensors"
COPIED = 256
"""Rows that are copied from another entry at a time."""


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
        for start in range(0, len(wanted), COPIED):
            mine, other = zip(*wanted[start : start + COPIED], strict=True)
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


class Rows:
    """The drafts of a group, filled together."""

    def __init__(self, store: Store, members: list[Step], drafts: list[Draft], items: Sequence[str]):
        self.members, self.drafts = members, drafts
        self.files = {step.key: RowFile(store, step, draft, items) for step, draft in zip(members, drafts, strict=True)}
        done = set.intersection(*(file.done for file in self.files.values()))
        self.missing = [index for index in range(len(items)) if index not in done]
        self.skipped: dict[int, VideoError] = {}

    def put(self, indices: Sequence[int], rows: Mapping[str, Tokens]) -> None:
        """Write rows of each member, by its key."""
        for key, tokens in rows.items():
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
    listed = "\n".join(f"  {fault}" for fault in faults[:20])
    more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
    verb = "video cannot" if len(faults) == 1 else "videos cannot"
    return DataError(
        f"data.dataset: {len(faults)} {verb} be used:\n{listed}{more}\n"
        "Mend or remove them, or set data.on_unreadable: skip to go on without them (they are listed in the report). "
        "What was decoded is kept."
    )
