"""Tests, intervals, corrections and verdicts against SciPy, hand computation and simulation."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.error_rates import both_agree, captions, ranks, recall, recall_over_seeds
from core.errors import DataError
from core.measure.metrics import Relevance
from core.measure.significance import (
    benjamini_hochberg,
    better,
    cheaper,
    compare_scores,
    correct,
    decide,
    detectable_difference,
    equivalent,
    holm,
    larger_gain,
    mcnemar,
    no_worse,
    outcome,
    paired_medians,
    paired_test,
    paired_tests,
    published_difference,
    rare_loss,
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


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_lies_between_raw_and_bonferroni(p):
    raw = np.array(p)
    for corrected in (holm(raw), benjamini_hochberg(raw)):
        assert np.all(corrected >= raw - 1e-12)
        assert np.all(corrected <= np.minimum(raw * raw.size, 1) + 1e-12)
    assert np.all(benjamini_hochberg(raw) <= holm(raw) + 1e-12)


def test_benjamini_hochberg_is_scipys_false_discovery_control_in_a_family():
    rng = np.random.default_rng(30)
    family = {str(i): paired_test(rng.normal(gain, 1, size=80)) for i, gain in enumerate((0.5, 0.3, 0.2, 0.1, 0, 0))}
    found = correct(family, "benjamini_hochberg")
    theirs = stats.false_discovery_control([one.p for one in family.values()])
    assert [one.p_corrected for one in found.values()] == pytest.approx(theirs)
    assert {(one.correction, one.family) for one in found.values()} == {("benjamini_hochberg", 6)}


def test_what_was_not_tested_does_not_count_in_the_family():
    for method in (holm, benjamini_hochberg):
        corrected = method([0.02, np.nan, 0.03])
        assert np.isnan(corrected[1])
        assert corrected[[0, 2]] == pytest.approx(method([0.02, 0.03]))
        assert np.isnan(method([np.nan])).all()


def test_outcomes_follow_the_corrected_p_and_the_direction_of_the_metric():
    d = np.random.default_rng(19).normal(1, 2, size=200)
    family = correct({"up": paired_test(d), "down": paired_test(-d), "flat": paired_test(d - d.mean())})
    assert [outcome(one) for one in family.values()] == ["better", "worse", "n.s."]
    assert {one.family for one in family.values()} == {3}
    rank = correct({"lower": paired_test(-d, higher_is_better=False)})["lower"]
    assert outcome(rank) == "better"
    assert rank.wins == (d > 0).sum()
    assert outcome(replace(rank, p_corrected=0.05)) == "n.s."
    assert outcome(paired_test(d)) == "not tested"


@pytest.mark.parametrize("seeds", [1, 4])
def test_hypotheses_are_supported_refuted_or_left_open(seeds):
    rng = np.random.default_rng(20)
    d = rng.normal(2, 4, size=(seeds, 400))
    d += 2 - d.mean()
    seen = {"seeds_as_seen": True}
    verdicts = decide(
        {
            "helps": better(d),
            "helps_a_lot": better(d, by=5),
            "helps_by_about_that": better(d, by=2),
            "harmless": no_worse(d, margin=0.5, **seen),
            "harmful": no_worse(d, margin=-4),
            "same": equivalent(d, within=4, **seen),
            "the_same": equivalent(d, within=0.5),
            "more_than_before": larger_gain(d, d - 1.5 + rng.normal(size=d.shape)),
            "less_than_before": larger_gain(d, d + 3),
            "fast": cheaper(2.0, 100.0, ratio=40),
            "faster": cheaper(2.0, 100.0, ratio=60),
        }
    )
    assert {name: one.verdict for name, one in verdicts.items()} == {
        "helps": "supported",
        "helps_a_lot": "refuted",
        "helps_by_about_that": "not decided",
        "harmless": "supported",
        "harmful": "refuted",
        "same": "supported",
        "the_same": "refuted",
        "more_than_before": "supported",
        "less_than_before": "refuted",
        "fast": "supported",
        "faster": "refuted",
    }
    assert {one.family for one in verdicts.values()} == {9}
    about = verdicts["helps_by_about_that"]
    assert f"a true gain of {2 + about.evidence.comparison.detectable:+.2f} would have been seen" in about.reason
    assert np.isnan(verdicts["fast"].p_corrected)


def test_a_clear_difference_refutes_that_arms_are_equal_whichever_is_better():
    d = np.random.default_rng(36).normal(2, 1, size=90)
    for differences in (d, -d):
        verdicts = decide({"same": equivalent(differences, within=0.5), "alike": equivalent(differences, within=5)})
        assert [one.verdict for one in verdicts.values()] == ["refuted", "supported"]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_a_test_against_a_bound_is_that_of_what_exceeds_it_in_unequal_clusters_too(seeds, alternative):
    d, labels = (
        np.random.default_rng(37).normal(0.7, 1, size=(seeds, 120)),
        np.repeat(np.arange(30), [1, 7, 2, 4, 6] * 6),
    )
    bound = paired_test(d, labels, null=0.5, alternative=alternative)
    exceeding = paired_test(d - 0.5, labels, alternative=alternative)
    assert (bound.p, bound.difference - 0.5) == pytest.approx((exceeding.p, exceeding.difference))
    assert bound.p_t == pytest.approx(exceeding.p_t, nan_ok=True)


def test_a_gain_that_few_queries_make_is_no_nearer_to_equality_than_a_loss_that_few_pay():
    d = np.zeros(400)
    d[0] = 100.0
    wanted = stats.binomtest(1, 400, 0.02, "less").pvalue  # larger than the p of the two tests, so that it decides
    assert [equivalent(one, within=2, span=100).p for one in (d, -d)] == pytest.approx([wanted, wanted])


def test_a_significant_loss_does_not_support_a_gain():
    d = np.random.default_rng(21).normal(-0.5, 1, size=300)
    assert decide({"helps": better(d)})["helps"].verdict == "refuted"
    assert decide({"helps": better(d, higher_is_better=False)})["helps"].verdict == "supported"
    assert decide({"lower": better(d, by=2, higher_is_better=False)})["lower"].verdict == "refuted"
    assert decide({"no_worse": no_worse(-d, margin=0.1, higher_is_better=False)})["no_worse"].verdict == "refuted"


def test_equivalence_is_two_one_sided_paired_t_tests():
    d = np.random.default_rng(22).normal(0.1, 1, size=400)
    low = stats.ttest_1samp(d, -0.2, alternative="greater").pvalue
    high = stats.ttest_1samp(d, 0.2, alternative="less").pvalue
    assert equivalent(d, within=0.2).p == pytest.approx(max(low, high), abs=0.01)
    assert no_worse(d, margin=0.05).p == pytest.approx(
        stats.ttest_1samp(d, -0.05, alternative="greater").pvalue, abs=0.01
    )


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("span", [None, 40.0])
@pytest.mark.parametrize("shift", [-0.3, 0.0, 0.4])
def test_a_claim_on_a_rank_is_the_claim_on_its_negative(seeds, span, shift):
    d = np.random.default_rng(35).normal(0, 1, size=(seeds, 90))
    d += shift - d.mean()
    made = {
        "better": (better(d, by=0.2), better(-d, by=0.2, higher_is_better=False)),
        "larger_gain": (larger_gain(d, d / 3, by=0.1), larger_gain(-d, -d / 3, by=0.1, higher_is_better=False)),
        "no_worse": (
            no_worse(d, margin=0.2, span=span),
            no_worse(-d, margin=0.2, span=span, higher_is_better=False),
        ),
        "equivalent": (
            equivalent(d, within=0.3, span=span),
            equivalent(-d, within=0.3, span=span, higher_is_better=False),
        ),
    }
    for kind, (points, lower) in made.items():
        assert lower.p == pytest.approx(points.p, abs=1e-9 if seeds > 1 else 0.012), kind
        assert lower.observed == pytest.approx(points.observed), kind
        assert lower.comparison.gain == pytest.approx(points.comparison.gain, abs=1e-9 if seeds > 1 else 0.02), kind
        assert lower.as_claimed == points.as_claimed, kind
        assert lower.p_opposed == pytest.approx(points.p_opposed, abs=1e-9 if seeds > 1 else 0.012), kind
        assert lower.unseen == pytest.approx(points.unseen), kind
        won, lost = points.comparison.wins, points.comparison.losses
        assert (lower.comparison.wins, lower.comparison.losses) == (won, lost), kind


def test_identical_arms_are_equivalent_and_not_better():
    for seeds in (1, 3):
        verdicts = decide(
            {
                "same": equivalent(np.zeros((seeds, 100)), within=1, seeds_as_seen=True),
                "more": better(np.zeros((seeds, 100))),
            }
        )
        assert [one.verdict for one in verdicts.values()] == ["supported", "not decided"]


def test_detectable_differences_of_the_field():
    """2.80 sqrt(discordance / n), and the step of one query by which McNemar's test falls short of its level."""
    assert detectable_difference(1000, 0.15) == pytest.approx(3.43 + 0.1, abs=0.01)
    d = hits_and_misses(np.random.default_rng(23), 1000, 75, 75)
    assert paired_test(d).detectable == pytest.approx(detectable_difference(1000, 0.15), rel=0.01)


