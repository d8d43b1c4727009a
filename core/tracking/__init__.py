"""A finished experiment in MLflow: one parent an experiment file version, one child a trial.

Written from the store's results, which stay the truth: it can be written again at any time
(`python -m core.tracking sync FILE`), and writing again adds nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import RunError, UserError
from ..findings import Result
from ..terminal import progress
from . import records, view
from .records import TrialRecord
from .server import Run, Server, held, hidden_password, tracking_uri


@dataclass(frozen=True)
class Tracked:
    """Where an experiment is in MLflow. `new_runs`: how many this call added; `lines`: what to tell the person."""

    uri: str
    experiment_id: str
    run_id: str
    new_runs: int
    lines: list[str]


def track(result: Result) -> Tracked | None:
    """Write a finished experiment to MLflow, or bring up to date what is there; None where tracking is off.

    Raises RunError where MLflow cannot be written; the results are in the store all the same.
    """
    settings, store = result.plan.experiment.tracking, result.plan.workspace.store
    if not settings.enabled:
        return None
    uri = tracking_uri(settings.uri)
    try:
        with held(uri, store.root):
            return _track(result, Server(uri), uri)
    except UserError:
        raise
    except Exception as fault:  # MLflow's own, a database's, a network's: none of them may cost a result
        reason = f"{type(fault).__name__}: {fault}".strip().splitlines()[0]
        message = (
            f"{result.name}: MLflow at {uri} could not be written: {reason}\n"
            f"No result is lost: all are in {store.root}. Once MLflow can be reached, write them with\n"
            f"  {records.sync_command(result.plan)}\n"
            "or choose another place with --uri; `tracking.enabled=false` runs without MLflow"
        )
        raise RunError(hidden_password(message)) from fault


def _track(result: Result, server: Server, uri: str) -> Tracked:
    version = records.file_version(result.plan)
    experiment_id = server.experiment(result.name)
    runs = server.runs(experiment_id, version)
    origin = records.origin(result)
    parent = next((run for run in runs if run.tags.get("role") == "experiment"), None)
    new = parent is None
    if parent is None:
        tags = origin | {"role": "experiment", "file_version": version}
        parent = server.create(experiment_id, f"{result.name} · file {version[:6]}", tags, int(1000 * time.time()))
    children = {_identity(run.tags): run for run in runs if run.id != parent.id}
    trials = [TrialRecord(result, row, found, version) for row in result.rows for found in row.results]
    added = [
        _write_trial(server, experiment_id, parent.id, trial, children.pop(trial.identity, None), origin)
        for trial in progress(trials, "write to MLflow")
    ]
    _retire(server, list(children.values()))
    links = view.links(uri, experiment_id, parent.id, version)
    _write_parent(server, parent, result, links.fragment)
    server.tag_experiment(experiment_id, view.experiment_tags(result, version, links.fragment))
    return Tracked(uri, experiment_id, parent.id, new + sum(added), links.lines)


def _identity(tags: dict[str, str]) -> tuple[str, str]:
    return tags.get("trial_key", ""), tags.get("variant", "")


def _write_trial(
    server: Server, experiment_id: str, parent_id: str, trial: TrialRecord, run: Run | None, origin: dict[str, str]
) -> bool:
    """Write one child; one that is whole only has its outcome brought up to date. Whether it is new."""
    current = trial.current_tags | {"mlflow.parentRunId": parent_id}
    new = run is None
    if run is None:
        run = server.create(experiment_id, trial.name, origin | trial.tags | current, trial.started)
    if not run.finished:
        server.fill(run.id, trial.params, trial.points, trial.ended)
        server.upload(run.id, trial.files)
        server.end(run.id, "FINISHED", trial.ended)
    server.refresh(run, current)
    return new


def _retire(server: Server, runs: list[Run]) -> None:
    """Children whose trial has another key by now (changed code or data) leave the table, and stay readable."""
    for run in runs:
        if not run.finished:
            server.end(run.id, "KILLED")
        server.refresh(run, {"role": "superseded"})


def _write_parent(server: Server, parent: Run, result: Result, table: str) -> None:
    files = records.experiment_files(result)
    tags = records.experiment_tags(result, files, table)
    if not parent.finished or parent.tags.get("content") != tags["content"]:
        server.upload(parent.id, files)
    server.refresh(parent, tags)
    if not parent.finished:
        server.end(parent.id, "FINISHED")
