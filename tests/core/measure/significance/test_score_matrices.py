"""Two matrices of scores compared; medians; numbers that were printed."""

import numpy as np
import pytest
from scipy import stats

from core.measure.metrics import Relevance
from core.measure.significance import (
    compare_scores,
    correct,
    outcome,
    paired_medians,
    published_difference,
)


def test_medians_get_an_interval_and_no_p():
    rng = np.random.default_rng(17)
    baseline = rng.integers(1, 60, size=301).astype(float)
    variant = np.maximum(baseline - rng.integers(0, 12, size=301), 1)
    found = paired_medians(variant, baseline)
    theirs = stats.bootstrap(
        (variant, baseline),
        lambda x, y, axis: np.median(x, axis=axis) - np.median(y, axis=axis),
        paired=True,
        method="percentile",
        rng=rng,
    ).confidence_interval
    assert found.difference == np.median(variant) - np.median(baseline)
    assert (found.low, found.high) == pytest.approx(tuple(theirs), abs=1.01)
    assert np.isnan([found.p, found.detectable]).all()
    assert outcome(correct({"a": found})["a"]) == "not tested"
    assert found.wins == (variant < baseline).sum()


def test_resampled_medians_are_medians_of_the_resample():
    values = np.random.default_rng(18).integers(1, 30, size=(2, 3, 40)).astype(float)
    labels = np.arange(40) // 4
    found = paired_medians(values[0], values[1], labels)
    assert found.n_clusters == 10
    assert found.seeds == 3
    per_seed = np.median(values[0], axis=1) - np.median(values[1], axis=1)
    assert found.difference == pytest.approx(per_seed.mean())
    assert found.seed_sd == pytest.approx(per_seed.std(ddof=1))
    assert found.low <= found.difference <= found.high
    everything_alike = paired_medians(np.full((3, 40), 7.0), np.full(40, 5.0), labels)
    assert (everything_alike.low, everything_alike.high) == (2, 2)


def test_two_matrices_may_have_groups_and_a_rule_for_ties_of_their_own():
    relevance = Relevance.from_dense(np.eye(12))
    tied, untied = np.ones((12, 12)), 0.5 * np.eye(12) + np.arange(12)
    wanted = {"optimistic": 100.0, "pessimistic": 0.0, "expected": 100 / 12}
    for rule, share in wanted.items():
        found = compare_scores(tied, untied, relevance, "t2v/R1", ties=rule, clusters=np.arange(12) // 3)
        hits = 100.0 * ((untied > untied[np.arange(12), np.arange(12)][:, None]).sum(1) == 0)
        assert found.difference == pytest.approx(share - hits.mean()), rule
        assert (found.n_clusters, found.n_queries) == (4, 12)


def test_printed_numbers_bound_what_any_pairing_could_show():
    smallest, usual = published_difference(48.1, 47.4, 1000)
    assert smallest == pytest.approx(0.016, abs=0.001)
    assert 0.55 < usual < 0.7
    assert published_difference(48.1, 47.8, 1000)[0] == 0.25
    assert published_difference(47.4, 48.1, 1000) == (smallest, usual)
    assert published_difference(48.1, 48.1, 1000) == (1, 1)
    assert published_difference(60, 30, 1000, discordance=0.1)[0] == published_difference(60, 30, 1000, 0.1)[1]


def test_two_matrices_are_compared_as_their_per_query_values_are() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat(np.eye(40), 2, axis=0)
    relevance = Relevance.from_dense(truth > 0)
    weak, strong = truth + rng.normal(0, 0.6, truth.shape), truth + rng.normal(0, 0.3, truth.shape)
    found = compare_scores(strong, weak, relevance, "t2v/R1")
    hits = [100.0 * (scores.argmax(1) == np.arange(80) // 2) for scores in (strong, weak)]
    assert found.difference == pytest.approx((hits[0] - hits[1]).mean())
    assert found.n_clusters == 40
    assert found.p < 0.05
    ranks_of = [1 + (matrix > matrix[np.arange(80), np.arange(80) // 2][:, None]).sum(1) for matrix in (strong, weak)]
    by_rank = compare_scores(strong, weak, relevance, "t2v/MnR")
    assert by_rank.difference == pytest.approx((ranks_of[0] - ranks_of[1]).mean())
    assert by_rank.gain[0] == -by_rank.difference > 0
    assert by_rank.wins > by_rank.losses
    median = compare_scores(strong, weak, relevance, "t2v/MdR")
    assert median.difference == np.median(ranks_of[0]) - np.median(ranks_of[1]) < 0
    assert np.isnan(compare_scores(strong, weak, relevance, "v2t/MdR").p)


def test_mean_ranks_that_one_query_decides_name_the_metric_that_it_does_not() -> None:
    good, bad = np.eye(100), np.eye(100)
    bad[0, 0] = -1
    relevance = Relevance.from_dense(np.eye(100) > 0)
    told = {name: compare_scores(bad, good, relevance, f"t2v/{name}").warning for name in ("MnR", "MRR")}
    assert told["MnR"] == f"{told['MRR']}; MRR is the smoother metric"
    assert "hang on them" in told["MRR"]
