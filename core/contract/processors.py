"""The processors that this process may use, and threads that leave them to others while they wait."""

from __future__ import annotations

import os
from functools import cache


@cache
def processors() -> int:
    """How many processors this process may use at once: what its affinity mask and its cgroup's quota leave it."""
    from joblib import cpu_count

    return int(cpu_count())


def wait_passively() -> None:
    """Have threads of OpenMP sleep while they wait, unless the user chose: spinning takes the processors of other jobs.

    Takes effect only before torch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def use_threads(threads: int | None) -> None:
    """Have torch compute with `threads`; with None as many as it would take by itself, `processors()` at most."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    elif processors() < torch.get_num_threads() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(processors())
