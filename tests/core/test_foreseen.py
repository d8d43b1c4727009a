"""What a run would have been waited for in vain: claims that no result can support."""

from typing import Any

import pytest

from core.engine.dryrun import show_plan
from core.engine.foreseen import foreseen, small_validation
from tests.engine import Lab

GRID: dict[str, Any] = {"ablate": {"retrieve.rerank.top_k": [2, 3]}, "baseline": {"retrieve.rerank.top_k": 2}}
HELPS = {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}


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


@pytest.mark.parametrize(("margin", "is_vain"), [(4.9, True), (5, False)])
def test_a_margin_that_one_query_breaks_is_kept_by_no_run(large: Lab, margin: float, is_vain: bool) -> None:
    claim = {"no_worse": {"retrieve.rerank.top_k": 3}, "than": "baseline", "margin": margin}
    told = ["a bound of 4.9 is less than one of 20 queries, 5 points"]
    assert reasons(large, {"hypotheses": {"it": claim}}) == (told if is_vain else [])


@pytest.mark.parametrize(("metric", "is_vain"), [("t2v/R10", True), ("t2v/R5", False), ("v2t/R10", False)])
def test_a_recall_at_the_whole_gallery_tells_no_arms_apart(large: Lab, metric: str, is_vain: bool) -> None:
    changes = {"hypotheses": {"it": HELPS | {"metric": metric}}, "evaluate.metrics": ["R1", "R5", "R10"]}
    told = ["R10 looks at all 10 videos: it is 100 for every arm"]
    assert reasons(large, changes) == (told if is_vain else [])


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


def test_settings_that_nothing_reads_make_no_other_system(large: Lab) -> None:
    variants = {"base": {}, "longer": {"model.logit_scale.max": 50.0}}
    untrained = {"retrieve.rerank": None, "variants": variants, "baseline": "base", "ablate": {}}
    changes = untrained | {"hypotheses": {"it": {"better": "longer", "than": "base"}}}
    assert reasons(large, changes) == ["longer and base rank by the same scores"]


def test_a_baseline_that_is_known_to_be_at_the_ceiling_is_not_beaten(large: Lab) -> None:
    high = HELPS | {"by": 99.9}
    assert reasons(large, {"hypotheses": {"it": high}}) == []
    value = large.result(GRID).baseline.mean("t2v/R1")
    assert reasons(large, {"hypotheses": {"it": high}}) == [
        f"top_k=2 is at the ceiling: {value:.1f} (an earlier result)"
    ]
    assert reasons(large, {"hypotheses": {"it": HELPS | {"by": 99.9 - value}}}) == []


def test_the_dry_run_says_it_below_the_claim(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(lab.plan(GRID | {"hypotheses": {"it": HELPS}, "train.keep": "best", "retrieve.first_stage": "linear"}))
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("hypothesis it: top_k=3 is better than top_k=2 on t2v/R1")
    assert lines[at + 1].startswith("  cannot come out: 5 independent queries are too few")
    assert lines[-1].startswith(
        "Beware: val is too small to tell epochs apart: 4 videos show a difference of 100 points"
    )


def test_only_where_epochs_are_chosen_the_validation_split_must_tell_them_apart(lab: Lab) -> None:
    fitted = {"retrieve.first_stage": "linear"}
    assert len(small_validation(lab.plan(fitted | {"train.keep": "best"}))) == 1
    assert small_validation(lab.plan(fitted | {"train.keep": "last"})) == []
    assert small_validation(lab.plan({"train.keep": "best", "retrieve.rerank": None})) == []
