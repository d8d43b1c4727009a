"""A finished experiment in MLflow: one parent an experiment file version, one child a trial.

Written from the store's results, which stay the truth: it can be written again at any time, into any tracking store
(`core.run FILE --stored --only mlflow`), and writing again adds nothing.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from core import DataError, Output, RunError, UserError, progress, setting
from core.outputs import Result, digest, safe_address, without

from ..report import report_files
from . import experiment, opening, view
from .database import Unusable
from .origin import origin
from .server import Run, Server, database_of, held, tracking_uri
from .trial import FAILURE, TrialRecord

FIGURE = "get-artifact?path=report/figures/{name}&run_uuid={run_id}"
"""Where MLflow's page finds a figure of a run, from itself."""


class MLflow(Output):
    """One parent run an experiment file version, one child a trial, with the report among the parent's artifacts."""

    name = "mlflow"
    by_default = True

    @dataclass(frozen=True)
    class Config:
        uri: str | None = setting(None, "tracking store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db here")

    def finished(self, result: Result, folder: Path) -> list[str]:
        tracked = track(result, folder, self.config.uri)
        repaired = [line for line in tracked.lines if line not in tracked.links.lines]
        return [*repaired, *opening.lines(tracked.links, folder, private=result.experiment.anonymous)]

    def trial_of(self, text: str) -> str | None:
        """The trial of the run with this id. Raises DataError where MLflow cannot be asked, or it is no trial's run."""
        return trial_of_run(text, tracking_uri(self.config.uri)) if re.fullmatch("[0-9a-f]{32}", text) else None


@dataclass(frozen=True)
class Tracked:
    """Where an experiment is in MLflow. `new_runs`: how many this call added; `lines`: what to tell the person."""

    uri: str
    experiment_id: str
    run_id: str
    new_runs: int
    lines: list[str]
    links: view.Links


def track(result: Result, report: Path, uri: str | None = None) -> Tracked:
    """Write a finished experiment to MLflow, or bring up to date what is there.

    report: folder of its report, whose files become artifacts. Raises RunError where MLflow cannot be written; the
    results are in the store all the same.
    """
    uri = tracking_uri(uri)
    try:
        with held(uri, report.parent):
            return _Writing(result, report, Server(uri), uri).write()
    except UserError:
        raise
    except Exception as fault:  # MLflow's own, a database's, a network's: none of them may cost a result
        told = "" if isinstance(fault, Unusable) else f"{type(fault).__name__}: "
        reason = without(f"{told}{fault}".strip().splitlines()[0], uri)
        raise RunError(
            f"{result.name}: MLflow at {safe_address(uri)} could not be written: {reason}\n"
            "No result is lost: all are in the store. Once MLflow can be reached, write them with\n"
            f"  {result.rewrite} --only mlflow\n"
            "or to another place with outputs.mlflow.uri=URI; outputs.mlflow=null runs without MLflow"
        ) from None


def trial_of_run(run_id: str, uri: str) -> str:
    """The key of the trial that an MLflow run was written from."""
    database = database_of(uri)
    if database is not None and not database.exists():
        raise DataError(f"{run_id}: no MLflow database at {database}: set MLFLOW_TRACKING_URI, or name `store:KEY`")
    try:
        tags = Server(uri).client.get_run(run_id).data.tags
    except Exception as fault:  # MLflow's own, a database's, a network's
        reason = without(str(fault).strip().splitlines()[0], uri)
        raise DataError(f"{run_id}: MLflow at {safe_address(uri)} cannot give this run: {reason}") from None
    if "trial_key" not in tags:
        raise DataError(f"{run_id}: this MLflow run is no trial: name one of the runs below it")
    return str(tags["trial_key"])


@dataclass
class _Writing:
    """One experiment on its way into one tracking store."""

    result: Result
    report: Path
    server: Server
    uri: str

    def write(self) -> Tracked:
        name, version = self.result.name, self.result.version
        experiment_id = self.server.experiment(name)
        runs = self.server.runs(experiment_id, version)
        parent = next((run for run in runs if run.tags.get("role") == "experiment"), None)
        new = parent is None
        if parent is None:
            tags = origin(self.result) | {"role": "experiment", "file_version": version}
            title = f"{name} · file {version[:6]}"
            parent = self.server.create(experiment_id, title, tags, int(1000 * time.time()))
        children = {_identity(run.tags): run for run in runs if run.id != parent.id}
        rows = self.result.rows
        trials = [TrialRecord(self.result, row, trial) for row in rows for trial in row.trials]
        pairs = [(trial, children.pop(_identity_of(trial), None)) for trial in trials]
        added = [self._trial(experiment_id, parent.id, *pair) for pair in progress(pairs, "write to MLflow")]
        self._retire(list(children.values()))
        links = view.links(self.result, self.uri, experiment_id, parent.id)
        self._parent(parent, links)
        note = experiment.experiment_note(self.result, links.views)
        self.server.tag_experiment(experiment_id, view.experiment_tags(self.result, note))
        lines = [self.server.repaired, *links.lines] if self.server.repaired else links.lines
        return Tracked(self.uri, experiment_id, parent.id, new + sum(added), lines, links)

    def _trial(self, experiment_id: str, parent_id: str, trial: TrialRecord, run: Run | None) -> bool:
        """Write one child; one that is whole only has its outcome brought up to date. Whether it is new."""
        current = trial.current_tags | {"mlflow.parentRunId": parent_id}
        new = run is None
        if run is None:
            tags = origin(self.result) | trial.tags | current
            run = self.server.create(experiment_id, trial.name, tags, trial.started)
        if not run.finished:
            self.server.fill(run.id, trial.params, trial.points, trial.ended)
            self.server.inputs(run.id, trial.data)
            self.server.upload(run.id, trial.files)
            self.server.end(run.id, trial.status, trial.ended)
        self.server.refresh(run, current)
        return new

    def _retire(self, runs: list[Run]) -> None:
        """Children whose trial has another key by now (changed code or data), or has not failed this time, leave the
        table and stay readable."""
        for run in runs:
            if not run.finished and FAILURE not in run.tags:
                self.server.end(run.id, "KILLED")
            self.server.refresh(run, {"role": "superseded"})

    def _parent(self, parent: Run, links: view.Links) -> None:
        files = experiment.experiment_files(self.result)
        reported = report_files(self.report)
        figures = [path.name for name, path in reported.items() if name.endswith(".svg")]
        addresses = [FIGURE.format(name=quote(name), run_id=parent.id) for name in figures]
        tags = experiment.experiment_tags(self.result)
        tags["mlflow.note.content"] = experiment.note(self.result, links.table, addresses)
        tags["content"] = digest([files, _contents(reported)])
        if not parent.finished or parent.tags.get("content") != tags["content"]:
            self.server.upload(parent.id, files)
            self.server.upload_files(parent.id, reported, "report")
        self.server.refresh(parent, tags)
        status = "FAILED" if self.result.failed else "FINISHED"
        if not parent.finished or status == "FAILED":
            baseline = self.result.baseline
            self.server.inputs(parent.id, TrialRecord(self.result, baseline, baseline.trials[0]).data)
            self.server.end(parent.id, status)


def _identity_of(trial: TrialRecord) -> tuple[str, str, bool]:
    return *trial.identity, trial.failure is not None


def _identity(tags: dict[str, str]) -> tuple[str, str, bool]:
    return tags.get("trial_key", ""), tags.get("variant", ""), FAILURE in tags


def _contents(files: Mapping[str, Path]) -> dict[str, str]:
    """{path: digest} of files."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
