"""Processes of the command, begun in no time: forked from one that has imported everything already.

A child is what `python -m core.run …` is: a session of its own, its own folder, home, output files and exit status.
What the imports alone would take, 3 to 10 seconds, is paid once.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

IMPORTED = (
    "torch", "torch._dynamo", "torch.onnx", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "alembic.command",
    "matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf",
    "matplotlib.backends.backend_svg", "transformers.models.clip.modeling_clip", "transformers.tokenization_utils_fast",
    "fontTools.subset", "decord", "av", "safetensors.torch", "scipy.stats", "omegaconf", "rich.console", "rich.table",
    "core.run", "core.compare", "core.evidence.findings", "core.outputs", "plugins.outputs",
)  # fmt: skip


class Nursery:
    """The process that forks, spoken to by lines of JSON. Close it: its children end with it."""

    def __init__(self, home: Path, library: Path | None = None):
        home.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(home), "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "120"}
        if library is not None:
            own["LD_PRELOAD"] = str(library)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.nursery"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
            start_new_session=True,
        )
        self._ask({"hello": True})

    def start(self, order: dict[str, Any]) -> int:
        """Begin a child; its process id, which is that of its session and group. See `_child` for the order."""
        return int(self._ask({"start": order})["pid"])

    def status(self, pid: int) -> int | None:
        """The exit status of a child, minus the signal's number where one ended it; None while it runs."""
        found = self._ask({"poll": pid})["status"]
        return None if found is None else int(found)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin and self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError("the process that forks has ended")
        return dict(json.loads(reply))


# ------------------------------------------------------------------------------------------------ the other side


def serve() -> None:
    """Fork and poll as standard input says; when it ends, end every child."""
    for name in IMPORTED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    from core.plugins import registry

    registry()
    orders, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    living: set[int] = set()
    statuses: dict[int, int] = {}
    for line in orders:
        order = json.loads(line)
        reply: dict[str, Any] = {}
        if "start" in order:
            pid = os.fork()
            if pid == 0:
                _child(order["start"])
            living.add(pid)
            statuses.pop(pid, None)
            reply = {"pid": pid}
        elif "poll" in order:
            if order["poll"] not in statuses:
                found, status = os.waitpid(order["poll"], os.WNOHANG)
                if found:
                    living.discard(found)
                    statuses[found] = os.waitstatus_to_exitcode(status)
            reply = {"status": statuses.get(order["poll"])}
        print(json.dumps(reply), file=replies, flush=True)
    for pid in living:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)  # nothing is left to put in order, and to unload all that was imported takes seconds


def _child(order: dict[str, Any]) -> None:
    """Become the command. order: argv of `core.run`, cwd, env, stdout, stderr, stacks (files), patches {dotted name:
    value}. With `module` in the order, that module runs in place of core.run."""
    os.setsid()
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    for name, descriptor in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        file = os.open(order.get(name, os.devnull), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, descriptor)
    faulthandler.register(signal.SIGUSR1, open(order["stacks"], "w"), all_threads=True)  # noqa: SIM115
    for name, value in order.get("patches", {}).items():
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
        setattr(importlib.import_module(module), attribute, value)
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).torture_arm()
    sys.argv = ["core/run.py", *order["argv"]]
    code: Any = 1
    try:
        if "module" in order:
            runpy.run_module(order["module"], run_name="__main__", alter_sys=False)
            code = 0
        else:
            from core.run import main

            code = main(order["argv"])
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.exit(code)


if __name__ == "__main__":
    serve()
