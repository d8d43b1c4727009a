"""Error rates and power by simulation, of tests, claims and families."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.error_rates import captions, ranks, recall
from core.measure.significance import (
    benjamini_hochberg,
    better,
    detectable_difference,
    equivalent,
    holm,
    no_worse,
    paired_tests,
    sign_flip,
)


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
