"""Rows and families: what is compared, corrected together and shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from core.contract.store import Entry
from core.evidence.findings import findings
from core.measure.significance import Comparison, paired_test, paired_tests
from plugins.outputs.tables import table
from tests.engine import Lab, write_videos

from .found import SWEEP, rows, values


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


def test_an_untrained_variant_against_one_training_says_that_its_seed_is_not_covered(wide: Lab) -> None:
    trained = {"retrieve.first_stage": "linear", "retrieve.rerank": None}
    arms = {"trained": trained, "plain": {"retrieve.rerank": None}, "colder": {**trained, "train.epochs": 1}}
    found = rows(wide.result({"variants": arms, "baseline": "trained"}))
    for name in ("plain", "colder"):
        assert "covers query sampling only" in found[name].comparisons["t2v/R1"].method, name
    untrained = {"plain": {}, "other": {"model.interactions.dot.level": "patches"}}
    found = rows(wide.result({"retrieve.rerank": None, "variants": untrained, "baseline": "plain"}))
    assert "no training in either arm" in found["other"].comparisons["t2v/R1"].method


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
