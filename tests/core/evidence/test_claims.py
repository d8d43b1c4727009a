"""Kinds of claims: gains, ranks, diagnostics, costs, and rows that look at other queries."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from core import ScoreTransform, hookimpl
from core.contract.store import Entry
from core.engine.plan import Plan
from core.evidence.findings import findings
from core.experiment.hypotheses import Hypothesis
from core.measure.significance import paired_test
from core.plugins import registry
from tests.engine import Lab

from .found import SWEEP, rows, values


def test_a_gain_is_compared_with_a_gain_query_by_query(wide: Lab) -> None:
    gains = {
        "larger_gain": {"of": {"retrieve.rerank.top_k": 5}, "over": "baseline"},
        "than": {"of": {"retrieve.rerank.top_k": 2}, "over": {"retrieve.rerank.top_k": 1}},
        "metric": "t2v/MnR",
        "by": 0.25,
    }
    plan = wide.run(SWEEP | {"hypotheses": {"grows": gains}})
    (claim,) = findings(plan).decisions
    five, two, one, none = (values(plan, name, "t2v/MnR") for name in ("top_k=5", "top_k=2", "top_k=1", "rerank=none"))
    alone = paired_test((five - none) - (two - one), np.repeat(np.arange(24), 2), higher_is_better=False, null=-0.25)
    found = claim.verdict.evidence
    assert found.kind == "larger_gain"
    assert found.p == pytest.approx(alone.p)
    assert found.observed == pytest.approx(-((five - none) - (two - one)).mean())


def test_claims_on_a_rank_hold_where_ranks_fall_or_rise_by_little(wide: Lab) -> None:
    """`good` ranks better than `poor`: it is no worse, `poor` is worse, and neither is equivalent to the other."""
    arms = {"poor": {"model.interactions.dot.level": "patches"}, "good": {}}
    kinds: dict[str, dict[str, Any]] = {
        "good_is_better": {"better": "good", "than": "poor", "by": 1},
        "poor_is_better": {"better": "poor", "than": "good"},
        "good_is_no_worse": {"no_worse": "good", "than": "poor", "margin": 6},
        "good_is_no_worse_by_what_24_queries_cannot_see": {"no_worse": "good", "than": "poor", "margin": 1},
        "poor_is_no_worse": {"no_worse": "poor", "than": "good", "margin": 1},
        "poor_is_no_worse_by_a_lot": {"no_worse": "poor", "than": "good", "margin": 24},
        "both_are_equal": {"equivalent": "poor", "to": "good", "within": 1},
    }
    stated = {name: claim | {"metric": "t2v/MnR"} for name, claim in kinds.items()}
    plan = wide.run({"variants": arms, "retrieve.rerank": None, "baseline": "poor", "hypotheses": stated})
    claims = {claim.hypothesis.name: claim.verdict for claim in findings(plan).decisions}
    assert {name: verdict.verdict for name, verdict in claims.items()} == {
        "good_is_better": "supported",
        "poor_is_better": "refuted",
        "good_is_no_worse": "supported",
        "good_is_no_worse_by_what_24_queries_cannot_see": "not decided",
        "poor_is_no_worse": "refuted",
        "poor_is_no_worse_by_a_lot": "supported",
        "both_are_equal": "refuted",
    }
    gain = (values(plan, "poor", "t2v/MnR") - values(plan, "good", "t2v/MnR")).mean()
    assert gain > 1
    for name, verdict in claims.items():
        assert verdict.evidence.observed == pytest.approx(gain if name.startswith("good") else -gain), name


def test_arms_that_never_differ_are_not_said_to_be_alike_by_too_few_videos(wide: Lab) -> None:
    """A loss of one point in R@1 may be paid by one video in a hundred: 24 without one say little."""
    claims = {
        "no_worse": {"no_worse": "colder", "than": "plain", "margin": 1},
        "equal": {"equivalent": "colder", "to": "plain", "within": 1},
        "no_worse_by_much": {"no_worse": "colder", "than": "plain", "margin": 40},
    }
    arms = {"plain": {}, "colder": {"model.interactions.dot.temperature": 0.5}}
    result = wide.result({"retrieve.rerank": None, "variants": arms, "hypotheses": claims})
    found = {claim.hypothesis.name: claim.verdict for claim in result.decisions}
    assert {name: verdict.verdict for name, verdict in found.items()} == {
        "no_worse": "not decided",
        "equal": "not decided",
        "no_worse_by_much": "supported",
    }
    for name in ("no_worse", "equal"):
        assert found[name].evidence.p == pytest.approx(0.99**24)
        assert "stays unseen in 79% of samples of 24" in found[name].reason


def test_a_claim_on_a_diagnostic_goes_the_way_that_it_names(wide: Lab) -> None:
    """`spread` of patches, which cancel each other, is one half; that of frames is mostly more."""
    interactions = {"dot": {"name": "toy_dot"}, "flat": {"name": "toy_dot", "level": "patches"}}
    changes: dict[str, Any] = {
        "model.interactions": interactions,
        "model.losses": {},
        "retrieve.rerank": None,
        "evaluate.diagnostics": ["dot.spread"],
        "variants": {"plain": {}, "flat": {"model.interactions.dot.level": "patches"}},
        "hypotheses": {
            f"{name}_is_{kind}": {kind: name, "than": other, "metric": "t2v/dot.spread"}
            for name, other in (("plain", "flat"), ("flat", "plain"))
            for kind in ("higher", "lower")
        },
    }
    plan = wide.run(changes)
    claims = {claim.hypothesis.name: claim.verdict for claim in findings(plan).decisions}
    gain = (values(plan, "plain", "t2v/dot.spread") - values(plan, "flat", "t2v/dot.spread")).mean()
    assert gain > 1
    signs = {"plain_is_higher": 1, "plain_is_lower": -1, "flat_is_higher": -1, "flat_is_lower": 1}
    assert {name: verdict.evidence.observed for name, verdict in claims.items()} == pytest.approx(
        {name: sign * gain for name, sign in signs.items()}
    )
    assert {name: verdict.verdict for name, verdict in claims.items()} == {
        name: "supported" if sign > 0 else "refuted" for name, sign in signs.items()
    }


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial took 10 ms for each candidate, and its seed besides; 1000 queries a second a candidate less."""
    json_of = Entry.json

    def measured(entry: Entry, file: str = "result.json") -> Any:
        found = json_of(entry, file)
        if file != "result.json":
            return found
        trial = json_of(entry, "trial.json")
        rerank = trial["experiment"]["retrieve"]["rerank"]
        if rerank is None:
            return found
        taken = {"cost/latency_ms": 10.0 * rerank["top_k"] + trial["seed"]}
        return found | {"costs": taken | {"cost/throughput": 1000 / rerank["top_k"]}}

    monkeypatch.setattr(Entry, "json", measured)


