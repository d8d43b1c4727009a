"""The benchmark of start-up runs what it says it runs, and shares imports out as the interpreter reports them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import startup

IMPORTTIME = """
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   os
import time:      2000 |       2000 |       scipy.special
import time:      5000 |       7000 |     numpy
import time:     30000 |      37000 |   torch
import time:       400 |      37500 | core.engine.plan
a warning in between
import time:      6000 |       6000 |   pandas
import time:     70000 |      76000 | mlflow.tracking
import time:       800 |        800 | scipy.stats
"""


def test_imports_count_to_the_outermost_of_the_packages_that_brought_them() -> None:
    found = startup.imports(IMPORTTIME)
    assert {name: round(1e6 * taken) for name, taken in found.items()} == {
        "torch": 30000 + 5000 + 2000,
        "transformers": 0,
        "mlflow": 70000 + 6000,
        "scipy": 800,
        "others": 100 + 400,
    }


def test_processor_time_is_that_of_the_process_alone() -> None:
    sum(range(10**6))
    taken, said, _ = startup.run(["-c", "import time; time.sleep(0.3); print('done')"])
    assert said == "done\n"
    assert taken.wall > 0.3 > taken.cpu > 0


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        startup.run(["-m", "core.run", "nowhere.yaml"])


def test_a_run_that_computed_something_is_no_cached_run() -> None:
    assert startup.steps_there("Report: …\n0 of 167 steps were new, 7 s in all.\n") == 167
    with pytest.raises(RuntimeError, match="2 of 167"):
        startup.steps_there("2 of 167 steps were new, 7 s in all.\n")


@pytest.mark.slow
def test_the_small_run_measures_every_command_and_writes_it_down(tmp_path: Path) -> None:
    out = tmp_path / "startup.json"
    startup.main(["--small", "--out", str(out)])
    result: dict[str, Any] = json.loads(out.read_text())
    rows = {row["command"]: row for row in result["commands"]}
    assert list(rows) == [
        "bare interpreter",
        "import torch",
        "--help",
        "--dry-run, nothing there",
        "--dry-run, all there",
        "all in the store",
        "all in the store, without MLflow",
        "all in the store, 3 variants",
    ]
    assert rows["bare interpreter"]["times_bare"]["median"] == 1
    assert rows["import torch"]["over_bare"] > rows["--help"]["over_bare"]
    assert rows["all in the store"]["times_torch"]["median"] > 1
    steps = {name: row["steps"] for name, row in rows.items()}
    assert steps["--help"] is None
    assert (
        steps["all in the store"] == steps["all in the store, without MLflow"] > steps["all in the store, 3 variants"]
    )
    shares = result["imports"]
    assert shares["seconds"] == pytest.approx(sum(shares["by_package"].values()), rel=1e-2)
    assert 0.3 < shares["share"] < 1
    assert all(taken > 0 for taken in shares["by_package"].values())
    text = out.with_suffix(".md").read_text()
    assert "| all in the store, 3 variants " in text
    assert "train_videos=16" in text
