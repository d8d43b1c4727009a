"""Claims that nothing is lost, refutations, and what could have been shown: at their bound, where they go wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from benchmarks.rivals import equal_clusters
from benchmarks.worlds import collapsing, lost_ranks, lost_whole, recall, recall_over_seeds
from core.measure.significance import (
    better,
    decide,
    detectable_difference,
    effective_number,
    equivalent,
    no_worse,
    paired_test,
    paired_tests,
    rare_loss,
    sign_flip,
    smallest_margin,
    unseen_collapse,
    unseen_loss,
)
from core.measure.significance.power import detectable


def within(errors, runs, rate=0.065):
    return errors <= stats.binom.ppf(0.999, runs, rate)


# ------------------------------------------------------------------------------------------------ losses that hide


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.floats(0.5, 60))
def test_no_choice_of_the_videos_that_pay_hides_a_loss_better_than_the_guard_says(sizes, margin):
    counts = np.array(sizes, dtype=float)
    lost = margin / 100 * counts.sum()
    hidden = optimize.minimize(
        lambda q: -np.log1p(-np.clip(q, 0, 1 - 1e-9)).sum(),
        np.full(counts.size, margin / 100),
        bounds=[(0, 1 - 1e-6)] * counts.size,
        constraints={"type": "eq", "fun": lambda q: (counts * q).sum() - lost},
    )
    assert unseen_loss(margin, counts, 100) >= np.exp(-hidden.fun) - 1e-3
    even = np.prod(1 - np.full(counts.size, margin / 100))
    assert unseen_loss(margin, counts, 100) >= even - 1e-12
    if hidden.success:
        assert unseen_loss(margin, counts, 100) == pytest.approx(np.exp(-hidden.fun), abs=0.02)


def test_clusters_of_one_size_are_guarded_by_the_binomial():
    for clusters in (60, 500):
        assert unseen_loss(1.0, np.full(clusters, 7), 100.0) == pytest.approx(0.99**clusters)
        for gain in (0.0, -0.4, -1.5):
            exact = equal_clusters(np.array(gain), 2.0, clusters, 100.0)
            assert rare_loss(gain, 2.0, np.full(clusters, 7), 100.0) == pytest.approx(exact)
    assert unseen_loss(100.0, np.ones(3), 100.0) == unseen_loss(150.0, np.ones(3), 100.0) == 0
    assert rare_loss(0.0, 150.0, np.ones(3), 100.0) == 0


def test_the_effective_number_of_clusters_is_theirs_where_they_are_equal_and_less_where_few_are_large():
    assert effective_number(np.full(40, 3)) == pytest.approx(40)
    assert effective_number([80] * 50 + [1] * 950) == pytest.approx(4950**2 / (50 * 6400 + 950))


@pytest.mark.parametrize("margin", [1.0, 3.0, 5.0])
def test_large_videos_lost_whole_are_not_taken_for_no_loss(margin):
    runs = 150
    d, labels = lost_whole(np.random.default_rng(1), runs, margin)
    alike = np.maximum(
        sign_flip(d + margin, labels, "greater", draws=200), equal_clusters(d.mean(axis=1), margin, 1000, 100)
    )
    assert (alike < 0.05).mean() > 0.1
    assert within(sum(no_worse(one, labels, margin=margin, span=100, draws=200).p < 0.05 for one in d), runs)


def test_a_few_queries_that_lose_a_thousand_ranks_are_not_taken_for_no_loss():
    runs = 150
    d = lost_ranks(np.random.default_rng(2), runs)
    options = {"higher_is_better": False, "draws": 200}
    assert sum(no_worse(one, margin=2, **options).p < 0.05 for one in d) > 0.14 * runs
    found = [no_worse(one, margin=2, span=999, **options) for one in d]
    assert within(sum(one.p < 0.05 for one in found), runs)
    quiet = decide({"same": no_worse(np.zeros(500), margin=2, span=999, **options)})["same"]
    assert f"stays unseen in {(1 - 2 / 999) ** 500:.0%} of samples of 500" in quiet.reason


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("kind", ["no_worse", "equivalent"])
def test_training_runs_that_collapse_one_in_ten_are_not_taken_for_none(kind, seeds):
    runs = 120
    d = collapsing(np.random.default_rng(seeds), runs, seeds, queries=1500)
    claims = {
        "no_worse": lambda one, seen: no_worse(one, margin=2, span=100, seeds_as_seen=seen),
        "equivalent": lambda one, seen: equivalent(one, within=2.2, span=100, seeds_as_seen=seen),
    }
    assert within(sum(claims[kind](one, False).p < 0.05 for one in d), runs)
    if seeds == 10 and kind == "no_worse":
        assert sum(claims[kind](one, True).p < 0.05 for one in d) > 0.2 * runs


def test_a_collapse_that_few_seeds_cannot_exclude_is_printed_and_may_be_left_out_of_the_claim():
    d = np.random.default_rng(3).normal(1, 2, size=(3, 400))
    stated = decide({"same": no_worse(d, margin=20, span=100)})["same"]
    assert stated.verdict == "not decided"
    assert stated.p_corrected == pytest.approx(0.8**3)  # more than one run in ten would have to lose all
    assert "stay unseen in 51% of sets of 3 seeds" in stated.reason
    seen = decide({"same": no_worse(d, margin=20, span=100, seeds_as_seen=True)})["same"]
    assert seen.verdict == "supported"
    assert "of the 3 seeds as seen" in seen.reason
    alone = decide({"same": no_worse(d[0], margin=20, span=100)})["same"]
    assert (alone.verdict, alone.evidence.collapse) == ("supported", 0)
    assert unseen_collapse(28, 2, 100) > 0.05 > unseen_collapse(29, 2, 100) == pytest.approx(0.9**29)


# ------------------------------------------------------------------------------------------------ refutations


def test_of_twenty_claims_at_their_bound_hardly_ever_one_is_refuted():
    rng, runs = np.random.default_rng(4), 40
    refuted = alone = 0
    for _ in range(runs):
        claims = {str(i): better(d, by=2, draws=1000) for i, d in enumerate(recall(rng, 20, 300, 0.15, 2.0))}
        refuted += any(one.verdict == "refuted" for one in decide(claims).values())
        alone += any(one.comparison.high < 2 for one in claims.values())
    assert within(refuted, runs)
    assert alone > 0.15 * runs


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_single_claim_is_refuted_exactly_where_the_interval_excludes_its_bound(seeds):
    rng = np.random.default_rng(5)
    for shift in np.linspace(-1.2, 1.2, 25):
        d = rng.normal(shift, 4, size=(seeds, 150))
        cases = {
            "better": (better(d, by=0.3), lambda low, high: high < 0.3),
            "no_worse": (no_worse(d, margin=0.3), lambda low, high: high < -0.3),
            "equivalent": (equivalent(d, within=0.3), lambda low, high: high < -0.3 or low > 0.3),
        }
        for kind, (evidence, beyond) in cases.items():
            _, low, high = evidence.comparison.gain
            assert (decide({"one": evidence})["one"].verdict == "refuted") == beyond(low, high), kind


def test_more_claims_make_it_harder_to_refute_each():
    d = np.random.default_rng(6).normal(0, 1, size=200)
    d += -0.2 - d.mean()
    claim = no_worse(d, margin=0.03)
    assert decide({"one": claim})["one"].verdict == "refuted"
    among = decide({"one": claim} | {str(i): better(np.zeros(50)) for i in range(20)})["one"]
    assert (among.verdict, among.family) == ("not decided", 21)


# ------------------------------------------------------------------------------------------------ power


def by_simulation(runs, cluster_part, seed_part, seeds, distance):
    """Share of crossed tests, of many clusters, that reject at a distance, all variances drawn anew."""
    rng = np.random.default_rng(7)
    mean = distance + rng.normal(size=runs) * np.sqrt(cluster_part + seed_part)
    estimated = seed_part * rng.chisquare(seeds - 1, size=runs) / (seeds - 1)
    bar = cluster_part * stats.norm.ppf(0.975) + estimated * stats.t.ppf(0.975, seeds - 1)
    return (np.abs(mean) > bar / np.sqrt(cluster_part + estimated)).mean()


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_with_known_variances_the_planned_difference_is_found_four_times_in_five(seeds, share):
    distance = detectable(1 - share, share, seeds, 2000, exact=True)
    assert by_simulation(20_000, 1 - share, share, seeds, distance) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_a_printed_difference_over_seeds_is_found_four_times_in_five(seeds):
    """Printed by one run, looked for in another: variances are estimated in both."""
    runs, rng = 400, np.random.default_rng(8)
    noise = rng.normal(size=(runs, seeds, 1)) + 0.5 * rng.normal(size=(runs, seeds, 60))
    printed = np.array([one.detectable for one in paired_tests(noise)])
    new = np.roll(noise, 1, axis=0) + printed[:, None, None]
    assert np.mean([one.p < 0.05 for one in paired_tests(new)]) == pytest.approx(0.8, abs=0.06)


def test_a_planned_difference_in_recall_is_found_four_times_in_five():
    runs = 600
    for queries, discordance in ((1000, 0.15), (300, 0.15)):
        gain = detectable_difference(queries, discordance)
        d = recall(np.random.default_rng(9), runs, queries, discordance, gain)
        assert (sign_flip(d, draws=1000) < 0.05).mean() == pytest.approx(0.8, abs=0.05)
    planned = detectable_difference(600, 0.15, seeds=3, seed_sd=2.0)
    d = recall_over_seeds(np.random.default_rng(10), 300, 3, np.sqrt(2.0), 1.0, planned)
    assert np.mean([one.p < 0.05 for one in paired_tests(d)]) == pytest.approx(0.8, abs=0.08)


def test_few_seeds_are_planned_for_as_what_they_are():
    by_seeds = [detectable_difference(1000, 0.15, seeds, 1.0) for seeds in (2, 3, 5, 10, 100)]
    assert by_seeds == sorted(by_seeds, reverse=True)
    assert by_seeds[0] > 1.5 * by_seeds[-1]
    assert np.isnan(paired_test(np.ones((3, 40))).detectable)


# ------------------------------------------------------------------------------------------------ planning


@pytest.mark.parametrize("sizes", [np.ones(300), np.where(np.arange(300) < 15, 80, 1)], ids=["equal", "few hold most"])
@pytest.mark.parametrize("span", [100.0, 999.0])
def test_a_margin_is_called_showable_exactly_where_arms_without_a_difference_show_it(sizes, span):
    least = smallest_margin(sizes, span)
    labels, zeros = np.repeat(np.arange(300), sizes.astype(int)), np.zeros(int(sizes.sum()))
    for factor, verdict in ((0.99, "not decided"), (1.01, "supported")):
        claim = no_worse(zeros, labels, margin=least * factor, span=span, draws=200)
        assert decide({"same": claim})["same"].verdict == verdict


def test_over_few_seeds_no_margin_that_matters_is_showable_unless_they_are_taken_as_seen():
    sizes = np.ones(1000)
    assert smallest_margin(sizes, 100, seeds_as_seen=True, seeds=3) == smallest_margin(sizes, 100) < 0.31
    assert smallest_margin(sizes, 100, seeds=3) == pytest.approx(100 * (1 - 0.05 ** (1 / 3)))
    assert smallest_margin(sizes, 100, seeds=29) == smallest_margin(sizes, 100)
    for seeds, verdict in ((28, "not decided"), (29, "supported")):
        claim = no_worse(np.zeros((seeds, 1000)), margin=0.5, span=100)
        assert decide({"same": claim})["same"].verdict == verdict


def test_a_margin_below_the_noise_is_not_called_showable():
    margin = smallest_margin(np.ones(1000), 100, discordance=0.15)
    error = 100 * np.sqrt(0.15 / 1000)
    assert margin == pytest.approx((1.645 + 0.842) * error, rel=0.01)
    assert smallest_margin(np.ones(1), 100) == pytest.approx(95)