def cheaper_claims(plan: Plan, *claims: tuple[str, str, str, float]) -> Plan:
    named = {variant.name: variant for variant in plan.variants}
    made = [
        Hypothesis(f"{a} {name} {ratio}", "cheaper", (named[a], named[b]), name, ratio) for a, b, name, ratio in claims
    ]
    return replace(plan, hypotheses=made)


def test_costs_are_means_over_seeds_and_claims_on_them_are_decided_by_their_ratio(wide: Lab, costs: None) -> None:
    plan = cheaper_claims(
        wide.run(SWEEP),
        ("top_k=1", "top_k=5", "cost/latency_ms", 4.6),
        ("top_k=1", "top_k=5", "cost/latency_ms", 4.7),
        ("top_k=1", "top_k=5", "cost/throughput", 4.9),
        ("top_k=5", "top_k=1", "cost/throughput", 1.1),
        ("top_k=1", "rerank=none", "cost/latency_ms", 2),
    )
    result = findings(plan)
    found = rows(result)
    assert found["top_k=5"].costs == {"cost/latency_ms": 51.0, "cost/throughput": 200.0}
    assert found["rerank=none"].costs == {}
    assert [claim.verdict.verdict for claim in result.decisions] == ["supported", "refuted", "supported", "refuted"]
    assert result.decisions[0].verdict.evidence.observed == pytest.approx(51 / 11)
    assert {claim.verdict.family for claim in result.decisions} == {0}
    (left,) = result.incomparable
    assert left[1] == "cost/latency_ms of rerank=none is 0 or was not measured"


