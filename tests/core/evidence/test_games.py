"""How a table could be made to say more than was found, each played through: the reader must be told."""

import json
import shutil
from typing import Any

import pytest

from core.contract.store import read_lines
from core.contract.store.files import append_lines, copy_of
from core.engine.plan import Plan
from core.evidence.registration import post_hoc, register
from core.evidence.results import Decision, Result
from tests.engine import Lab, ToyEncoder, write_videos

TEMPERATURE = "model.interactions.linear.temperature"
FITTED: dict[str, Any] = {
    "retrieve.first_stage": "linear",
    "retrieve.rerank.weights": {"dot": 1.0},
    "ablate": {"retrieve.rerank.top_k": [1, 2]},
    "baseline": {"retrieve.rerank.top_k": 1},
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}


def claim_of(result: Result) -> Decision:
    (claim,) = result.decisions
    return claim


def told(result: Result) -> str:
    return "\n".join([*result.notes, *map(str, result.decisions)])


def captions_changed(lab: Lab, change: Any) -> None:
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    listed.write_text(json.dumps(splits | {"test": change(splits["test"])}))


# ------------------------------------------------------------------------------------------------ claims


def test_the_fourth_try_is_not_taken_for_the_first(lab: Lab) -> None:
    for number in range(4):
        claim = claim_of(lab.result(FITTED | {"name": f"try_{number}", "seeds": [number]}))
        before = tuple(f"try_{one} (seed {one})" for one in range(number))
        assert (claim.post_hoc, claim.earlier) == (number > 0, before)
    assert "post hoc" in str(claim)
    assert "tried before as try_0 (seed 0), try_1 (seed 1), try_2 (seed 2)" in str(claim)


@pytest.mark.parametrize(("temperature", "is_twin"), [(1.0001, True), (0.995, True), (1.02, False), (2.0, False)])
def test_a_near_twin_is_not_taken_for_a_configuration_that_was_never_tried(
    lab: Lab, temperature: float, is_twin: bool
) -> None:
    lab.result(FITTED | {"name": "first"})
    claim = claim_of(lab.result(FITTED | {"name": "twin", "seeds": [7], TEMPERATURE: temperature}))
    assert (claim.post_hoc, claim.earlier) == (is_twin, ("first (seed 0)",) if is_twin else ())


def test_arms_that_were_looked_at_without_a_claim_make_no_prediction(lab: Lab) -> None:
    lab.result(FITTED | {"name": "looking", "hypotheses": {}})
    result = lab.result(FITTED | {"name": "predicting", "seeds": [7]})
    assert claim_of(result).post_hoc
    assert "Other experiments of this store scored this split: looking (2 trials)." in told(result)


def test_a_claim_on_near_twins_is_late_only_where_both_were_scored(lab: Lab) -> None:
    """Of arms that differ by less than a per cent, one that was seen says nothing of the other."""
    lab.result({TEMPERATURE: 1.0, "name": "one_of_them", "retrieve.first_stage": "linear"})
    twins = {
        "retrieve.first_stage": "linear",
        "ablate": {TEMPERATURE: [1.0, 1.005]},
        "hypotheses": {"same": {"equivalent": {TEMPERATURE: 1.005}, "to": {TEMPERATURE: 1.0}, "within": 60}},
    }
    assert not claim_of(lab.result(twins | {"name": "both", "seeds": [7]})).post_hoc
    assert claim_of(lab.result(twins | {"name": "again", "seeds": [8]})).post_hoc


def test_another_metric_or_kind_is_another_claim_and_what_was_seen_is_told(lab: Lab) -> None:
    lab.result(FITTED | {"name": "first"})
    other = FITTED["hypotheses"]["helps"] | {"metric": "t2v/R5"}
    result = lab.result(FITTED | {"name": "second", "seeds": [7], "hypotheses": {"helps": other}})
    assert claim_of(result).earlier == ()
    assert claim_of(result).post_hoc
    assert "first (2 trials)" in told(result)


# ------------------------------------------------------------------------------------------------ the split


def left_out(test: list[Any]) -> list[Any]:
    return test[:-1]


def blank(test: list[Any]) -> list[Any]:
    test[3][1][1] = test[3][1][1].replace(" ", "  ")
    return test


def shouted(test: list[Any]) -> list[Any]:
    return [[name, [said.replace(" ", "\t") for said in captions]] for name, captions in test]


@pytest.mark.parametrize("change", [left_out, blank, shouted], ids=lambda change: change.__name__)
@pytest.mark.parametrize("name", ["lab", "fresh"])
def test_a_split_that_was_touched_up_is_not_taken_for_one_that_was_never_scored(
    lab: Lab, change: Any, name: str
) -> None:
    lab.result(FITTED)
    captions_changed(lab, change)
    result = lab.result(FITTED | {"name": name, "seeds": [7]})
    claim = claim_of(result)
    assert (claim.post_hoc, claim.times_scored, claim.earlier) == (True, 4, ("lab (seed 0)",))
    assert "2 trials among those scored on it saw a split that shares 100 % of its texts or videos." in told(result)


