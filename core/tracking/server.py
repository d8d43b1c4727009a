"""The one file that imports mlflow: a tracking server, or a database file, that runs are written to by their ids."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""What MLflow is told unless the person says otherwise: no telemetry, and a server that is down is noticed soon."""

METRICS_A_REQUEST, PARAMS_A_REQUEST = 900, 100
"""Within MLflow's limit of 1,000 entities a request."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Run:
    id: str
    tags: dict[str, str]
    finished: bool


def tracking_uri(given: str | None) -> str:
    """The URI given, else MLFLOW_TRACKING_URI, else mlflow.db in the working directory; SQLite paths made absolute."""
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = database_of(uri)
    return uri if database is None else f"sqlite:///{database}"


def database_of(uri: str) -> Path | None:
    """The file of an SQLite URI."""
    path = uri.removeprefix("sqlite:///")
    return None if path in (uri, "", ":memory:") else Path(path).resolve()


def hidden_password(text: str) -> str:
    return re.sub(r"(\w+://[^:/@\s]*):[^@/\s]+@", r"\1:***@", text)


@contextmanager
def held(uri: str, root: Path) -> Iterator[None]:
    """Let one process at a time write: two that make one SQLite file at once break it, two may add a run twice."""
    database = database_of(uri)
    folder = root if database is None else database.parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".mlflow.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Server:
    """MLflow's client, told the run at every call: what a plugin does with `mlflow.start_run` cannot get in the way."""

    def __init__(self, uri: str):
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.database = database_of(uri)
        if self.database is not None:
            _write_ahead(self.database)
        from mlflow import MlflowClient

        for name in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.client = MlflowClient(uri)

    def experiment(self, name: str) -> str:
        """The id of the experiment of that name; made where there is none, restored where it was deleted."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return str(self.client.create_experiment(name, self._artifacts(name)))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _artifacts(self, name: str) -> str | None:
        """A folder beside the database file; a server knows its own place."""
        if self.database is None:
            return None
        folder = re.sub(r"[^\w.-]+", "_", name)
        return (self.database.parent / "mlartifacts" / folder).as_uri()

    def tag_experiment(self, experiment_id: str, tags: Mapping[str, str]) -> None:
        """Set the tags that differ. They are for looks: one that the server refuses is left out."""
        from mlflow.exceptions import MlflowException

        known = self.client.get_experiment(experiment_id).tags
        for name, value in tags.items():
            if known.get(name) != value:
                with suppress(MlflowException):
                    self.client.set_experiment_tag(experiment_id, name, value)

    def runs(self, experiment_id: str, version: str) -> list[Run]:
        """Every run of one version of an experiment file, parent and children, oldest first."""
        wanted, order = f"tags.file_version = '{version}'", ["attributes.start_time"]
        found: list[Run] = []
        token = None
        while token is None or token:
            page = self.client.search_runs([experiment_id], wanted, max_results=1000, order_by=order, page_token=token)
            found += [Run(run.info.run_id, dict(run.data.tags), run.info.status == "FINISHED") for run in page]
            token = page.token or ""
        return found

    def create(self, experiment_id: str, name: str, tags: dict[str, str], started: int) -> Run:
        """A new run, running until it is ended. `started` in milliseconds."""
        made = self.client.create_run(experiment_id, started, tags, name)
        return Run(made.info.run_id, tags, finished=False)

    def fill(self, run_id: str, params: Mapping[str, str], points: Sequence[tuple[str, float, int]], at: int) -> None:
        """Log params and metric points (name, value, step), in as few requests as the limits allow."""
        from mlflow.entities import Metric, Param

        all_params = [Param(name, value) for name, value in params.items()]
        all_metrics = [Metric(name, value, at, step) for name, value, step in points]
        parts = zip_longest(_parts(all_params, PARAMS_A_REQUEST), _parts(all_metrics, METRICS_A_REQUEST), fillvalue=())
        for some_params, some_metrics in parts:
            self.client.log_batch(run_id, metrics=some_metrics, params=some_params)

    def upload(self, run_id: str, files: Mapping[str, str]) -> None:
        """Put texts among the run's artifacts, by path; what has the same path is replaced."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            self.client.log_artifacts(run_id, folder)

    def refresh(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set the tags that differ from what the run has."""
        from mlflow.entities import RunTag

        changed = [RunTag(name, value) for name, value in tags.items() if run.tags.get(name) != value]
        for part in _parts(changed, PARAMS_A_REQUEST):
            self.client.log_batch(run.id, tags=part)

    def end(self, run_id: str, status: str, at: int | None = None) -> None:
        self.client.set_terminated(run_id, status, at)


def _parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _write_ahead(database: Path) -> None:
    """Make the file write-ahead, which it stays: 2.5 times as many runs a second, and readers do not wait."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
