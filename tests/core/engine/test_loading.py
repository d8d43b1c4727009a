"""A trial that is loaded scores as it was scored."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import core
from core.engine.execute import execute
from core.errors import ConfigError, RunError, StoreError
from tests.core.engine.test_reranking import RERANK
from tests.engine import Lab

FUSED = {"name": "score_fusion", "weights": {"linear": 1.0}}
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


SWEPT = {"retrieve.rerank": {**FUSED, "top_k": 2}, "ablate": {"retrieve.rerank.top_k": [2, 3]}, "seeds": [0, 1]}


def test_a_trial_is_loaded_by_its_experiment_variant_and_seed(lab: Lab) -> None:
    plan = lab.run(SWEPT)
    file = plan.document.file
    for trial in plan.trials:
        found = core.load(file, lab.store, variant=trial.variant.name, seed=trial.seed)
        by_key = core.load(trial.last.key, lab.store)
        assert found.seed == trial.seed
        assert found.experiment == trial.variant.experiment
        assert found.metrics == by_key.metrics
        torch.testing.assert_close(found.model.state_dict(), by_key.model.state_dict())
    found = core.load(Path(file), lab.store, variant={"retrieve.rerank.top_k": 3}, seed=1)
    assert found.experiment.retrieve.rerank.fields.top_k == 3
    assert core.load(file, lab.store, variant="baseline", seed=0).experiment == plan.experiment
    overridden = core.load(file, lab.store, seed=1, overrides=["ablate=null", "retrieve.rerank.top_k=3"])
    assert overridden.metrics == found.metrics


def test_a_trial_that_depends_on_no_seed_is_loaded_with_any_of_its_file_and_without(lab: Lab) -> None:
    file = lab.run({"retrieve.rerank": None, "seeds": [4, 5]}).document.file
    assert core.load(file, lab.store).metrics == core.load(file, lab.store, seed=5).metrics
    with pytest.raises(ConfigError, match="there is no seed 0; there are: 4, 5"):
        core.load(file, lab.store, seed=0)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"variant": "top_k=33", "seed": 0}, "variant: there is no variant called `top_k=33`. Did you mean `top_k=3`?"),
        ({"variant": {"retrieve.rerank.top_k": 7}, "seed": 0}, "no variant has `retrieve.rerank.top_k` = 7"),
        ({"variant": {"retrieve.first_stage": "dot"}, "seed": 0}, "variant: say which one: top_k=2; top_k=3"),
        ({"seed": 0}, "variant: say which one: top_k=2; top_k=3"),
        ({"variant": "top_k=3", "seed": 2}, "seed: there is no seed 2; there are: 0, 1"),
        ({"variant": "top_k=3"}, "seed: say which one: 0, 1"),
    ],
)
def test_what_names_no_trial_or_several_of_an_experiment_is_told(lab: Lab, chosen: dict[str, Any], told: str) -> None:
    file = lab.plan(SWEPT).document.file
    with pytest.raises(ConfigError) as caught:
        core.load(file, lab.store, **chosen)
    assert str(caught.value).startswith(f"{file}: ")
    assert told in str(caught.value)


def test_a_trial_that_the_store_lacks_names_the_command_that_computes_it(lab: Lab) -> None:
    file = lab.plan(SWEPT).document.file
    with pytest.raises(StoreError) as caught:
        core.load(file, lab.store, variant="top_k=3", seed=1, overrides=["train.epochs=1"])
    told, _, command = str(caught.value).partition("; compute it by: ")
    assert told == f"{lab.store} lacks the trial top_k=3 · seed 1 of {file}"
    assert shlex.split(command) == [
        *("python", "-m", "core.run", file, "train.epochs=1", "--store", str(lab.store)),
    ]


def test_a_store_that_is_not_there_is_told_and_not_made(lab: Lab) -> None:
    file = str(lab.write(SWEPT))
    nowhere = lab.folder / "nowhere"
    told = f"{nowhere} lacks the trial top_k=3 · seed 1 of {file} and its data set; compute it by: "
    with pytest.raises(StoreError, match=re.escape(told)):
        core.load(file, nowhere, variant="top_k=3", seed=1)
    assert not nowhere.exists()


def test_a_trial_that_failed_says_why(lab: Lab) -> None:
    plan = lab.plan({"retrieve.first_stage": "broken", "model.interactions.broken": {"name": "toy_broken"}})
    with pytest.raises(RunError, match="NaN or infinite"):
        execute(plan, lambda trial: None)
    with pytest.raises(StoreError, match=r"which failed when it was last run \(score broken: .*is NaN or infinite"):
        core.load(plan.document.file, lab.store, seed=0)


def test_a_key_takes_neither_variant_nor_seed(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="`3f2a` is a key, which says already which trial is meant"):
        core.load("3f2a", lab.store, seed=0)


def test_a_trial_that_a_gpu_computed_is_loaded_where_there_is_none(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("core.engine.steps.step.arithmetic", lambda device: "bfloat16")
        for step in ("decode", "fit", "fit_reranker", "match", "score"):
            patched.setattr(f"core.engine.steps.{step}.arithmetic", lambda device: "bfloat16")
        plan = lab.run(CHANGES)
    trial = plan.trials[0]
    assert core.load(trial.last.key, lab.store).seed == 3
    assert core.load(plan.document.file, lab.store).metrics == core.load(trial.last.key, lab.store).metrics