def test_a_split_in_another_folder_is_not_taken_for_another(lab: Lab) -> None:
    lab.result(FITTED)
    lab.videos = lab.videos.rename(lab.folder / "moved")
    captions_changed(lab, left_out)
    claim = claim_of(lab.result(FITTED | {"name": "fresh", "seeds": [7], "data.dataset.root": str(lab.videos)}))
    assert (claim.post_hoc, claim.earlier) == (True, ("lab (seed 0)",))


def test_data_sets_that_one_experiment_compares_are_no_secret_of_it(lab: Lab) -> None:
    shutil.copytree(lab.videos, lab.folder / "fewer")
    at_first, lab.videos = lab.videos, lab.folder / "fewer"
    captions_changed(lab, left_out)
    roots = {"whole": {"data.dataset.root": str(at_first)}, "fewer": {"data.dataset.root": str(lab.videos)}}
    assert "saw a split that shares" not in told(lab.result({"variants": roots, "baseline": "whole"}))


def test_another_split_is_a_new_one(lab: Lab) -> None:
    """Of five videos two stood in the split before."""
    lab.result(FITTED)
    other = write_videos(lab.folder / "other", {"test": 3}, seed=1)
    new = json.loads((other / "captions.json").read_text())["test"]
    for name, _ in new:
        (other / "test" / name).rename(lab.videos / "test" / f"new_{name}")
    captions_changed(lab, lambda test: [*test[:2], *([f"new_{name}", said] for name, said in new)])
    claim = claim_of(lab.result(FITTED | {"name": "fresh"}))
    assert (claim.post_hoc, claim.earlier, claim.times_scored) == (False, (), 2)


# ------------------------------------------------------------------------------------------------ the family

GRID = {"ablate": {"retrieve.rerank.top_k": [1, 2, 3]}, "baseline": {"retrieve.rerank.top_k": 1}}


def test_a_variant_that_was_dropped_after_looking_does_not_make_the_others_p_smaller(lab: Lab) -> None:
    whole = lab.result(GRID)
    rest = lab.result(GRID | {"ablate": {"retrieve.rerank.top_k": [1, 2]}})
    kept, before = (next(row for row in found.rows if row.name == "top_k=2") for found in (rest, whole))
    made, seen = kept.comparisons["t2v/R1"], before.comparisons["t2v/R1"]
    assert (made.family, seen.family) == (2, 2)
    assert made.p == seen.p
    assert made.p_corrected == min(1, 2 * made.p)
    assert "Beware: dropped after they were scored, and corrected for as n.s.: top_k=3." in told(rest)


def test_a_variant_that_was_never_scored_may_leave_the_grid(lab: Lab) -> None:
    register(lab.plan(GRID))
    result = lab.result(GRID | {"ablate": {"retrieve.rerank.top_k": [1, 2]}})
    assert [row.comparisons["t2v/R1"].family for row in result.rows if row.comparisons] == [1]
    assert "dropped" not in told(result)


def test_a_variant_that_was_renamed_has_not_left_the_grid(lab: Lab) -> None:
    lab.result(GRID)
    renamed = {"shallow": {"retrieve.rerank.top_k": 1}, "two": {"retrieve.rerank.top_k": 2}}
    renamed |= {"three": {"retrieve.rerank.top_k": 3}}
    result = lab.result({"variants": renamed, "baseline": "shallow"})
    assert {row.comparisons["t2v/R1"].family for row in result.rows if row.comparisons} == {2}
    assert "dropped" not in told(result)
    assert "post hoc" not in told(result)


def test_a_larger_grid_counts_those_it_has(lab: Lab) -> None:
    lab.result(GRID)
    result = lab.result(GRID | {"ablate": {"retrieve.rerank.top_k": [1, 2, 3, 4]}})
    assert {row.comparisons["t2v/R1"].family for row in result.rows if row.comparisons} == {3}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluate.correction": "benjamini_hochberg"}, "the correction was registered as holm and is benjamini_h"),
        ({"evaluate.primary": "t2v/R5"}, "the primary metric was registered as t2v/R1 and is t2v/R5"),
        ({"baseline": {"retrieve.rerank.top_k": 3}}, "the baseline was registered as top_k=1 and is top_k=3"),
    ],
)
def test_what_was_chosen_after_looking_is_not_taken_for_what_was_planned(
    lab: Lab, change: dict[str, Any], words: str
) -> None:
    register(lab.plan(GRID | change))
    before = lab.result(GRID)
    assert "post hoc" not in told(before)
    after = lab.result(GRID | change)
    assert f"Beware: post hoc: {words}" in told(after)
    assert "post hoc" not in told(lab.result(GRID))


def test_a_claim_that_was_dropped_after_looking_does_not_make_the_others_p_smaller(lab: Lab) -> None:
    worse = {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}
    two = {"helps": FITTED["hypotheses"]["helps"], "helps_more": worse}
    whole = {c.hypothesis.name: c.verdict for c in lab.result(GRID | {"hypotheses": two}).decisions}
    kept = claim_of(lab.result(GRID | {"hypotheses": {"helps": two["helps"]}}))
    assert (kept.verdict.family, whole["helps"].family) == (2, 2)
    assert kept.verdict.p_corrected == min(1, 2 * kept.verdict.evidence.p)
    assert not kept.post_hoc


