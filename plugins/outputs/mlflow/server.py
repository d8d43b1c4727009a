"""A tracking server, or a database, that runs are written to by their ids. Only this and `database` import mlflow."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import StoreError
from core.outputs import locked

from .database import Unusable, ready

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "PGCONNECT_TIMEOUT": "5",
}
"""What MLflow is told unless the person says otherwise: no telemetry, and a server that is down is noticed soon."""

LOGGED_AND_RAISED = ("mlflow.store.db.utils", "alembic", "sqlalchemy.pool", "urllib3.connectionpool")
"""Loggers of faults that are raised as well, and told then."""

PATIENCE = 600.0
"""Seconds that another process may take to write its runs before this one gives up."""

SERVED = "mlflow-artifacts:/"
"""Begins the address of artifacts that lie wherever MLflow's page is told to look for them."""

LONGEST_NAME = 250
"""Of a run, where a database checks it: PostgreSQL."""


@dataclass(frozen=True)
class Run:
    id: str
    tags: dict[str, str]
    finished: bool


@dataclass(frozen=True)
class DataInput:
    """Data that a run used. digest: at most 36 characters; context: what for; source: its place; profile: JSON."""

    name: str
    digest: str
    context: str
    source: str
    profile: str


def tracking_uri(configured: str | None) -> str:
    """The URI given, else MLFLOW_TRACKING_URI, else mlflow.db in the working directory; SQLite paths made absolute."""
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = database_of(uri)
    if database is None:
        return uri
    scheme = uri.partition("///")[0]
    _, mark, settings = uri.partition("?")
    return f"{scheme}///{database}{mark}{settings}"


def database_of(uri: str) -> Path | None:
    """The file of an SQLite URI."""
    match = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(match[1]).resolve() if match and not match[1].startswith((":memory:", "file:")) else None


def artifacts_of(uri: str) -> Path | None:
    """The folder of a database's artifacts: beside an SQLite file, else in the working directory, where
    `mlflow ui` looks by itself. None: a server's own affair."""
    if not re.match(r"(sqlite|postgresql|mysql|mssql)(\+\w+)?://", uri):
        return None
    database = database_of(uri)
    return (Path.cwd() if database is None else database.parent) / "mlartifacts"


@contextmanager
def held(uri: str, folder: Path) -> Iterator[None]:
    """Let one process at a time write: two that make one SQLite file at once break it, two may add a run twice."""
    database = database_of(uri)
    folder = folder if database is None else database.parent
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held_until_written:
        try:
            held_until_written.enter_context(locked(folder / ".mlflow.lock", PATIENCE))
        except StoreError as fault:
            raise Unusable(str(fault)) from None
        yield


