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

from ...errors import StoreError
from .files import checked, checksum, discard, follow_umask, read_text, set_aside, sync, with_check
from .leases import Leases, token
from .mark import claim, entry_folders, has_the_shape, is_marked, mend

if TYPE_CHECKING:
    from torch import Tensor

_META = {"step": str, "key": str, "fields": dict, "info": dict, "files": dict, "created": float, "seconds": float}
"""What `meta.json` holds."""
_REMAINS = re.compile(r"(draft|old|damaged)-([0-9a-f]{16})(-[0-9a-f]+-[0-9a-f]+)?")
"""Folders beside entries: unfinished ones, replaced ones, damaged ones."""


class Gone(StoreError):
    """An entry that is not in the store, or was damaged and set aside: its `step` and `key`."""

    def __init__(self, step: str, key: str, message: str):
        self.step, self.key = step, key
        super().__init__(message)


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
        """Raises OSError where the disk is full."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(plain, self.folder / file)
            follow_umask(self.folder / file)
        except SafetensorError as fault:
            code = re.search(r"code: (\d+)", str(fault))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(self.folder / file)) from None

    def json(self, value: Any, file: str = "result.json") -> None:
        (self.folder / file).write_text(json.dumps(value, allow_nan=False))


@dataclass(frozen=True)
class Remains:
    """A folder that no entry needs: a draft without a living owner, a replaced entry, a damaged one."""

    folder: Path
    kind: str
    key: str


class Store:
    """Entries by (step, key) under `root`, shared by any number of processes.

    In a folder that is no store nothing is read, and nothing is written to it.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        self.leases = Leases(self.root / "leases")
        self._is_ours = self._claimed = False
        self._checked: dict[tuple[str, str], Entry] = {}

    @property
    def is_ours(self) -> bool:
        """Whether the folder is a store: marked as one or, of an earlier version, in the shape of one."""
        self._is_ours = self._is_ours or is_marked(self.root) or has_the_shape(self.root)
        return self._is_ours

    def claim(self) -> None:
        """Before anything is written: mark a new store, adopt one from before, clear away what dead processes left.

        Raises StoreError for somebody else's folder, or one that cannot be written.
        """
        if not self._claimed:
            claim(self.root)
            self._claimed = self._is_ours = True
            if os.access(self.root, os.W_OK):
                mend(self.root)
                self.leases.sweep()

    def _folder(self, step: str, key: str) -> Path:
        return self.root / step / key

    def has(self, step: str, key: str) -> bool:
        return self.peek(step, key) is not None

    def peek(self, step: str, key: str) -> Entry | None:
        """The entry as it says it is, its files not verified; None where there is none."""
        folder = self._folder(step, key)
        try:
            return Entry(folder, _meta(folder)) if self.is_ours else None
        except (OSError, ValueError):
            return None

    def read(self, step: str, key: str) -> Entry:
        """The entry, its checksums verified once by each process that did not write it.

        Raises Gone where there is none. A damaged one is set aside first.
        """
        if (step, key) not in self._checked:
            folder = self._folder(step, key)
            if not (self.is_ours and folder.exists()):
                raise Gone(step, key, f"{folder}: is not in the store; it was removed or never finished. Run again.")
            try:
                meta = _meta(folder)
                wrong = [name for name, file in meta["files"].items() if _differs(folder / name, file)]
            except (OSError, ValueError) as fault:
                wrong = [f"meta.json: {fault}"]
            if wrong:
                raise Gone(step, key, f"{folder}: damaged ({', '.join(wrong)}); {_removed(folder)}")
            self._checked[step, key] = Entry(folder, meta)
        return self._checked[step, key]

    @contextmanager
    def write(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """`draft` under a lease. Raises Busy where another process holds it."""
        self.claim()
        with self.leases.hold(step, key), self.draft(step, key, fields) as draft:
            yield draft

    @contextmanager
    def draft(self, step: str, key: str, fields: Mapping[str, Any]) -> Iterator[Draft]:
        """A draft, committed when the block ends without an exception; the caller holds the lease.

        Its folder bears the name of its process. What a killed one left is taken over by renaming it, so that a process
        that was only stopped finds its draft gone, and cannot write into the new owner's. Files named `resume…` stay
        out of the entry. Raises Busy where the lease was lost meanwhile.
        """
        self.claim()
        draft = Draft(self._taken_over(step, key))
        discard(draft.folder / "meta.json")
        started = time.monotonic()
        yield draft
        for leftover in [*draft.folder.glob("resume*"), *draft.folder.glob(".*")]:
            discard(leftover)
        files = {}
        for path in sorted(draft.folder.rglob("*")):
            if path.is_file():
                sync(path)
                name = str(path.relative_to(draft.folder))
                files[name] = {"bytes": path.stat().st_size, "crc32": checksum(path)}
        meta: dict[str, Any] = {"step": step, "key": key, "fields": fields, "info": draft.info, "files": files}
        meta |= {"created": time.time(), "seconds": round(time.monotonic() - started, 3)}
        (draft.folder / "meta.json").write_text(with_check(meta))
        sync(draft.folder / "meta.json")
        sync(draft.folder)
        self.leases.check(step, key)
        self._commit(draft.folder, self._folder(step, key))
        self._checked[step, key] = Entry(self._folder(step, key), _meta(self._folder(step, key)))

    def _taken_over(self, step: str, key: str) -> Path:
        """This process's draft: its own, or the newest that another one left, or a new one."""
        folder = self.root / step / f"draft-{key}-{token()}"
        left = [
            remains.folder for remains in self._remains(folder.parent) if (remains.kind, remains.key) == ("draft", key)
        ]
        if folder not in left and left:
            os.replace(max(left, key=lambda path: path.stat().st_mtime), folder)
        folder.mkdir(parents=True, exist_ok=True)
        for item in folder.iterdir():
            if item.is_symlink() or not item.is_file():  # no step left it so: it would lead elsewhere, or nowhere
                discard(item)
        return folder

    def _commit(self, draft: Path, folder: Path) -> None:
        """Rename the draft; an entry that it replaces goes after it has taken the name."""
        old = set_aside(folder, f"old-{folder.name}") if folder.exists() else None
        os.replace(draft, folder)
        sync(folder.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def entries(self) -> list[Entry]:
        """Every finished entry, oldest first."""
        places = [(folder.parent.name, folder.name) for folder in entry_folders(self.root)]
        entries = [entry for place in places if (entry := self.peek(*place))]
        return sorted(entries, key=lambda entry: entry.meta["created"])

    def remains(self) -> list[Remains]:
        """Folders that no entry needs."""
        if not self.is_ours:
            return []
        steps = {folder.parent for folder in self.root.glob("*/*-*")}
        return [remains for step in sorted(steps) for remains in self._remains(step) if not self._in_use(remains)]

    def _in_use(self, remains: Remains) -> bool:
        return remains.kind == "draft" and self.leases.held(remains.folder.parent.name, remains.key)

    def _remains(self, step: Path) -> list[Remains]:
        """Folders of a step, no links, with the names that drafts and what was set aside have."""
        if step.is_symlink() or not step.is_dir() or step.name in ("datasets", "leases"):
            return []
        folders = sorted(Path(item.path) for item in os.scandir(step) if item.is_dir(follow_symlinks=False))
        named = [(folder, _REMAINS.fullmatch(folder.name)) for folder in folders]
        return [Remains(folder, match[1], match[2]) for folder, match in named if match]

    def remove(self, folder: Path) -> bool:
        """Remove an entry, or remains, by where it was found. Whether it is gone.

        Raises StoreError for what does not lie where a store has such.
        """
        place = folder.relative_to(self.root).parts if folder.is_relative_to(self.root) else ()
        named = len(place) == 2 and re.fullmatch(r"[0-9a-f]{16}", place[1])
        if not (named or folder in [remains.folder for remains in self._remains(folder.parent)]) or _is_linked(folder):
            raise StoreError(f"{folder}: is no entry of the store {self.root}; it was left as it is")
        self._checked.pop((folder.parent.name, folder.name), None)
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()


def _is_linked(folder: Path) -> bool:
    return folder.is_symlink() or folder.parent.is_symlink()


def _meta(folder: Path) -> dict[str, Any]:
    """What an entry says about itself. Raises OSError or ValueError where it says nothing, or not this."""
    meta = checked(read_text(folder / "meta.json"))
    strange = [name for name, kind in _META.items() if not isinstance(meta.get(name), kind)]
    if "files" not in strange and not all(map(_is_summed, meta["files"].values())):
        strange.append("files")
    if strange or meta.keys() != _META.keys():
        raise ValueError(f"does not have the form of one ({', '.join(strange) or 'further names'})")
    if (meta["step"], meta["key"]) != (folder.parent.name, folder.name):
        raise ValueError(f"is of another entry, {meta['step']} {meta['key']}")
    return meta


def _is_summed(file: Any) -> bool:
    """Whether this is what `meta.json` says of a file: its size and its checksum."""
    return isinstance(file, dict) and all(isinstance(file.get(name), int) for name in ("bytes", "crc32"))


def _differs(path: Path, file: Mapping[str, Any]) -> bool:
    """Whether a file is not as it was committed."""
    try:
        return path.stat().st_size != file["bytes"] or checksum(path) != file["crc32"]
    except OSError:
        return True


def _removed(folder: Path) -> str:
    """Set a damaged entry aside; what became of it, and what to do."""
    try:
        return f"set aside as {set_aside(folder, f'damaged-{folder.name}').name}. Run again."
    except OSError as fault:
        reason = fault.strerror or fault
        return f"it cannot be set aside: {reason}. Make the store writable, or name another one with --store"
