"""Servers in temporary folders, for as long as they are needed: MLflow's and PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

PASSWORD = "opensesame4711"
"""Of PostgreSQL: long enough to be found wherever it should not be."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def mlflow_page(command: str, folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run `mlflow ui` or `mlflow server`, as a shell takes it, in a folder; its address. Writes `page.log` there.

    Raises RuntimeError where it does not answer within a minute.
    """
    port = free_port()
    with (folder / "page.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", f"exec env {command} --port {port}"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, lambda: _answers(f"http://127.0.0.1:{port}/health"), folder / "page.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it or its driver is not installed."""
    found = shutil.which("postgres")
    places = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return places[-1] if places and find_spec("psycopg") else None


@contextmanager
def postgres(durable: bool) -> Iterator[str]:
    """An empty PostgreSQL server that demands a password; its URI, with user and password.

    durable: commits are flushed to the disk. Raises RuntimeError where it does not start.
    """
    programs = postgres_programs()
    if programs is None:
        raise RuntimeError("PostgreSQL or its driver psycopg is not installed")
    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    (folder / "password").write_text(PASSWORD)
    given = ["-D", str(folder / "data"), "-U", "tracker", "--auth=scram-sha-256", f"--pwfile={folder}/password"]
    settings = [
        "listen_addresses=127.0.0.1",
        f"fsync={'on' if durable else 'off'}",
        f"unix_socket_directories={folder}",
    ]
    try:
        user, group = _ordinary_user(folder)
        initdb = [str(programs / "initdb"), *given, "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, user=user, group=group)
        (folder / "password").unlink()
        command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        command += [word for setting in settings for word in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, user=user, group=group
            )
        try:
            _wait(process, lambda: b"ready to accept connections" in (folder / "log").read_bytes(), folder / "log")
            yield f"postgresql+psycopg://tracker:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _stop(process, signal.SIGINT)
    finally:
        shutil.rmtree(folder)


def _ordinary_user(folder: Path) -> tuple[int, int] | tuple[None, None]:
    """PostgreSQL refuses to be run by root: user and group to run it as, who then own the folder."""
    if os.geteuid():
        return None, None
    entries = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = entries.get("postgres") or entries["nobody"]
    for path in (folder, *folder.iterdir()):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return entry.pw_uid, entry.pw_gid


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return bool(answer.status == 200)
    return False


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + 60
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args!r} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM) -> None:
    """End a server and wait for it."""
    process.send_signal(how)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
