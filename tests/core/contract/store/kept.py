"""A store with an entry or two, as it is now and as an earlier version left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from core.contract.store import Store
from core.contract.store.mark import MARK

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write(store: Store, key: str = KEY, step: str = "score") -> Path:
    with store.write(step, key, {}) as draft:
        draft.save({"scores": torch.ones(2, 3)})
    return store.root / step / key


def unmarked(store: Store) -> Store:
    """The same store as an earlier version left it."""
    (store.root / MARK).unlink()
    for meta in store.root.glob("*/*/meta.json"):
        values = json.loads(meta.read_text())
        del values["crc32"]
        meta.write_text(json.dumps(values))
    return Store(store.root)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}
