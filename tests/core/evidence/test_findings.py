from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from torch import Tensor

from core import ScoreTransform, hookimpl
from core.contract.store import Entry
from core.engine.plan import Plan
from core.evidence.findings import Result, findings
from core.evidence.results import Row
from core.experiment.hypotheses import Hypothesis
from core.measure.significance import Comparison, paired_test, paired_tests
from core.plugins import registry
from plugins.outputs.tables import table
from tests.engine import Lab, write_videos

SWEEP = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 5]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1, 2],
}


@pytest.fixture
def wide(toys: None, tmp_path: Path) -> Lab:
    """Enough videos for differences to be tested."""
    return Lab(tmp_path, {"train": 6, "val": 4, "test": 24})


def rows(result: Result) -> dict[str, Row]:
    return {row.name: row for row in result.rows}


def values(plan: Plan, variant: str, name: str) -> np.ndarray:
    """[seeds, queries], read from the store without findings."""
    store = plan.workspace.store
    trials = [trial for trial in plan.trials if trial.variant.name == variant]
    return np.stack([store.read("evaluate", trial.last.key).tensors()[name].numpy() for trial in trials])


def test_rows_stand_in_the_order_of_the_file_with_means_and_spread_over_seeds(wide: Lab) -> None:
    plan = wide.run(SWEEP)
    result = findings(plan)
    assert [row.name for row in result.rows] == ["top_k=1", "top_k=2", "top_k=5", "rerank=none"]
    assert [row.is_baseline for row in result.rows] == [False, False, False, True]
    row = rows(result)["top_k=5"]
    per_seed = values(plan, "top_k=5", "t2v/R5").mean(1)
    assert row.seeds == [0, 1, 2]
    assert row.values("t2v/R5") == pytest.approx(per_seed.tolist())
    assert row.mean("t2v/R5") == pytest.approx(per_seed.mean())
    assert row.spread("t2v/R5") == pytest.approx(per_seed.std(ddof=1))
    assert np.isnan(rows(result)["rerank=none"].spread("t2v/R5"))
    assert rows(result)["rerank=none"].seeds == []
    assert result.size == "24 videos, 48 texts"


