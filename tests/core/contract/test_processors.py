"""A run takes no more of a machine than it may, and its threads leave processors to other jobs while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from core.contract import processors
from core.run import main

PROGRAM = """
import os, sys
from core.contract.command import command
@command
def look(arguments=None):
    assert "torch" not in sys.modules
    print(os.environ["OMP_WAIT_POLICY"])
    from core.contract.processors import processors, use_threads
    import torch
    use_threads(None)
    print(processors(), torch.get_num_threads())
    return 0
look()
"""


def looked(**environment: str) -> list[str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | environment
    command = [sys.executable, "-c", PROGRAM]
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity mask here")

    def bind() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    ended = subprocess.run(command, env=variables, preexec_fn=bind, capture_output=True, text=True, check=True)
    return ended.stdout.split("\n")[:2]


def test_threads_that_wait_sleep_and_an_affinity_mask_is_kept_to() -> None:
    assert looked() == ["passive", "1 1"]


def test_the_users_own_policy_and_number_of_threads_stay() -> None:
    assert looked(OMP_WAIT_POLICY="active", OMP_NUM_THREADS="2") == ["active", "1 2"]


def test_a_quota_bounds_the_threads_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(processors, "processors", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    try:
        torch.set_num_threads(2)
        processors.use_threads(None)
        assert torch.get_num_threads() == 1
        processors.use_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_absurd_numbers_of_workers_and_threads_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path("experiments/ablate_topk.yaml").resolve()
    assert main([str(file), "--dry-run", "--workers", "-1", "--threads", "0", "--store", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "--workers: must be 0 or more, got -1" in told
    assert "--threads: must be 1 or more, got 0" in told
