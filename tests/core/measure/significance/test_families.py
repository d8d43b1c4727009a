"""Corrections over a family of comparisons, and the outcomes that follow."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.measure.significance import (
    benjamini_hochberg,
    correct,
    holm,
    outcome,
    paired_test,
)


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
