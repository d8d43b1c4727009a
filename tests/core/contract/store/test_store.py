import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.contract.store import Busy, FileDigests, Store, append_lines, digest, entries, leases, read_lines
from core.errors import StoreError
from core.store import main

KEY = "0123456789abcdef"
OTHER = "fedcba9876543210"


def write(store: Store, key: str = KEY, value: float = 1.0) -> None:
    with store.write("score", key, {"a": 1}) as draft:
        draft.save({"scores": torch.full((2, 3), value)})
        draft.json({"R1": value})
        draft.info["label"] = "score it"


def test_what_was_written_is_read_back_with_its_fields_and_facts(store: Store) -> None:
    write(store)
    entry = Store(store.root).read("score", KEY)
    assert entry.tensors()["scores"].tolist() == [[1.0] * 3] * 2
    assert entry.json() == {"R1": 1.0}
    assert entry.info == {"label": "score it"}
    assert (entry.meta["fields"], entry.meta["step"], entry.meta["key"]) == ({"a": 1}, "score", KEY)
    assert entry.bytes == sum(path.stat().st_size for path in entry.folder.iterdir() if path.name != "meta.json")


def test_an_entry_does_not_exist_before_its_block_has_ended(store: Store) -> None:
    with store.write("score", KEY, {}) as draft:
        draft.json({})
        assert not store.has("score", KEY)
        assert store.entries() == []
    assert store.has("score", KEY)


def test_a_failed_writer_leaves_a_draft_that_the_next_one_goes_on_with(store: Store) -> None:
    with pytest.raises(IsADirectoryError), store.write("fit", KEY, {}) as draft:
        (draft.folder / "resume.pt").write_text("half") and draft.folder.read_text()
    assert not store.has("fit", KEY)
    with store.write("fit", KEY, {}) as draft:
        assert (draft.folder / "resume.pt").read_text() == "half"
        draft.json({})
    assert {path.name for path in store.read("fit", KEY).folder.iterdir()} == {"result.json", "meta.json"}


def hold_for_ever(root: str, ready: str) -> None:
    with Store(root).write("fit", KEY, {}) as draft:
        (draft.folder / "resume.pt").write_text("half")
        Path(ready).touch()
        time.sleep(60)


def started(target: object, *arguments: str) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)  # type: ignore[arg-type]
    process.start()
    return process


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 20
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    assert path.exists()


def test_a_living_process_keeps_others_out_and_a_killed_one_does_not(store: Store, tmp_path: Path) -> None:
    process = started(hold_for_ever, str(store.root), str(tmp_path / "ready"))
    wait_for(tmp_path / "ready")
    with pytest.raises(Busy, match=f"fit {KEY} .* process {process.pid}"), store.write("fit", KEY, {}):
        pass
    with store.leases.hold("fit", OTHER):
        pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not store.has("fit", KEY)
    with store.write("fit", KEY, {}) as draft:
        assert (draft.folder / "resume.pt").read_text() == "half"
    assert store.has("fit", KEY)


def test_a_lease_of_several_entries_is_had_whole_or_not_at_all(store: Store) -> None:
    with store.leases.hold("rank", OTHER):
        with pytest.raises(Busy, match=OTHER), store.leases.hold("rank", KEY, OTHER):
            pass
        with store.leases.hold("rank", KEY):
            pass
    with store.leases.hold("rank", KEY, OTHER):
        for key in (KEY, OTHER):
            with pytest.raises(Busy, match=key), store.leases.hold("rank", key):
                pass
    assert [path.name for path in (store.root / "leases").iterdir()] == [".lock"]


def test_one_heartbeat_keeps_every_lease_of_a_group_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    before = threading.active_count()
    with store.leases.hold("rank", KEY, OTHER):
        assert threading.active_count() == before + 1
        files = [store.root / "leases" / f"rank-{key}" for key in (KEY, OTHER)]
        for lease in files:
            os.utime(lease, (1, 1))
        limit = time.monotonic() + 10
        while min(lease.stat().st_mtime for lease in files) < 2 and time.monotonic() < limit:
            time.sleep(0.01)
        assert min(lease.stat().st_mtime for lease in files) > time.time() - 10