def within_six_percent(errors, runs):
    """Whether so many errors in so many runs are what a rate of 6 % at most gives, but for one case in a thousand."""
    return errors <= stats.binom.ppf(0.999, runs, 0.06)


@pytest.mark.parametrize("world", ["R@1", "R@1 of few queries", "ranks", "captions"])
def test_the_sign_flip_keeps_its_error(world):
    rng, runs, labels = np.random.default_rng(25), 1000, None
    if world == "captions":
        d, labels = captions(rng, runs, rng.integers(1, 20, size=60))
    else:
        made = {"R@1": (recall, (500, 0.15)), "R@1 of few queries": (recall, (100, 0.05)), "ranks": (ranks, (200,))}
        world_of, size = made[world]
        d = world_of(rng, runs, *size)
    assert within_six_percent((sign_flip(d, labels, draws=1000) < 0.05).sum(), runs)


def test_mcnemar_and_the_paired_t_keep_their_error():
    rng, runs = np.random.default_rng(33), 1000
    tested = paired_tests(recall(rng, runs, 500, 0.15)[:, None], draws=1000)
    flips, exact, t = (np.array([getattr(one, p) for one in tested]) for p in ("p", "p_mcnemar", "p_t"))
    for p in (exact, t):
        assert within_six_percent((p < 0.05).sum(), runs)
    assert np.abs(exact - flips).mean() < 0.02
    tested = paired_tests(ranks(rng, runs, 200)[:, None], draws=200)
    assert within_six_percent(sum(one.p_t < 0.05 for one in tested), runs)
    assert all(np.isnan(one.p_mcnemar) for one in tested)


