"""Levels in half precision on disk: the float32 ones, rounded; all that is computed stays as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from core.contract.store import Entry
from core.engine.steps.decode import VideoSource, batch_size
from core.engine.video import Sampling
from core.errors import ConfigError, DataError
from tests.engine import COUNTS, FRAMES, Lab, ToyEncoder, write_pictures

HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
LEVELS = {
    "model.interactions.linear.level": "patches",
    "data.dataset.tags": True,
    "model.interactions.dot.level": "tags",
}


def levels(lab: Lab, stored: str, **changes: object) -> dict[str, Entry]:
    """Every encoded entry of a run by its label and level."""
    plan = lab.run({"encoder.stored": stored} | changes)
    steps = [step for step in plan.steps.values() if step.name == "encode"]
    return {f"{step.label} {step.fields.get('level')}": plan.workspace.read(step) for step in steps}


def bits_kept(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """float32 rounded to the nearest number of 11 or 8 significant bits, ties to even; all of a normal size."""
    digits = {torch.float16: 11, torch.bfloat16: 8}[dtype]
    mantissa, exponent = np.frexp(values.numpy().astype(np.float64))
    return torch.from_numpy(np.ldexp(np.rint(mantissa * 2.0**digits), exponent - digits)).float()


@pytest.mark.parametrize("stored", HALF)
def test_stored_values_are_the_float32_ones_rounded_in_half_the_bytes(lab: Lab, stored: str) -> None:
    exact, kept = levels(lab, "float32", **LEVELS), levels(lab, stored, **LEVELS)
    assert exact.keys() == kept.keys()
    assert {"encode test texts sentence", "encode test videos patches", "encode test tags None"} <= exact.keys()
    for name, entry in exact.items():
        whole, half = entry.tensors(), kept[name].tensors()
        assert (whole["values"].dtype, half["values"].dtype) == (torch.float32, HALF[stored])
        assert half["values"].nbytes * 2 == whole["values"].nbytes
        torch.testing.assert_close(half["values"].float(), bits_kept(whole["values"], HALF[stored]), rtol=0, atol=0)
        assert half.keys() == whole.keys()
        assert "mask" not in whole or torch.equal(half["mask"], whole["mask"])


def test_each_type_is_encoded_for_itself(lab: Lab) -> None:
    levels(lab, "float16")
    levels(lab, "bfloat16")
    assert COUNTS["videos"] > 0
    levels(lab, "float16")
    assert COUNTS["videos"] == 0


def test_a_data_set_that_grows_keeps_its_rounded_rows(lab: Lab) -> None:
    before = levels(lab, "float16")["encode test videos frames"].tensors()["values"].clone()
    captions = lab.videos / "captions.json"
    listed = json.loads(captions.read_text())
    listed["test"].append(["extra", ["1 2 3"]])
    captions.write_text(json.dumps(listed))
    write_pictures(lab.videos / "test" / "extra", np.array([[1, 2, 3]] * FRAMES))
    after = levels(lab, "float16")["encode test videos frames"].tensors()["values"]
    assert COUNTS["videos"] == 1
    assert torch.equal(after[: len(before)], before)
    assert after[-1].abs().sum() > 0


def test_training_an_encoder_does_not_depend_on_how_its_levels_are_stored(lab: Lab) -> None:
    states = []
    for stored in ("float32", "bfloat16"):
        plan = lab.run({"encoder.stored": stored, "encoder.trainable": True})
        (fit,) = [step for step in plan.steps.values() if step.name == "fit"]
        states.append(plan.workspace.read(fit).tensors())
    assert any(name.startswith("encoder.") for name in states[0])
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_trained_encoder_is_not_trained_again_for_levels_of_another_type(lab: Lab) -> None:
    lab.run({"encoder.trainable": True})
    new = lab.new({"encoder.trainable": True, "encoder.stored": "float16"})
    assert new >= {"score", "rank", "evaluate"}
    assert not {step for step in new if step.startswith(("fit", "decode"))}


def test_values_that_float16_cannot_hold_are_refused_with_what_can(lab: Lab) -> None:
    with pytest.raises(DataError, match=r"encoder\.stored: .* beyond 65,504.*bfloat16"):
        levels(lab, "float16", **{"encoder.gain": 1e6})
    levels(lab, "bfloat16", **{"encoder.gain": 1e6})


def test_an_unknown_type_is_refused_with_its_key(lab: Lab) -> None:
    with pytest.raises(ConfigError) as caught:
        lab.plan({"encoder.stored": "flot16"})
    assert [problem.key for problem in caught.value.problems] == ["encoder.stored"]
    assert "float16" in str(caught.value)


@pytest.mark.parametrize(("num_frames", "videos"), [(1, 32), (12, 32), (13, 29), (64, 6), (384, 1), (1000, 1)])
def test_an_encoder_is_given_no_more_than_384_frames_at_once_unless_one_video_has_them(
    num_frames: int, videos: int
) -> None:
    encoder = ToyEncoder(ToyEncoder.Config())
    source = VideoSource((), (), Sampling(num_frames), "normal", encoder, 0, "fail")
    assert batch_size(source) == videos