class Sharpened(ScoreTransform):
    """What a text gives a video, less what the others give it."""

    name = "toy_sharpened"

    @classmethod
    def transductive(cls, config: Any) -> bool:
        return True

    def __call__(self, scores: Tensor, *more: Any, **options: Any) -> Tensor:
        return scores - scores.mean(0, keepdim=True)


class SharpenedPlugin:
    @hookimpl
    def register_score_transforms(self, register: Any) -> None:
        register(Sharpened)


@pytest.fixture
def sharpened() -> Iterator[None]:
    plugin = SharpenedPlugin()
    registry().add_plugin(plugin, "sharpened", "1")
    yield
    registry().remove_plugin(plugin, "sharpened")


def test_a_transductive_row_is_known_and_no_test_against_another_goes_without_a_label(
    wide: Lab, sharpened: None
) -> None:
    sharp = {"retrieve.transforms": {"sharp": {"name": "toy_sharpened"}}}
    result = wide.result(
        {
            "retrieve.rerank": None,
            "variants": {"plain": {}, "sharp": sharp, "cold": {"model.interactions.dot.level": "patches"}},
            "hypotheses": {
                "mixed": {"better": "sharp", "than": "plain"},
                "alike": {"better": "plain", "than": "cold"},
            },
        }
    )
    found = rows(result)
    assert [row.transductive for row in found.values()] == [False, True, False]
    label = "transductive against inductive: sharp looks at the other test queries"
    assert all(label in comparison.warning for comparison in found["sharp"].comparisons.values())
    assert not any("transductive" in comparison.warning for comparison in found["cold"].comparisons.values())
    reasons = {claim.hypothesis.name: claim.verdict.reason for claim in result.decisions}
    assert reasons["mixed"].endswith(label)
    assert "transductive" not in reasons["alike"]


def test_a_ratio_of_costs_has_nothing_to_do_with_who_looks_at_other_queries(
    wide: Lab, sharpened: None, costs: None
) -> None:
    sharp = {"retrieve.transforms": {"sharp": {"name": "toy_sharpened"}}}
    plan = cheaper_claims(
        wide.run({"variants": {"plain": {}, "sharp": sharp}}), ("sharp", "plain", "cost/latency_ms", 0.9)
    )
    (claim,) = findings(plan).decisions
    assert claim.verdict.reason == "1 times cheaper, claimed 0.9"


def test_two_transductive_rows_are_compared_without_a_label(wide: Lab, sharpened: None) -> None:
    result = wide.result(
        {
            "retrieve.rerank": None,
            "retrieve.transforms": {"sharp": {"name": "toy_sharpened"}},
            "variants": {"one": {}, "other": {"model.interactions.dot.level": "patches"}},
        }
    )
    assert all(row.transductive for row in result.rows)
    assert not any("transductive" in c.warning for row in result.rows for c in row.comparisons.values())


def test_a_claim_over_seeds_is_decided_only_of_the_seeds_as_seen(wide: Lab) -> None:
    plan = wide.run(
        {
            "variants": {"poor": {"encoder.gain": 0.9}, "good": {}},
            "baseline": "poor",
            "seeds": [0, 1, 2],
            "retrieve.first_stage": "linear",
            "hypotheses": {
                "stated": {"no_worse": "good", "than": "poor", "margin": 40},
                "seen": {"no_worse": "good", "than": "poor", "margin": 40, "seeds": "as seen"},
            },
        }
    )
    found = {claim.hypothesis.name: claim.verdict for claim in findings(plan).decisions}
    assert found["stated"].verdict == "not decided"
    assert found["stated"].evidence.collapse == pytest.approx(0.6**3)
    assert found["seen"].verdict == "supported"
