"""What a user would have lost: somebody else's folders, a store that does not go on, a claim that was registered."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.contract.store import Busy, Store, append_lines, files, leases, mark, read_lines
from core.contract.store.files import locked, mend_lines
from core.contract.store.mark import MARK
from core.errors import StoreError
from core.store import main

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


# ----------------------------------------------------------------------------------- what belongs to others


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


# ----------------------------------------------------------------------------------------- torn and strange files


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


# ----------------------------------------------------------------------------------------------------- leases


def lease_of(store: Store, step: str = "fit", **owner: object) -> Path:
    store.claim()
    path = store.root / "leases" / f"{step}-{KEY}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"host": "elsewhere", "pid": 7, "token": "7-a", "since": time.time(), **owner}))
    return path


def test_a_lease_dated_in_the_future_does_not_block_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = lease_of(store)
    future = time.time() + 86400
    os.utime(lease, (future, future))
    monkeypatch.setattr(leases, "STALE", 0.3)
    with pytest.raises(Busy), store.leases.hold("fit", KEY):
        pass
    with store.leases.wait_for("fit", KEY):
        pass


@pytest.mark.parametrize("content", ["", "{", "elsewhere 1", "[]", '{"host": 1}', "\x00" * 20])
def test_a_torn_lease_is_taken_over_when_it_is_old(store: Store, content: str) -> None:
    lease = lease_of(store)
    lease.write_text(content)
    with pytest.raises(Busy, match="another process"), store.leases.hold("fit", KEY):
        pass
    os.utime(lease, (1, 1))
    with store.leases.hold("fit", KEY):
        pass


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_leaves_no_lease_that_the_next_run_waits_a_minute_for(
    store: Store, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    store.claim()
    write_text, left = Path.write_text, [1, 0]

    def full(path: Path, text: str) -> int:
        if path.parent.name != "leases" or left.pop(0):
            return write_text(path, text)
        write_text(path, text[:7])
        raise OSError(fault, os.strerror(fault), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match=os.strerror(fault)), store.leases.hold("fit", KEY, OTHER):
            pass
    assert [path.name for path in (store.root / "leases").iterdir()] == [".lock"]
    with store.leases.hold("fit", KEY, OTHER):
        pass


def test_a_process_killed_while_it_takes_a_lease_leaves_none_that_the_next_run_waits_for(store: Store) -> None:
    store.claim()
    code = (
        "import os, signal, sys; from pathlib import Path; from core.contract.store import Store\n"
        "write = Path.write_text\n"
        "def half(path, text): write(path, text[:7]); os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.write_text = half\n"
        f"with Store(sys.argv[1]).leases.hold('fit', '{KEY}'): pass"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(store.root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with store.leases.hold("fit", KEY):
        pass


def test_a_link_in_place_of_a_lease_leads_to_no_file_of_the_users_that_is_written(store: Store, tmp_path: Path) -> None:
    store.claim()
    own = tmp_path / "own.txt"
    own.write_text("the user's own")
    os.utime(own, (1, 1))
    (store.root / "leases").mkdir(exist_ok=True)
    for key, place in ((KEY, own), (OTHER, tmp_path / "nothing-here")):
        (store.root / "leases" / f"fit-{key}").symlink_to(place)
        with store.leases.hold("fit", key):
            pass
    assert own.read_text() == "the user's own"
    assert not (tmp_path / "nothing-here").exists()


def test_a_folder_in_place_of_a_lease_is_set_aside_with_what_is_in_it(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = lease_of(store)
    lease.unlink()
    lease.mkdir()
    (lease / "own.txt").write_text("the user's own")
    assert not store.leases.held("fit", KEY)
    with store.leases.hold("fit", KEY, OTHER):
        assert json.loads(lease.read_text())["pid"] == os.getpid()
    (aside,) = (path for path in lease.parent.iterdir() if path.is_dir())
    assert (aside / "own.txt").read_text() == "the user's own"
    told = f"{lease}: a folder stood where a file is needed; set aside as {aside.name}\n"
    assert capsys.readouterr().err == told
    Store(store.root).leases.sweep()
    assert (aside / "own.txt").is_file()


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


def test_whoever_waits_says_for_whom_and_since_when(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = lease_of(store, since=time.time() - 3600)
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: lease.unlink(missing_ok=True))
    with store.leases.wait_for("fit", KEY):
        pass
    clock = time.strftime("%H:%M", time.localtime(time.time() - 3600))
    told = capsys.readouterr().err
    assert told.startswith(f"waiting for `fit {KEY}`: it is being computed by process 7 on elsewhere, since ")
    assert clock[:2] in told


def test_leases_of_dead_processes_go_at_the_next_start(store: Store) -> None:
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead = lease_of(store, host=leases._host(), pid=int(process.stdout))
    living = lease_of(store, "rank")
    leftover = store.root / "leases" / ".now-1-a"
    leftover.touch()
    os.utime(leftover, (1, 1))
    Store(store.root).claim()
    assert (dead.exists(), living.exists(), leftover.exists()) == (False, True, False)


STOPPED = """
import os, signal, sys, time
from core.contract.store import Busy, Store
store = Store(sys.argv[1])
try:
    with store.write("fit", sys.argv[2], {}) as draft:
        draft.json({"by": "the stopped one"})
        print("ready", flush=True)
        sys.stdin.readline()
        draft.json({"by": "the stopped one, late"}, "late.json")