def test_the_result_of_a_trial_is_read_once(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = wide.run(SWEEP)
    read: list[Path] = []
    json_of = Entry.json

    def counted(entry: Entry, file: str = "result.json") -> Any:
        read.append(entry.folder / file)
        return json_of(entry, file)

    monkeypatch.setattr(Entry, "json", counted)
    result = findings(plan)
    for _ in range(2):
        table(result)
        assert result.size
    results = sorted(path for path in read if path.name == "result.json" and path.parent.parent.name == "evaluate")
    folders = [plan.workspace.store.root / "evaluate" / trial.last.key for trial in plan.trials]
    assert results == sorted(folder / "result.json" for folder in folders)


def test_the_baseline_is_in_no_family_and_the_others_are_one_holm_family(wide: Lab) -> None:
    result = wide.result(SWEEP)
    assert result.baseline.comparisons == {}
    assert result.baseline.outcome == "baseline"
    others = [row for row in result.rows if not row.is_baseline]
    tested = [row.comparisons["t2v/R1"] for row in others]
    p = np.array([comparison.p for comparison in tested])
    order = np.argsort(p)
    wanted, running = np.empty(len(p)), 0.0
    for place, index in enumerate(order):
        running = max(running, (len(p) - place) * p[index])
        wanted[index] = min(1.0, running)
    assert [comparison.p_corrected for comparison in tested] == pytest.approx(wanted.tolist())
    assert {comparison.family for comparison in tested} == {3}
    assert all(np.isnan(row.comparisons["v2t/R1"].p_corrected) for row in others)


def test_the_variants_may_be_corrected_for_exploration_and_nothing_is_computed_again(wide: Lab) -> None:
    claims = {
        name: {"better": {"retrieve.rerank.top_k": top_k}, "than": "baseline", "metric": metric}
        for name, top_k, metric in (("one", 2, "t2v/R1"), ("two", 5, "t2v/MnR"), ("three", 5, "t2v/R5"))
    }
    holm = wide.result(SWEEP | {"hypotheses": claims})
    explored = SWEEP | {"hypotheses": claims, "evaluate.correction": "benjamini_hochberg"}
    assert wide.new(explored) == set()
    found = wide.result(explored)
    tested = [row.comparisons["t2v/R1"] for row in found.rows if not row.is_baseline]
    raw = np.array([comparison.p for comparison in tested])
    assert [one.p_corrected for one in tested] == pytest.approx(false_discovery_control(raw))
    before = [row.comparisons["t2v/R1"] for row in holm.rows if not row.is_baseline]
    assert [one.p for one in before] == raw.tolist()
    assert [one.p_corrected for one in before] != [one.p_corrected for one in tested]
    assert {one.correction for one in before} | {one.correction for one in tested} == {"holm", "benjamini_hochberg"}
    assert [claim.verdict for claim in found.decisions] == [claim.verdict for claim in holm.decisions]
    assert not any(claim.post_hoc for claim in found.decisions)
    assert found.registration != holm.registration


def test_an_untrained_baseline_is_compared_with_each_seed(wide: Lab) -> None:
    plan = wide.run(SWEEP)
    row = rows(findings(plan))["top_k=5"]
    untrained = values(plan, "rerank=none", "t2v/R1")
    assert untrained.shape == (1, 48)
    differences = values(plan, "top_k=5", "t2v/R1") - untrained
    found = row.comparisons["t2v/R1"]
    assert found.difference == pytest.approx(differences.mean())
    alone = paired_test(differences, np.repeat(np.arange(24), 2), trained=True)
    assert found.p == pytest.approx(alone.p)


def test_variants_on_other_queries_are_shown_and_not_compared(wide: Lab) -> None:
    other = write_videos(wide.folder / "other", {"train": 6, "val": 4, "test": 20}, seed=1)
    result = wide.result(
        {
            "variants": {
                "as it is": {},
                "colder": {"retrieve.rerank": None},
                "elsewhere": {"data.dataset.root": str(other)},
            },
            "hypotheses": {"same": {"no_worse": "elsewhere", "than": "as it is", "margin": 1}},
        }
    )
    found = rows(result)
    assert found["elsewhere"].comparisons == {}
    assert found["elsewhere"].outcome == "other queries: not compared"
    assert found["colder"].comparisons["t2v/R1"].family == 1
    assert result.decisions == []


def test_claims_have_a_verdict_a_mark_and_the_number_of_scorings(wide: Lab) -> None:
    changes: dict[str, Any] = SWEEP | {
        "hypotheses": {
            "harmless": {"no_worse": {"retrieve.rerank.top_k": 5}, "than": "baseline", "margin": 100},
            "wonderful": {"better": {"retrieve.rerank.top_k": 5}, "than": "baseline", "by": 99},
        }
    }
    result = wide.result(changes)
    verdicts = {claim.hypothesis.name: claim.verdict.verdict for claim in result.decisions}
    assert verdicts == {"harmless": "supported", "wonderful": "refuted"}
    assert {claim.post_hoc for claim in result.decisions} == {False}
    assert {claim.times_scored for claim in result.decisions} == {10}
    later = changes["hypotheses"] | {"late": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}}
    again = wide.result(changes | {"hypotheses": later})
    assert {claim.hypothesis.name for claim in again.decisions if claim.post_hoc} == {"late"}


def test_the_primary_metric_is_the_first_column_and_no_column_stands_twice(wide: Lab) -> None:
    result = wide.result({"evaluate.primary": "v2t/R5", "retrieve.rerank": None})
    assert result.metrics == ["v2t/R5", "t2v/R1", "t2v/R5", "t2v/MnR", "v2t/R1", "v2t/MnR"]


def test_a_gain_in_a_rank_counts_as_better(wide: Lab) -> None:
    result = wide.result(
        {
            "variants": {"poor": {"model.interactions.dot.level": "patches"}, "good": {}},
            "retrieve.rerank": None,
            "baseline": "poor",
            "evaluate.primary": "t2v/MnR",
        }
    )
    good = rows(result)["good"]
    assert good.mean("t2v/MnR") < result.baseline.mean("t2v/MnR")
    assert good.outcome == "better"


