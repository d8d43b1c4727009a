"""`python -m core.store` lists what was computed, sizes and prunes it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .contract.command import command
from .contract.escaping import plain_line
from .contract.store import Store
from .contract.store.mark import MARK
from .errors import StoreError


@dataclass(frozen=True)
class Item:
    """A line of the list: an entry, or remains that no entry needs."""

    folder: Path
    key: str
    size: int
    created: float
    label: str
    is_entry: bool

    def __str__(self) -> str:
        age = (time.time() - self.created) / 86400
        size = self.size / 2**20
        return f"{self.folder.parent.name:<14} {self.key}  {size:9.2f} MiB  {age:6.1f} d  {plain_line(self.label)}"


def items(store: Store, step: str | None, older: float | None) -> list[Item]:
    """Entries, oldest first, then remains; of one step, or older than some days, where that is asked."""
    lines = [
        Item(e.folder, e.meta["key"], e.bytes, e.meta["created"], str(e.info.get("label", "")), True)
        for e in store.entries()
    ]
    for remains in store.remains():
        with suppress(FileNotFoundError):  # another process has just finished or removed it
            size = sum(file.stat().st_size for file in remains.folder.rglob("*") if file.is_file())
            lines.append(
                Item(remains.folder, remains.key, size, remains.folder.stat().st_mtime, f"({remains.kind})", False)
            )
    latest = time.time() - 86400 * (older or 0)
    return [item for item in lines if step in (None, item.folder.parent.name) and item.created <= latest]


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """List entries with size and age; with --prune remove those of a step, or older than some days."""
    parser = argparse.ArgumentParser(prog="python -m core.store", description=main.__doc__)
    parser.add_argument("--store", default="store", help="the store's folder (default: store)")
    parser.add_argument("--prune", action="store_true", help="remove what the filters below select, after asking")
    parser.add_argument("--step", help="only entries of this step")
    parser.add_argument("--older", type=float, metavar="DAYS", help="only entries older than this")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    chosen = parser.parse_args(arguments)
    if chosen.prune and chosen.step is None and chosen.older is None:
        parser.error("--prune needs --step or --older, so that nothing is removed by accident")
    return _list(Store(chosen.store), chosen)


def _list(store: Store, chosen: argparse.Namespace) -> int:
    if not store.is_ours:
        if not store.root.exists():
            raise StoreError(f"{store.root}: there is no such folder")
        raise StoreError(f"{store.root}: is not a store (there is no {MARK} of ours in it); nothing was touched")
    lines = items(store, chosen.step, chosen.older)
    for item in lines:
        print(item)
    total = sum(item.size for item in lines) / 2**20
    print(f"{_counted(lines)}, {total:.1f} MiB in {store.root}")
    if not chosen.prune or not lines:
        return 0
    if not chosen.yes and not _agreed():
        print("nothing was removed", file=sys.stderr)
        return 1
    return _prune(store, lines)


def _agreed() -> bool:
    """Whether the person at the terminal says yes. Raises StoreError where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise StoreError("--prune asks before it removes, and there is no terminal to ask at; add --yes")
    try:
        return input("Remove these? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _prune(store: Store, lines: Sequence[Item]) -> int:
    store.claim()
    removed = [item for item in lines if store.remove(item.folder)]
    size = sum(item.size for item in removed) / 2**20
    print(f"{_counted(removed)}, {size:.1f} MiB removed")
    kept = [item for item in lines if item not in removed]
    if kept:
        place = kept[0].folder
        reason = "no permission to write there" if not os.access(place.parent, os.W_OK) else "some files remain"
        print(f"error: {_counted(kept)} could not be removed, the first is {place}: {reason}", file=sys.stderr)
    return 1 if kept else 0


def _counted(lines: Sequence[Item]) -> str:
    """`41 entries and 2 unfinished or replaced ones`."""
    entries = sum(item.is_entry for item in lines)
    others = len(lines) - entries
    words = f"{entries} entr{'y' if entries == 1 else 'ies'}"
    return words + (f" and {others} unfinished, replaced or damaged" if others else "")


if __name__ == "__main__":
    sys.exit(main())
