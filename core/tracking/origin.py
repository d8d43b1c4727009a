"""Where and by what a run was written: command line, code, plugins, machine, person."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
import subprocess
from pathlib import Path

from ..findings import Result
from ..plan import Plan
from ..plugins import registry
from ..stored import overrides

NOT_GIVEN = "-"


def origin(result: Result) -> dict[str, str]:
    """Tags of every run. An anonymous experiment tells neither person, machine nor repository."""
    document = result.plan.document
    given = [text for text in overrides(result.plan) if not text.startswith(("tracking.", "anonymous="))]
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
    return told | person | git_state(Path.cwd())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def git_state(folder: Path) -> dict[str, str]:
    """Remote and commit of the folder's repository, and whether tracked files differ; nothing outside of one."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        dirty = "yes" if git("status", "--porcelain", "--untracked-files=no") else "no"
        remote = re.sub(r"//[^/@]*@", "//", git("remote", "get-url", "origin") if git("remote") else "")
    except (OSError, subprocess.SubprocessError):
        return {}
    told = {"git.commit": commit, "git.dirty": dirty, "mlflow.source.git.commit": commit}
    return told | ({"mlflow.source.git.repoURL": remote} if remote else {})


def sync_command(plan: Plan) -> str:
    """The command that writes a finished experiment to MLflow again."""
    given = [text for text in overrides(plan) if not text.startswith("tracking.enabled=")]
    words = [plan.document.file, *given, "--store", str(plan.workspace.store.root)]
    return f"python -m core.tracking sync {shlex.join(words)}"