def test_a_lease_of_another_machine_holds_until_its_heartbeat_is_old(store: Store) -> None:
    lease = store.root / "leases" / f"fit-{KEY}"
    lease.parent.mkdir(parents=True)
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "1-a", "since": time.time()}))
    with pytest.raises(Busy, match="process 1 on elsewhere, since"), store.leases.hold("fit", KEY):
        pass
    old = time.time() - 2 * leases.STALE
    os.utime(lease, (old, old))
    with store.leases.hold("fit", KEY):
        assert "elsewhere" not in lease.read_text()
    assert not lease.exists()


def test_a_number_that_another_users_process_took_over_is_dead_when_its_heartbeat_is_old(store: Store) -> None:
    lease = store.root / "leases" / f"fit-{KEY}"
    lease.parent.mkdir(parents=True)
    lease.write_text(json.dumps({"host": leases._host(), "pid": os.getpid(), "token": "1-a", "since": 1.0}))
    os.utime(lease, (1, 1))
    with store.leases.hold("fit", KEY):
        pass


def test_the_heartbeat_keeps_a_lease_young(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with store.leases.hold("fit", KEY):
        lease = store.root / "leases" / f"fit-{KEY}"
        os.utime(lease, (1, 1))
        limit = time.monotonic() + 10
        while lease.stat().st_mtime < 2 and time.monotonic() < limit:
            time.sleep(0.01)
        assert lease.stat().st_mtime > time.time() - 10


def test_an_owner_whose_lease_was_taken_over_leaves_it_to_the_new_one(store: Store) -> None:
    lease = store.root / "leases" / f"fit-{KEY}"
    taken = json.dumps({"host": "elsewhere", "pid": 1, "token": "1-a", "since": time.time()})
    with store.leases.hold("fit", KEY):
        lease.write_text(taken)
    assert lease.read_text() == taken


def test_the_patient_lease_waits_until_the_other_owner_is_done(store: Store) -> None:
    happened = []
    held = store.leases.hold("fit", KEY)
    held.__enter__()

    def release() -> None:
        happened.append("released")
        held.__exit__(None, None, None)

    threading.Timer(0.1, release).start()
    with store.leases.wait_for("fit", KEY):
        happened.append("taken")
    assert happened == ["released", "taken"]


def test_what_a_process_wrote_it_reads_without_another_checksum(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store)
    summed: list[Path] = []
    checksum = entries.checksum
    monkeypatch.setattr(entries, "checksum", lambda path: summed.append(path) or checksum(path))
    mine = store.read("score", KEY)
    assert summed == []
    assert mine == Store(store.root).read("score", KEY)
    assert {path.name for path in summed} == {"tensors.safetensors", "result.json"}


def test_damage_is_found_set_aside_and_not_read_again(store: Store) -> None:
    write(store)
    file = store.read("score", KEY).folder / "tensors.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    fresh = Store(store.root)
    with pytest.raises(StoreError, match=r"tensors\.safetensors"):
        fresh.read("score", KEY)
    assert not fresh.has("score", KEY)
    assert fresh.entries() == []
    write(fresh)
    assert Store(store.root).read("score", KEY).json() == {"R1": 1.0}


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_text("{"), lambda f: f.write_text("{}")])
@pytest.mark.parametrize("name", ["meta.json", "result.json"])
def test_missing_and_torn_files_are_damage(store: Store, name: str, damage: object) -> None:
    write(store)
    damage(store._folder("score", KEY) / name)  # type: ignore[operator]
    with pytest.raises(StoreError, match="damaged"):
        Store(store.root).read("score", KEY)


def test_an_entry_that_is_not_there_says_so(store: Store) -> None:
    with pytest.raises(StoreError, match="not in the store"):
        store.read("score", KEY)
    assert store.peek("score", KEY) is None


def test_an_entry_is_replaced_by_a_second_writing_and_read_anew(store: Store) -> None:
    write(store, value=1.0)
    mapped = store.read("score", KEY).tensors()["scores"]
    write(store, value=2.0)
    assert store.read("score", KEY).json() == {"R1": 2.0}
    assert mapped.tolist() == [[1.0] * 3] * 2
    assert [path.name for path in (store.root / "score").iterdir()] == [KEY]