# ------------------------------------------------------------------------------------------------ honest use


def test_the_same_file_again_is_never_post_hoc(lab: Lab) -> None:
    for _ in range(3):
        claim = claim_of(lab.result(FITTED | {"seeds": [0, 1]}))
        assert (claim.post_hoc, claim.earlier) == (False, ())


def test_a_run_that_was_killed_goes_on_with_what_it_claimed(lab: Lab) -> None:
    ToyEncoder.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        lab.run(FITTED | {"seeds": [0, 1]})
    ToyEncoder.fail_after = None
    claim = claim_of(lab.result(FITTED | {"seeds": [0, 1]}))
    assert (claim.post_hoc, claim.earlier) == (False, ())


def test_claims_seeds_and_family_may_be_revised_until_something_is_scored(lab: Lab) -> None:
    register(lab.plan(FITTED | {"hypotheses.helps.by": 50, "evaluate.correction": "benjamini_hochberg"}))
    register(lab.plan(FITTED | {"name": "draft", "seeds": [3]}))
    result = lab.result(FITTED | {"seeds": [0, 1]})
    assert (claim_of(result).post_hoc, claim_of(result).earlier) == (False, ())
    assert claim_of(result).verdict.family == 1
    assert "Beware: post hoc" not in told(result)


def test_work_on_val_makes_no_claim_on_test_late(lab: Lab) -> None:
    lab.result(FITTED | {"evaluate.split": "val"})
    lab.result(FITTED | {"evaluate.split": "val", "name": "pilot", TEMPERATURE: 3.0})
    result = lab.result(FITTED | {"seeds": [1]})
    assert (claim_of(result).post_hoc, claim_of(result).earlier) == (False, ())


# ------------------------------------------------------------------------------------------------ stores


def as_before(lab: Lab) -> None:
    """The store as a version made it that knew no arms, families and splits one by one."""
    known = {
        "registrations.jsonl": ("experiment", "hypothesis", "claim", "split", "post_hoc", "registration", "time"),
        "ledger.jsonl": ("experiment", "trial", "variant", "split", "time"),
    }
    for name, fields in known.items():
        file = lab.store / name
        lines = [line for line in read_lines(file) if "family" not in line]
        for place in (file, copy_of(file)):
            place.unlink()
            append_lines(place, [{field: line[field] for field in fields} for line in lines])
    for folder in ("splits", "arms"):
        for file in (lab.store / folder).iterdir():
            file.unlink()
        (lab.store / folder).rmdir()


def test_a_store_from_before_says_what_it_said(lab: Lab) -> None:
    before = lab.result(FITTED)
    as_before(lab)
    again = lab.result(FITTED)
    assert told(again) == told(before)
    assert claim_of(again).verdict == claim_of(before).verdict
    late = lab.result(FITTED | {"seeds": [1]})
    assert claim_of(late).post_hoc


def test_a_try_of_a_store_from_before_is_known_once_it_was_run_again(lab: Lab) -> None:
    lab.result(FITTED)
    as_before(lab)
    for _ in range(2):
        assert not claim_of(lab.result(FITTED)).post_hoc
    assert len(read_lines(lab.store / "ledger.jsonl")) == 4
    claim = claim_of(lab.result(FITTED | {"name": "fresh", "seeds": [3]}))
    assert (claim.post_hoc, claim.earlier, claim.times_scored) == (True, ("lab (seed 0)",), 4)


def test_a_mark_of_a_store_from_before_stays(lab: Lab) -> None:
    lab.result(FITTED | {"hypotheses": {}})
    assert claim_of(lab.result(FITTED)).post_hoc
    as_before(lab)
    for _ in range(2):
        assert claim_of(lab.result(FITTED)).post_hoc


def test_a_finished_store_that_is_read_only_is_still_reported(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lab.result(FITTED)
    as_before(lab)

    def refused(*arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for place in ("registration.append_twice", "ledger.append_twice", "recognition.write_atomically"):
        monkeypatch.setattr(f"core.evidence.{place}", refused)
    assert told(lab.result(FITTED)) == told(before)


def test_a_store_from_before_knows_a_touched_up_split_once_it_was_read_anew(lab: Lab) -> None:
    lab.result(FITTED)
    as_before(lab)
    lab.result(FITTED)
    captions_changed(lab, left_out)
    assert claim_of(lab.result(FITTED)).post_hoc


@pytest.mark.parametrize("folder", ["splits", "arms"])
def test_a_damaged_piece_is_written_anew_and_changes_no_mark(lab: Lab, folder: str) -> None:
    before = lab.result(FITTED)
    for file in (lab.store / folder).iterdir():
        file.write_text(file.read_text()[:-20])
    again = lab.result(FITTED)
    assert told(again) == told(before)
    twin: Plan = lab.plan(FITTED | {"name": "fresh", "seeds": [3], TEMPERATURE: 1.0001})
    register(twin)
    assert post_hoc(twin) == {"helps"}
