"""`python -m core.run FILE`: parse, plan, execute, report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ConfigError, Problem, RunError, UserError

if TYPE_CHECKING:
    from .findings import Result
    from .plan import Plan


def run_experiment(
    file: str, overrides: Sequence[str] = (), *, store: str = "store", device: str = "auto", workers: int | None = None
) -> Result:
    """Run an experiment file and return its findings; what the store holds is not computed again.

    Raises ConfigError (nothing was run) or another UserError (what was computed is kept).
    """
    from .execute import execute
    from .plan import add_trials, read_plan
    from .report import write_report
    from .findings import findings
    from .registration import register

    plan = read_plan(file, overrides, workspace(store, device, workers))
    add_trials(plan)
    register(plan)
    execute(plan, lambda trial: None)
    return findings(plan)


def workspace(store: str, device: str, workers: int | None) -> Any:
    """The store and the device that steps run with. Raises ConfigError for a device that is not there."""
    import os

    import torch

    from .steps.step import Workspace
    from .store import Store

    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if found[name])
    if not found.get(device.partition(":")[0], False):
        there = ", ".join(name for name, present in found.items() if present)
        raise ConfigError(Problem("--device", f"`{device}` is not available here; there is: {there}", "command line"))
    return Workspace(Store(store), torch.device(device), os.cpu_count() or 1 if workers is None else workers)
