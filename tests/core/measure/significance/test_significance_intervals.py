"""p and interval are one test; where they err by more than they say, the row says so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.rivals import bca_interval
from benchmarks.worlds import captions, held_by_few, large_win, only_wins, other_shape, ranks, recall, tails
from core.measure.significance import paired_test, paired_tests, sign_flip
from core.measure.significance.inversion import flip_test
from core.measure.significance.resampling import cluster_sums
from core.measure.significance.skewness import skewed, skewness, unskewed


def hall(values, null):
    """Two-sided p of the t of values corrected for their skewness (Hall 1992), by SciPy's own t and skewness."""
    n = len(values)
    t, skew = stats.ttest_1samp(values, null).statistic, stats.skew(values) / np.sqrt(n)
    return 2 * stats.t.sf(abs(t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6), n - 1)


VALUES = st.lists(st.integers(-4, 4), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.integers(1, 4), st.integers(-6, 6), st.sampled_from([1.0, 1 / 7, 100 / 3]))
def test_the_interval_excludes_the_null_exactly_where_p_is_below_five_percent(values, size, null, unit):
    d, labels = np.array(values) * unit, np.arange(len(values)) // size
    found = paired_test(d, labels, null=null * unit / 2, draws=400)
    assert (found.low <= null * unit / 2 <= found.high) == (found.p >= 0.05)
    assert found.low <= found.difference + 1e-9
    assert found.difference - 1e-9 <= found.high


@settings(max_examples=60, deadline=None)
@given(VALUES, st.integers(1, 4))
def test_every_difference_in_the_interval_would_be_kept_and_every_one_outside_rejected(values, size):
    d, labels = np.array(values) / 7, np.arange(len(values)) // size
    found = paired_test(d, labels, draws=400)
    for end, side in ((found.low, -1), (found.high, 1)):
        if np.isfinite(end):
            for step in (0.013, 0.4):
                beyond = end + side * step
                moved = labels.size and np.abs(beyond) > 0  # at 0 many clusters may differ by nothing: p is exact there
                assert not moved or paired_test(d, labels, null=beyond, draws=400).p < 0.05
                if (found.difference - end + side * step) * side < 0:
                    assert paired_test(d, labels, null=end - side * step, draws=400).p >= 0.05


@pytest.mark.parametrize("clusters", [9, 40])
def test_the_interval_holds_the_differences_that_scipys_permutation_test_and_the_corrected_t_keep(clusters):
    d = np.random.default_rng(clusters).exponential(2, size=clusters)
    found, kept = paired_test(d, draws=20_000), []
    for null in np.arange(-1, 8, 0.05):
        flips = stats.permutation_test(
            (d - null, np.zeros(clusters)),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=3000,
            rng=np.random.default_rng(1),
        )
        if max(flips.pvalue, hall(d, null)) >= 0.05:
            kept.append(null)
    assert (found.low, found.high) == pytest.approx((kept[0], kept[-1]), abs=0.1)


def test_with_unequal_clusters_a_flip_turns_a_video_with_all_its_captions():
    rng = np.random.default_rng(10)
    sizes = rng.integers(1, 9, size=11)
    sums = sizes * rng.normal(1, 1, size=11)
    labels = np.repeat(np.arange(11), sizes)
    for null in (0.0, 0.7, 1.9):
        away = sums - null * sizes
        signs = np.array(np.meshgrid(*[[1, -1]] * 11)).reshape(11, -1)
        share = (np.abs(away @ signs) >= abs(away.sum()) - 1e-9).mean()
        p, low, high = flip_test(*cluster_sums(((sums / sizes)[labels])[None], labels), null, "two-sided", 100, 0)
        assert p[0] == pytest.approx(share)
        assert (low[0] <= null <= high[0]) == (share >= 0.05)


def test_few_units_get_an_endless_interval_since_no_p_below_five_percent_exists():
    for clusters, finite in ((5, False), (6, True)):
        found = paired_test(np.arange(1.0, clusters + 1))
        assert np.isfinite([found.low, found.high]).all() == finite


def test_where_p_is_exact_the_interval_gives_way_to_it():
    for wins, differs in ((5, False), (6, True)):  # 2 / 2 ** 6 < 0.05 < 2 / 2 ** 5
        d = np.concatenate([np.full(wins, 100.0), np.zeros(300 - wins)])
        found = paired_test(d, draws=100)
        assert found.p == 2.0 ** (1 - wins)
        assert (found.low > 0) == differs


def test_the_interval_is_hardly_wider_than_the_bootstrap_where_that_is_sound():
    d = recall(np.random.default_rng(3), 40, 500, 0.15, 2.0)
    low, high = bca_interval(d, np.ones(500), 2000, 0)
    widths = np.array([one.high - one.low for one in paired_tests(d[:, None], draws=2000)])
    assert np.mean(widths / (high - low)) == pytest.approx(1, abs=0.03)


