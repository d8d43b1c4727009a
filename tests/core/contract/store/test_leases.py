"""Leases and locks: of the dead and the stopped, torn, full of links, and whoever waits for them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.contract.store import Busy, Store, files, leases
from core.contract.store.files import locked
from core.errors import StoreError

from .kept import KEY, OTHER


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
