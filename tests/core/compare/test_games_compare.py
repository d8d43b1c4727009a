"""Stored trials compared pair by pair until one comes out: `core.compare` counts."""

import json
import os
from typing import Any

import pytest

from core.compare.__main__ import main
from core.contract.store.files import read_lines
from core.evidence.ledger import compared
from tests.engine import Lab

GRID: dict[str, Any] = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank.top_k": 1},
}


def compare(lab: Lab, capsys: pytest.CaptureFixture[str], *trials: str, more: tuple[str, ...] = ()) -> str:
    capsys.readouterr()
    assert main([*(f"store:{key}" for key in trials), "--store", str(lab.store), *more]) == 0
    return capsys.readouterr().out


@pytest.fixture
def trials(lab: Lab) -> list[str]:
    return [trial.last.key for trial in lab.run(GRID).trials]


def test_the_third_pair_is_not_taken_for_the_only_one(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, three = trials
    told = compare(lab, capsys, one, two)
    assert "This store saw 1 comparison of trials on this split, all of them here: p is corrected for 1." in told
    compare(lab, capsys, one, three)
    told = compare(lab, capsys, two, three)
    assert "This store saw 3 different comparisons of trials on this split, 1 of them here" in told
    assert "p is corrected for 1, not for 3." in told


def test_the_same_pair_again_is_the_same_comparison(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for pair in (trials[:2], trials[:2], trials[1::-1]):
        told = compare(lab, capsys, *pair)
    assert "This store saw 1 comparison of trials on this split, all of them here" in told
    assert len(read_lines(lab.store / "ledger.jsonl", "compared")) == 1


def test_metrics_and_directions_are_looks_too(lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    compare(lab, capsys, *trials[:2])
    compare(lab, capsys, *trials[:2], more=("--metric", "R5"))
    told = compare(lab, capsys, *trials, more=("--direction", "both"))
    assert "This store saw 5 different comparisons of trials on this split, 4 of them here" in told
    assert "p is corrected for 4, not for 5." in told


def test_a_pair_on_the_split_without_one_video_counts_on(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    compare(lab, capsys, *trials[:2])
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    listed.write_text(json.dumps(splits | {"test": splits["test"][:-1]}))
    touched = [trial.last.key for trial in lab.run(GRID).trials]
    assert "This store saw 2 different comparisons" in compare(lab, capsys, *touched[:2])


def test_pairs_stand_beside_the_verdicts_and_count_as_no_scoring(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = lab.result(GRID).notes
    compare(lab, capsys, *trials)
    told = [line for line in lab.result(GRID).notes if line not in before]
    assert told == ["Trials on this split were compared by themselves too: 2 comparisons."]


def test_val_may_be_compared_at_will(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [trial.last.key for trial in lab.run(GRID | {"evaluate.split": "val"}).trials]
    assert "This store saw" not in compare(lab, capsys, *keys[:2])
    assert not (lab.store / "ledger.jsonl").exists()


def test_a_store_without_its_ledger_still_counts(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ledger.jsonl", "ledger.copy.jsonl"):
        (lab.store / name).unlink()
    compare(lab, capsys, *trials[:2])
    assert "This store saw 2 different comparisons" in compare(lab, capsys, *trials[1:])


def test_a_ledger_that_cannot_be_written_is_told_and_costs_no_comparison(
    lab: Lab, trials: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("ledger.jsonl", "ledger.copy.jsonl"):
        (lab.store / name).unlink()
        os.mkdir(lab.store / name)
    told = compare(lab, capsys, *trials[:2])
    assert "This comparison could not be entered in the ledger of" in told
    assert compared(lab.store, [""]) == set()
