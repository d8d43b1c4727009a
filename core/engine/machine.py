"""What a run may use of the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError, Problem

if TYPE_CHECKING:
    from .steps.step import Workspace


@dataclass(frozen=True)
class Machine:
    """What a run may use of the machine: the folder of the store, a torch device, processes that decode, threads."""

    store: str = "store"
    device: str = "auto"
    workers: int | None = None
    threads: int | None = None


def workspace_on(machine: Machine) -> Workspace:
    """The store and the device that steps run with. Raises ConfigError for what cannot be had of this machine."""
    problems = [
        Problem(f"--{name}", f"must be {least} or more, got {number}", "command line")
        for name, number, least in (("workers", machine.workers, 0), ("threads", machine.threads, 1))
        if number is not None and number < least
    ]
    if problems:
        raise ConfigError(problems)
    import torch

    from ..contract.processors import processors, use_threads
    from ..contract.store import Store
    from .steps.step import Workspace

    use_threads(machine.threads)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [name for name, available in there.items() if available]
    device = usable[0] if machine.device == "auto" else machine.device
    if device.partition(":")[0] not in usable:
        reason = f"`{device}` is not available here; there is: {', '.join(usable)}"
        raise ConfigError(Problem("--device", reason, "command line"))
    workers = processors() if machine.workers is None else machine.workers
    return Workspace(Store(machine.store), torch.device(device), workers)
