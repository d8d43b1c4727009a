"""How MLflow shows an experiment: the saved view of its trials, the note, and the link to both."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from ..findings import Result
from ..metrics import metric
from .records import headline, param_keys, question
from .server import hidden_password

LOCAL = "http://127.0.0.1:5000"
MODEL_TRAINING = "workflowType=machine_learning"
"""Has MLflow's page leave out what is for chat agents."""

OUTCOME = "tags.`outcome`"


@dataclass(frozen=True)
class Links:
    """`fragment`: the saved view, within MLflow's page; `lines`: what a person needs to see it."""

    fragment: str
    lines: list[str]


def links(uri: str, experiment_id: str, parent_id: str, version: str) -> Links:
    """The way to the saved view and to the parent. A database has no page of its own: MLflow serves it."""
    table = f"#/experiments/{experiment_id}/runs?{MODEL_TRAINING}&viewStateShareKey={version}"
    shown = hidden_password(uri)
    place = shown.rstrip("/") if uri.startswith(("http://", "https://")) else LOCAL
    report = f"#/experiments/{experiment_id}/runs/{parent_id}?{MODEL_TRAINING}"
    lines = [f"MLflow, table of the trials: {place}/{table}", f"MLflow, report: {place}/{report}"]
    if place == LOCAL:
        # Without its job runner MLflow starts 2 processes in place of 10.
        program = f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {mlflow_command()}"
        lines.insert(0, f"To open MLflow: {program} ui --backend-store-uri {shlex.quote(shown)}")
    return Links(table, lines)


def mlflow_command() -> str:
    """`mlflow` of this environment, which need not be activated; from here where it lies below."""
    program = Path(sys.executable).with_name("mlflow")
    if not program.exists():
        return "mlflow"
    below = program.is_relative_to(Path.cwd())
    return shlex.quote(str(program.relative_to(Path.cwd()) if below else program))


def experiment_tags(result: Result, version: str, table: str) -> dict[str, str]:
    """Tags of the MLflow experiment: the saved view, what the page says on top, and that it trains models."""
    note = [f"[Table of the trials]({table}): {headline(result)}", "", *question(result)]
    return {
        f"mlflow.sharedViewState.{version}": json.dumps(shared_view(result, version)),
        "mlflow.note.content": "\n".join(note).strip(),
        "mlflow.experimentKind": "custom_model_development",
    }


def shared_view(result: Result, version: str) -> dict[str, object]:
    """The value that MLflow's page keeps for a shared view of its runs table: one flat row a trial, best first.

    Undocumented, as of MLflow 3.17: a page that does not know it shows its default table.
    """
    params = [f"params.`{name}`" for name in param_keys(result.plan).values()]
    metrics = [f"metrics.`{name}`" for name in result.metrics]
    columns = [metrics[0], OUTCOME, *params, *metrics[1:]]
    state = {
        "searchFilter": f"tags.role = 'trial' and tags.file_version = '{version}'",
        "orderByKey": metrics[0],
        "orderByAsc": not metric(result.primary).higher_is_better,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {OUTCOME: 150},
        "groupBy": None,
    }
    return {"name": f"Trials · file {version[:6]}", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
