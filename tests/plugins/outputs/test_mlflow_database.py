"""The SQLite file of MLflow: whatever cuts its making off, the next write succeeds; what is somebody else's stays."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plugins.outputs.mlflow import database, server
from plugins.outputs.mlflow.database import BESIDE, Unusable, ready
from plugins.outputs.mlflow.server import Server, held

SECONDS = 2.0
"""About what making the tables takes."""


def write(file: Path) -> str | None:
    """What the first write of an experiment does; what it has to tell."""
    with held(f"sqlite:///{file}", file.parent):
        server = Server(f"sqlite:///{file}")
        server.end(server.create(server.experiment("one"), "run", {}, 1).id, "FINISHED")
    return server.repaired


def apart(work: Callable[[], object]) -> Any:
    """A child process at work."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    return child


def cut_off(file: Path, seconds: float, by: signal.Signals) -> None:
    """Write for so long, then end the process."""
    child = apart(lambda: write(file))
    time.sleep(seconds)
    if child.is_alive():
        os.kill(child.pid, by)
    child.join(60)


def half_made(file: Path, *tables: str) -> None:
    """What a killed first write of earlier versions left: some of MLflow's tables, and how far it came."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for table in tables:
            connection.execute(f"create table {table} (one text)")
        connection.execute("create table alembic_version (version_num text)")
        connection.execute("insert into alembic_version values ('451aebb31d03')")
        connection.commit()


def everything(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def names(folder: Path) -> set[str]:
    """Files of a folder but for what SQLite keeps of an open database."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(BESIDE[1:])}


