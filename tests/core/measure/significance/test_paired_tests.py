"""The paired test against SciPy and hand computation: sign flips, McNemar's test, clusters, what it says of itself."""

import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from core.errors import DataError
from core.measure.significance import (
    better,
    cheaper,
    decide,
    detectable_difference,
    larger_gain,
    mcnemar,
    paired_medians,
    paired_test,
    paired_tests,
    sign_flip,
)


def hits_and_misses(rng, n, wins, losses):
    """Differences of R@k in points: `wins` of +100, `losses` of -100, the rest 0."""
    return rng.permutation(np.concatenate([np.full(wins, 100.0), np.full(losses, -100.0), np.zeros(n - wins - losses)]))


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_few_differing_queries_are_enumerated_and_equal_scipy_exactly(alternative):
    rng = np.random.default_rng(0)
    for _ in range(5):
        d = rng.normal(0.5, 1, size=9)
        theirs = stats.permutation_test(
            (d, np.zeros(9)), lambda x, y: np.mean(x - y), permutation_type="samples", alternative=alternative
        )
        padded = np.concatenate([d, np.zeros(200)])
        assert sign_flip(padded, alternative=alternative) == pytest.approx(theirs.pvalue)


def test_many_queries_agree_with_scipy_within_the_noise_of_the_draws():
    d = np.random.default_rng(1).normal(0.12, 1, size=300)
    theirs = stats.permutation_test(
        (d, np.zeros(300)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(2),
    )
    assert sign_flip(d) == pytest.approx(theirs.pvalue, abs=0.01)
    assert sign_flip(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.01)


@pytest.mark.parametrize(("wins", "losses"), [(30, 18), (70, 50), (9, 1)])
def test_on_recall_the_sign_flip_is_mcnemar(wins, losses):
    d = hits_and_misses(np.random.default_rng(3), 600, wins, losses)
    exact = stats.binomtest(wins, wins + losses).pvalue
    assert sign_flip(d) == pytest.approx(exact, abs=0.012)
    assert mcnemar(wins, losses) == exact
    found = paired_test(d)
    assert (found.wins, found.ties, found.losses) == (wins, 600 - wins - losses, losses)
    assert found.odds == wins / losses
    assert found.p_mcnemar == exact


def test_mcnemar_stands_beside_p_only_where_it_is_the_same_question():
    d = hits_and_misses(np.random.default_rng(3), 80, 20, 8)
    assert paired_test(d, higher_is_better=False).p_mcnemar == stats.binomtest(20, 28).pvalue
    assert paired_test(np.zeros(80)).p_mcnemar == 1
    others = [
        paired_test(d + 0.5),
        paired_test(d, np.arange(80) // 2),
        paired_test(np.stack([d, d])),
        paired_test(d, null=10),
        paired_test(d, alternative="greater"),
    ]
    assert all(np.isnan(one.p_mcnemar) for one in others)


def test_p_is_never_zero_and_repeats_with_the_seed():
    d = np.random.default_rng(4).normal(3, 1, size=200)
    assert sign_flip(d, draws=999) == 1 / 1000
    weak = np.random.default_rng(4).normal(0.1, 1, size=200)
    assert sign_flip(weak, seed=5) == sign_flip(weak, seed=5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.integers(1, 5))
@example([1, 1, 3, -2, -3, 1, 2, -3], 5)  # either cluster sums to 0 but for rounding
def test_the_sign_flip_test_ignores_order_scale_and_sign(values, size):
    d, labels = np.array(values) / 7, np.arange(len(values)) // size
    order = np.random.default_rng(0).permutation(len(values))
    p = sign_flip(d, labels)
    assert sign_flip(-d, labels) == pytest.approx(p)
    assert sign_flip(1e3 * d, labels) == pytest.approx(p)
    drawn = 0.0 if len(np.unique(labels)) <= 12 else 0.02  # more clusters than are enumerated: other draws
    assert sign_flip(d[order], labels[order]) == pytest.approx(p, abs=drawn)


def test_equal_clusters_give_the_test_on_cluster_means():
    rng = np.random.default_rng(6)
    d = rng.normal(0.2, 1, size=(80, 5)) + rng.normal(0, 1, size=(80, 1))
    labels = np.repeat([f"video{i}" for i in range(80)], 5)
    grouped, means = paired_test(d.ravel(), labels), paired_test(d.mean(axis=1))
    for field in ("difference", "low", "high", "p", "p_t", "d_z", "standard_error", "n_clusters", "wins", "losses"):
        assert getattr(grouped, field) == pytest.approx(getattr(means, field)), field
    assert (grouped.n_clusters, grouped.n_queries) == (80, 400)
    assert grouped.p_t == pytest.approx(stats.ttest_rel(d.mean(axis=1), np.zeros(80)).pvalue)
    assert grouped.d_z == pytest.approx(d.mean() / d.mean(axis=1).std(ddof=1))


def test_unequal_clusters_estimate_the_mean_over_all_queries():
    d, labels = np.array([6.0, 0, 0, 3, 3]), [0, 1, 1, 1, 1]
    assert paired_test(d, labels).difference == pytest.approx(12 / 5)


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("sizes", [np.full(40, 3), np.tile([3, 6], 20)], ids=["equal", "unequal"])
def test_differences_that_cancel_within_each_video_are_none_whatever_rounding_leaves_of_them(seeds, sizes):
    """As of captions that change places: what they add up to is 1e-15 and not 0."""
    captions = np.array([100 / 6, 100 / 3, -50.0])
    d, labels = np.tile(np.resize(captions, sizes.sum()), (seeds, 1)), np.repeat(np.arange(40), sizes)
    assert np.add.reduceat(captions, [0])[0] != 0
    found = paired_test(d, labels)
    assert (found.difference, found.low, found.high, found.p, found.d_z) == pytest.approx(
        (0, 0, 0, 1, np.nan), nan_ok=True
    )
    assert (found.wins, found.ties, found.losses) == (0, 40, 0)
    assert decide({"moved": better(d, labels)})["moved"].verdict == "not decided"


def test_a_difference_that_is_the_bound_but_for_rounding_does_not_exceed_it():
    d, labels = np.tile([0.1, 0.7, 0.2], 40), np.arange(120) // 3
    assert np.add.reduceat(d[:3], [0])[0] != 1
    assert better(d, labels, by=1 / 3).p == 1
    assert paired_test(d, labels, null=1 / 3).p_t == 1


def test_captions_of_one_video_do_not_make_false_positives():
    rng = np.random.default_rng(7)
    runs, videos, captions = 400, 120, 12
    d = rng.normal(0, 0.5, size=(runs, videos, 1)) + rng.normal(0, 1, size=(runs, videos, captions))
    d, labels = d.reshape(runs, -1), np.repeat(np.arange(videos), captions)
    assert (sign_flip(d, labels, draws=1000) < 0.05).mean() <= 0.06 + 0.01
    assert (sign_flip(d, draws=1000) < 0.05).mean() > 0.15


def test_captions_in_unequal_groups_do_not_make_false_positives():
    rng = np.random.default_rng(8)
    labels = np.repeat(np.arange(150), rng.integers(1, 30, size=150))
    d = rng.normal(0, 0.7, size=(500, 150))[:, labels] + rng.normal(0, 1, size=(500, labels.size))
    assert (sign_flip(d, labels, draws=1000) < 0.05).mean() <= 0.07
    seeds = d[:, None] + rng.normal(0, 1, size=(500, 3, labels.size))
    assert np.mean([found.p < 0.05 for found in paired_tests(seeds, labels)]) <= 0.07


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_arms_that_never_differ_give_p_one_and_an_empty_interval(seeds):
    found = paired_test(np.zeros((seeds, 50)))
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert np.isnan(found.detectable)


def test_a_hundred_variants_take_seconds():
    d = hits_and_misses(np.random.default_rng(11), 1000, 90, 60) + np.random.default_rng(12).normal(size=(100, 1, 1000))
    start = time.perf_counter()
    found = paired_tests(d)
    assert time.perf_counter() - start < 10
    alone = paired_test(d[41])
    assert (found[41].p, found[41].low, found[41].high) == pytest.approx((alone.p, alone.low, alone.high))


def test_detectable_differences_of_the_field():
    """2.80 sqrt(discordance / n), and the step of one query by which McNemar's test falls short of its level."""
    assert detectable_difference(1000, 0.15) == pytest.approx(3.43 + 0.1, abs=0.01)
    d = hits_and_misses(np.random.default_rng(23), 1000, 75, 75)
    assert paired_test(d).detectable == pytest.approx(detectable_difference(1000, 0.15), rel=0.01)


def test_few_units_and_few_seeds_are_told_and_enough_of_them_are_not():
    d = np.random.default_rng(38).normal(size=(4, 20))
    assert "only 19 independent units" in paired_test(d[:1, :19]).warning
    assert paired_test(d[:1]).warning == ""
    for seeds in (2, 3):
        assert f"with {seeds} seeds" in paired_test(d[:seeds]).warning
    assert paired_test(d).warning == ""


def test_values_that_cannot_be_paired_are_refused():
    with pytest.raises(DataError, match="query 1 is NaN"):
        paired_test([0.0, np.nan])
    with pytest.raises(DataError, match="do not label"):
        paired_test([0.0, 1.0], clusters=[0])
    with pytest.raises(DataError, match="cannot be paired"):
        paired_medians(np.ones((2, 5)), np.ones((3, 5)))
    with pytest.raises(DataError, match="cannot be paired"):
        larger_gain(np.ones((2, 5)), np.ones((2, 4)))
    with pytest.raises(DataError, match="empty"):
        paired_tests(np.ones((0, 1, 4)))
    with pytest.raises(DataError, match="ratio"):
        cheaper(0.0, 1.0)


def test_a_single_cluster_decides_nothing():
    for seeds in (1, 3):
        found = paired_test(np.random.default_rng(seeds).normal(5, 1, size=(seeds, 10)), clusters=np.zeros(10))
        assert found.p == 1
        assert (found.low, found.high) == (-np.inf, np.inf)
        assert "shared answers link the 10 queries into one group: nothing can be tested" in found.warning


def test_the_size_names_videos_only_where_each_text_has_one() -> None:
    found = paired_test(np.arange(60.0), clusters=np.arange(60) // 2)
    assert found.size("t2v/R1") == "30 videos (60 captions)"
    assert found.size("t2v/R1", single=False) == "30 groups of texts that share answers (60 texts)"
    assert found.size("v2t/R1") == "30 groups of videos that share answers (60 videos)"
    assert paired_test(np.arange(60.0)).size("v2t/R1") == "60 videos"
    linked = paired_test(np.arange(60.0), clusters=np.zeros(60))
    assert linked.size("t2v/R1") == "1 group of texts that share answers (60 texts)"
