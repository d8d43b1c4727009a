"""A trial that is loaded scores as it was scored."""

from __future__ import annotations

import pytest
import torch

import core
from core.errors import StoreError
from tests.engine import Lab

CHANGES = {"retrieve.first_stage": "linear", "retrieve.rerank": None, "seeds": [3]}


def test_a_loaded_trial_scores_as_it_did(lab: Lab) -> None:
    plan = lab.run(CHANGES)
    found = core.load(plan.trials[0].last.key, lab.store)
    stored = lab.entries("score")[0].tensors()["scores"]
    split = plan.workspace.splits(found.experiment.data.dataset)["test"]
    captions = found.encoder.prepare_texts([text.text for text in split.texts])
    with torch.inference_mode():
        text = found.encoder.forward_text(captions, ["sentence"])
        video = next(e for e in lab.entries("encode") if "test videos" in e.info["label"]).tensors()
        frames = core.VideoFeatures(frames=video["values"], frame_mask=video["mask"])
        scores = core.score(found.model.interaction("linear"), text, frames)
    torch.testing.assert_close(scores, stored)
    assert found.seed == 3
    assert found.metrics["t2v/R1"] == plan.workspace.read(plan.trials[0].last).json()["metrics"]["t2v/R1"]


def test_a_key_that_is_not_there_is_an_error(lab: Lab) -> None:
    lab.run(CHANGES)
    with pytest.raises(StoreError, match="no trial with a key that begins with `zzz`"):
        core.load("zzz", lab.store)
