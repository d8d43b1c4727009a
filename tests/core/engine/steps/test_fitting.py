"""Fitting: seeds, validation, frames, trained encoders and transforms."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from core.contract.store import Store
from core.engine.steps.fit import choose_frames
from core.engine.steps.weights import loaded_encoder
from core.errors import ConfigError
from tests.engine import Lab, ToyEncoder, ToyLinear, named

from .outputs import colours_of, encoded, output

# ------------------------------------------------------------------------------------------------------- fitting


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(lab: Lab) -> None:
    lab.run({"seeds": [0, 1]})
    first = {e.meta["fields"]["seed"]: e.tensors() for e in lab.entries("fit")}
    shutil.rmtree(lab.store)
    torch.manual_seed(123)
    lab.run({"seeds": [0, 1]})
    again = {e.meta["fields"]["seed"]: e.tensors() for e in lab.entries("fit")}
    for seed in (0, 1):
        assert all(torch.equal(first[seed][name], again[seed][name]) for name in first[seed])
    name = "model.interactions.linear.matrix.weight"
    assert not torch.equal(first[0][name], first[1][name])


def test_validation_reads_the_val_split_and_never_the_test_split(lab: Lab) -> None:
    plan = lab.plan({"train.keep": "best"})
    (fit,) = [step for step in plan.steps.values() if step.name == "fit"]
    assert {named(step) for step in fit.walk() if step is not fit} == {
        "encode train texts", "encode train videos", "encode val texts", "encode val videos"
    }  # fmt: skip
    lab.run({"train.keep": "best", "train.epochs": 3})
    (entry,) = lab.entries("fit")
    history = entry.json("history.json")
    assert [record["epoch"] for record in history] == [1, 2, 3]
    best = max(record["validation"] for record in history)
    assert history[entry.info["best_epoch"] - 1]["validation"] == best


def test_training_on_fewer_frames_uses_a_part_of_the_decoded_ones(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    original = ToyLinear.video_side

    def video_side(self: Any, video: Any) -> Any:
        if self.training:
            seen.add(video.structured("frames").values.shape[1])
        return original(self, video)

    monkeypatch.setattr(ToyLinear, "video_side", video_side)
    lab.run({"train.num_frames": 2, "train.sampler": "random"})
    assert seen == {2}


def test_chosen_frames_are_middles_of_equal_parts_or_drawn_without_repetition() -> None:
    generator = torch.Generator().manual_seed(0)
    assert choose_frames(12, 3, "uniform", generator).tolist() == [2, 6, 10]
    assert choose_frames(4, 4, "uniform", generator).tolist() == [0, 1, 2, 3]
    for _ in range(20):
        drawn = choose_frames(6, 3, "random", generator).tolist()
        assert drawn == sorted(set(drawn))
        assert set(drawn) <= set(range(6))


def test_a_trained_encoder_is_fitted_on_pixels_and_encodes_with_its_new_weights(lab: Lab) -> None:
    changes = {"encoder.trainable": True, "train.keep": "best", "retrieve.first_stage": "linear"}
    plan = lab.run(changes)
    assert {step.name for step in plan.steps.values()} >= {"decode", "fit", "encode", "score"}
    (fit,) = lab.entries("fit")
    start = ToyEncoder(ToyEncoder.Config())
    start.load(0)
    weight = fit.tensors()["encoder.layer.weight"]
    assert not torch.equal(weight, start.layer.weight)
    test = torch.tensor(np.stack([colours_of(lab, "test", f"v{row}") for row in range(5)]), dtype=torch.float32)
    wanted = (test - 128) / 64 @ weight.T + fit.tensors()["encoder.layer.bias"]
    torch.testing.assert_close(output(plan, "encode test videos").tensors()["values"], wanted)
    assert lab.new(changes) == set()


def test_a_trained_encoder_works_beside_a_frozen_one(lab: Lab) -> None:
    plan = lab.run(
        {
            "encoder": {
                "main": {"name": "toy_encoder", "trainable": True},
                "big": {"name": "toy_encoder", "gain": 3.0},
            },
            "model.interactions.linear.level": "big.frames",
            "model.losses.contrast.of": ["linear", "dot"],
            "train.keep": "best",
        }
    )
    frozen = [e for e in lab.entries("encode") if e.meta["fields"]["settings"]["gain"] == 3.0]
    assert len(frozen) == 3
    test = torch.stack([encoded((colours_of(lab, "test", f"v{row}") - 128.0) * 3 + 128) for row in range(5)])
    assert any(
        e.tensors()["values"].shape == test.shape and torch.allclose(e.tensors()["values"], test) for e in frozen
    )
    assert plan.trials[0].seed == 0


def test_an_encoder_that_was_trained_is_read_again_before_it_encodes_frozen(lab: Lab) -> None:
    plan = lab.run({"encoder.trainable": True, "train.keep": "last"})
    workspace = plan.workspace
    encoder = workspace.encoder(next(iter(plan.experiment.encoder.values())))
    fit = next(step for step in plan.steps.values() if step.name == "fit")
    trained = loaded_encoder(workspace, encoder, 0, fit).state_dict()["layer.weight"].clone()
    start = loaded_encoder(workspace, encoder, 0, None).state_dict()["layer.weight"].clone()
    again = loaded_encoder(workspace, encoder, 0, fit).state_dict()["layer.weight"]
    assert torch.equal(trained, again)
    assert not torch.equal(trained, start)


def test_transforms_are_fitted_once_and_used_with_their_weights(lab: Lab) -> None:
    plan = lab.run(
        {
            "model.transforms.twice": {"name": "toy_doubled"},
            "model.interactions.dot.level": "doubled",
            "model.losses.contrast.of": "dot",
            "retrieve.rerank": None,
        }
    )
    (fit,) = lab.entries("fit")
    factor = fit.tensors()["model.transforms.twice.factor"]
    frames = output(plan, "encode test videos").tensors()["values"]
    texts = output(plan, "encode test texts").tensors()["values"]
    wanted = torch.cosine_similarity(texts[:, None], (frames * factor).mean(1)[None], dim=-1)
    torch.testing.assert_close(output(plan, "score dot").tensors()["scores"], wanted)


def test_parameters_that_no_loss_reaches_are_refused_before_anything_runs(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="no loss trains it"):
        lab.plan({"model.interactions.free": {"name": "toy_linear"}, "retrieve.first_stage": "free"})
    assert Store(lab.store).entries() == []


# ------------------------------------------------------------------------------- what released programs do


def test_selection_on_the_test_split_validates_there(lab: Lab) -> None:
    best = {"train.keep": "best", "retrieve.first_stage": "linear", "retrieve.rerank": None}
    plan = lab.run({**best, "train.select_on": "test"})
    (fit,) = [step for step in plan.steps.values() if step.name == "fit"]
    assert set(fit.inputs.splits) == {"train", "test"}
    curve = plan.workspace.read(fit).json("history.json")
    metrics = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    assert max(record["validation"] for record in curve) == pytest.approx(metrics["t2v/R1"])
    assert lab.new({**best, "train.select_on": "val"}) >= {"fit", "score", "rank", "evaluate"}
