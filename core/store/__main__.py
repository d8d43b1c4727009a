"""`python -m core.store` lists what was computed, sizes and prunes it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time

from . import Store


def main(arguments: list[str] | None = None) -> int:
    """List entries with size and age; with --prune remove those of a step, or older than some days."""
    parser = argparse.ArgumentParser(prog="python -m core.store", description=main.__doc__)
    parser.add_argument("--store", default="store", help="the store's folder (default: store)")
    parser.add_argument("--prune", action="store_true", help="remove what the filters below select, and dead drafts")
    parser.add_argument("--step", help="only entries of this step")
    parser.add_argument("--older", type=float, metavar="DAYS", help="only entries older than this")
    chosen = parser.parse_args(arguments)
    store = Store(chosen.store)
    if chosen.prune and chosen.step is None and chosen.older is None:
        parser.error("--prune needs --step or --older, so that nothing is removed by accident")
    now = time.time()
    entries = [
        entry
        for entry in store.entries()
        if chosen.step in (None, entry.meta["step"])
        and (chosen.older is None or entry.meta["created"] < now - 86400 * chosen.older)
    ]
    for entry in entries:
        age = (now - entry.meta["created"]) / 86400
        label = entry.info.get("label", "")
        print(f"{entry.meta['step']:<14} {entry.meta['key']}  {entry.bytes / 2**20:9.2f} MiB  {age:6.1f} d  {label}")
        if chosen.prune:
            store.forget(entry.meta["step"], entry.meta["key"])
    _show_remains(store, chosen.prune)
    total = sum(entry.bytes for entry in entries) / 2**20
    print(f"{len(entries)} entries, {total:.1f} MiB{' removed' if chosen.prune else ''} in {store.root}")
    return 0


def _show_remains(store: Store, prune: bool) -> None:
    for folder in store.remains():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20
        kind, _, rest = folder.name.partition("-")
        print(f"{folder.parent.name:<14} {rest[:16]}  {size:9.2f} MiB  {kind}")
        if prune:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
