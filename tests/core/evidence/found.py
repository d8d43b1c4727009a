"""Findings of a sweep: its rows by name, and the values that the store has."""

from pathlib import Path

import numpy as np
import pytest

from core.engine.plan import Plan
from core.evidence.findings import Result
from core.evidence.results import Row
from tests.engine import Lab

SWEEP = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 5]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1, 2],
}


@pytest.fixture
def wide(toys: None, tmp_path: Path) -> Lab:
    """Enough videos for differences to be tested."""
    return Lab(tmp_path, {"train": 6, "val": 4, "test": 24})


def rows(result: Result) -> dict[str, Row]:
    return {row.name: row for row in result.rows}


def values(plan: Plan, variant: str, name: str) -> np.ndarray:
    """[seeds, queries], read from the store without findings."""
    store = plan.workspace.store
    trials = [trial for trial in plan.trials if trial.variant.name == variant]
    return np.stack([store.read("evaluate", trial.last.key).tensors()[name].numpy() for trial in trials])