@given(st.floats(-6, 6), st.floats(-0.95, 0.95))
def test_the_correction_for_skewness_can_be_undone(ratio, skew):
    made = unskewed(np.array(ratio), np.array(skew))
    assert skewed(made, np.array(skew)) == pytest.approx(ratio, abs=1e-3)


def test_skewness_is_that_of_the_mean():
    d = np.random.default_rng(4).exponential(size=(3, 50))
    assert skewness(d) == pytest.approx(stats.skew(d, axis=1) / np.sqrt(50))
    assert skewness(np.full(7, 0.1)) == 0


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_few_large_wins_and_many_small_losses_are_no_difference(seeds):
    """At the true difference, where sign flips alone reject too often."""
    rng, runs = np.random.default_rng(40), 1500
    d = np.repeat(only_wins(rng, runs, 100, 0.08)[:, None], seeds, axis=1)
    assert (sign_flip(d[:, 0] - 8, draws=400) < 0.05).mean() > 0.065
    wrong = np.mean([one.p < 0.05 for one in paired_tests(d, null=8.0, draws=400)])
    assert wrong <= 0.05


def within_limit(errors, runs):
    """Whether so many errors are what a rate of 6.5 % at most gives, but for one case in a thousand."""
    return errors <= stats.binom.ppf(0.999, runs, 0.065)


WORLDS = {
    "recall": (lambda g, n: (recall(g, n, 300, 0.15, 2.0), None), 2.0),
    "few differ": (lambda g, n: (recall(g, n, 300, 0.02), None), 0.0),
    "few hold most": (held_by_few, 0.0),
    "captions": (lambda g, n: captions(g, n, np.random.default_rng(3).integers(1, 30, size=60)), 0.0),
    "only wins": (lambda g, n: (only_wins(g, n, 300, 0.03), None), 3.0),
    "ranks": (lambda g, n: (ranks(g, n, 200), None), 0.0),
    "tails": (lambda g, n: (tails(g, n, 200, 1.8, 1.8), None), 0.0),
}
ASYMMETRIC = {
    "two shapes": (lambda g, n: (other_shape(g, n, 200), None), 0.0),
    "shapes far apart": (lambda g, n: (other_shape(g, n, 200, 2.0), None), 0.0),
    "a long tail on one side": (lambda g, n: (tails(g, n, 200), None), 0.0),
    "nothing seen": (lambda g, n: (only_wins(g, n, 300, 0.004), None), 0.4),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_interval_misses_the_truth_as_seldom_as_it_says(world):
    make, truth = WORLDS[world]
    d, labels = make(np.random.default_rng(41), 600)
    assert within_limit(sum(one.p < 0.05 for one in paired_tests(d[:, None], labels, null=truth, draws=400)), 600)


def test_large_videos_that_win_what_small_ones_lose_are_no_difference():
    rng, found, flipped = np.random.default_rng(42), [], []
    for _ in range(400):
        d, labels = large_win(rng)
        found.append(paired_test(d, labels, draws=400).p)
        flipped.append(sign_flip(d, labels, draws=400))
    assert within_limit(np.sum(np.array(found) < 0.05), 400)
    assert (np.array(flipped) < 0.05).mean() > 0.065


@pytest.mark.parametrize("world", ASYMMETRIC)
def test_an_interval_that_rests_on_a_symmetry_that_is_not_there_says_so(world):
    make, truth = ASYMMETRIC[world]
    d, labels = make(np.random.default_rng(43), 600)
    found = paired_tests(d[:, None], labels, null=truth, draws=400)
    assert within_limit(sum(one.p < 0.05 and not one.warning for one in found), 600)


def test_rows_without_tails_are_not_warned_of():
    rng = np.random.default_rng(44)
    for d in (recall(rng, 200, 500, 0.15), rng.normal(size=(200, 60)), recall(rng, 200, 1000, 0.05, 2.0)):
        assert np.mean([bool(one.warning) for one in paired_tests(d[:, None], draws=100)]) < 0.02


@pytest.mark.parametrize("seeds", [1, 4])
def test_a_result_that_hangs_on_few_queries_says_on_how_many(seeds):
    d = np.random.default_rng(45).normal(size=(seeds, 200))
    d[:, :2] += 60
    assert "2 of 200 differences carry half of the squares" in paired_test(d).warning
    told = "few hold most of the queries: 100 units count as 6 of equal size"
    assert paired_test(*uneven(seeds)).warning == told
    assert "nothing differs" in paired_test(np.zeros((seeds, 50))).warning


def uneven(seeds):
    labels = np.repeat(np.arange(100), np.where(np.arange(100) < 4, 90, 1))
    return np.random.default_rng(46).normal(size=(seeds, labels.size)), labels
