"""What is looked at in a notebook prints in a few lines, shapes in the place of numbers, and shows as a small table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import core
from core.contract.features import Features, Tokens
from core.engine.steps.split import features_of
from tests.engine import Lab, plan_of, registered_toys

CHANGES: dict[str, Any] = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {"more": {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}},
}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All that a result holds or leads to, by name."""
    with registered_toys():
        result = Lab(tmp_path_factory.mktemp("small"), {"train": 6, "val": 4, "test": 300}).result(CHANGES)
        plan = plan_of(result)
        score = plan.trials[-1].ranks["t2v"].inputs.stage.first_stage["dot"]
        text, video = features_of(plan.workspace, score)
        row = result.rows[1]
        yield {
            "result": result,
            "row": row,
            "decision": result.decisions[0],
            "comparison": row.comparisons[result.primary],
            "trial": row.results[0],
            "rankings": result.rankings(),
            "stage": result.rankings().stages[-1],
            "text": text,
            "video": video,
            "tokens": video.structured("frames"),
        }


NAMES = ["result", "row", "decision", "comparison", "trial", "rankings", "stage", "text", "video", "tokens"]
TABLES = ["result", "row", "decision", "comparison", "text", "video", "tokens"]


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_in_under_500_characters(things, name):
    assert 10 < len(repr(things[name])) < 500
    assert "tensor(" not in repr(things[name])


@pytest.mark.parametrize("name", TABLES)
def test_it_shows_as_a_small_table(things, name):
    shown = things[name]._repr_html_()
    assert shown.count("<table") == 1
    assert len(shown) < 6000


def test_features_say_shape_type_device_mask_and_first_ids(things):
    assert repr(things["video"]) == (
        "VideoFeatures of 300 (v0, v1, v2, …): frames [300, 3, 4] float32 on cpu, mask [300, 3]"
    )
    assert "<td>frames</td><td>[300, 3, 4] float32 on cpu</td><td>mask [300, 3]</td>" in things["video"]._repr_html_()
    assert repr(core.TextFeatures(sentence=torch.ones(2, 8))) == "TextFeatures of 2: sentence [2, 8] float32 on cpu"
    assert repr(Features({}, ["a"])) == "Features of 1 (a): no levels"


def test_features_that_are_read_later_are_not_read_to_be_printed(monkeypatch):
    features = core.VideoFeatures(frames=torch.ones(5, 3, 8)).picked(torch.tensor([4, 0]))
    monkeypatch.setattr(Tokens, "map", lambda *_: pytest.fail("read"))
    assert repr(features) == "VideoFeatures of 2: frames [2, 3, 8] float32 on cpu"


def test_a_comparison_prints_its_difference_interval_and_p(things):
    compared = things["comparison"]
    said = repr(compared)
    assert f"{compared.difference:+.2f}, 95 % interval {compared.low:+.2f} to {compared.high:+.2f}" in said
    assert f"p = {compared.p:.3f}, {compared.p_corrected:.3f} corrected for 3" in said


def test_a_decision_prints_its_name_and_verdict_and_shows_why(things):
    decision = things["decision"]
    assert repr(decision) == f"Decision(more: {decision.verdict.verdict})"
    assert decision.verdict.reason in decision._repr_html_()


def test_texts_of_others_stay_texts_in_a_table():
    features = Features({"<b>": Tokens(torch.ones(1, 2))})
    assert "<b>" not in features._repr_html_()