def test_claims_with_a_bound_keep_their_error_at_the_bound():
    rng, runs = np.random.default_rng(26), 1000
    better_by = recall(rng, runs, 500, 0.15, 3.0) - 3.0
    worse_by = recall(rng, runs, 500, 0.15, -3.0) + 3.0
    gains = recall(rng, runs, 500, 0.15, 3.0) - recall(rng, runs, 500, 0.1, 3.0)
    for d, alternative in ((better_by, "two-sided"), (worse_by, "greater"), (better_by, "less"), (gains, "two-sided")):
        assert within_six_percent((sign_flip(d, alternative=alternative, draws=1000) < 0.05).sum(), runs)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("queries", "losses", "wins"), [(60, 1, 0), (200, 1, 0), (320, 1, 0), (60, 3, 2), (400, 3, 2)])
def test_a_loss_that_few_queries_pay_is_not_taken_for_none(seeds, queries, losses, wins):
    rng, runs = np.random.default_rng(34), 300
    drawn = rng.random((runs, queries))
    d = 100.0 * (drawn < wins / 100) - 100.0 * (drawn > 1 - losses / 100)  # worse by 1 point, the margin
    d = np.repeat(d[:, None], seeds, axis=1)
    harmless = [no_worse(one, margin=1, span=100, draws=200, trained=seeds > 1).p < 0.05 for one in d]
    same = [equivalent(one, within=1, span=100, draws=200, trained=seeds > 1).p < 0.05 for one in d]
    assert within_six_percent(sum(harmless), runs)
    assert within_six_percent(sum(same), runs)