@pytest.fixture
def quick(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file gets a copy of MLflow's tables, which take seconds to make."""
    monkeypatch.setattr(database, "_fill", partial(shutil.copyfile, template))


@pytest.mark.usefixtures("template")  # children that were forked before have all of MLflow to import first
@pytest.mark.parametrize("chains", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_a_first_write_that_is_killed_at_any_moment_succeeds_when_it_is_let(chains: int, tmp_path: Path) -> None:
    chance = random.Random(chains)
    for chain in range(chains):
        file = tmp_path / str(chain) / "mlflow.db"
        for by in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
            cut_off(file, chance.uniform(0, SECONDS), by)
        again = apart(lambda file=file: write(file))  # type: ignore[misc]
        again.join(60)
        assert again.exitcode == 0, f"chain {chain}"
        assert names(file.parent) == {"mlflow.db", ".mlflow.lock"}


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    left = [tmp_path / f".mlflow.db.making-12{end}" for end in BESIDE]
    for path in left:
        path.write_text("half")
    other = tmp_path / ".other.db.making-12"
    other.write_text("not of this one")
    assert write(tmp_path / "mlflow.db") is None
    assert names(tmp_path) == {"mlflow.db", ".mlflow.lock", other.name}


@pytest.mark.parametrize("tables", [(), ("experiments", "registered_models"), ("_alembic_tmp_runs", "runs")])
def test_a_file_that_an_earlier_version_left_half_made_is_made_anew_and_said_so(
    quick: None, tables: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "mlflow.db"
    half_made(file, *tables)
    before = file.read_bytes()
    told = write(file)
    assert f"{file}.broken-1" in told
    assert "made anew" in told
    assert len(told.splitlines()) == 1
    assert Path(f"{file}.broken-1").read_bytes() == before
    half_made(tmp_path / "again.db")
    shutil.copy(tmp_path / "again.db", file)
    for end in BESIDE[1:]:
        Path(f"{file}{end}").unlink(missing_ok=True)
    assert f"{file}.broken-2" in write(file)


def test_an_empty_file_is_filled(quick: None, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert write(tmp_path / "mlflow.db") is None
    assert write(tmp_path / "mlflow.db") is None


def test_the_write_ahead_log_of_a_file_that_was_removed_does_not_get_into_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("create table theirs (x)")
        connection.commit()
        shutil.copy(f"{file}-wal", tmp_path / "kept")
    file.unlink()
    shutil.move(tmp_path / "kept", f"{file}-wal")
    write(file)
    with closing(sqlite3.connect(file)) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master")}
    assert "runs" in tables
    assert "theirs" not in tables
    assert Path(f"{file}.broken-1-wal").is_file()


# ------------------------------------------------------------------------------------------------ somebody else's


def notes(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table notes (text)")
        connection.execute("insert into notes values ('dear')")
        connection.commit()


def notes_in_a_log(file: Path) -> None:
    """Written by a process that was killed: what is in it is still in the log beside it."""

    def killed() -> None:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("create table notes (text)")
        connection.commit()
        os.kill(os.getpid(), signal.SIGKILL)

    apart(killed).join(60)
    assert Path(f"{file}-wal").stat().st_size > 0


def notes_interrupted(file: Path) -> None:
    """Written by a process that was killed in a transaction that SQLite is to take back."""

    def killed() -> None:
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA cache_size=1")
        connection.execute("PRAGMA cache_spill=1")
        connection.executemany("insert into notes values (?)", [("x" * 3000,)] * 500)
        os.kill(os.getpid(), signal.SIGKILL)

    notes(file)
    apart(killed).join(60)
    assert Path(f"{file}-journal").stat().st_size > 0


def notes_among_tables_of_mlflows_names(file: Path) -> None:
    """What earlier versions of this program did to somebody's file."""
    notes(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table experiments (name)")


@pytest.mark.parametrize(
    "made",
    [notes, notes_in_a_log, notes_interrupted, notes_among_tables_of_mlflows_names, lambda f: f.write_text("hi")],
)
def test_a_file_that_is_not_mlflows_is_refused_and_not_written_to(made: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "mine.db"
    made(file)
    (tmp_path / ".mlflow.lock").touch()
    before = everything(tmp_path)
    with pytest.raises(Unusable, match="it stays as it is") as caught:
        write(file)
    after = everything(tmp_path)
    after.pop("mine.db-shm", None), before.pop("mine.db-shm", None)
    assert after == before
    assert str(file) in str(caught.value)


def test_a_file_of_another_release_is_refused_with_how_to_upgrade_it(template: Path, tmp_path: Path) -> None:
    for revision, table in (("451aebb31d03", "runs"), ("ffffffffffff", "runs_of_tomorrow")):
        file = tmp_path / f"{table}.db"
        shutil.copy(template, file)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("insert into experiments (experiment_id, name) values (7, 'theirs'), (8, 'more')")
            connection.execute(f"create table if not exists {table} (x)")
            connection.execute("update alembic_version set version_num = ?", [revision])
            connection.commit()
        before = file.read_bytes()
        with pytest.raises(Unusable, match=f"mlflow db upgrade sqlite:///{file}"):
            write(file)
        assert file.read_bytes() == before


def test_a_database_with_tables_of_others_beside_mlflows_is_used(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    notes(file)
    assert write(file) is None


def test_a_damaged_file_is_told_with_what_to_do(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    content = template.read_bytes()
    file.write_bytes(content[:100] + bytes(8000) + content[8100:])
    with pytest.raises(Unusable, match=r"cannot be read .*move it away"):
        ready(file)


# ------------------------------------------------------------------------------------------------ no room, no right


def test_a_stopped_process_that_writes_to_mlflow_is_told_of_and_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("core.contract.store.files.TOLD_AFTER", 0.1)
    monkeypatch.setattr(server, "PATIENCE", 0.5)
    uri, taken = f"sqlite:///{tmp_path / 'mlflow.db'}", multiprocessing.get_context("fork").Event()

    def hold() -> None:
        with held(uri, tmp_path):
            taken.set()
            time.sleep(60)

    child = apart(hold)
    assert taken.wait(30)
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(Unusable, match=r"has held .*lock for 0\.5 s; is one stopped"), held(uri, tmp_path):
        pass
    assert capsys.readouterr().err.count("waiting for another process that holds") == 1
    child.kill()
    child.join()
    with held(uri, tmp_path):
        assert capsys.readouterr().err == ""


def failing(work: Callable[[], object], before: Callable[[], object]) -> str:
    """What a child process fails by, whose rights or room were taken."""
    faults = multiprocessing.get_context("fork").SimpleQueue()

    def tried() -> None:
        before()
        try:
            work()
        except Exception as fault:
            faults.put(f"{type(fault).__name__}: {fault}")
        else:
            faults.put("")

    child = apart(tried)
    child.join(60)
    return str(faults.get())


def test_a_full_disk_leaves_nothing_and_the_next_write_succeeds(tmp_path: Path) -> None:
    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    file = tmp_path / "mlflow.db"
    assert "disk" in failing(lambda: write(file), full)
    assert names(tmp_path) == {".mlflow.lock"}
    assert write(file) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give its rights up")
def test_a_file_that_may_only_be_read_is_told(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    file.chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    told = failing(lambda: ready(file), lambda: os.setuid(65534))
    assert told == f"Unusable: you may not write to {file}"


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_a_new_file_may_be_written_by_those_whom_the_umask_lets(umask: int, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    assert failing(lambda: write(file), lambda: os.umask(umask)) == ""
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask


def test_an_interruption_while_a_connection_is_closed_leaves_no_traceback(
    template: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine

    def interrupted(connection: object) -> None:
        raise KeyboardInterrupt

    Server(f"sqlite:///{shutil.copy(template, tmp_path / 'mlflow.db')}")
    engine = create_engine(f"sqlite:///{tmp_path / 'mlflow.db'}")
    engine.raw_connection().close()
    with monkeypatch.context() as patched:
        patched.setattr(engine.dialect, "do_close", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.dispose()
    assert [record.getMessage() for record in caplog.records if record.name.startswith("sqlalchemy")] == []
