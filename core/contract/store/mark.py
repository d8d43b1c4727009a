"""The mark of a store: what tells a folder of ours from anybody else's."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ...errors import StoreError
from .files import checked, mend_lines, read_text, with_check, write_atomically

MARK = "store.json"
FORMAT = 1
"""Raised when stores are laid out in another way."""
MENDED = json.dumps({"format": FORMAT})
"""A mark that somebody may write by hand."""

LINES = ("ledger.jsonl", "ledger.copy.jsonl", "registrations.jsonl", "registrations.copy.jsonl", "digests.jsonl")
"""Files at a store's top that are added to line by line."""
_FOLDER = re.compile(r"[a-z][a-z_]*")
_ENTRY = re.compile(r"[0-9a-f]{16}")


def is_marked(root: Path) -> bool:
    """Whether the folder says that it is a store. Raises StoreError for one that a newer version made."""
    try:
        values = checked(read_text(root / MARK))
        version = int(values["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if version > FORMAT:
        raise StoreError(f"{root}: is a store of format {version}, made by a newer version; this one reads {FORMAT}")
    return True


def has_the_shape(root: Path) -> bool:
    """Whether a folder without a mark can only be a store from before: it holds nothing but what a store holds."""
    try:
        inside = list(os.scandir(root))
    except OSError:
        return False
    return all(_belongs(item) for item in inside) and _holds_results(root)


def _holds_results(root: Path) -> bool:
    """Whether there is an entry that names its own place, or the lock that every store has that computed something."""
    return (root / "leases" / ".lock").is_file() or any(_names_its_place(folder) for folder in entry_folders(root))


def _belongs(item: os.DirEntry[str]) -> bool:
    if item.is_dir(follow_symlinks=False):
        return _FOLDER.fullmatch(item.name) is not None
    own = (MARK, ".mlflow.lock", *LINES, *(f"{name}.damaged" for name in LINES), *(f".{name}.lock" for name in LINES))
    return item.name in own or item.name.startswith(tuple(f".{name}." for name in (MARK, *LINES)))


def entry_folders(root: Path) -> Iterator[Path]:
    """Folders `<step>/<key>` of a root, no links among them."""
    for step in _folders(root):
        if _FOLDER.fullmatch(step.name):
            yield from (folder for folder in _folders(step) if _ENTRY.fullmatch(folder.name))


def _folders(place: Path) -> list[Path]:
    """Folders in a folder that are no links, by name; none where it cannot be read."""
    try:
        names = [item.name for item in os.scandir(place) if item.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [place / name for name in sorted(names)]


def _names_its_place(folder: Path) -> bool:
    try:
        meta = json.loads(read_text(folder / "meta.json"))
        return (meta["step"], meta["key"]) == (folder.parent.name, folder.name)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def claim(root: Path) -> None:
    """Make a folder ready to be written to: a new or empty one is marked, a store from before is adopted.

    Raises StoreError for a folder of somebody else's, or one that cannot be written.
    """
    if is_marked(root):
        return
    adopted = False
    try:
        if not root.exists() or _is_empty(root):
            root.mkdir(parents=True, exist_ok=True)
        elif not root.is_dir():
            raise StoreError(f"{root}: is no folder. Nothing was written; name a new or empty folder with --store")
        elif is_marked(root):  # by another process, just now
            return
        elif not (adopted := has_the_shape(root)):
            raise StoreError(
                f"{root}: holds files and is not a store: there is no {MARK} of ours in it{_way_out(root)}. "
                "Nothing was written; name a new or empty folder with --store"
            )
        write_atomically(root / MARK, with_check({"format": FORMAT, "made by": "retrieval-ablations"}) + "\n")
    except OSError as fault:
        if not adopted:
            reason = fault.strerror or fault
            raise StoreError(f"{root}: cannot be written: {reason}. Name another folder with --store") from None
        return  # a finished store that is read-only can still be read
    if adopted:
        print(f"{root}: a store from before stores were marked; it is marked now, by {MARK}", file=sys.stderr)


def _way_out(root: Path) -> str:
    """What to do where a store seems to lie among other files; "" where none does."""
    if not _holds_results(root):
        return ""
    if (root / MARK).exists():
        return f" (a store lies there, and {MARK} is damaged: if it is yours, put a file in its place: {MENDED})"
    return (
        " (a store from before lies there among other files or links: move its folders into one of their own, or, if "
        f"all of it is yours, put a file {MARK} there: {MENDED})"
    )


def _is_empty(root: Path) -> bool:
    """Whether nothing is in a folder but what another process that is making a store there has begun with."""
    return root.is_dir() and all(item.name.startswith(f".{MARK}.") for item in os.scandir(root))


def mend(root: Path) -> None:
    """Set aside damaged lines of a store's own files."""
    for name in LINES:
        mend_lines(root / name)
