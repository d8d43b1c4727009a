"""The list of what is there, and who may read it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from core.contract.store import Store, append_lines
from core.contract.store.mark import MARK
from core.store import main

from .kept import KEY, write


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o077, 0o600), (0o022, 0o644)])
def test_a_groups_store_can_be_read_by_the_group(store: Store, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        folder = write(store)
        append_lines(store.root / "ledger.jsonl", [{"a": 1}])
    finally:
        os.umask(before)
    files = [*folder.iterdir(), store.root / MARK, store.root / "ledger.jsonl"]
    assert {path.stat().st_mode & 0o777 for path in files} == {mode}


def test_a_list_that_nobody_reads_on_ends_quietly(store: Store) -> None:
    write(store)
    command = [sys.executable, "-m", "core.store", "--store", str(store.root)]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, check=False, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_a_label_of_somebody_else_stays_a_text_in_the_list(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.write("score", KEY, {}) as draft:
        draft.info["label"] = "\x1b[2Jgone\nrank"
    assert main(["--store", str(store.root)]) == 0
    assert "\\x1b[2Jgone\\x0arank" in capsys.readouterr().out
