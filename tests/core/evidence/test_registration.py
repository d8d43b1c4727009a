import json
from pathlib import Path
from typing import Any

import pytest

from core.contract.store import append_lines, read_lines, read_twice
from core.engine.execute import execute
from core.engine.plan import Plan
from core.evidence.ledger import enter, times_scored
from core.evidence.registration import post_hoc, register, registration_digest, withdrawn
from tests.engine import Lab

BETTER = {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}
WORSE = {"no_worse": {"retrieve.rerank.top_k": 2}, "than": "baseline", "margin": 50}


def claims(**hypotheses: Any) -> dict[str, Any]:
    return {
        "ablate": {"retrieve.rerank.top_k": [1, 2]},
        "baseline": {"retrieve.rerank.top_k": 1},
        "hypotheses": hypotheses,
    }


def scored(plan: Plan) -> Plan:
    execute(plan, lambda trial: enter(plan, trial))
    return plan


def registered(lab: Lab, changes: dict[str, Any]) -> Plan:
    plan = lab.plan(changes)
    register(plan)
    return plan


def test_a_claim_that_was_written_down_before_the_scoring_is_not_post_hoc(lab: Lab) -> None:
    plan = scored(registered(lab, claims(helps=BETTER)))
    assert post_hoc(plan) == set()
    assert post_hoc(registered(lab, claims(helps=BETTER))) == set()


def test_a_claim_that_was_never_written_down_is_post_hoc(lab: Lab) -> None:
    assert post_hoc(lab.plan(claims(helps=BETTER))) == {"helps"}


def test_a_claim_added_after_the_scoring_is_post_hoc_for_ever(lab: Lab) -> None:
    scored(registered(lab, claims(helps=BETTER)))
    for _ in range(2):
        assert post_hoc(registered(lab, claims(helps=BETTER, harmless=WORSE))) == {"harmless"}
    assert post_hoc(registered(lab, claims(harmless=WORSE))) == {"harmless"}


@pytest.mark.parametrize(
    "change",
    [{"hypotheses.helps.by": 5}, {"hypotheses.helps.metric": "t2v/R5"}, {"seeds": [0, 1]}, {"train.epochs": 3}],
    ids=lambda change: next(iter(change)),
)
def test_a_claim_changed_after_the_scoring_is_post_hoc_and_the_first_one_is_not(
    lab: Lab, change: dict[str, Any]
) -> None:
    scored(registered(lab, claims(helps=BETTER)))
    assert post_hoc(registered(lab, claims(helps=BETTER) | change)) == {"helps"}
    assert post_hoc(registered(lab, claims(helps=BETTER))) == set()


@pytest.mark.parametrize("late", [False, True])
def test_of_two_registrations_of_a_claim_the_first_counts(lab: Lab, late: bool) -> None:
    """Two processes may write down the same claim, one of them before and one after the scoring."""
    if late:
        scored(registered(lab, claims()))
    plan = registered(lab, claims(helps=BETTER, harmless=WORSE))
    written = lab.store / "registrations.jsonl"
    append_lines(written, [line | {"post_hoc": not late} for line in read_lines(written)])
    assert post_hoc(plan) == ({"helps", "harmless"} if late else set())


def test_a_claim_may_change_as_long_as_nothing_was_scored(lab: Lab) -> None:
    registered(lab, claims(helps=BETTER))
    assert post_hoc(registered(lab, claims(helps=BETTER | {"by": 5}))) == set()


def test_a_new_name_or_place_makes_no_new_claim(lab: Lab) -> None:
    plan = scored(registered(lab, claims(helps=BETTER)))
    again = registered(lab, claims(another=BETTER))
    assert post_hoc(again) == set()
    assert len(read_lines(lab.store / "registrations.jsonl", "hypothesis")) == 1
    assert registration_digest(again) == registration_digest(plan)


def test_another_experiments_results_make_a_claim_on_them_post_hoc(lab: Lab) -> None:
    scored(registered(lab, claims()))
    assert post_hoc(registered(lab, claims(helps=BETTER) | {"name": "fresh"})) == {"helps"}


def test_a_claim_that_another_experiment_wrote_down_in_time_is_late_in_one_that_follows(lab: Lab) -> None:
    first = scored(registered(lab, claims(helps=BETTER)))
    assert post_hoc(registered(lab, claims(helps=BETTER) | {"name": "fresh"})) == {"helps"}
    assert post_hoc(first) == set()


def test_another_experiments_baseline_does_not(lab: Lab) -> None:
    scored(registered(lab, {"retrieve.rerank.top_k": 1}))
    assert post_hoc(registered(lab, claims(helps=BETTER) | {"name": "fresh"})) == set()


def test_a_test_split_with_one_other_video_is_the_same(lab: Lab) -> None:
    plan = scored(registered(lab, claims(helps=BETTER)))
    picture = lab.videos / "test" / "v0" / "0.png"
    picture.write_bytes((lab.videos / "train" / "v0" / "0.png").read_bytes())
    again = registered(lab, claims(helps=BETTER, harmless=WORSE))
    assert post_hoc(again) == {"helps", "harmless"}
    name = plan.baselines[0].name
    assert (times_scored(plan, name), times_scored(again, name)) == (2, 2)


