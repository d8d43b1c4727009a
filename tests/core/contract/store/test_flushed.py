"""What a loss of power leaves: a file gets its name only after what it holds is on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from core.contract.store import Store, append_lines, write_atomically


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(`flush` or `rename`, path) in the order of the calls."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc: which file a handle is cannot be seen")
    calls: list[tuple[str, str]] = []
    rename, replace = os.rename, os.replace

    def flushed(handle: int) -> None:
        calls.append(("flush", os.readlink(f"/proc/self/fd/{handle}")))

    def renamed(source: object, target: object, **options: object) -> None:
        calls.append(("rename", os.fspath(source)))  # type: ignore[call-overload]
        rename(source, target, **options)  # type: ignore[arg-type]

    def replaced(source: object, target: object, **options: object) -> None:
        calls.append(("rename", os.fspath(source)))  # type: ignore[call-overload]
        replace(source, target, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", replaced)
    return calls


def test_a_text_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    order: list[tuple[str, str]], tmp_path: Path
) -> None:
    write_atomically(tmp_path / "report.md", "text")
    (first, draft), (then, source), (last, folder) = order
    assert (first, then, last) == ("flush", "rename", "flush")
    assert draft == source
    assert folder == str(tmp_path)


def test_every_file_of_an_entry_is_on_the_disk_before_the_entry_has_its_name(
    order: list[tuple[str, str]], tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    store.claim()
    order.clear()
    with store.leases.hold("score", "0" * 16), store.draft("score", "0" * 16, {}) as draft:
        draft.save({"scores": torch.zeros(2)})
        draft.json({"a": 1})
        folder = str(draft.folder)
    named = order.index(("rename", folder))
    flushed = {path for call, path in order[:named] if call == "flush"}
    names = {path.name for path in store.read("score", "0" * 16).folder.iterdir()}
    assert {Path(path).name for path in flushed if Path(path).parent == Path(folder)} == names
    assert ("flush", str(Path(folder).parent)) in order[named:]


def test_a_line_of_the_ledger_is_on_the_disk_when_it_was_added(order: list[tuple[str, str]], tmp_path: Path) -> None:
    append_lines(tmp_path / "ledger.jsonl", [{"a": 1}])
    assert ("flush", str(tmp_path / "ledger.jsonl")) in order
