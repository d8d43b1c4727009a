"""The benchmark of error rates simulates what it says it simulates, and its shipped result keeps the limit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks import error_rates

SHIPPED = Path(error_rates.__file__).parent / "results" / "error_rates.json"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    return json.loads(SHIPPED.read_text())


def test_recall_differences_have_their_discordance_and_their_gain() -> None:
    d = error_rates.recall(np.random.default_rng(0), 200, 1000, 0.2, 4.0)
    assert set(np.unique(d)) == {-100.0, 0.0, 100.0}
    assert (d != 0).mean() == pytest.approx(0.2, abs=0.005)
    assert d.mean() == pytest.approx(4.0, abs=0.3)


def test_recall_over_seeds_has_its_discordance_gain_and_spread() -> None:
    d = error_rates.recall_over_seeds(np.random.default_rng(1), 400, 4, 2.0, 0.5, gain=5.0, queries=400)
    assert d.mean() == pytest.approx(5.0, abs=0.5)
    calm = error_rates.recall_over_seeds(np.random.default_rng(2), 400, 4, 0.0, 0.5, queries=400)
    assert (calm != 0).mean() == pytest.approx(0.15, abs=0.01)
    more = d.mean(axis=2).var(axis=1, ddof=1).mean() - calm.mean(axis=2).var(axis=1, ddof=1).mean()
    assert more == pytest.approx(2 * 2.0**2, rel=0.2)  # of the difference of two arms


def test_captions_of_one_video_share_a_part() -> None:
    d, labels = error_rates.captions(np.random.default_rng(3), 400, np.array([3, 1, 2]))
    assert labels.tolist() == [0, 0, 0, 1, 2, 2]
    together = np.asarray(np.corrcoef(d.T))
    assert together[0, 1] == pytest.approx(0.25 / 1.25, abs=0.15)
    assert together[0, 3] == pytest.approx(0, abs=0.15)


def test_the_rules_of_the_rivals_are_those_of_scipy() -> None:
    d = error_rates.recall_over_seeds(np.random.default_rng(4), 3, 5, 1.0, 0.5, gain=3.0)
    by_seed = stats.ttest_1samp(d.mean(axis=2), 0, axis=1).pvalue
    by_query = stats.ttest_1samp(d.mean(axis=1), 0, axis=1).pvalue
    assert error_rates.both_agree(d) == pytest.approx(np.maximum(by_seed, by_query), abs=0.005)
    certain = np.full((1, 3, 50), 100.0)
    assert error_rates.joint_bootstrap(certain, np.random.default_rng(0), draws=99) == pytest.approx([2 / 100])


def test_a_small_run_is_written_in_the_layout_of_the_shipped_one(
    tmp_path: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    error_rates.main(["--small", "--out", str(tmp_path / "error_rates.json")])
    torch.set_num_threads(threads)
    made = json.loads((tmp_path / "error_rates.json").read_text())
    assert list(made) == list(shipped)
    for part in ("error", "over_seeds", "power"):
        assert list(made[part][0]) == list(shipped[part][0])
    text = (tmp_path / "error_rates.md").read_text()
    assert all(one["test"] in text for one in made["error"])


def test_ten_thousand_runs_keep_every_chosen_test_at_six_percent(shipped: dict[str, Any]) -> None:
    assert shipped["size"]["runs"] == 10_000
    tests = [one for one in shipped["error"] if one["test"] != "BCa interval"]
    tests += [one for one in shipped["over_seeds"] if one["chosen"]]
    assert max(one["error"] for one in tests) <= shipped["size"]["limit"]


def test_ten_thousand_runs_find_what_the_formula_says(shipped: dict[str, Any]) -> None:
    """R@k is discrete: the sign flip, like the exact McNemar, uses somewhat less than its level, and power follows."""
    assert all(-0.05 < one["measured"] - one["formula"] < 0.01 for one in shipped["power"])


def test_a_hundred_variants_took_less_than_ten_seconds(shipped: dict[str, Any]) -> None:
    timed = shipped["speed"]
    assert (timed["variants"], timed["draws"], timed["queries"]) == (100, 10_000, 1_000)
    assert timed["seconds"] < 10
