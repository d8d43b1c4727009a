"""What a run would have been waited for in vain: claims that no result can support."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from core.engine.dryrun import show_plan
from core.engine.foreseen import cluster_sizes, foreseen, small_validation
from core.engine.plan import read_plan
from tests.engine import Lab

GRID: dict[str, Any] = {"ablate": {"retrieve.rerank.top_k": [2, 3]}, "baseline": {"retrieve.rerank.top_k": 2}}
HELPS = {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}
FITTED = {"retrieve.first_stage": "linear", "train.keep": "best"}
BACKWARDS = {"model.interactions.dot.power": -1.0}
"""The nearest come last."""
MATCHER = {"name": "toy_matcher", "train": {"losses": {"match": {"name": "toy_matching", "of": "rerank"}}}}


@pytest.fixture
def large(toys: None, tmp_path: Any) -> Lab:
    """Ten videos, twenty texts on test."""
    return Lab(tmp_path, {"train": 6, "val": 4, "test": 10})


def reasons(lab: Lab, changes: dict[str, Any]) -> list[str]:
    return foreseen(lab.plan(GRID | {"hypotheses": {"it": HELPS}} | changes)).get("it", [])


def test_a_claim_that_can_come_out_is_left_alone(large: Lab) -> None:
    assert reasons(large, {}) == []


def test_fewer_than_six_videos_decide_nothing(lab: Lab, large: Lab) -> None:
    few = Lab(lab.folder / "few", {"train": 6, "val": 4, "test": 5})
    assert reasons(few, {}) == ["5 independent queries are too few: no p is below 0.0625; 6 at least"]
    six = Lab(lab.folder / "six", {"train": 6, "val": 4, "test": 6})
    assert reasons(six, {}) == []


def test_power_and_bounds_before_the_run_count_the_units_that_the_test_has(lab: Lab) -> None:
    result = lab.result({"retrieve.rerank": None})
    tensors = result.rows[0].results[0].tensors
    split = lab.plan({"retrieve.rerank": None}).trials[0].split
    every = tuple((text, video) for text in range(len(split.texts)) for video in range(len(split.videos)))
    for answered in (split, replace(split, also_relevant=every)):
        assert cluster_sizes(answered, "t2v").tolist() == np.bincount(tensors["t2v/clusters"]).tolist() == [2] * 5
        assert cluster_sizes(answered, "v2t").tolist() == np.bincount(tensors["v2t/clusters"]).tolist() == [1] * 5


def test_what_is_counted_and_not_tested_needs_no_six_videos(lab: Lab) -> None:
    claim = {"cheaper": {"retrieve.rerank.top_k": 2}, "than": {"retrieve.rerank.top_k": 3}, "ratio": 1.1}
    claim |= {"metric": "cost/latency_ms"}
    assert reasons(lab, {"hypotheses": {"it": claim}, "evaluate.efficiency": True}) == []


@pytest.mark.parametrize(
    ("claim", "told"),
    [
        ({"no_worse": "deep", "than": "base", "margin": 4.9}, "4.9 is less than one of 20 queries, 5 points"),
        ({"no_worse": "deep", "than": "base", "margin": 5}, ""),
        ({"equivalent": "deep", "to": "base", "within": 4.9}, "4.9 is less than one of 20 queries, 5 points"),
        (
            {"no_worse": "deep", "than": "base", "margin": 9.9, "metric": "v2t/R1"},
            "9.9 is less than one of 10 queries, 10 points",
        ),
        ({"no_worse": "deep", "than": "base", "margin": 0.1, "metric": "t2v/MnR"}, ""),
        ({"better": "deep", "than": "base", "by": 0.1}, ""),
    ],
)
def test_a_margin_that_one_query_breaks_is_kept_by_no_run(large: Lab, claim: dict[str, Any], told: str) -> None:
    variants = {"base": {}, "deep": {"retrieve.rerank.top_k": 3}}
    changes = {"ablate": {}, "variants": variants, "baseline": "base", "hypotheses": {"it": claim}}
    assert reasons(large, changes) == ([f"a bound of {told}"] if told else [])


@pytest.mark.parametrize(
    ("metric", "told"),
    [
        ("t2v/R10", ["R10 looks at all 10 videos: it is 100 for every arm"]),
        ("t2v/R5", []),
        ("v2t/R10", []),
        ("v2t/R20", ["R20 looks at all 20 texts: it is 100 for every arm"]),
        ("t2v/nDCG10", []),
    ],
)
def test_a_recall_at_the_whole_gallery_tells_no_arms_apart(large: Lab, metric: str, told: list[str]) -> None:
    changes = {
        "hypotheses": {"it": HELPS | {"metric": metric}},
        "evaluate.metrics": ["R1", "R5", "R10", "R20", "nDCG10"],
    }
    assert reasons(large, changes) == told


@pytest.mark.parametrize(
    ("baseline", "variant", "is_vain"),
    [(None, 1, True), (None, 2, False), (10, 11, True), (9, 10, False), (1, 10, False)],
)
def test_depths_that_move_nothing_are_no_two_systems(
    large: Lab, baseline: int | None, variant: int, is_vain: bool
) -> None:
    key = "retrieve.rerank" if baseline is None else "retrieve.rerank.top_k"
    variants = {"base": {key: baseline}, "deep": {"retrieve.rerank.top_k": variant}}
    claim = {"better": "deep", "than": "base"}
    changes = {"variants": variants, "baseline": "base", "hypotheses": {"it": claim}, "ablate": {}}
    found = reasons(large, changes)
    assert [reason.partition(":")[0] for reason in found] == ["deep and base rank alike by construction"] * is_vain
    if is_vain:
        first, second = (row.per_query("t2v/R1") for row in large.result(changes).rows)
        assert (first == second).all()


@pytest.mark.parametrize(("depths", "is_vain"), [((10, 11), False), ((20, 21), True)])
def test_candidates_for_both_directions_go_as_deep_as_the_larger_side(
    large: Lab, depths: tuple[int, int], is_vain: bool
) -> None:
    grid = {"ablate": {"retrieve.rerank.top_k": list(depths)}, "baseline": {"retrieve.rerank.top_k": depths[0]}}
    claim = {"better": {"retrieve.rerank.top_k": depths[1]}, "than": "baseline"}
    found = reasons(large, grid | {"retrieve.candidates_from": "text_side", "hypotheses": {"it": claim}})
    assert [reason.partition(":")[0] for reason in found] == (
        [f"top_k={depths[1]} and top_k={depths[0]} rank alike by construction"] * is_vain
    )


def test_a_weight_that_is_chosen_among_more_candidates_may_be_another(large: Lab) -> None:
    grid = {"ablate": {"retrieve.rerank.top_k": [10, 11]}, "baseline": {"retrieve.rerank.top_k": 10}}
    claim = {"better": {"retrieve.rerank.top_k": 11}, "than": "baseline"}
    assert reasons(large, grid | {"retrieve.rerank": MATCHER, "hypotheses": {"it": claim}}) == []


@pytest.mark.parametrize("vain_gain", [0, 1])
def test_a_gain_of_one_system_over_itself_is_none(large: Lab, vain_gain: int) -> None:
    variants = {name: {"retrieve.rerank.top_k": k} for name, k in {"two": 2, "three": 3, "all": 10, "more": 11}.items()}
    gains = [{"of": "three", "over": "two"}, {"of": "more", "over": "all"}]
    if vain_gain == 0:
        gains.reverse()
    claim = {"larger_gain": gains[0], "than": gains[1]}
    changes = {"ablate": {}, "variants": variants, "baseline": "two", "hypotheses": {"it": claim}}
    assert [reason.partition(":")[0] for reason in reasons(large, changes)] == [
        "more and all rank alike by construction"
    ]


def test_settings_that_nothing_reads_make_no_other_system(large: Lab) -> None:
    variants = {"base": {}, "longer": {"model.logit_scale.max": 50.0}}
    untrained = {"retrieve.rerank": None, "variants": variants, "baseline": "base", "ablate": {}}
    changes = untrained | {"hypotheses": {"it": {"better": "longer", "than": "base"}}}
    assert reasons(large, changes) == ["longer and base rank by the same scores"]


def test_a_baseline_that_is_known_to_be_at_the_ceiling_is_not_beaten(large: Lab) -> None:
    high = HELPS | {"by": 99.9}
    assert reasons(large, {"hypotheses": {"it": high}}) == []
    value = large.result(GRID).baseline.mean("t2v/R1")
    assert reasons(large, {"hypotheses": {"it": high | {"metric": "t2v/MnR"}}}) == [], "ranks have no ceiling"
    assert reasons(large, {"hypotheses": {"it": high}}) == [
        f"top_k=2 is at the ceiling: {value:.1f} (an earlier result)"
    ]
    assert reasons(large, {"hypotheses": {"it": HELPS | {"by": 99.9 - value}}}) == []


@pytest.mark.parametrize(
    "claim",
    [
        {"no_worse": {"retrieve.rerank.top_k": 3}, "than": "baseline", "margin": 5},
        {"equivalent": {"retrieve.rerank.top_k": 3}, "to": "baseline", "within": 5},
    ],
)
def test_nothing_is_worse_than_a_baseline_that_is_known_to_be_at_chance(large: Lab, claim: dict[str, Any]) -> None:
    changes = BACKWARDS | {"hypotheses": {"it": claim}}
    assert reasons(large, changes) == [], "nothing is known"
    result = large.result(GRID | changes)
    value = result.baseline.mean("t2v/R1")
    assert value < 10
    told = f"top_k=2 is at chance: {value:.1f} (an earlier result), where anything is as good"
    assert reasons(large, changes) == [told]
    assert reasons(large, BACKWARDS | {"hypotheses": {"it": HELPS}}) == [], "which can be exceeded"
    in_rank = claim | {"metric": "t2v/MnR"}
    assert reasons(large, BACKWARDS | {"hypotheses": {"it": in_rank}}) == [], "of ranks no chance is told"
    value = result.baseline.mean("t2v/R5")
    assert 10 < value < 50, "five of ten videos"
    told = f"top_k=2 is at chance: {value:.1f} (an earlier result), where anything is as good"
    assert reasons(large, BACKWARDS | {"hypotheses": {"it": claim | {"metric": "t2v/R5"}}}) == [told]
    large.result(GRID)
    assert reasons(large, {"hypotheses": {"it": claim}}) == [], "better than chance"


def test_a_trained_baseline_is_known_by_its_best_validation_results(toys: None, tmp_path: Any) -> None:
    lab = Lab(tmp_path, {"train": 6, "val": 8, "test": 10})
    trained = FITTED | {"seeds": [0, 1], "train.epochs": 4, "train.learning_rate": 0.5}
    lab.run(trained | {"retrieve.rerank.top_k": 5})
    histories = [entry.json("history.json") for entry in lab.entries("fit")]
    seen = [[record["validation"] for record in history] for history in histories]
    best = sum(map(max, seen)) / 2
    assert len(seen) == 2
    assert best != sum(map(min, seen)) / 2
    assert best not in map(max, seen)
    high = trained | {"hypotheses": {"it": HELPS | {"by": 100 - best}}}
    assert reasons(lab, high) == [f"top_k=2 is at the ceiling: {best:.1f} (on val)"]
    assert reasons(lab, trained | {"hypotheses": {"it": HELPS | {"by": 99.9 - best}}}) == []
    assert reasons(lab, trained | {"hypotheses": {"it": HELPS | {"by": 99, "metric": "t2v/R5"}}}) == []
    value = lab.result(GRID | trained).baseline.mean("t2v/R1")
    told = f"top_k=2 is at the ceiling: {value:.1f} (an earlier result)"
    assert reasons(lab, trained | {"hypotheses": {"it": HELPS | {"by": 99.9}}}) == [told]


def test_before_the_data_set_is_made_nothing_is_foreseen(lab: Lab) -> None:
    file = lab.write(GRID | {"hypotheses": {"it": HELPS}})
    assert foreseen(read_plan(str(file), [], lab.workspace())) == {}


def test_the_dry_run_says_it_below_the_claim(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(lab.plan(GRID | {"hypotheses": {"it": HELPS}, "train.keep": "best", "retrieve.first_stage": "linear"}))
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("hypothesis it: top_k=3 is better than top_k=2 on t2v/R1")
    assert lines[at + 1].startswith("  cannot come out: 5 independent queries are too few")
    assert lines[-1].startswith(
        "Beware: val is too small to tell epochs apart: 4 videos show a difference of 100 points"
    )


def test_only_where_epochs_are_chosen_the_validation_split_must_tell_them_apart(lab: Lab) -> None:
    assert len(small_validation(lab.plan(GRID | FITTED))) == 1, "once for both variants"
    assert small_validation(lab.plan(FITTED | {"train.keep": "last"})) == []
    assert small_validation(lab.plan({"train.keep": "best", "retrieve.rerank": None})) == []


@pytest.mark.parametrize(("videos", "shown"), [(138, ["138 videos show a difference of 10 points"]), (139, [])])
def test_a_validation_split_is_large_enough_where_it_shows_ten_points(
    toys: None, tmp_path: Any, videos: int, shown: list[str]
) -> None:
    lab = Lab(tmp_path, {"train": 6, "val": videos, "test": 6})
    found = small_validation(lab.plan(FITTED))
    assert [sentence.partition(": ")[2].partition(",")[0] for sentence in found] == shown


def test_the_split_that_epochs_are_chosen_on_is_the_one_that_must_tell_them_apart(toys: None, tmp_path: Any) -> None:
    lab = Lab(tmp_path, {"train": 6, "val": 139, "test": 6})
    assert small_validation(lab.plan(FITTED)) == []
    found = small_validation(lab.plan(FITTED | {"train.select_on": "test"}))
    assert [sentence.partition(":")[0] for sentence in found] == ["test is too small to tell epochs apart"]
