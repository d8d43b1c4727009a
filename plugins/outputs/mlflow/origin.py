"""Where and by what a run was written: command line, code, plugins, machine, person."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from pathlib import Path

from core.addresses import hidden_addresses
from core.findings import Result
from core.plan import Plan
from core.plugins import registry
from core.repository import git_state
from core.stored import overrides

NOT_GIVEN = "-"


def origin(result: Result) -> dict[str, str]:
    """Tags of every run. An anonymous experiment tells neither person, machine nor repository."""
    document = result.plan.document
    given = [text for text in overrides(result.plan) if not text.startswith(("outputs", "anonymous="))]
    plugins = sorted({f"{item.package} {item.version}".strip() for item in registry().found.values()})
    told = {
        "plugins": ", ".join(plugins),
        "overrides": " ".join(given) or NOT_GIVEN,
        "mlflow.source.name": document.file,
        "mlflow.source.type": "LOCAL",
    }
    if result.plan.experiment.anonymous:
        return told
    person = {"host": socket.gethostname(), "pid": str(os.getpid()), "mlflow.user": _user()}
    found = git_state(Path.cwd())
    if found is None:
        return told | person
    commit = {"git.commit": found.commit, "git.dirty": "yes" if found.dirty else "no"}
    names = {"mlflow.source.git.commit": found.commit, "mlflow.source.git.repoURL": found.remote}
    return told | person | commit | {name: value for name, value in names.items() if value}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def sync_command(plan: Plan) -> str:
    """The command that writes a finished experiment to MLflow again."""
    given = list(map(hidden_addresses, overrides(plan)))
    words = [plan.document.file, *given, "--store", str(plan.workspace.store.root), "--stored", "--only", "mlflow"]
    return f"python -m core.run {shlex.join(words)}"
