"""Hypotheses: which variants they compare, and what is said of those that cannot be tested."""

from __future__ import annotations

import pytest

from core.experiment.hypotheses import Hypothesis, read_hypotheses
from core.experiment.variants import read_variants
from tests.core.experiments import document, problems_of

TOP_K = "retrieve.rerank.top_k"
TEMPERATURE = "model.interactions.frame.temperature"
GRID = {"ablate": {TOP_K: [1, 5], TEMPERATURE: [0.1, 1.0]}, "baseline": "top_k=1 temperature=0.1"}
LINE = {"ablate": {TOP_K: [1, 5, 50]}, "baseline": {"retrieve.rerank": None}}

KINDS = "better, no_worse, equivalent, larger_gain, cheaper, higher, lower"


pytestmark = pytest.mark.usefixtures("toy_components")


@pytest.fixture
def read(tmp_path):
    def call(claims, changes=LINE, *overrides):
        found = document(tmp_path, {**changes, "hypotheses": claims}, overrides)
        return read_hypotheses(found, read_variants(found))

    return call


@pytest.fixture
def fault(read):
    """The one fault of a claim called `h`: (key below hypotheses.h, message)."""

    def call(claim, changes=LINE):
        ((key, message),) = problems_of(read, {"h": claim}, changes).items()
        return key.removeprefix("hypotheses.h").removeprefix("."), message

    return call


def arms(hypotheses):
    return [(hypothesis.variant.name, hypothesis.other.name) for hypothesis in hypotheses]


# ------------------------------------------------------------------------------------------------ references


def test_references_are_names_assignments_or_the_baseline(read):
    found = read(
        {
            "a": {"better": {TOP_K: 50}, "than": "baseline"},
            "b": {"better": "top_k=50", "than": {TOP_K: 5}},
            "c": {"better": {"retrieve.rerank": None}, "than": "as written"},
        }
    )
    assert arms(found) == [("top_k=50", "rerank=none"), ("top_k=50", "top_k=5"), ("rerank=none", "top_k=50")]
    assert [hypothesis.name for hypothesis in found] == ["a", "b", "c"]


def test_an_axis_left_open_on_both_sides_is_tested_at_each_setting(read):
    found = read({"h": {"better": {TOP_K: 5}, "than": {TOP_K: 1}}}, GRID)
    assert arms(found) == [(f"top_k=5 temperature={t}", f"top_k=1 temperature={t}") for t in ("0.1", "1.0")]
    assert [hypothesis.name for hypothesis in found] == ["h [temperature=0.1]", "h [temperature=1.0]"]


def test_a_component_against_none_is_tested_at_each_setting_of_the_other_axis(read):
    rerank = {"name": "score_fusion", "weights": {"patch": 1}}
    grid = {"ablate": {"retrieve.rerank": [None, rerank], TEMPERATURE: [0.1, 1.0]}}
    found = read({"h": {"better": {f"{TOP_K}": 50}, "than": {"retrieve.rerank": None}}}, grid)
    assert [hypothesis.name for hypothesis in found] == ["h [temperature=0.1]", "h [temperature=1.0]"]
    assert all(h.variant.value("retrieve.rerank") and not h.other.value("retrieve.rerank") for h in found)


def test_an_axis_left_open_on_one_side_is_refused_with_what_it_selects(fault):
    names = "top_k=5 temperature=0.1; top_k=5 temperature=1.0"
    assert fault({"better": {TOP_K: 5}, "than": "baseline"}, GRID) == (
        "better",
        f"selects 2 variants, not one: {names}",
    )
    assert fault({"better": "baseline", "than": {TOP_K: 5}}, GRID) == ("than", f"selects 2 variants, not one: {names}")


def test_sides_that_overlap_are_refused(fault):
    key, message = fault({"better": {TOP_K: 5}, "than": {TEMPERATURE: 1.0}}, GRID)
    assert key == "better"
    assert message.startswith("selects 2 variants")


def test_a_variant_is_not_compared_with_itself(fault):
    assert fault({"better": {TOP_K: 50}, "than": "as written"}) == ("", "compares a variant with itself: top_k=50")
    same = fault({"better": "top_k=5 temperature=0.1", "than": "top_k=5 temperature=0.1"}, GRID)
    assert same == ("", "compares a variant with itself: top_k=5 temperature=0.1")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("top_k=51", "there is no variant called `top_k=51`. Did you mean `top_k=5`?"),
        ({TOP_K: 7}, f"no variant has `{TOP_K}` = 7; there are: 1, 5, 50, none"),
        ({"retrieve.rerank.topk": 5}, "no variant has a field `retrieve.rerank.topk`"),
        ({"retreive.rerank": None}, "no variant has a field `retreive.rerank`"),
        ({"a..b": 5}, "`a..b`: not a key; write section.field, or section[a.dotted.name]"),
        ({TOP_K: 5, TEMPERATURE: 1.0}, f"no variant has `{TEMPERATURE}` = 1.0; there are: 0.1"),
        (3, "expected the name of a variant, or assignments, got 3 (a whole number)"),
        (["a"], "expected the name of a variant, or assignments, got ['a']"),
        (None, "expected the name of a variant, or assignments, got null"),
    ],
)
def test_a_reference_that_selects_nothing_is_explained(fault, reference, message):
    assert fault({"better": reference, "than": "top_k=1"}) == ("better", message)


