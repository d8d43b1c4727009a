"""Torn lines and strange files: set aside, told, and made again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.contract.store import Store, append_lines, read_lines
from core.contract.store.files import mend_lines
from core.errors import StoreError
from core.store import main

from .kept import KEY, write


@pytest.mark.parametrize(
    "torn", ['{"claim": "a', '{"claim": "a"} 0000', '{"claim": "a"} 00000000\n', "\xff\x00\n", "7\n"]
)
def test_a_torn_line_does_not_take_the_next_one_along(tmp_path: Path, torn: str) -> None:
    file = tmp_path / "registrations.jsonl"
    append_lines(file, [{"claim": "first"}])
    with file.open("a", encoding="latin-1") as handle:
        handle.write(torn)
    append_lines(file, [{"claim": "second"}])
    assert read_lines(file) == [{"claim": "first"}, {"claim": "second"}]


def test_damaged_lines_are_set_aside_once_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ledger.jsonl"
    append_lines(file, [{"trial": "a"}, {"trial": "b"}, {"trial": "c"}])
    file.write_text(file.read_text().replace('"b"', '"x"'))
    assert read_lines(file) == [{"trial": "a"}, {"trial": "c"}]
    mend_lines(file)
    assert "1 line unfinished or damaged; set aside in ledger.jsonl.damaged" in capsys.readouterr().err
    assert '"x"' in (tmp_path / "ledger.jsonl.damaged").read_text()
    mend_lines(file)
    assert capsys.readouterr().err == ""
    assert read_lines(file) == [{"trial": "a"}, {"trial": "c"}]


def test_lines_of_a_store_from_before_are_read(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text('{"trial": "a"}\n["b", 1]\n')
    append_lines(file, [{"trial": "c"}])
    assert read_lines(file) == [{"trial": "a"}, ["b", 1], {"trial": "c"}]


@pytest.mark.parametrize("old", [b'"info": {}', b'"seconds"', b'"bytes"'])
def test_a_flipped_bit_in_what_an_entry_says_of_itself_makes_it_no_entry(store: Store, old: bytes) -> None:
    meta = write(store) / "meta.json"
    data = meta.read_bytes()
    place = data.index(old) + 2
    meta.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
    fresh = Store(store.root)
    assert not fresh.has("score", KEY)
    write(fresh)
    assert Store(store.root).read("score", KEY).info == {}


STRANGE: dict[str, Callable[[Path], None]] = {
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a link to nowhere": lambda file: file.symlink_to("nowhere"),
    "a link to itself": lambda file: file.symlink_to(file),
    "nothing": lambda file: None,
    "zeros": lambda file: file.write_bytes(bytes(100)) and None,
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("name", ["meta.json", "tensors.safetensors"])
def test_an_entry_with_strange_files_is_set_aside_and_made_again(store: Store, strange: str, name: str) -> None:
    file = write(store) / name
    file.unlink()
    STRANGE[strange](file)
    fresh = Store(store.root)
    with pytest.raises(StoreError, match="damaged"):
        fresh.read("score", KEY)
    write(fresh)
    assert Store(store.root).read("score", KEY).tensors()["scores"].tolist() == [[1.0] * 3] * 2


def test_links_and_folders_in_a_draft_keep_no_entry_from_being_computed_and_lead_nowhere(
    store: Store, tmp_path: Path
) -> None:
    store.claim()
    own = tmp_path / "own.txt"
    own.write_text("the user's own")
    draft = store.root / "score" / f"draft-{KEY}-1-0123abcd"
    (draft / "tensors.safetensors").mkdir(parents=True)
    (draft / "result.json").symlink_to(own)
    (draft / "trial.json").symlink_to(draft / "nothing-here")
    (draft / "resume.pt").write_text("half")
    with store.write("score", KEY, {}) as made:
        assert (made.folder / "resume.pt").read_text() == "half"
        made.save({"scores": torch.ones(2, 3)})
        made.json({"R1": 1.0})
        made.json({}, "trial.json")
    assert own.read_text() == "the user's own"
    assert Store(store.root).read("score", KEY).json() == {"R1": 1.0}


@pytest.mark.parametrize("told", [{"result.json": 3}, {"result.json": {"bytes": 3}}])
def test_an_entry_from_before_that_says_nothing_of_its_files_is_none(store: Store, told: dict[str, object]) -> None:
    folder = write(store)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["crc32"]
    (folder / "meta.json").write_text(json.dumps(meta | {"files": told}))
    assert main(["--store", str(store.root)]) == 0
    with pytest.raises(StoreError, match="damaged"):
        Store(store.root).read("score", KEY)


def test_damage_in_a_store_that_is_read_only_is_told_with_what_helps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (write(store) / "tensors.safetensors").write_bytes(b"")

    def refuse(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match=r"damaged .*Read-only.*Make the store writable") as told:
        Store(store.root).read("score", KEY)
    assert "Run again" not in str(told.value)
