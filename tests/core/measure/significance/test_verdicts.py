"""Verdicts on claims: supported, refuted or left open, in either direction of a metric."""

import numpy as np
import pytest
from scipy import stats

from core.measure.significance import (
    better,
    cheaper,
    decide,
    equivalent,
    larger_gain,
    no_worse,
    paired_test,
    rare_loss,
)


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


def test_of_queries_that_never_differ_enough_are_needed_to_say_so():
    for queries, verdict in ((298, "not decided"), (299, "supported")):  # 0.99 ** 299 < 0.05
        (claim,) = decide({"same": no_worse(np.zeros(queries), margin=1, span=100)}).values()
        assert claim.verdict == verdict
        assert claim.p_corrected == pytest.approx(0.99**queries)
    (few,) = decide({"same": equivalent(np.zeros(60), within=1, span=100)}).values()
    assert "a loss of 1 that few pay in full stays unseen in 55% of samples of 60" in few.reason
    assert rare_loss(-1.0, 2.0, np.ones(500), 100.0) == pytest.approx(stats.binomtest(5, 500, 0.02, "less").pvalue)


def test_an_undecided_claim_says_what_it_could_have_shown():
    d = np.random.default_rng(32).normal(0, 5, size=60)
    made = {"less": no_worse(d - d.mean() - 1, margin=1.2), "same": equivalent(d - d.mean(), within=0.5)}
    reasons = {name: one.reason for name, one in decide(made).items()}
    error = d.std(ddof=1) / np.sqrt(60)
    gain = float(reasons["less"].split("a true gain of ")[1].split(" would have been seen")[0])
    assert (1.645 + 0.842) * error <= gain + 1.2 <= 1.1 * (1.645 + 0.842) * error
    within = float(reasons["same"].split("shown equivalent within ")[1].split(" with 80 % power")[0])
    assert (1.645 + 1.282) * error <= within <= 1.1 * (1.645 + 1.282) * error