def test_other_captions_of_the_same_videos_are_the_same_split(lab: Lab) -> None:
    plan = scored(registered(lab, claims(helps=BETTER)))
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    splits["test"][3][1][1] = "1 2 3"
    listed.write_text(json.dumps(splits))
    again = registered(lab, claims(helps=BETTER, harmless=WORSE))
    assert post_hoc(again) == {"helps", "harmless"}
    name = plan.baselines[0].name
    assert (times_scored(plan, name), times_scored(again, name)) == (2, 2)


def test_each_scoring_is_counted_once_and_repetitions_are_not(lab: Lab) -> None:
    plan = scored(registered(lab, claims()))
    name = plan.baselines[0].name
    assert times_scored(plan, name) == 2
    scored(lab.plan(claims()))
    assert times_scored(plan, name) == 2
    other = scored(lab.plan(claims() | {"name": "other", "retrieve.first_stage": "linear", "seeds": [0, 1]}))
    assert times_scored(other, name) == 2 + 4
    assert times_scored(other, name, "lab") == 2
    assert times_scored(other, name, "other") == 4


def test_the_ledger_is_read_once_for_all_trials(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lab.plan(claims() | {"seeds": [0, 1, 2, 3], "retrieve.first_stage": "linear"})
    assert len(plan.trials) == 8
    read: list[str] = []

    def counted(path: Path, *names: str) -> list[Any]:
        read.append(path.name)
        return read_twice(path, *names)

    monkeypatch.setattr("core.evidence.ledger.read_twice", counted)
    for trial in plan.trials * 2:
        enter(plan, trial)
    assert read == ["ledger.jsonl"]
    assert len((lab.store / "ledger.jsonl").read_text().splitlines()) == 8


def test_a_scoring_that_two_processes_write_down_is_counted_once(lab: Lab) -> None:
    first, second = lab.plan(claims()), lab.plan(claims())
    enter(first, first.trials[0])
    enter(second, second.trials[1])
    for plan in (first, second):
        for trial in plan.trials:
            enter(plan, trial)
    assert times_scored(first, first.baselines[0].name) == len(first.trials)


def test_the_val_split_may_be_scored_at_will(lab: Lab) -> None:
    plan = scored(registered(lab, claims() | {"evaluate.split": "val"}))
    assert times_scored(plan, plan.baselines[0].name) == 0
    enter(plan, plan.trials[0])
    assert not (lab.store / "ledger.jsonl").exists()


def test_claims_that_were_dropped_are_remembered(lab: Lab) -> None:
    plan = scored(registered(lab, claims(helps=BETTER, harmless=WORSE)))
    assert withdrawn(plan) == []
    assert [claim.partition(":")[0] for claim in withdrawn(registered(lab, claims(helps=BETTER)))] == ["harmless"]


def test_a_claim_that_came_late_or_of_another_split_or_experiment_is_none_that_was_dropped(lab: Lab) -> None:
    scored(registered(lab, claims(harmless=WORSE)))
    registered(lab, claims(harmless=WORSE, late=BETTER))
    on_val = registered(lab, claims(on_val=BETTER) | {"evaluate.split": "val"})
    assert post_hoc(on_val) == set()
    assert withdrawn(registered(lab, claims(harmless=WORSE))) == []
    assert withdrawn(registered(lab, claims() | {"name": "fresh"})) == []
    told = withdrawn(registered(lab, claims()))
    assert [claim.partition(":")[0] for claim in told] == ["harmless"]


def test_another_correction_of_the_variants_makes_no_new_claim(lab: Lab) -> None:
    scored(registered(lab, claims(helps=BETTER)))
    assert post_hoc(registered(lab, claims(helps=BETTER) | {"evaluate.correction": "benjamini_hochberg"})) == set()


def test_a_split_is_the_same_whatever_its_variants_read(lab: Lab) -> None:
    levels = {name: {"name": "toy_dot", "level": name} for name in ("frames", "tags")}
    changes = {"data.dataset.tags": True, "model.interactions": levels, "model.losses": {}, "retrieve.rerank": None}
    stages = {name: {"retrieve.first_stage": name} for name in levels}
    plan = scored(lab.plan(changes | {"retrieve.first_stage": "frames", "variants": stages}))
    assert [times_scored(plan, name) for name in levels] == [2, 2]


def test_the_digest_of_a_registration_changes_with_claims_metric_seeds_and_family(lab: Lab) -> None:
    plain = claims(helps=BETTER)
    made = [
        registration_digest(lab.plan(plain | change))
        for change in (
            {},
            {"hypotheses.helps.by": 1},
            {"evaluate.primary": "v2t/R1"},
            {"evaluate.correction": "benjamini_hochberg"},
            {"seeds": [0, 1]},
            {"ablate": {"retrieve.rerank.top_k": [1, 2, 3]}},
        )
    ]
    assert len(set(made)) == len(made)