def test_of_queries_that_never_differ_enough_are_needed_to_say_so():
    for queries, verdict in ((298, "not decided"), (299, "supported")):  # 0.99 ** 299 < 0.05
        (claim,) = decide({"same": no_worse(np.zeros(queries), margin=1, span=100)}).values()
        assert claim.verdict == verdict
        assert claim.p_corrected == pytest.approx(0.99**queries)
    (few,) = decide({"same": equivalent(np.zeros(60), within=1, span=100)}).values()
    assert "a loss of 1 that few pay in full stays unseen in 55% of samples of 60" in few.reason
    assert rare_loss(-1.0, 2.0, np.ones(500), 100.0) == pytest.approx(stats.binomtest(5, 500, 0.02, "less").pvalue)


def test_holm_keeps_the_error_of_a_family_and_benjamini_hochberg_that_of_its_findings():
    rng, runs = np.random.default_rng(27), 600
    p = np.stack([sign_flip(rng.normal(g, 1, size=(runs, 60)), draws=999) for g in (0, 0, 0, 0, 0.6, 0.6)], axis=1)
    assert within_six_percent(sum((holm(row[:4]) < 0.05).any() for row in p), runs)
    found = np.array([benjamini_hochberg(row) < 0.05 for row in p])
    assert (found[:, :4].sum(axis=1) / np.maximum(found.sum(axis=1), 1)).mean() <= 0.06
    assert found[:, 4:].mean() > 0.9


@pytest.mark.parametrize("part", [0.5, 1.0, 1.5])
def test_the_power_on_recall_is_that_of_the_formula(part):
    gain = part * detectable_difference(500, 0.15)
    found = (sign_flip(recall(np.random.default_rng(28), 1000, 500, 0.15, gain), draws=1000) < 0.05).mean()
    formula = stats.norm.cdf(gain / 100 * np.sqrt(500 / 0.15) - 1.96)
    assert found == pytest.approx(formula, abs=0.05)


def test_a_true_difference_of_the_detectable_size_is_found_four_times_in_five():
    d = np.random.default_rng(24).normal(0, 1, size=(1000, 200))
    found = sign_flip(d + 2.80 / np.sqrt(200), draws=1000) < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("seeds", [1, 4])
def test_claims_are_supported_four_times_in_five_where_they_say_they_would_be(seeds):
    rng, runs, queries = np.random.default_rng(31), 400, 150
    noise = rng.normal(0, 1, size=(runs, seeds, queries)) + 2 * rng.normal(0, 1, size=(runs, 1, queries))
    kinds = {
        "better": (lambda d: better(d, by=1, draws=200), 1),
        "no worse": (lambda d: no_worse(d, margin=1, draws=200, seeds_as_seen=True), -1),
    }
    for kind, (test, bound) in kinds.items():
        reach = np.median([test(d).comparison.detectable for d in noise[:40]])
        shown = np.mean([test(d + bound + reach).p < 0.05 for d in noise])
        assert shown == pytest.approx(0.8, abs=0.07), kind
    reach = np.median([equivalent(d, within=1, draws=200).comparison.detectable for d in noise[:40]])
    shown = np.mean([equivalent(d, within=reach, draws=200, seeds_as_seen=True).p < 0.05 for d in noise])
    assert shown == pytest.approx(0.8, abs=0.07)


def test_an_undecided_claim_says_what_it_could_have_shown():
    d = np.random.default_rng(32).normal(0, 5, size=60)
    made = {"less": no_worse(d - d.mean() - 1, margin=1.2), "same": equivalent(d - d.mean(), within=0.5)}
    reasons = {name: one.reason for name, one in decide(made).items()}
    error = d.std(ddof=1) / np.sqrt(60)
    gain = float(reasons["less"].split("a true gain of ")[1].split(" would have been seen")[0])
    assert (1.645 + 0.842) * error <= gain + 1.2 <= 1.1 * (1.645 + 0.842) * error
    within = float(reasons["same"].split("shown equivalent within ")[1].split(" with 80 % power")[0])
    assert (1.645 + 1.282) * error <= within <= 1.1 * (1.645 + 1.282) * error


def test_few_units_and_few_seeds_are_told_and_enough_of_them_are_not():
    d = np.random.default_rng(38).normal(size=(4, 20))
    assert "only 19 independent units" in paired_test(d[:1, :19]).warning
    assert paired_test(d[:1]).warning == ""
    for seeds in (2, 3):
        assert f"with {seeds} seeds" in paired_test(d[:seeds]).warning
    assert paired_test(d).warning == ""


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
