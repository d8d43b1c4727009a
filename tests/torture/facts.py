"""What a person has at the end, as {name: value}: the report's files, the runs of MLflow with their numbers."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

Facts = dict[str, str]
REPORT = Path("runs") / "torture"
SURE = ("runs/torture/table.csv", "runs/torture/hypotheses.csv")
"""What must be the same in every undisturbed run; of the rest only what is so counts."""


def facts(cwd: Path) -> Facts:
    """All facts of a working directory."""
    found = {}
    for path in sorted((cwd / REPORT).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found[str(path.relative_to(cwd))] = _digest(path)
    return found | _tracked(cwd)


def _tracked(cwd: Path) -> Facts:
    """Runs by role, and of each: its status, parameters, metrics, artifacts."""
    database = cwd / "mlflow.db"
    if not database.is_file():
        return {}
    try:
        with closing(sqlite3.connect(database, timeout=5)) as connection:
            return _runs(connection, cwd / "mlartifacts")
    except (sqlite3.Error, OSError, UnicodeDecodeError) as fault:
        return {"mlflow": f"cannot be read: {fault}"}


def _runs(connection: sqlite3.Connection, artifacts: Path) -> Facts:
    check = connection.execute("PRAGMA integrity_check").fetchone()[0]
    runs = connection.execute("SELECT run_uuid, status, lifecycle_stage FROM runs").fetchall()
    tags: dict[str, dict[str, str]] = {}
    for run, key, value in connection.execute("SELECT run_uuid, key, value FROM tags"):
        tags.setdefault(run, {})[key] = value
    found = {"mlflow/integrity": check}
    roles = Counter(f"{tags.get(run, {}).get('role')} {status} {stage}" for run, status, stage in runs)
    found |= {f"mlflow/runs/{role}": str(count) for role, count in roles.items()}
    valid = [run for run, *_ in runs if tags.get(run, {}).get("role") != "superseded"]
    names = {run: f"mlflow/{tags.get(run, {}).get('mlflow.runName')}" for run in valid}
    for table in ("params", "latest_metrics"):
        for run, key, value in connection.execute(f"SELECT run_uuid, key, value FROM {table}"):
            if run in names and not key.endswith("seconds"):  # two runs may take as long by chance
                found[f"{names[run]}/{table}/{key}"] = repr(value)
    for run, name in names.items():
        for folder in artifacts.glob(f"*/{run}/artifacts"):
            files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            found |= {f"{name}/artifacts/{path.relative_to(folder)}": _digest(path) for path in files}
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def stable(first: Facts, second: Facts) -> Facts:
    """The facts that two undisturbed runs share. Raises AssertionError where one that must be the same is not."""
    differing = [name for name in SURE if first.get(name) is None or first.get(name) != second.get(name)]
    assert not differing, f"two undisturbed runs differ in {differing}"
    return {name: value for name, value in first.items() if second.get(name) == value}


def there(first: Facts, second: Facts) -> set[str]:
    """Names of the facts that both have, whatever their values."""
    return first.keys() & second.keys()
