"""What is scored: once for many settings, only beyond what is stored, never all at once, and only numbers."""

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch

from core import Split, Text
from core.contract.components import Video
from core.engine.plan import Plan
from core.engine.scoring import score_blocks
from core.engine.scoring.candidates import _Block
from core.engine.steps import rank, score
from core.engine.steps.score import ScoreSource
from core.errors import RunError
from core.measure.metrics import rank_counts
from tests.engine import COUNTS, Lab


def test_a_bank_is_named_by_who_asks_and_by_the_gallery() -> None:
    """Ids of the train split's texts and of the test split's videos; from video to text of the others."""
    train = Split((Video("a", "a"), Video("b", "b")), (Text("a-0", "", 0), Text("b-0", "", 1), Text("b-1", "", 1)))
    test = Split((Video("x", "x"),), (Text("x-0", "", 0), Text("x-1", "", 0)))
    source = ScoreSource(experiment=None, shapes={}, split=test, interaction="dot", config=None)  # type: ignore[arg-type]
    assert source.ids == (["x-0", "x-1"], ["x"])
    assert replace(source, bank=train).ids == (["a-0", "b-0", "b-1"], ["x"])
    assert replace(source, bank=train, direction="v2t").ids == (["x-0", "x-1"], ["a", "b"])


def test_more_candidates_are_scored_only_beyond_those_there_are(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Block, "scores", _Block.one_by_one)  # so few would be scored with all others

    def pairs(top_k: int) -> int:
        lab.run({"retrieve.rerank.top_k": top_k, "evaluate.directions": ["t2v"]})
        return COUNTS["pairs"]

    def stored() -> torch.Tensor:
        (entry,) = lab.entries("candidates")
        return entry.tensors()["scores"]

    pairs(2)
    two = stored()
    assert pairs(1) == 0
    assert pairs(4) == 10 * 2
    assert torch.equal(stored()[:, :2], two)
    assert pairs(3) == 0
    assert pairs(5) == 10
    whole = stored()
    shutil.rmtree(lab.store / "candidates")
    assert pairs(100) == 10 * 5
    torch.testing.assert_close(stored(), whole)
    assert pairs(200) == 0


def test_a_sweep_that_reaches_beyond_the_candidates_that_are_stored_is_computed_whatever_comes_first(lab: Lab) -> None:
    lab.run({"retrieve.rerank.top_k": 2})
    plan = lab.run({"ablate": {"retrieve.rerank.top_k": [1, 2, 3]}})
    assert len(lab.finished) == len(plan.trials) == 3
    assert {entry.info["covers"] for entry in lab.entries("candidates")} == {3}


def test_settings_whose_candidates_were_scored_to_unlike_lengths_are_extended_together(lab: Lab) -> None:
    for temperature, top_k in ((0.5, 2), (2.0, 3)):
        lab.run({"retrieve.settings": {"linear": {"temperature": temperature}}, "retrieve.rerank.top_k": top_k})
    lab.run({"ablate": {"retrieve.settings.linear.temperature": [0.5, 2.0]}, "retrieve.rerank.top_k": 5})
    scores = {
        (entry.meta["fields"]["direction"], entry.meta["fields"]["settings"]["temperature"]): entry.tensors()["scores"]
        for entry in lab.entries("candidates")
    }
    for direction, queries in (("t2v", 10), ("v2t", 5)):
        assert scores[direction, 2.0].shape == (queries, 5)
        torch.testing.assert_close(scores[direction, 0.5], 4 * scores[direction, 2.0])


def test_settings_after_training_are_scored_in_one_pass(lab: Lab) -> None:
    sweep = {"ablate": {"retrieve.settings.dot.temperature": [0.5, 1.0, 2.0]}, "retrieve.rerank": None}
    plan = lab.run(sweep)
    assert COUNTS["text_sides"] == 1
    scores = {e.meta["fields"]["settings"]["temperature"]: e.tensors()["scores"] for e in lab.entries("score")}
    torch.testing.assert_close(scores[0.5], 4 * scores[2.0])
    assert len(plan.trials) == 3


def test_a_sweep_reads_and_ranks_its_first_stage_once_a_direction(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = {
        "ablate": {
            "retrieve.rerank.top_k": [1, 2, 4],
            "retrieve.rerank.weights": [{"linear": 1.0}, {"linear": 0.5, "first_stage": 1.0}],
            "retrieve.settings.linear.temperature": [0.5, 2.0],
        },
        "baseline": {"retrieve.rerank": None},
    }
    counted = []
    monkeypatch.setattr(rank, "rank_counts", lambda *given: counted.append(given) or rank_counts(*given))
    plan = lab.run(sweep)
    assert (len(plan.trials), len(counted)) == (13, 2)
    together = {trial.variant.name: plan.workspace.read(trial.last) for trial in plan.trials}
    monkeypatch.setattr(Plan, "group", lambda self, step: [step])
    for name in ("rank", "evaluate"):
        shutil.rmtree(lab.store / name)
    for trial in lab.run(sweep).trials:
        alone = plan.workspace.store.read("evaluate", trial.last.key)
        assert alone.json() == together[trial.variant.name].json()


def test_scores_of_many_settings_never_lie_in_memory_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = []

    def blocks(sides: Any, configs: Any) -> Any:
        for columns, made in score_blocks(sides, configs, width=1):
            alive.append(sum(values.numel() for values in made))
            yield columns, made

    monkeypatch.setattr(score, "score_blocks", blocks)
    temperatures = [0.5, 1.0, 2.0, 4.0]
    lab.run({"ablate": {"retrieve.settings.dot.temperature": temperatures}, "retrieve.rerank": None})
    assert alive == [4 * 10] * 5
    found = {e.meta["fields"]["settings"]["temperature"]: e.tensors()["scores"] for e in lab.entries("score")}
    for temperature in temperatures:
        assert found[temperature].shape == (10, 5)
        torch.testing.assert_close(found[temperature], found[1.0] / temperature)


def test_a_score_that_is_not_a_number_ends_the_run_with_trial_and_query(lab: Lab) -> None:
    changes = {"model.interactions.dot.name": "toy_broken", "variants": {"bad one": {}}, "retrieve.rerank": None}
    with pytest.raises(RunError, match=r"score dot \[bad one\].* `v0-1`"):
        lab.run(changes)
    assert lab.entries("score") == []


def test_a_candidate_that_is_not_a_number_ends_the_run_too(lab: Lab) -> None:
    changes = {
        "model.interactions.bad": {"name": "toy_broken"},
        "retrieve.rerank.weights": {"bad": 1.0},
        "evaluate.directions": ["t2v"],
    }
    with pytest.raises(RunError, match=r"re-score bad t2v .* query"):
        lab.run(changes)