def test_values_that_no_one_variant_has_together_are_explained(fault):
    changes = {"variants": {"a": {TOP_K: 1}, "b": {TEMPERATURE: 1.0}}}
    _, message = fault({"better": {TOP_K: 1, TEMPERATURE: 1.0}, "than": "a"}, changes)
    assert message == "no variant has all of these values; there are: a; b"


# ------------------------------------------------------------------------------------------------ claims


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({"better": "top_k=5", "than": "top_k=1"}, "top_k=5 is better than top_k=1 on t2v/R1"),
        ({"better": "top_k=5", "than": "top_k=1", "by": 0.5}, "top_k=5 is better than top_k=1 on t2v/R1, by 0.5"),
        (
            {"no_worse": "top_k=5", "than": "top_k=1", "margin": 1, "metric": "v2t/MnR"},
            "top_k=5 is no worse than top_k=1 on v2t/MnR, margin 1",
        ),
        (
            {"equivalent": "top_k=5", "to": "top_k=1", "within": 2},
            "top_k=5 is equivalent to top_k=1 on t2v/R1, within 2",
        ),
        (
            {"no_worse": "top_k=5", "than": "top_k=1", "margin": 1, "seeds": "as seen"},
            "top_k=5 is no worse than top_k=1 on t2v/R1, margin 1, seeds as seen",
        ),
        (
            {
                "larger_gain": {"of": "top_k=5", "over": "top_k=1"},
                "than": {"of": "top_k=50", "over": "top_k=5"},
                "by": 1,
            },
            "the gain of top_k=5 over top_k=1 is larger than that of top_k=50 over top_k=5 on t2v/R1, by 1",
        ),
    ],
)
def test_a_claim_can_be_read_aloud(read, claim, words):
    (found,) = read({"h": claim})
    assert str(found) == words


def test_the_metric_is_the_primary_one_unless_it_is_named(read):
    claim = {"better": "top_k=5", "than": "top_k=1"}
    (found,) = read({"h": claim}, {**LINE, "evaluate": {"primary": "v2t/R5"}})
    assert found.metric == "v2t/R5"


