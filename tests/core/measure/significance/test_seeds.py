"""Several seeds: the t over seeds and queries, what it covers, and what it does not."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.error_rates import both_agree, recall_over_seeds
from core.measure.significance import (
    paired_test,
    paired_tests,
)


def test_one_seed_says_what_it_does_not_cover():
    d = np.random.default_rng(13).normal(size=40)
    assert "covers query sampling only" in paired_test(d).method
    assert "no training" in paired_test(d, trained=False).method
    assert "query sampling and training" in paired_test(np.stack([d, d + 1])).method
    assert "2 seeds" in paired_test(np.stack([d, d + 1])).warning
    assert "5 independent" in paired_test(d[:5]).warning


@pytest.mark.parametrize(("seeds", "unseen"), [(2, "81%"), (5, "59%"), (28, "5%")])
def test_several_seeds_say_that_a_collapse_that_is_rare_is_not_covered(seeds: int, unseen: str) -> None:
    d = np.random.default_rng(13).normal(size=(seeds, 40))
    told = f"but for a collapse of one run in ten, which {unseen} of such sets of seeds do not show"
    assert paired_test(d).method.endswith(told)


def test_seed_and_query_variance_add_up_by_hand():
    d = np.array([[1.0, 3, 2], [5, 4, 6]])
    ms_cluster, ms_seed = 2 * np.var([3, 3.5, 4], ddof=1), 3 * np.var([2, 5], ddof=1)
    residual = d - d.mean(0) - d.mean(1, keepdims=True) + 3.5
    ms_residual = (residual**2).sum() / 2
    a, b = max(ms_cluster - ms_residual, 0) / 6, ms_seed / 6
    error = np.sqrt(a + b)
    critical = (a * stats.t.ppf(0.975, 2) + b * stats.t.ppf(0.975, 1)) / (a + b)
    found = paired_test(d)
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == pytest.approx((3.5 - critical * error, 3.5 + critical * error))
    assert found.seed_sd == pytest.approx(np.std([2, 5], ddof=1))


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_p_is_five_percent_exactly_at_the_end_of_the_interval(seeds):
    d = np.random.default_rng(seeds).normal(1, 3, size=(seeds, 40)) + np.arange(seeds)[:, None]
    found = paired_test(d)
    assert paired_test(d, null=found.low).p == pytest.approx(0.05)
    assert paired_test(d, null=found.high, alternative="less").p == pytest.approx(0.025)
    assert paired_test(d, null=found.high, alternative="greater").p >= 0.975 - 1e-9  # of two, the less certain ratio


def test_seeds_that_change_nothing_leave_the_paired_t_over_queries():
    d = np.random.default_rng(14).normal(0.2, 1, size=60)
    for one in (d, -d):
        plain, half = stats.ttest_1samp(one, 0), stats.skew(one) / np.sqrt(60) / 2
        corrected = (
            plain.statistic + 2 * half * plain.statistic**2 / 3 + 4 * half**2 * plain.statistic**3 / 27 + half / 3
        )
        found = paired_test(np.tile(one, (4, 1)))
        assert found.p == pytest.approx(max(plain.pvalue, 2 * stats.t.sf(abs(corrected), 59)))
        assert found.seed_sd == 0
    even = np.concatenate([d, 0.4 - d])
    assert paired_test(np.tile(even, (4, 1))).p == pytest.approx(stats.ttest_1samp(even, 0).pvalue)


def test_queries_that_all_move_together_leave_the_t_over_seeds():
    shift = np.array([0.4, 1.1, 2.0, 0.9])
    found = paired_test(np.tile(shift[:, None], (1, 500)))
    assert found.p == pytest.approx(stats.ttest_1samp(shift, 0).pvalue)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("seed_sd", "persistent"), [(0, 1.0), (0.95, 0.5), (2, 0.2), (2, 1.0)])
def test_the_seed_test_keeps_its_error_when_seeds_and_queries_are_redrawn(seeds, seed_sd, persistent):
    runs = 500
    d = recall_over_seeds(np.random.default_rng(seeds), runs, seeds, seed_sd, persistent)
    errors = sum(found.p < 0.05 for found in paired_tests(d))
    assert errors <= stats.binom.ppf(0.999, runs, 0.06)


def test_the_rule_that_two_tests_agree_is_less_powerful_or_wrong():
    rng = np.random.default_rng(15)
    gain = recall_over_seeds(rng, 500, 3, 0.0, 0.0, gain=3)
    gain_with_noise = recall_over_seeds(rng, 500, 2, 0.5, 0.5, gain=3)
    for d in (gain, gain_with_noise):
        assert np.mean([found.p < 0.05 for found in paired_tests(d)]) > (both_agree(d) < 0.05).mean()
    null = recall_over_seeds(rng, 1000, 10, 2.0, 0.5)
    assert (both_agree(null) < 0.05).mean() > 0.07


def test_the_interval_over_seeds_covers_the_truth():
    d = recall_over_seeds(np.random.default_rng(16), 500, 5, 0.95, 0.5, gain=3)
    assert np.mean([found.low <= 3 <= found.high for found in paired_tests(d)]) >= 0.93
