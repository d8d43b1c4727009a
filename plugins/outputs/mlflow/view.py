"""How MLflow's page shows an experiment: saved views of its trials, and the links to them and to the report."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.outputs import HIDDEN, Result, metric, safe_address

from .server import artifacts_of
from .trial import allowed, param_keys, param_value

LOCAL = "http://127.0.0.1:5000"
MODEL_TRAINING = "workflowType=machine_learning"
"""Has MLflow's page leave out what is for chat agents."""

SETTINGS = "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
"""Of MLflow's page: nobody is told of its use, and it runs no jobs, which would take 8 more processes."""

WORKERS = ["--workers", "1"]
"""Of 4, MLflow's default, it takes 2.5 times the memory and answers 40 ms later: headers and body then go apart, and
the second waits until the first has been acknowledged."""

CREATED, OUTCOME, DIFFERENCE = "runDateAndNestInfo", "tags.`outcome`", "tags.`difference`"
"""Columns: when a run was made, which MLflow's page always shows, and the tags."""

WIDTHS = {CREATED: 42, OUTCOME: 150, DIFFERENCE: 170}
"""Of these columns, in pixels; of the first that of its mark alone, so that there is room for what varies."""

PRIMARY, NARROW, WIDE, LETTER, MARGIN = 86, 56, 100, 6, 26
"""Pixels: of the primary metric; of a param at least and at most; of a letter and of what surrounds a text."""


@dataclass(frozen=True)
class Links:
    """`views`: {name: saved view, within MLflow's page}, the trials first; `lines`: what a person needs to see it, all
    of it; `page`: address of the experiment; `command`: what serves it, None for a server."""

    views: dict[str, str]
    lines: list[str]
    page: str
    command: str | None = None

    @property
    def table(self) -> str:
        return next(iter(self.views.values()))


def links(result: Result, uri: str, experiment_id: str, parent_id: str) -> Links:
    """The ways to the saved views and to the parent. A database has no page of its own: MLflow serves it."""
    server = re.match(r"https?://", uri)
    address = safe_address(uri).replace(f"{HIDDEN}@", "").partition("?")[0].rstrip("/")
    place = address if server else LOCAL  # without user and password: a browser asks for them
    runs = f"#/experiments/{experiment_id}/runs"
    views = {
        view["name"]: f"{runs}?{MODEL_TRAINING}&viewStateShareKey={key}" for key, view in shared_views(result).items()
    }
    command = f"{SETTINGS} {mlflow_command()} ui {_served(uri)}" if place == LOCAL else None
    links = Links(views, [], f"{place}/#/experiments/{experiment_id}", command)
    links.lines.append(f"MLflow, table of the trials: {place}/{links.table}")
    links.lines.append(f"MLflow, report: {place}/{runs}/{parent_id}?{MODEL_TRAINING}")
    if command is not None:
        links.lines.insert(0, f"To open MLflow: {command}")
    return links


def _served(uri: str) -> str:
    """What `mlflow ui` is told: the database and the folder of its artifacts."""
    words = [*WORKERS, "--backend-store-uri", safe_address(uri)]
    artifacts = artifacts_of(uri)
    if artifacts is not None:
        words += ["--artifacts-destination", str(artifacts)]
    return shlex.join(words)


def mlflow_command() -> str:
    """`mlflow` of this environment, which need not be activated; from here where it lies below."""
    program = Path(sys.executable).with_name("mlflow")
    if not program.exists():
        return "mlflow"
    below = program.is_relative_to(Path.cwd())
    return shlex.quote(str(program.relative_to(Path.cwd()) if below else program))


def experiment_tags(result: Result, note: str) -> dict[str, str]:
    """Tags of the MLflow experiment: the saved views, what the page says on top, and that it trains models."""
    views = {f"mlflow.sharedViewState.{key}": json.dumps(view) for key, view in shared_views(result).items()}
    return views | {"mlflow.note.content": note, "mlflow.experimentKind": "custom_model_development"}


def shared_views(result: Result) -> dict[str, dict[str, Any]]:
    """Values that MLflow's page keeps for shared views of its runs table, by key; each shows the best first.

    One flat row a trial, the params directly after the metric; where there are several seeds also one group a variant,
    with means over them. Undocumented, as of MLflow 3.17: a page that does not know it shows its default table.
    """
    version = result.version
    file = version[:6]
    params = _params(result)
    metrics = [f"metrics.`{allowed(name)}`" for name in result.metrics]
    costs = dict.fromkeys(f"metrics.`{allowed(name)}`" for row in result.rows for name in row.costs)
    columns = [metrics[0], *params, OUTCOME, DIFFERENCE, *metrics[1:], *costs]
    views = {version: _view(result, f"Trials · file {file}", version, columns, None)}
    if any(len(row.seeds) > 1 for row in result.rows):
        by_variant = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "variant"}]}
        name = f"Means over seeds · file {file}"
        views[f"{version}-means"] = _view(result, name, version, [*metrics, *costs], by_variant)
    return views


def _params(result: Result) -> dict[str, int]:
    """{column: pixels} of each param, as wide as its name and values need."""
    columns = {}
    for key, name in param_keys(result).items():
        values = [param_value(variant, key) for variant in result.variants] if key else []
        letters = max(map(len, [name, *values]))
        columns[f"params.`{name}`"] = min(WIDE, max(NARROW, MARGIN + LETTER * letters))
    return columns


def _view(
    result: Result, name: str, version: str, columns: list[str], group_by: Mapping[str, object] | None
) -> dict[str, Any]:
    widths = WIDTHS | {columns[0]: PRIMARY} | _params(result)
    state = {
        "searchFilter": f"tags.role = 'trial' and tags.file_version = '{version}'",
        "orderByKey": columns[0],
        "orderByAsc": not metric(result.primary).higher_is_better,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [CREATED, *columns],
        "columnWidths": {column: width for column, width in widths.items() if column in (CREATED, *columns)},
        "groupBy": group_by,
    }
    return {"name": name, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
