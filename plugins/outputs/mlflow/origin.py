"""Where and by what a run was written: command line, code, plugins, machine, person."""

from __future__ import annotations

import getpass
import os
import socket

from core.outputs import Result

NOT_GIVEN = "-"


def origin(result: Result) -> dict[str, str]:
    """Tags of every run. An anonymous experiment tells neither person, machine nor repository."""
    told = {
        "plugins": ", ".join(result.packages),
        "overrides": " ".join(text for text in result.overrides if not text.startswith(("outputs", "anonymous=")))
        or NOT_GIVEN,
        "mlflow.source.name": result.file,
        "mlflow.source.type": "LOCAL",
    }
    if result.experiment.anonymous:
        return told
    person = {"host": socket.gethostname(), "pid": str(os.getpid()), "mlflow.user": _user()}
    code = result.code
    if code is None:
        return told | person
    commit = {"git.commit": code.commit, "git.dirty": "yes" if code.dirty else "no"}
    names = {"mlflow.source.git.commit": code.commit, "mlflow.source.git.repoURL": code.remote}
    return told | person | commit | {name: value for name, value in names.items() if value}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
