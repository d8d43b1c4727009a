"""A trial that is loaded scores as it was scored."""

from __future__ import annotations

import pytest
import torch

import core
from core.errors import StoreError
from tests.core.test_reranking import RERANK
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


def test_a_loaded_trial_has_its_trained_reranker_with_the_alpha_that_was_chosen(lab: Lab) -> None:
    plan = lab.run({"retrieve.rerank": {**RERANK, "top_k": 5}})
    found = core.load(plan.trials[0].last.key, lab.store)
    assert found.reranker is not None
    (fit,) = lab.entries("fit_reranker")
    assert found.reranker.config.alpha == fit.json("chosen.json")["alpha"]
    matched = next(e for e in lab.entries("match") if e.meta["fields"]["direction"] == "t2v").tensors()["scores"]
    texts = next(e for e in lab.entries("encode") if "test texts" in e.info["label"]).tensors()["values"]
    videos = next(e for e in lab.entries("encode") if "test videos" in e.info["label"]).tensors()["values"]
    text, video = core.TextFeatures(sentence=texts), core.VideoFeatures(frames=videos)
    with torch.inference_mode():
        every = found.reranker.text_side(text)["vector"] @ found.reranker.video_side(video)["vector"].T
    torch.testing.assert_close(matched.sort(1).values, every.sort(1).values)


def test_a_reranker_whose_weights_are_gone_is_an_error(lab: Lab) -> None:
    plan = lab.run({"retrieve.rerank": RERANK})
    (fit,) = lab.entries("fit_reranker")
    plan.workspace.store.remove(fit.folder)
    with pytest.raises(StoreError, match="its reranker's weights are gone"):
        core.load(plan.trials[0].last.key, lab.store)
