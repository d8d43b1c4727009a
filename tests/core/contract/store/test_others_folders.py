"""What a user would have lost: somebody else's folders, and what a store is pruned of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core.contract.store import Store, mark
from core.contract.store.mark import MARK
from core.errors import StoreError
from core.store import main

from .kept import KEY, OTHER, tree, unmarked, write


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with folders whose names look like a store's."""
    home = tmp_path / "home"
    for name in (f"photos/old-{KEY}", "letters/draft-thesis", f"music/damaged-{OTHER}", f"score/{KEY}"):
        (home / name).mkdir(parents=True)
        (home / name / "mine.txt").write_text("mine")
    (home / "score" / KEY / "meta.json").write_text(json.dumps({"step": "score", "key": KEY, "created": 0}))
    (home / "notes.txt").write_text("mine")
    return home


@pytest.mark.parametrize("filters", [["--step", "score"], ["--older", "0"]])
def test_pruning_a_home_folder_by_mistake_removes_nothing(home: Path, filters: list[str]) -> None:
    before = tree(home)
    assert main(["--store", str(home), "--prune", "--yes", *filters]) == 1
    assert tree(home) == before


def test_a_run_into_somebody_elses_folder_ends_before_a_byte_is_written(home: Path) -> None:
    before = tree(home)
    with pytest.raises(StoreError, match="is not a store"):
        write(Store(home))
    assert tree(home) == before
    assert Store(home).entries() == []
    assert not Store(home).has("score", KEY)


@pytest.mark.parametrize("step", ["../../elsewhere", "{absolute}"])
def test_an_entry_that_names_another_place_takes_nothing_there_along(store: Store, tmp_path: Path, step: str) -> None:
    precious = tmp_path / "elsewhere" / KEY
    precious.mkdir(parents=True)
    (precious / "mine.txt").write_text("mine")
    meta = write(store) / "meta.json"
    values = json.loads(meta.read_text()) | {"step": step.format(absolute=precious.parent)}
    del values["crc32"]
    meta.write_text(json.dumps(values))
    for filters in (["--older", "0"], ["--step", values["step"]], ["--step", "score"]):
        main(["--store", str(store.root), "--prune", "--yes", *filters])
    assert (precious / "mine.txt").read_text() == "mine"


def test_links_in_a_store_are_not_followed_when_it_is_pruned(store: Store, tmp_path: Path) -> None:
    write(store)
    outside = Store(tmp_path / "outside")
    folder = write(outside, OTHER, "fit")
    (store.root / "fit").symlink_to(outside.root / "fit")
    (store.root / "score" / OTHER).symlink_to(folder)
    (store.root / "score" / f"old-{OTHER}-1-2").symlink_to(folder)
    before = tree(outside.root)
    assert main(["--store", str(store.root), "--prune", "--yes", "--older", "0"]) == 0
    assert tree(outside.root) == before
    assert not store.has("score", KEY)
    for place in (store.root / "fit" / OTHER, store.root / "score" / OTHER, tmp_path, store.root / "leases"):
        with pytest.raises(StoreError, match="no entry"):
            store.remove(place)


def test_a_store_from_before_the_mark_is_served_and_adopted_once(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store)
    old = unmarked(store)
    assert old.read("score", KEY).meta["key"] == KEY
    assert not (old.root / MARK).exists()
    write(old, OTHER)
    assert "is marked now" in capsys.readouterr().err
    write(Store(old.root), "0" * 16)
    assert "marked" not in capsys.readouterr().err
    assert len(Store(old.root).entries()) == 3


def test_a_store_of_a_newer_version_is_not_written_to(store: Store) -> None:
    store.claim()
    (store.root / MARK).write_text(json.dumps({"format": 99}))
    with pytest.raises(StoreError, match="newer version"):
        write(Store(store.root))


def test_pruning_lists_and_asks_where_there_is_somebody_to_ask(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store)
    prune = ["--store", str(store.root), "--prune", "--step", "score"]
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert main(prune) == 1
    assert "add --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert main(prune) == 1
    assert store.has("score", KEY)
    assert KEY in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert main(prune) == 0
    assert not store.has("score", KEY)


def test_older_holds_for_unfinished_work_too(store: Store) -> None:
    with pytest.raises(RuntimeError), store.write("fit", KEY, {}):
        raise RuntimeError
    assert main(["--store", str(store.root), "--prune", "--older", "1", "--yes"]) == 0
    assert [one.kind for one in store.remains()] == ["draft"]
    assert main(["--store", str(store.root), "--prune", "--older", "0", "--yes"]) == 0
    assert store.remains() == []


def test_what_could_not_be_removed_is_not_counted_as_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store)
    write(store, OTHER)
    monkeypatch.setattr(shutil, "rmtree", lambda folder, ignore_errors: None)  # as on a read-only disk
    assert main(["--store", str(store.root), "--prune", "--older", "0", "--yes"]) == 1
    printed = capsys.readouterr()
    assert "0 entries, 0.0 MiB removed" in printed.out
    assert "2 entries could not be removed" in printed.err


@pytest.mark.parametrize(("answer", "status"), [(EOFError, 1), (KeyboardInterrupt, 130)])
def test_whoever_leaves_the_question_unanswered_removes_nothing(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: type[BaseException],
    status: int,
) -> None:
    write(store)

    def leave(_: str) -> str:
        raise answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", leave)
    assert main(["--store", str(store.root), "--prune", "--older", "0"]) == status
    assert "Traceback" not in capsys.readouterr().err
    assert Store(store.root).has("score", KEY)


def test_a_store_that_another_process_makes_at_the_same_moment_is_no_strangers_folder(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked = mark.is_marked

    def look_and_be_overtaken(root: Path) -> bool:
        found = looked(root)
        monkeypatch.setattr(mark, "is_marked", looked)
        mark.claim(root)
        return found

    monkeypatch.setattr(mark, "is_marked", look_and_be_overtaken)
    store.claim()
    assert Store(store.root).is_ours
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mark_is", ["damaged", "missing"])
def test_a_store_among_other_files_without_a_sound_mark_is_told_how_to_mend_it(store: Store, mark_is: str) -> None:
    write(store)
    (store.root / "notes.txt").write_text("mine")
    (store.root / MARK).write_text('{"form') if mark_is == "damaged" else (store.root / MARK).unlink()
    with pytest.raises(StoreError, match=r"if .* yours, put a file") as told:
        Store(store.root).claim()
    (store.root / MARK).write_text(str(told.value).partition("put a file")[2].partition(": ")[2].partition(")")[0])
    assert Store(store.root).has("score", KEY)


def test_a_device_is_told_to_be_no_folder() -> None:
    with pytest.raises(StoreError, match="/dev/null: is no folder"):
        Store("/dev/null").claim()