def test_a_draft_killed_while_it_was_committed_becomes_a_sound_entry(store: Store) -> None:
    store.claim()
    draft = store.root / "score" / f"draft-{KEY}"
    draft.mkdir(parents=True)
    (draft / "meta.json").write_text('{"old": 1}')
    (draft / ".result.json.123").write_text("torn")
    assert store.entries() == []
    write(store)
    assert set(Store(store.root).read("score", KEY).meta["files"]) == {"tensors.safetensors", "result.json"}


def test_digest_depends_on_content_and_not_on_order() -> None:
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest([1, 2]) != digest([2, 1])
    with pytest.raises(ValueError):
        digest(float("nan"))


def test_a_torn_line_is_left_out_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    append_lines(file, [{"a": 1}])
    file.write_text(file.read_text() + '{"a": \n')
    append_lines(file, [{"a": 2}])
    assert read_lines(file) == [{"a": 1}, {"a": 2}]


# -------------------------------------------------------------------------------------------------- file digests


def test_file_digests_are_remembered_by_size_and_time_and_notice_change(tmp_path: Path) -> None:
    file = tmp_path / "video.avi"
    file.write_bytes(b"one")
    first = FileDigests(tmp_path).of([str(file)])
    stat = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FileDigests(tmp_path).of([str(file)]) == first
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert FileDigests(tmp_path).of([str(file)]) != first


def test_a_file_has_one_digest_wherever_it_lies_and_a_folder_that_of_its_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.png").write_bytes(b"picture")
    digests = FileDigests(tmp_path)
    one, two = digests.of([str(tmp_path / "a" / "0.png"), str(tmp_path / "b" / "0.png")])
    assert one == two
    before, same = digests.of([str(tmp_path / "a"), str(tmp_path / "b")])
    assert before == same
    (tmp_path / "b" / "1.png").write_bytes(b"picture")
    assert digests.of([str(tmp_path / "b")]) != [before]


def test_a_missing_file_has_a_digest_of_its_own_until_it_is_there(tmp_path: Path) -> None:
    file = tmp_path / "video.avi"
    digests = FileDigests(tmp_path)
    missing = digests.of([str(file)])
    file.write_bytes(b"now")
    assert digests.of([str(file)]) != missing


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_lists_entries_with_their_size_and_label(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write(store)
    assert main(["--store", str(store.root)]) == 0
    printed = capsys.readouterr().out
    assert KEY in printed
    assert "score it" in printed
    assert "1 entry," in printed


def test_prune_removes_what_it_selects_and_dead_drafts_and_nothing_else(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store)
    with store.write("fit", OTHER, {}) as draft:
        draft.json({})
    with pytest.raises(RuntimeError), store.write("fit", KEY, {}):
        raise RuntimeError
    (store.root / "datasets" / "old-set").mkdir(parents=True)
    with store.write("rank", KEY, {}):
        assert main(["--store", str(store.root), "--prune", "--step", "score", "--yes"]) == 0
        assert "1 entry, " in capsys.readouterr().out
        assert [one.kind for one in store.remains()] == ["draft"]
        assert store.has("fit", OTHER)
        assert main(["--store", str(store.root), "--prune", "--step", "fit", "--yes"]) == 0
        assert "1 entry and 1 unfinished" in capsys.readouterr().out
        assert main(["--store", str(store.root), "--prune", "--step", "rank", "--yes"]) == 0  # its draft is in use
    assert not store.has("score", KEY)
    assert not store.has("fit", OTHER)
    assert store.remains() == []
    assert store.has("rank", KEY)
    assert (store.root / "datasets" / "old-set").exists()


def test_prune_by_age_keeps_what_is_younger(store: Store) -> None:
    write(store)
    main(["--store", str(store.root), "--prune", "--older", "1", "--yes"])
    assert store.has("score", KEY)
    main(["--store", str(store.root), "--prune", "--older", "0", "--yes"])
    assert not Store(store.root).has("score", KEY)


def test_prune_without_a_filter_is_refused(store: Store) -> None:
    with pytest.raises(SystemExit):
        main(["--store", str(store.root), "--prune"])


def test_the_module_runs_as_a_command(store: Store) -> None:
    write(store)
    command = [sys.executable, "-m", "core.store", "--store", str(store.root)]
    assert KEY in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_tensors_are_files_that_the_safetensors_library_reads(store: Store) -> None:
    write(store)
    file = store._folder("score", KEY) / "tensors.safetensors"
    assert load_file(file)["scores"].tolist() == [[1.0] * 3] * 2
