"""Entries by (step, key): written as drafts, renamed when whole, checked when they are read."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import StoreError
from .files import checksum
from .leases import Leases

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Entry:
    """A finished output: its folder and its `meta` (step, key, fields, info, files, seconds)."""

    folder: Path
    meta: dict[str, Any]

    @property
    def info(self) -> dict[str, Any]:
        """What the step chose to say about its output."""
        return self.meta["info"]

    def tensors(self, file: str = "tensors.safetensors") -> dict[str, Tensor]:
        """Memory-mapped tensors of a safetensors file. Read them only: they are the stored bytes."""
        from safetensors.torch import load_file

        return load_file(self.folder / file)

    def json(self, file: str = "result.json") -> Any:
        return json.loads((self.folder / file).read_text())

    @property
    def bytes(self) -> int:
        return sum(file["bytes"] for file in self.meta["files"].values())


class Draft:
    """An output that is being written: put files into `folder`, and facts for readers into `info`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.info: dict[str, Any] = {}

    def save(self, tensors: Mapping[str, Tensor], file: str = "tensors.safetensors") -> None:
        from safetensors.torch import save_file

        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, self.folder / file)

    def json(self, value: Any, file: str = "result.json") -> None:
        (self.folder / file).write_text(json.dumps(value, allow_nan=False))


class Store:
    """Entries by (step, key) under `root`, shared by any number of processes."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        self.leases = Leases(self.root / "leases")
        self._checked: dict[tuple[str, str], Entry] = {}

    def _folder(self, step: str, key: str) -> Path:
        return self.root / step / key

    def has(self, step: str, key: str) -> bool:
        return (self._folder(step, key) / "meta.json").is_file()

    def peek(self, step: str, key: str) -> Entry | None:
        """The entry as it says it is, nothing verified; None where there is none."""
        folder = self._folder(step, key)
        try:
            return Entry(folder, json.loads((folder / "meta.json").read_text()))
        except (OSError, ValueError):
            return None

    def read(self, step: str, key: str) -> Entry:
        """The entry, its checksums verified once by each process that did not write it. A damaged one is set aside:
        StoreError says so."""
        if (step, key) not in self._checked:
            folder = self._folder(step, key)
            if not folder.exists():
                raise StoreError(f"{folder}: is not in the store; it was removed or never finished. Run again.")
            try:
                meta = json.loads((folder / "meta.json").read_text())
                wrong = [name for name, file in meta["files"].items() if checksum(folder / name) != file["crc32"]]
            except (OSError, ValueError, KeyError) as fault:
                wrong = [str(fault)]
            if wrong:
                aside = _set_aside(folder, f"damaged-{key}")
                raise StoreError(f"{folder}: damaged ({', '.join(wrong)}); set aside as {aside.name}. Run again.")
            self._checked[step, key] = Entry(folder, meta)
        return self._checked[step, key]

    def forget(self, step: str, key: str) -> None:
        """Remove an entry."""
        self._checked.pop((step, key), None)
        shutil.rmtree(self._folder(step, key), ignore_errors=True)

    @contextmanager
    def write(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """`draft` under a `lease`. Raises Busy where another process holds the lease."""
        with self.leases.hold(step, key), self.draft(step, key, fields) as draft:
            yield draft

    @contextmanager
    def draft(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """A draft, committed when the block ends without an exception; the caller holds the lease.

        Its folder survives a kill and is handed out again. Files named `resume…` stay out of the entry.
        """
        draft = Draft(self.root / step / f"draft-{key}")
        draft.folder.mkdir(parents=True, exist_ok=True)
        (draft.folder / "meta.json").unlink(missing_ok=True)
        started = time.monotonic()
        yield draft
        for leftover in [*draft.folder.glob("resume*"), *draft.folder.glob(".*")]:
            leftover.unlink()
        files = {
            str(path.relative_to(draft.folder)): {"bytes": path.stat().st_size, "crc32": checksum(path)}
            for path in sorted(draft.folder.rglob("*"))
            if path.is_file()
        }
        meta: dict[str, Any] = {"step": step, "key": key, "fields": fields, "info": draft.info, "files": files}
        meta |= {"created": time.time(), "seconds": round(time.monotonic() - started, 3)}
        text = json.dumps(meta)
        (draft.folder / "meta.json").write_text(text)
        self._commit(draft.folder, self._folder(step, key))
        self._checked[step, key] = Entry(self._folder(step, key), json.loads(text))

    def _commit(self, draft: Path, folder: Path) -> None:
        """Rename the draft; an entry that it replaces goes after it has taken the name."""
        old = _set_aside(folder, f"old-{folder.name}") if folder.exists() else None
        os.replace(draft, folder)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Every finished entry, oldest first."""
        folders = [folder for folder in self.root.glob("*/*") if re.fullmatch("[0-9a-f]{16}", folder.name)]
        found = [entry for folder in folders if (entry := self.peek(folder.parent.name, folder.name))]
        return sorted(found, key=lambda entry: entry.meta["created"])

    def remains(self) -> list[Path]:
        """Folders that no entry needs: drafts without a living owner, replaced entries, damaged ones."""
        found = []
        for folder in sorted(self.root.glob("*/*-*")):
            kind, _, key = folder.name.partition("-")
            if kind not in ("draft", "old", "damaged") or folder.parent.name in ("datasets", "leases"):
                continue
            if kind != "draft" or not self.leases.held(folder.parent.name, key):
                found.append(folder)
        return found


def _set_aside(folder: Path, name: str) -> Path:
    aside = folder.with_name(f"{name}-{os.getpid()}-{time.time_ns():x}")
    folder.rename(aside)
    return aside