@pytest.mark.parametrize(
    ("claim", "key", "message"),
    [
        ("top_k=5", "", f"expected {{…: variant, …}} with one of {KINDS}, got 'top_k=5' (a text)"),
        ({"than": "top_k=1"}, "", f"expected {{…: variant, …}} with one of {KINDS}, got"),
        ({"better": "top_k=5", "no_worse": "top_k=1", "than": "top_k=1"}, "", "expected {…: variant, …} with one of"),
        ({"better": "top_k=5"}, "than", "is needed and missing"),
        ({"better": "top_k=5", "than": "top_k=1", "bye": 1}, "bye", "unknown key. Did you mean `by`?"),
        ({"better": "top_k=5", "than": "top_k=1", "by": -1}, "by", "expected a number of 0 or more, got -1"),
        ({"better": "top_k=5", "than": "top_k=1", "by": True}, "by", "expected a number of 0 or more, got true"),
        ({"better": "top_k=5", "than": "top_k=1", "by": float("inf")}, "by", "expected a number of 0 or more, got inf"),
        ({"no_worse": "top_k=5", "than": "top_k=1"}, "margin", "is needed and missing"),
        ({"equivalent": "top_k=5", "to": "top_k=1", "within": 0}, "within", "must be more than 0"),
        (
            {"equivalent": "top_k=5", "to": "top_k=1", "within": 1, "seeds": 3},
            "seeds",
            "expected `as seen` or nothing, got 3",
        ),
        ({"better": "top_k=5", "than": "top_k=1", "seeds": "as seen"}, "seeds", "unknown key."),
        (
            {"better": "top_k=5", "than": "top_k=1", "metric": "cost/parameters"},
            "",
            "`better` does not suit `cost/parameters`; say cheaper",
        ),
        ({"higher": "top_k=5", "than": "top_k=1"}, "", "`higher` does not suit `t2v/R1`; say better, no_worse, equi"),
        (
            {"better": "top_k=5", "than": "top_k=1", "metric": "t2v/R3"},
            "metric",
            "'t2v/R3' (a text) is not among the evaluated metrics. Did you mean",
        ),
        ({"better": "top_k=5", "than": "top_k=1", "metric": "R1"}, "metric", "'R1' (a text) is not among the"),
        ({"better": "top_k=5", "than": "top_k=1", "metric": 3}, "metric", "3 (a whole number) is not among the"),
        (
            {"better": "top_k=5", "than": "top_k=1", "metric": "t2v/MdR"},
            "metric",
            "`t2v/MdR` has an interval but no test",
        ),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused_at_its_key(fault, claim, key, message):
    found_key, found = fault(claim)
    assert found_key == key
    assert found.startswith(message)


GAINS = {"larger_gain": {"of": {TOP_K: 5}, "over": {TOP_K: 1}}, "than": {"of": {TOP_K: 50}, "over": {TOP_K: 5}}}


def test_a_gain_over_a_gain_has_four_arms_and_is_tested_at_each_setting_of_an_open_axis(read):
    (found,) = read({"h": GAINS})
    assert [variant.name for variant in found.arms] == ["top_k=5", "top_k=1", "top_k=50", "top_k=5"]
    grid = {"ablate": {TOP_K: [1, 5, 50], TEMPERATURE: [0.1, 1.0]}, "baseline": "top_k=1 temperature=0.1"}
    open_axis = read({"h": GAINS}, grid)
    assert [hypothesis.name for hypothesis in open_axis] == ["h [temperature=0.1]", "h [temperature=1.0]"]
    for hypothesis, t in zip(open_axis, ("0.1", "1.0"), strict=True):
        assert [variant.name for variant in hypothesis.arms] == [f"top_k={k} temperature={t}" for k in (5, 1, 50, 5)]


def test_an_interaction_of_two_axes_is_one_claim(read):
    gain = {"of": {TOP_K: 5, TEMPERATURE: 1.0}, "over": {TOP_K: 1, TEMPERATURE: 1.0}}
    other = {"of": {TOP_K: 5, TEMPERATURE: 0.1}, "over": {TOP_K: 1, TEMPERATURE: 0.1}}
    (found,) = read({"h": {"larger_gain": gain, "than": other}}, GRID)
    assert [variant.name for variant in found.arms] == [
        f"top_k={k} temperature={t}" for k, t in ((5, 1.0), (1, 1.0), (5, 0.1), (1, 0.1))
    ]


@pytest.mark.parametrize(
    ("gain", "than", "key", "message"),
    [
        (
            "top_k=5",
            {"of": "top_k=50", "over": "top_k=1"},
            "larger_gain",
            "expected {of: variant, over: variant}, which make the gain, got 'top_k=5'",
        ),
        ({TOP_K: 5}, {"of": "top_k=5", "over": "top_k=1"}, "larger_gain", "expected {of: variant, over: variant}"),
        ({"of": "top_k=5", "over": "top_k=1"}, {"of": "top_k=50"}, "than", "expected {of: variant, over: variant}"),
        ({"of": "top_k=5", "over": "top_k=1"}, {"of": "top_k=7", "over": "top_k=1"}, "than.of", "there is no variant"),
        (
            {"of": "top_k=5", "over": "top_k=5"},
            {"of": "top_k=50", "over": "top_k=1"},
            "",
            "compares a variant with its",
        ),
        ({"of": "top_k=5", "over": "top_k=1"}, {"of": "top_k=5", "over": "top_k=1"}, "", "compares a gain with itself"),
        (
            {"of": "top_k=5", "over": "baseline"},
            {"of": "top_k=1", "over": "baseline"},
            "",
            "both gains are over rerank=none: write {better: top_k=5, than: top_k=1}",
        ),
        (
            {"of": "top_k=5", "over": "top_k=1"},
            {"of": "top_k=5", "over": "top_k=50"},
            "",
            "both gains are of top_k=5: write {better: top_k=50, than: top_k=1}",
        ),
    ],
)
def test_a_gain_that_is_none_is_refused_with_what_to_write(fault, gain, than, key, message):
    found_key, found = fault({"larger_gain": gain, "than": than})
    assert found_key == key
    assert found.startswith(message)


CHEAPER = {"cheaper": "top_k=5", "than": "top_k=50", "metric": "cost/latency_ms", "ratio": 2}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({}, "metric", "`cost/latency_ms` is not measured; set evaluate.efficiency: true"),
        ({"metric": "cost/latency"}, "metric", "expected one of cost/parameters, cost/side_bytes,"),
        ({"metric": "t2v/R1"}, "metric", "expected one of cost/parameters, cost/side_bytes,"),
        ({"metric": None}, "metric", "is needed and missing (one of cost/parameters, cost/side_bytes,"),
        ({"by": 2}, "by", "unknown key"),
        ({"ratio": None}, "ratio", "is needed and missing (how many times"),
        ({"ratio": 1}, "ratio", "must be more than 1 (how many times as much the other takes), got 1"),
        ({"ratio": "ten"}, "ratio", "expected a number of 0 or more, got 'ten'"),
    ],
)
def test_a_cost_that_cannot_be_compared_is_refused_at_its_key(read, changes, key, message):
    found = problems_of(read, {"h": CHEAPER | changes})
    assert found[f"hypotheses.h.{key}"].startswith(message)


