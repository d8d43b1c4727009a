"""MLflow for real: its page over a folder that was moved, a server that wants a password and dies, PostgreSQL."""

from __future__ import annotations

import base64
import http.client
import json
import math
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmarks.servers import PASSWORD, free_port, mlflow_page, postgres, postgres_programs
from core import RunError
from core.evidence.findings import Result
from plugins.outputs.mlflow import Tracked
from plugins.outputs.mlflow.server import ENVIRONMENT, DataInput, Server

from .still import EXPERIMENT, Place, _plugin

__all__ = ["_plugin"]

ROOT = Path(__file__).parents[3]
TRIALS, RUNS, FINISHED_BEFORE = 7, 8, 3
FIGURE = "<svg xmlns='http://www.w3.org/2000/svg'/>"
NOTES_LOOKUPS = """
import os, socket
resolve = socket.getaddrinfo
def note(host):
    with open(os.environ["LOOKUPS"], "a") as log:
        print(host.decode() if isinstance(host, bytes) else host, file=log)
def noted(host, *rest, **named):
    note(host)
    return resolve(host, *rest, **named)
socket.getaddrinfo = noted
note("watched")
"""
WRITES = """
import sys, time
from plugins.outputs.mlflow.server import DataInput, Server
server = Server(sys.argv[1])
run = server.create(server.experiment("quiet"), "run", {"mlflow.user": "me"}, 1)
server.fill(run.id, {"k": "1"}, [("t2v/R1", 1.0, 0)], 1)
server.inputs(run.id, [DataInput("clips", "0", "test", "/videos", "{}")])
server.upload(run.id, {"a.txt": "one"})
server.end(run.id, "FINISHED", 1)
time.sleep(0.5)
"""
HERE = {"watched", "127.0.0.1", "::1", "0.0.0.0", "localhost", "None", socket.gethostname()}


@dataclass
class Page:
    """An SQLite file that was moved with its artifacts, and the page that the printed line opens on it."""

    place: Place
    again: Tracked
    address: str
    lookups: Path

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.address}/{path}", timeout=20) as answer:
            return bytes(answer.read())


class Front(ThreadingHTTPServer):
    """Stands before a server: wants a password, counts requests, and after `left` of them hangs up."""

    daemon_threads = True

    def __init__(self, behind: str):
        super().__init__(("127.0.0.1", 0), _PassOn)
        self.behind = behind.removeprefix("http://")
        self.left = math.inf
        self.seen: Counter[str] = Counter()

    @property
    def uri(self) -> str:
        return f"http://me:{PASSWORD}@127.0.0.1:{self.server_port}"


