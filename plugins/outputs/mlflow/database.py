"""An SQLite file for MLflow's tables: made whole or not at all; whether one that is there may be written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

BESIDE = ("", "-wal", "-shm", "-journal")
"""Ends of the files that SQLite keeps for one database."""

SEEDED = {"alembic_version": 1, "workspaces": 1, "experiments": 1}
"""Tables that have so many rows before anybody has tracked anything."""


class Unusable(Exception):
    """Why an SQLite file is left as it is, and what can be done about it."""


@dataclass(frozen=True)
class Contents:
    """tables: their names; revision: of MLflow's schema, None where none is written down; filled: whether any table
    has rows of somebody's work."""

    tables: frozenset[str]
    revision: str | None
    filled: bool


def ready(file: Path) -> str | None:
    """Have an SQLite file with MLflow's tables: make it where there is none, or none with anything in it.

    What was found broken and set aside, in a line; None otherwise. Raises Unusable, without a byte of the file changed,
    where it is not MLflow's, or of another release of MLflow.
    """
    if not file.exists() or file.stat().st_size == 0:
        _make(file)
        return None
    contents = _contents(file)
    if not _is_cut_off(file, contents):
        for place in (file, file.parent):
            if not os.access(place, os.W_OK):
                raise Unusable(f"you may not write to {place}")
        return None
    aside = _set_aside(file)
    _make(file)
    return f"{file} was cut off while its tables were made, before anything was in it: it is now {aside}, and made anew"


def _is_cut_off(file: Path, contents: Contents) -> bool:
    """Whether nothing came of a database but a part of MLflow's tables. Raises Unusable where it is not to be used."""
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import _get_latest_schema_revision

    newest, wanted = _get_latest_schema_revision(), frozenset(Base.metadata.tables)
    if contents.revision == newest and wanted <= contents.tables:
        return False
    strange = {name for name in contents.tables - wanted if not name.startswith(("alembic_", "_alembic_"))}
    mlflows = contents.revision is not None and {"experiments", "runs"} <= contents.tables
    if strange and not mlflows:
        raise Unusable(f"{file} is an SQLite file of something else (tables: {_some(strange)}); it stays as it is")
    if not strange and not contents.filled:
        return True
    raise Unusable(
        f"{file} has the tables of another release of MLflow (schema {contents.revision or 'without a number'}; this "
        f"release needs {newest}): back it up, then run: mlflow db upgrade sqlite:///{file}"
    )


def _some(names: set[str]) -> str:
    first = sorted(names)[:3]
    return ", ".join(first) + (", …" if len(names) > len(first) else "")


def _contents(file: Path) -> Contents:
    """What is in an SQLite file, which is not changed, nor is anything beside it. Raises Unusable."""
    with file.open("rb") as handle:
        if handle.read(16) != b"SQLite format 3\0":
            raise Unusable(f"{file} is no SQLite file; it stays as it is")
    try:
        with _read_only(file) as connection:
            return _seen(connection)
    except sqlite3.DatabaseError as fault:
        raise Unusable(f"{file} cannot be read ({fault}); where it is damaged, move it away") from None


@contextmanager
def _read_only(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the file itself, or to a copy where SQLite would first take back what was interrupted."""
    if _sized(Path(f"{file}-journal")):
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "copy.db")
            for end in ("", "-journal"):
                shutil.copyfile(f"{file}{end}", f"{copy}{end}")
            with closing(sqlite3.connect(copy)) as connection:
                yield connection
        return
    unwatched = "" if _sized(Path(f"{file}-wal")) else "&immutable=1"  # makes no file beside it
    with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro{unwatched}", uri=True, timeout=20)) as connection:
        yield connection


def _sized(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _seen(connection: sqlite3.Connection) -> Contents:
    listed = connection.execute("select name from sqlite_master where type in ('table', 'view')")
    tables = frozenset(name for (name,) in listed if not name.startswith("sqlite_"))
    revision = None
    if "alembic_version" in tables:
        revision = next((row[0] for row in connection.execute("select version_num from alembic_version")), None)
    filled = any(_rows(connection, name) > SEEDED.get(name, 0) for name in tables)
    return Contents(tables, revision, filled)


def _rows(connection: sqlite3.Connection, table: str) -> int:
    """0, 1 or 2, where there are more."""
    name = table.replace('"', '""')
    return len(connection.execute(f'select 1 from "{name}" limit 2').fetchall())


def _set_aside(file: Path) -> Path:
    """Rename a database with what lies beside it; its new name."""
    number = 1
    while any(Path(f"{file}.broken-{number}{end}").exists() for end in BESIDE):
        number += 1
    aside = Path(f"{file}.broken-{number}")
    for end in BESIDE:
        if Path(f"{file}{end}").exists():
            os.rename(f"{file}{end}", f"{aside}{end}")
    return aside


def _make(file: Path) -> None:
    """Make MLflow's tables under another name, which becomes the file's when they are whole and on the disk.

    What earlier attempts left is removed. One process at a time may do so: `server.held`.
    """
    for leftover in file.parent.glob(f".{escape(file.name)}.making-*"):
        leftover.unlink()
    if any(Path(f"{file}{end}").exists() for end in BESIDE[1:]):  # of a file that was removed: SQLite would read it
        _set_aside(file)
    draft = file.with_name(f".{file.name}.making-{os.getpid()}")
    try:
        draft.touch()  # as the umask says: SQLite would make it for its owner alone to write
        _fill(draft)
        with draft.open("rb") as handle:
            os.fsync(handle.fileno())
        os.replace(draft, file)
    finally:
        for end in BESIDE:
            Path(f"{draft}{end}").unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _fill(draft: Path) -> None:
    """Make MLflow's tables in a new file, write-ahead, and check them."""
    from mlflow.store.db.utils import _initialize_tables, _verify_schema
    from sqlalchemy import NullPool, create_engine, event

    engine = create_engine(f"sqlite:///{draft}", poolclass=NullPool)
    event.listen(engine, "connect", _never_flush)
    _initialize_tables(engine)
    _verify_schema(engine)
    with closing(sqlite3.connect(draft)) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
        if verdict != "ok":
            raise Unusable(f"the disk of {draft.parent} does not give back what is written to it ({verdict})")
        connection.execute("PRAGMA journal_mode=WAL")


def _never_flush(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")