class Server:
    """MLflow's client, told the run at every call: what a plugin does with `mlflow.start_run` cannot get in the way."""

    def __init__(self, uri: str):
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        for name in LOGGED_AND_RAISED:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self.uri, self.artifacts = uri, artifacts_of(uri)
        self.repaired = None if self.artifacts is None else _open(uri)
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        self._artifact_uris: dict[str, str] = {}

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name; made where there is none, restored where it was deleted."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment is None:
            return str(self.client.create_experiment(name, self._location(name)))
        if experiment.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _location(self, name: str) -> str | None:
        """Where artifacts of a new experiment are to be found: in a database no path, so that it can be moved."""
        if self.artifacts is None:
            return None
        return SERVED + (re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "experiment")

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set the tags that differ. They are for looks: one that the server refuses is left out."""
        from mlflow.exceptions import MlflowException

        current = self.client.get_experiment(experiment_id).tags
        for name, value in tags.items():
            if current.get(name) != value:
                with suppress(MlflowException):
                    self.client.set_experiment_tag(experiment_id, name, value)

    def runs(self, experiment_id: str, version: str) -> list[Run]:
        """Every run of one version of an experiment file, parent and children, oldest first."""
        wanted, order = f"tags.file_version = '{version}'", ["attributes.start_time"]
        runs: list[Run] = []
        token = None
        while token is None or token:
            page = self.client.search_runs([experiment_id], wanted, max_results=1000, order_by=order, page_token=token)
            runs += [self._known(run) for run in page]
            token = page.token or ""
        return runs

    def create(self, experiment_id: str, name: str, tags: dict[str, str], started: int) -> Run:
        """A new run, running until it is ended. Of a long name its ends are kept. `started` in milliseconds."""
        if len(name) > LONGEST_NAME:
            name = f"{name[: LONGEST_NAME // 2]}…{name[1 - LONGEST_NAME // 2 :]}"
        return self._known(self.client.create_run(experiment_id, started, tags, name))

    def _known(self, run: Any) -> Run:
        self._artifact_uris[run.info.run_id] = run.info.artifact_uri
        return Run(run.info.run_id, dict(run.data.tags), run.info.status == "FINISHED")

    def fill(self, run_id: str, params: Mapping[str, str], points: Sequence[tuple[str, float, int]], at: int) -> None:
        """Log params and metric points (name, value, step): one request up to 100 params and 1,000 of both."""
        from mlflow.entities import Metric, Param

        metrics = [Metric(name, value, at, step) for name, value, step in points]
        self.client.log_batch(run_id, metrics, [Param(name, value) for name, value in params.items()])

    def inputs(self, run_id: str, datasets: Sequence[DataInput]) -> None:
        """Say what data a run used; what it has by name and digest is not added again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entries = []
        for data in datasets:
            source = json.dumps({"uri": data.source}, ensure_ascii=False)  # as MLflow's page reads it
            dataset = Dataset(data.name, data.digest, "local", source, profile=data.profile)
            entries.append(DatasetInput(dataset, [InputTag("mlflow.data.context", data.context)]))
        if entries:
            self.client.log_inputs(run_id, entries)

    def upload(self, run_id: str, files: Mapping[str, str], folder: str = "") -> None:
        """Put texts among the run's artifacts, by path below `folder`; what has the same path is replaced."""
        with tempfile.TemporaryDirectory() as place:
            for name, text in files.items():
                path = Path(place, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            self.upload_folder(run_id, Path(place), folder)

    def upload_files(self, run_id: str, files: Mapping[str, Path], folder: str) -> None:
        """Put these files among the run's artifacts, by path below `folder`; what has the same path is replaced."""
        with tempfile.TemporaryDirectory() as place:
            for name, file in files.items():
                path = Path(place, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, path)
            self.upload_folder(run_id, Path(place), folder)

    def upload_folder(self, run_id: str, folder: Path, into: str) -> None:
        """Put what lies in a folder among the run's artifacts, below `into`; what has the same path is replaced."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        get_artifact_repository(self._place(run_id), self.uri).log_artifacts(str(folder), into or None)

    def _place(self, run_id: str) -> str:
        """Where to put a run's artifacts: of a database that MLflow's page serves, into its folder of them."""
        uri = self._artifact_uris[run_id]
        if self.artifacts is None or not uri.startswith(SERVED) or uri.startswith(f"{SERVED}/"):
            return uri
        return (self.artifacts / uri.removeprefix(SERVED)).as_uri()

    def refresh(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set the tags that differ from what the run has."""
        from mlflow.entities import RunTag

        changed = [RunTag(name, value) for name, value in tags.items() if run.tags.get(name) != value]
        self.client.log_batch(run.id, tags=changed)

    def end(self, run_id: str, status: str, at: int | None = None) -> None:
        self.client.set_terminated(run_id, status, at)


def _open(uri: str) -> str | None:
    """Reach a database, once: MLflow would try for two minutes. Make its tables where it has none.

    A file becomes write-ahead, which it stays: readers do not wait. What this process commits to it is then flushed
    now and then in place of every time: power that fails can take the last runs along, never break the file.
    Returns what `database.ready` has to tell of a file.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import NullPool, create_engine, event
    from sqlalchemy.exc import OperationalError

    try:
        engine = create_engine(uri, poolclass=NullPool)
    except ModuleNotFoundError as fault:
        hint = "PostgreSQL: pip install 'retrieval-ablations[postgres]', and begin the URI with postgresql+psycopg://"
        raise ModuleNotFoundError(f"{fault}, the driver of this database ({hint})") from None
    file = database_of(uri)
    repaired = ready(file) if file else None
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            with suppress(OperationalError):  # someone is reading it
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    if uri in SqlAlchemyStore._engine_map:
        SqlAlchemyStore._engine_map[uri].dispose()  # its connections may be to a file that was replaced
    engine = SqlAlchemyStore(uri, SERVED).engine  # MlflowClient will have the same
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _flush_seldom)
        engine.dispose()
    return repaired


def _flush_seldom(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