class _PassOn(BaseHTTPRequestHandler):
    server: Front

    def pass_on(self) -> None:
        front = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if front.left <= 0:
            self.close_connection = True
            return
        front.left -= 1
        wanted = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] != wanted:
            self.send_error(401)
            return
        path = self.path.partition("?")[0]
        front.seen["artifacts" if "/mlflow-artifacts/" in path else path.rpartition("/mlflow/")[2]] += 1
        kept = {name: value for name, value in self.headers.items() if name not in ("Host", "Authorization")}
        with closing(http.client.HTTPConnection(front.behind, timeout=20)) as behind:
            behind.request(self.command, self.path, body, kept)
            answer = behind.getresponse()
            content = answer.read()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.headers["Content-Type"] or "")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = pass_on

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a person's shell, where every host that Python looks up is noted in $LOOKUPS."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "sitecustomize.py").write_text(NOTES_LOOKUPS)
    (folder / "lookups").touch()
    ours = {*ENVIRONMENT, "CI", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST", "MLFLOW_TRACKING_URI"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"PYTHONPATH": str(folder), "LOOKUPS": str(folder / "lookups"), "HOME": str(folder)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, outside: dict[str, str]) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("tracked")
    before, after = laid_out(folder / "before"), Place(folder / "after there")
    before.track(before.result())
    shutil.move(before.folder, after.folder)
    with chdir(after.folder):
        again = after.track(after.result())
    line = next(line for line in again.lines if line.startswith("To open MLflow: "))
    with mlflow_page(line.removeprefix("To open MLflow: "), after.folder, outside) as address:
        yield Page(after, again, address, Path(outside["LOOKUPS"]))


@pytest.fixture(scope="module")
def front(page: Page) -> Iterator[Front]:
    with Front(page.address) as front:
        threading.Thread(target=front.serve_forever, daemon=True).start()
        yield front
        front.shutdown()


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URI of a PostgreSQL database."""
    if postgres_programs() is None:
        pytest.skip("PostgreSQL or psycopg is not installed")
    with postgres(durable=False) as uri:
        yield uri


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An experiment that is not tracked yet; its folder is the working directory."""
    monkeypatch.chdir(tmp_path)
    return laid_out(tmp_path / "lab")


@pytest.fixture(params=["file", "server", "postgres"])
def uri(request: pytest.FixtureRequest) -> str:
    """Each kind of place that MLflow's runs can be in."""
    if request.param == "postgres":
        return str(request.getfixturevalue("database"))
    page, front = request.getfixturevalue("page"), request.getfixturevalue("front")
    return str(page.place.uri if request.param == "file" else front.uri)


def laid_out(folder: Path) -> Place:
    """A place with an experiment file and a report, which need not be drawn then."""
    (folder / "runs" / "depth" / "figures").mkdir(parents=True)
    (folder / "runs" / "depth" / "report.html").write_text("<p>It helps.</p>")
    (folder / "runs" / "depth" / "figures" / "depth.svg").write_text(FIGURE)
    (folder / "depth.yaml").write_text(EXPERIMENT)
    return Place(folder)


def client(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(uri)


def found(uri: str, name: str) -> list[Any]:
    """Every run of an experiment."""
    there = client(uri)
    return list(there.search_runs([there.get_experiment_by_name(name).experiment_id]))


def named(place: Place, uri: str, name: str) -> Result:
    """The experiment under a name that it has at no other kind of place, to be tracked at `uri`."""
    reports, name = place.folder / "runs", f"{name} at {uri.partition(':')[0]}"
    shutil.copytree(reports / "depth", reports / name)
    return place.result(f"name={name}", f"outputs.mlflow.uri={uri}")


# ------------------------------------------------------------------------------------------------ a folder moved


def test_a_moved_folder_is_tracked_on_and_its_page_lists_and_shows_artifacts(page: Page) -> None:
    assert page.again.new_runs == 0
    query = f"run_id={page.again.run_id}&path=report"
    listed = json.loads(page.get(f"ajax-api/2.0/mlflow/artifacts/list?{query}"))
    assert {"report/report.html", "report/figures"} <= {file["path"] for file in listed["files"]}
    figure = page.get(f"get-artifact?path=report/figures/depth.svg&run_uuid={page.again.run_id}")
    assert figure.decode() == FIGURE
    run = page.place.run("layers=2 · seed 1")
    assert page.get(f"get-artifact?path=config.yaml&run_uuid={run.info.run_id}").startswith(b"name: depth")


def test_no_address_of_artifacts_in_a_database_names_a_folder(page: Page) -> None:
    with closing(sqlite3.connect(page.place.folder / "mlflow.db")) as connection:
        addresses = connection.execute("select artifact_location from experiments union select artifact_uri from runs")
        found = [address for (address,) in addresses]
    assert "mlflow-artifacts:/depth" in found
    assert all(address.startswith("mlflow-artifacts:/") for address in found)


def test_an_experiment_whose_artifacts_have_a_folder_keeps_it(page: Page, tmp_path: Path) -> None:
    server = Server(page.place.uri)
    server.client.create_experiment("old", (tmp_path / "old").as_uri())
    run = server.create(server.experiment("old"), "run", {}, 1)
    server.upload(run.id, {"a/b.txt": "there"})
    assert (tmp_path / "old" / run.id / "artifacts" / "a" / "b.txt").read_text() == "there"


def test_files_and_folders_go_where_they_are_told_and_replace_what_is_there(page: Page, tmp_path: Path) -> None:
    server = Server(page.place.uri)
    run = server.create(server.experiment(".. some/where"), "run", {}, 1)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.png").write_bytes(b"\x89PNG")
    server.upload(run.id, {"a.txt": "one", "b.txt": "é"}, "texts")
    server.upload(run.id, {"a.txt": "two"}, "texts")
    server.upload_folder(run.id, tmp_path, "report")
    folder = page.place.folder / "mlartifacts" / "some_where" / run.id / "artifacts"
    written = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert written == {"texts/a.txt": b"two", "texts/b.txt": "é".encode(), "report/figures/a.png": b"\x89PNG"}


def test_commits_to_a_file_are_flushed_seldom(page: Page) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    Server(page.place.uri)
    with SqlAlchemyStore(page.place.uri, "").engine.connect() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert values == ["wal", 1]


def test_data_is_named_once(uri: str) -> None:
    server = Server(uri)
    run = server.create(server.experiment("data"), "run", {}, 1)
    data = [
        DataInput(f"clips {split}", 36 * split[0], split, "/videos", '{"videos": 3}') for split in ("train", "test")
    ]
    for _ in range(2):
        server.inputs(run.id, data)
    server.inputs(run.id, [])
    inputs = client(uri).get_run(run.id).inputs.dataset_inputs
    told = {(one.dataset.name, one.dataset.digest, one.dataset.profile, one.tags[0].value) for one in inputs}
    assert len(inputs) == 2
    assert told == {(f"clips {split}", 36 * split[0], '{"videos": 3}', split) for split in ("train", "test")}
    assert {json.loads(one.dataset.source)["uri"] for one in inputs} == {"/videos"}
    assert {one.tags[0].key for one in inputs} == {"mlflow.data.context"}


# ------------------------------------------------------------------------------------------------ every kind of place


def test_tracking_again_adds_nothing_and_the_password_is_nowhere(
    uri: str, place: Place, page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    result = named(place, uri, "twice")
    first, second = place.track(result), place.track(result)
    assert (first.new_runs, second.new_runs) == (RUNS, 0)
    runs = found(uri, result.name)
    assert len(runs) == RUNS
    assert {run.info.status for run in runs} == {"FINISHED"}
    printed = "".join([*capfd.readouterr(), *first.lines, *second.lines])
    assert PASSWORD not in printed
    for folder in (place.folder, page.place.folder, Path.cwd()):
        assert [path for path in folder.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()] == []
    if uri.startswith("postgresql"):
        assert not any(PASSWORD in row for row in everything(uri))


def everything(uri: str) -> Iterator[str]:
    """Every row of a PostgreSQL database as text."""
    import psycopg

    with psycopg.connect(uri.replace("+psycopg", "")) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        assert ("runs",) in tables
        for (table,) in tables:
            for (row,) in connection.execute(f'select t::text from "{table}" t'):
                yield row


def test_a_process_that_is_killed_half_way_is_gone_on_from(uri: str, place: Place) -> None:
    result = named(place, uri, "killed")
    end = Server.end

    def killed(server: Server, *given: Any) -> None:
        ended.append(given)
        if len(ended) > FINISHED_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        end(server, *given)

    def track() -> None:
        forget_connections(uri)
        with mock.patch.object(Server, "end", killed):
            place.track(result)

    ended: list[Any] = []
    child = multiprocessing.get_context("fork").Process(target=track)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    before = {run.info.run_id: run.info.status for run in found(uri, result.name)}
    assert Counter(before.values()) == {"FINISHED": FINISHED_BEFORE, "RUNNING": 2}  # the parent, and one child
    assert place.track(result).new_runs == TRIALS - FINISHED_BEFORE - 1
    after = found(uri, result.name)
    assert len(after) == RUNS
    assert before.keys() <= {run.info.run_id for run in after}
    assert {run.info.status for run in after} == {"FINISHED"}
    assert {len(run.inputs.dataset_inputs) for run in after if run.data.params.get("layers", "1") != "1"} == {2}


def forget_connections(uri: str) -> None:
    """A process cannot use the connections of the one that it was forked from."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if uri in SqlAlchemyStore._engine_map:
        SqlAlchemyStore._engine_map[uri].dispose(close=False)


# ------------------------------------------------------------------------------------------------ a server


def test_a_trial_takes_four_requests_and_one_for_each_file(front: Front, place: Place) -> None:
    result = named(place, front.uri, "counted")
    front.seen.clear()
    answer = place.track(result)
    seen = Counter(front.seen)
    files = {run.info.run_id: artifacts(front.uri, run.info.run_id) for run in found(front.uri, result.name)}
    assert "report/figures/depth.svg" in files[answer.run_id]
    expected = {
        "runs/create": RUNS,
        "runs/log-batch": RUNS,
        "runs/log-inputs": RUNS,
        "runs/update": RUNS,
        "artifacts": sum(map(len, files.values())),
    }
    assert {kind: seen[kind] for kind in expected} == expected
    others = {kind: count for kind, count in seen.items() if kind not in expected}
    assert sum(others.values()) <= 10, others


def artifacts(uri: str, run_id: str, folder: str | None = None) -> list[str]:
    """Paths of a run's artifacts, as the server lists them."""
    paths: list[str] = []
    for file in client(uri).list_artifacts(run_id, folder):
        paths += artifacts(uri, run_id, file.path) if file.is_dir else [file.path]
    return paths


def test_a_server_that_dies_on_the_way_costs_nothing(
    front: Front, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    result = named(place, front.uri, "died")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    front.left = 25
    try:
        with pytest.raises(RunError) as dying:
            place.track(result)
        with pytest.raises(RunError) as dead:
            place.track(result)
    finally:
        front.left = math.inf
    assert_told(dying.value, place)
    assert_told(dead.value, place)
    assert PASSWORD not in "".join(capfd.readouterr())
    there = len(found(front.uri, result.name))
    assert 1 < there < RUNS
    assert place.track(result).new_runs == RUNS - there
    assert {run.info.status for run in found(front.uri, result.name)} == {"FINISHED"}


@pytest.mark.slow
def test_a_server_that_is_down_is_noticed_soon(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    start = time.monotonic()
    with pytest.raises(RunError) as caught:
        place.track(named(place, f"http://me:{PASSWORD}@127.0.0.1:{free_port()}", "down"))
    assert time.monotonic() - start < 10
    assert_told(caught.value, place)


def test_a_wrong_password_is_told_and_not_shown(front: Front, place: Place) -> None:
    with pytest.raises(RunError, match="401") as caught:
        place.track(named(place, front.uri.replace("me:", "you:"), "refused"))
    assert_told(caught.value, place)


def assert_told(fault: RunError, place: Place) -> None:
    """One clear error, without the password."""
    message = str(fault)
    assert "could not be written" in message
    assert "No result is lost: all are in the store" in message
    assert f"python -m core.run {place.file} " in message
    assert f"--store {place.folder / 'store'} --stored --only mlflow" in message
    assert PASSWORD not in "".join(traceback.format_exception(fault))
    assert len(message.splitlines()) == 4


# ------------------------------------------------------------------------------------------------ PostgreSQL


def test_artifacts_of_a_database_lie_in_the_working_directory(database: str, place: Place) -> None:
    result = named(place, database, "beside")
    answer = place.track(result)
    folder = Path.cwd() / "mlartifacts" / "beside_at_postgresql_psycopg" / answer.run_id / "artifacts"
    assert (folder / "report" / "figures" / "depth.svg").read_text() == FIGURE
    (line,) = [line for line in answer.lines if "mlflow ui" in line]
    assert f"--artifacts-destination {Path.cwd()}/mlartifacts" in line
    addresses = [run.info.artifact_uri for run in found(database, result.name)]
    assert all(address.startswith("mlflow-artifacts:/beside_at_postgresql_psycopg/") for address in addresses)


@pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL or psycopg is not installed")
@pytest.mark.parametrize("silent", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_database_that_cannot_be_reached_is_noticed_soon(
    silent: bool, place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    with socket.create_server(("127.0.0.1", 0)) as listening:  # takes calls, and says nothing
        port = listening.getsockname()[1] if silent else free_port()
        result = named(place, f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:{port}/postgres", "down")
        start = time.monotonic()
        with pytest.raises(RunError) as caught:
            place.track(result)
    assert time.monotonic() - start < 10
    assert_told(caught.value, place)
    assert PASSWORD not in "".join(capfd.readouterr())


def test_a_driver_that_is_not_installed_is_named_with_what_to_install(place: Place) -> None:
    with pytest.raises(RunError, match=r"No module named 'pg8000'.*pip install 'retrieval-ablations\[postgres\]'"):
        place.track(named(place, f"postgresql+pg8000://me:{PASSWORD}@127.0.0.1:9/postgres", "undriven"))


# ------------------------------------------------------------------------------------------------ telemetry


def test_the_page_looks_up_no_other_host(page: Page) -> None:
    page.get("ajax-api/2.0/mlflow/experiments/get?experiment_id=0")
    assert json.loads(page.get("ajax-api/3.0/mlflow/ui-telemetry"))["disable_ui_telemetry"]
    assert_only_here(page.lookups)


@pytest.mark.slow
def test_tracking_looks_up_no_other_host(outside: dict[str, str], tmp_path: Path) -> None:
    own = {"LOOKUPS": str(tmp_path / "lookups"), "PYTHONPATH": f"{outside['PYTHONPATH']}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", WRITES, f"sqlite:///{tmp_path}/mlflow.db"]
    subprocess.run(command, cwd=tmp_path, env=outside | own, check=True, timeout=60)
    assert_only_here(tmp_path / "lookups")


def assert_only_here(log: Path) -> None:
    looked_up = set(log.read_text().splitlines())
    assert "watched" in looked_up
    assert looked_up <= HERE
