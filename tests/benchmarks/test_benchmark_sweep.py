"""The benchmark of sweeps runs what it says it runs, and writes what it found."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from benchmarks import sweep
from core.plugins import registry


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The small run, as written: JSON and tables."""
    out = tmp_path_factory.mktemp("results") / "sweep.json"
    threads = torch.get_num_threads()
    sweep.main(["--small", "--out", str(out)])
    torch.set_num_threads(threads)
    return json.loads(out.read_text()), out.with_suffix(".md").read_text()


def test_the_full_sweep_has_a_hundred_variants_a_tenth_of_it_ten_and_each_the_most_expensive_one() -> None:
    size = sweep.Size()
    grids = sweep.sweeps(size)
    counts = {name: [len(values) for values in grid.values()] for name, grid in grids.items()}
    assert counts[sweep.ALONE] == [1]
    assert counts["a tenth"] == [5, 2]
    assert counts["all"] == [5, 5, 4]
    for grid in grids.values():
        most = sweep.experiment(size)["retrieve"]["rerank"] | {"temperature": 0.1}
        for key, values in grid.items():
            name = key.rpartition(".")[2]
            if not key.startswith("retrieve.settings.patch"):
                assert values[0] == most[name]


def test_every_sweep_is_compared_with_the_most_expensive_variant_alone(small: Any) -> None:
    rows = {row["sweep"]: row for row in small[0]["sweeps"]}
    assert {name: row["variants"] for name, row in rows.items()} == {
        "alone": 1, "a tenth": 4, "all": 8, "frame temperatures": 2, "patch temperatures": 2
    }  # fmt: skip
    assert rows["alone"]["ratio"]["median"] == 1
    assert rows["all"]["ratio"]["median"] == pytest.approx(rows["all"]["seconds"] / rows["alone"]["seconds"], rel=0.01)
    for row in rows.values():
        assert sum(row["seconds_by_step"].values()) == pytest.approx(row["seconds"], rel=0.01)
        assert all(seconds > 0 for seconds in row["seconds_by_step"].values())
    assert small[0]["size"]["videos"] == 20
    assert {"processor", "threads", "torch"} <= small[0]["machine"].keys()


def test_the_tables_say_every_ratio_and_every_step(small: Any) -> None:
    for row in small[0]["sweeps"]:
        assert f"| {row['sweep']}" in small[1]
    for name in ("score", "candidates", "rank", "evaluate", "store"):
        assert f" {name} |" in small[1]


def test_what_the_benchmark_registers_is_gone_afterwards(small: Any) -> None:
    assert ("encoder", "made_up_encoder") not in registry().found
