"""What would decide a claim that is not decided: against simulation, and against what the test itself says of power."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from core.measure.significance import (
    MOST_SEEDS,
    Comparison,
    better,
    cheaper,
    decide,
    equivalent,
    needed,
    no_evidence,
    no_worse,
    paired_tests,
)

CLUSTERS = 200


def differences(seeds: int, gain: float, by_cluster: float = 3.0, by_seed: float = 1.5) -> NDArray[np.float64]:
    """[seeds, CLUSTERS] with exactly this gain and this spread of clusters and seeds."""
    rng = np.random.default_rng(0)
    across = rng.normal(size=CLUSTERS)
    along = np.linspace(-1, 1, seeds) if seeds > 1 else np.zeros(1)
    steps = by_seed * along / along.std(ddof=1) if seeds > 1 else along
    return (
        gain
        + by_cluster * (across - across.mean()) / across.std()
        + steps[:, None]
        + 1e-6 * rng.normal(size=(seeds, CLUSTERS))
    )


def parts(comparison: Comparison) -> tuple[float, float]:
    """Standard deviations of clusters and of seeds."""
    by_seed = comparison.seed_sd
    return float(np.sqrt((comparison.standard_error**2 - by_seed**2 / comparison.seeds) * CLUSTERS)), by_seed


def power(seeds: int, clusters: int, gain: float, by_cluster: float, by_seed: float, level: float = 0.05) -> float:
    """The share of simulated experiments that show the gain, anything else than clusters and seeds left out."""
    rng = np.random.default_rng(1)
    runs = 800
    noise = rng.normal(0, by_cluster, (runs, 1, clusters)) + rng.normal(0, by_seed, (runs, seeds, 1))
    tests = paired_tests(gain + noise + rng.normal(0, 1e-6, (runs, seeds, clusters)), draws=2_000)
    return float(np.mean([test.p < level for test in tests]))


@pytest.mark.parametrize(("seeds", "gain"), [(5, 1.2), (4, -1.0)])
def test_so_many_seeds_show_the_gain_in_four_of_five_simulated_runs_and_one_less_in_fewer(
    seeds: int, gain: float
) -> None:
    verdict = decide({"claim": better(differences(seeds, gain))})["claim"]
    assert verdict.verdict == "not decided"
    assert verdict.evidence.comparison is not None
    need = needed(verdict)
    assert need is not None
    assert need.seeds is not None
    assert (need.gain, need.clusters) == (pytest.approx(gain, abs=1e-4), None)
    assert seeds < need.seeds < MOST_SEEDS
    enough, fewer = (
        power(n, CLUSTERS, gain, *parts(verdict.evidence.comparison)) for n in (need.seeds, need.seeds - 1)
    )
    assert 0.77 < enough < 0.88
    assert fewer < 0.82


def test_what_the_test_itself_could_show_with_so_many_seeds_is_about_the_gain() -> None:
    need = needed(decide({"claim": better(differences(5, 0.8, by_cluster=2))})["claim"])
    assert need is not None
    assert need.seeds is not None
    later, earlier = (paired_tests(differences(n, 0.8, by_cluster=2)[None])[0].detectable for n in (need.seeds, 5))
    assert 0.75 < later < 0.85
    assert earlier > 2


def test_more_videos_are_needed_where_no_number_of_seeds_is_enough() -> None:
    verdict = decide({"claim": better(differences(5, 0.4, by_seed=0.1))})["claim"]
    need = needed(verdict)
    assert need is not None
    assert need.seeds is None
    assert need.clusters is not None
    assert CLUSTERS < need.clusters < 3 * CLUSTERS
    assert 0.76 < power(5, need.clusters, 0.4, 3.0, 0.1) < 0.88
    noisy = needed(decide({"claim": better(differences(5, 0.01))})["claim"])
    assert noisy is not None
    assert (noisy.seeds, noisy.clusters) == (None, None), "neither is enough by itself"


def test_with_one_seed_so_many_videos_show_the_gain_in_four_of_five_simulated_runs() -> None:
    verdict = decide({"claim": better(differences(1, 0.3))})["claim"]
    need = needed(verdict)
    assert need is not None
    assert need.clusters is not None
    assert need.seeds is None
    assert 700 < need.clusters < 900
    assert 0.76 < power(1, need.clusters, 0.3, 3.0, 0) < 0.86


def test_a_claim_in_a_larger_family_needs_more() -> None:
    alone = needed(decide({"claim": better(differences(5, 1.2))})["claim"])
    family = {"claim": better(differences(5, 1.2)), **{str(n): better(differences(5, 0.1 * n)) for n in range(1, 4)}}
    among = needed(decide(family)["claim"])
    assert alone is not None
    assert among is not None
    assert alone.seeds is not None
    assert among.seeds is not None
    assert alone.seeds < among.seeds
    assert power(among.seeds, CLUSTERS, 1.2, 3.0, 1.5, level=0.05 / 4) > 0.77


def test_claims_that_nothing_is_lost_need_what_brings_the_gain_away_from_their_margin() -> None:
    for gain, margin in ((0.0, 1.2), (-0.5, 1.7)):
        need = needed(decide({"claim": no_worse(differences(5, gain), margin=margin, seeds_as_seen=True)})["claim"])
        assert need is not None
        assert need.seeds is not None
        two_sided = needed(decide({"claim": better(differences(5, 1.2))})["claim"])
        assert two_sided is not None
        assert two_sided.seeds is not None
        assert 5 < need.seeds < two_sided.seeds
    wide, narrow = (
        needed(decide({"claim": equivalent(differences(5, 0.0), within=within, seeds_as_seen=True)})["claim"])
        for within in (1.4, 1.1)
    )
    assert wide is not None
    assert narrow is not None
    assert wide.seeds is not None
    assert narrow.seeds is not None
    assert wide.seeds < narrow.seeds


def test_guards_ask_for_what_they_lack() -> None:
    collapse = needed(
        decide({"claim": no_worse(differences(5, 0.0, by_seed=0.01, by_cluster=0.1), margin=1.0)})["claim"]
    )
    assert collapse is not None
    assert collapse.seeds == 29, "0.9 ** 29 is below .05"
    few = no_worse(
        differences(5, 0.0, by_seed=0.01, by_cluster=0.1)[:, :60], margin=1.0, span=100.0, seeds_as_seen=True
    )
    rare = needed(decide({"claim": few})["claim"])
    assert rare is not None
    assert (rare.seeds, rare.clusters) == (None, 299), "0.99 ** 299 is below .05"


def test_what_is_decided_or_has_no_test_or_does_not_vary_needs_nothing_that_could_be_told() -> None:
    verdicts = decide(
        {
            "shown": better(differences(5, 40.0)),
            "cost": cheaper(1.0, than=2.0, ratio=3.0),
            "failed": no_evidence("better", 0.0, "a trial failed"),
            "same": better(np.zeros((5, CLUSTERS))),
        }
    )
    assert {name: needed(verdict) for name, verdict in verdicts.items()} == dict.fromkeys(verdicts)
