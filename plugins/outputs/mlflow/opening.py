"""What opens MLflow's page, in a line that fits on a terminal: a script in the folder of the report holds the rest."""

from __future__ import annotations

import shlex
from pathlib import Path

from core.outputs import HIDDEN, write_atomically

from .view import Links

SCRIPT = "mlflow.sh"


def lines(links: Links, folder: Path, private: bool) -> list[str]:
    """The command that serves the page, and its address; of a server the address.

    private: no script is left, which would hold folders; nor is one where a password is to be filled in.
    """
    script = folder / SCRIPT
    if links.command is None:
        script.unlink(missing_ok=True)
        return [f"MLflow: {links.page}"]
    if private or HIDDEN in links.command:
        script.unlink(missing_ok=True)
        return [f"MLflow: {links.command}", f"  at {links.page}"]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(script, _script(links, links.command))
    return [f"MLflow: sh {shlex.quote(str(script))}, at {links.page}"]


def _script(links: Links, command: str) -> str:
    """It names the pages and serves them; its arguments are those of `mlflow ui`, as `--port 5001`."""
    pages = [f"echo {shlex.quote(line)}" for line in links.lines if command not in line]
    begins = ["#!/bin/sh", "# Serves MLflow's page of this experiment until Ctrl-C; `--port 5001` for another port."]
    place = f"cd {shlex.quote(str(Path.cwd()))} || exit"
    return "\n".join([*begins, place, *pages, f'exec env {command} "$@"', ""])