def test_a_large_family_leaves_room_for_a_clear_difference(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = {name: {"name": "toy_dot", "power": power} for name, power in (("one", 1.0), ("two", 2.0), ("three", 3.0))}
    plan = wide.run(
        {
            "model.interactions": dot | {"turned": {"name": "toy_dot", "level": "patches"}},
            "model.losses": {},
            "retrieve.rerank": None,
            "ablate": {"retrieve.first_stage": ["turned", *dot]},
            "baseline": {"retrieve.first_stage": "turned"},
            "evaluate.primary": "t2v/MnR",
        }
    )
    monkeypatch.setattr("core.evidence.findings.DRAWS", 10)  # at best p = 1 / 11, three times that after Holm
    assert [row.outcome for row in findings(plan).rows if not row.is_baseline] == ["better"] * 3


def test_a_median_is_shown_with_an_interval_and_never_tested(wide: Lab) -> None:
    result = wide.result(SWEEP | {"evaluate.metrics": ["R1", "MdR"]})
    comparison = rows(result)["top_k=5"].comparisons["t2v/MdR"]
    assert np.isnan(comparison.p)
    assert comparison.low <= comparison.difference <= comparison.high


def test_the_unit_is_the_video_that_a_caption_was_written_for_whatever_else_answers_it(lab: Lab) -> None:
    result = lab.result({"retrieve.rerank": None})
    tensors = result.rows[0].results[0].tensors
    assert tensors["t2v/clusters"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert tensors["v2t/clusters"].tolist() == [0, 1, 2, 3, 4]


TRAINED = {"retrieve.first_stage": "linear", "retrieve.rerank": None, "train.keep": "best"}
REPEATED = TRAINED | {
    "variants": {
        "untrained": {"retrieve.first_stage": "dot"},
        "honest": {},
        "brief": {"train.epochs": 1},
        "repeated": {"train.select_on": "test"},
    },
    "hypotheses": {
        "fair": {"no_worse": "brief", "than": "honest", "margin": 100},
        "peeking": {"no_worse": "repeated", "than": "honest", "margin": 100},
        "against_it": {"better": "honest", "than": "repeated"},
    },
}


def test_a_row_that_was_selected_on_test_is_shown_without_comparison_or_verdict(wide: Lab) -> None:
    result = wide.result(REPEATED | {"baseline": "honest"})
    found = rows(result)
    assert {name for name, row in found.items() if row.selected_on_test} == {"repeated"}
    assert found["repeated"].outcome == "selected on test: not compared"
    assert found["repeated"].comparisons == {}
    assert found["repeated"].mean("t2v/R1") > 0
    assert found["brief"].comparisons["t2v/R1"].family == 2
    assert [claim.hypothesis.name for claim in result.decisions] == ["fair"]
    assert result.decisions[0].verdict.family == 1
    why = "the weights of repeated were selected on test (train.select_on: test), those of honest were not"
    assert [(h.name, reason) for h, reason in result.incomparable] == [("peeking", why), ("against_it", why)]


def test_nothing_is_compared_with_a_baseline_that_was_selected_on_test(wide: Lab) -> None:
    result = wide.result(REPEATED | {"baseline": "repeated"})
    outcomes = {row.name: row.outcome for row in result.rows}
    assert outcomes == {
        "untrained": "baseline selected on test: not compared",
        "honest": "baseline selected on test: not compared",
        "brief": "baseline selected on test: not compared",
        "repeated": "baseline, selected on test",
    }
    assert not any(row.comparisons for row in result.rows)
    assert [claim.hypothesis.name for claim in result.decisions] == ["fair"]


def test_where_no_weights_are_chosen_none_were_selected_on_test(wide: Lab) -> None:
    result = wide.result(
        TRAINED
        | {
            "train.select_on": "test",
            "variants": {
                "untrained": {"retrieve.first_stage": "dot", "model.losses": {}},
                "last": {"train.keep": "last"},
            },
        }
    )
    assert not any(row.selected_on_test for row in result.rows)
    assert rows(result)["last"].comparisons


# ------------------------------------------------------------------------------------------------ kinds of claims


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


def test_an_untrained_variant_against_one_training_says_that_its_seed_is_not_covered(wide: Lab) -> None:
    trained = {"retrieve.first_stage": "linear", "retrieve.rerank": None}
    arms = {"trained": trained, "plain": {"retrieve.rerank": None}, "colder": {**trained, "train.epochs": 1}}
    found = rows(wide.result({"variants": arms, "baseline": "trained"}))
    for name in ("plain", "colder"):
        assert "covers query sampling only" in found[name].comparisons["t2v/R1"].method, name
    untrained = {"plain": {}, "other": {"model.interactions.dot.level": "patches"}}
    found = rows(wide.result({"retrieve.rerank": None, "variants": untrained, "baseline": "plain"}))
    assert "no training in either arm" in found["other"].comparisons["t2v/R1"].method


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


def test_a_rank_that_hangs_on_one_query_is_said_at_the_row_with_the_metric_that_does_not(
    wide: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_one(differences: np.ndarray, *more: Any, **options: Any) -> list[Comparison]:
        few = np.zeros_like(differences)
        few[..., 0] = 20
        return paired_tests(few, *more, **options)

    plan = wide.run({**SWEEP, "evaluate.metrics": ["R1", "MnR"]})
    assert "MRR" not in rows(findings(plan))["top_k=5"].comparisons["t2v/MnR"].warning
    monkeypatch.setattr("core.evidence.findings.paired_tests", of_one)
    told = rows(findings(plan))["top_k=5"].comparisons
    hangs = "1 of 24 differences carry half of the squares: p and interval hang on them"
    assert f"{hangs}; MRR is the smoother metric" in told["t2v/MnR"].warning
    assert hangs in told["t2v/R1"].warning
    assert "MRR" not in told["t2v/R1"].warning