except Busy as busy:
    print("left it to", busy.owner, flush=True)
"""


def test_a_process_that_was_stopped_leaves_its_work_to_who_took_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", STOPPED, str(store.root), KEY]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    try:
        lease = store.root / "leases" / f"fit-{KEY}"
        with pytest.raises(Busy, match=f"process {process.pid}"), store.write("fit", KEY, {}):
            pass
        os.utime(lease, (1, 1))  # as after a minute without a heartbeat
        with store.write("fit", KEY, {}) as draft:
            process.send_signal(signal.SIGCONT)
            process.stdin.write("\n")
            process.stdin.flush()
            told = process.stdout.readline()
            draft.json({"by": "the new one"})
    finally:
        process.kill()
        process.wait()
    assert told.startswith(f"left it to process {os.getpid()} on ")
    assert Store(store.root).read("fit", KEY).json() == {"by": "the new one"}
    assert store.remains() == []
    assert list((store.root / "leases").glob("fit-*")) == []


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


def test_a_lock_that_a_stopped_process_holds_is_told_and_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "TOLD_AFTER", 0.05)
    lock = tmp_path / ".lock"
    with locked(lock):
        with pytest.raises(StoreError, match=r"held this lock for 0\.2 s"), locked(lock, 0.2):
            pass
        assert capsys.readouterr().err.count(f"waiting for another process that holds {lock}") == 1
    with locked(lock, 0.2):
        pass


# ----------------------------------------------------------------------------------- the list of what is there


def test_a_list_that_nobody_reads_on_ends_quietly(store: Store) -> None:
    write(store)
    command = [sys.executable, "-m", "core.store", "--store", str(store.root)]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, check=False, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


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


def test_a_label_of_somebody_else_stays_a_text_in_the_list(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with store.write("score", KEY, {}) as draft:
        draft.info["label"] = "\x1b[2Jgone\nrank"
    assert main(["--store", str(store.root)]) == 0
    assert "\\x1b[2Jgone\\x0arank" in capsys.readouterr().out


@pytest.mark.parametrize("told", [{"result.json": 3}, {"result.json": {"bytes": 3}}])
def test_an_entry_from_before_that_says_nothing_of_its_files_is_none(store: Store, told: dict[str, object]) -> None:
    folder = write(store)
    meta = json.loads((folder / "meta.json").read_text())
    del meta["crc32"]
    (folder / "meta.json").write_text(json.dumps(meta | {"files": told}))
    assert main(["--store", str(store.root)]) == 0
    with pytest.raises(StoreError, match="damaged"):
        Store(store.root).read("score", KEY)


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