def test_a_misspelt_cost_is_corrected(read):
    found = problems_of(read, {"h": CHEAPER | {"metric": "cost/latency"}})
    assert found["hypotheses.h.metric"].endswith("Did you mean `cost/latency_ms`?")


def test_a_claim_on_costs_can_be_read_aloud(tmp_path):
    variants = read_variants(document(tmp_path, LINE))
    one, other = variants[:2]
    claim = Hypothesis("h", "cheaper", (one, other), "cost/latency_ms", 2.0)
    assert str(claim) == "top_k=1 is cheaper than top_k=5 on cost/latency_ms, ratio 2"


def test_every_fault_of_every_claim_is_reported(read):
    found = problems_of(
        read,
        {
            "a": {"better": "nobody", "than": "no one", "by": -1, "metric": "t2v/R3", "extra": 1},
            "b": 3,
            "c": {"better": "top_k=5", "than": "top_k=1"},
        },
    )
    assert list(found) == [f"hypotheses.a.{key}" for key in ("extra", "by", "metric", "better", "than")] + [
        "hypotheses.b"
    ]


def test_null_removes_a_claim(read):
    claims = {"a": {"better": "top_k=5", "than": "top_k=1"}, "b": {"better": "top_k=50", "than": "top_k=1"}}
    assert [h.name for h in read(claims, LINE, "hypotheses.a=null")] == ["b"]


# ------------------------------------------------------------------------------------------------ identity


def digest_of(read, claim, changes=LINE, *overrides):
    (found,) = read({"h": claim}, changes, *overrides)
    return found.digest


CLAIM = {"better": {TOP_K: 5}, "than": {TOP_K: 1}}


@pytest.mark.parametrize(
    "override", ["name=other", "outputs.mlflow=null", "outputs.export.folder=x", "baseline=top_k=1",
                 "ablate[retrieve.rerank.top_k]=[1,5,7]", "evaluate.metrics=[R1]"]
)  # fmt: skip
def test_what_does_not_change_the_comparison_does_not_make_it_another_claim(read, override):
    assert digest_of(read, CLAIM, LINE, override) == digest_of(read, CLAIM)


@pytest.mark.parametrize(
    "override",
    ["seeds=[0,1]", "train.epochs=3", "hypotheses.h.by=1", "hypotheses.h.metric=v2t/R1", "evaluate.split=val"],
)
def test_what_changes_the_comparison_makes_it_another_claim(read, override):
    assert digest_of(read, CLAIM, LINE, override) != digest_of(read, CLAIM)


def test_a_claim_and_its_reverse_are_two(read):
    reverse = {"better": CLAIM["than"], "than": CLAIM["better"]}
    assert digest_of(read, CLAIM) != digest_of(read, reverse)


def test_a_claim_is_the_same_however_its_sides_are_named(read):
    assert digest_of(read, {"better": "top_k=5", "than": "top_k=1"}) == digest_of(read, CLAIM)


def test_a_claim_about_the_seeds_as_seen_is_another_one(read):
    claim = {"no_worse": "top_k=5", "than": "top_k=1", "margin": 1}
    assert digest_of(read, claim | {"seeds": "as seen"}) != digest_of(read, claim)
    found = [read({"h": one})[0].seeds_as_seen for one in (claim, claim | {"seeds": "as seen"})]
    assert found == [False, True]


def test_a_query_can_lose_as_many_ranks_as_its_gallery_has_others(read):
    claim = {"no_worse": "top_k=5", "than": "top_k=1", "margin": 1}
    spans = {}
    for name in ("t2v/MnR", "v2t/MnR", "t2v/R1"):
        (found,) = read({"h": claim | {"metric": name}})
        spans[name] = found.span(texts=400, videos=20)
    assert spans == {"t2v/MnR": 19, "v2t/MnR": 399, "t2v/R1": 100}
