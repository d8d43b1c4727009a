"""What a training step reads of stored levels: its rows, once, as float32."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from core import Spec, TextFeatures, Tokens, VideoFeatures
from core.contract.features import gathered
from core.engine.steps import fit
from tests.engine import Lab, ToyVideos

COUNT, T, N, D = 20, 4, 3, 8
HALF = (torch.float16, torch.bfloat16)
ROWS = torch.tensor([7, 0, 19, 7, 3])


def stored(folder: Path, dtype: torch.dtype = torch.float32) -> VideoFeatures:
    """Frames and patches of 20 videos, mapped from a file, and one vector a video."""
    torch.manual_seed(3)
    made = {"frames": torch.randn(COUNT, T, D), "patches": torch.randn(COUNT, T, N, D), "video": torch.randn(COUNT, D)}
    mask = torch.rand(COUNT, T) > 0.3
    save_file({**{name: values.to(dtype) for name, values in made.items()}, "mask": mask}, folder / "levels")
    read = load_file(folder / "levels")
    more = {name: Tokens(read[name], None if name == "video" else read["mask"]) for name in made}
    return VideoFeatures(more=more, ids=[f"v{row}" for row in range(COUNT)])


class Sizes(TorchDispatchMode):
    """How many values in float32, and how many of any type, the largest new tensor of an operation has."""

    def __init__(self) -> None:
        super().__init__()
        self.float32, self.all = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        result = function(*given, **(named or {}))
        if isinstance(result, Tensor) and not function.is_view:
            self.all = max(self.all, result.numel())
            self.float32 = max(self.float32, result.numel() if result.dtype == torch.float32 else 0)
        return result


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_a_batch_has_the_stored_values_in_float32_with_mask_and_ids(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = stored(tmp_path, dtype)
    batch = whole.batch(ROWS)
    assert isinstance(batch, VideoFeatures)
    assert batch.ids == ("v7", "v0", "v19", "v7", "v3")
    for name in ("frames", "patches", "video"):
        found, kept = batch.structured(name), whole.structured(name)
        assert found.values.dtype == torch.float32
        for place, row in enumerate(ROWS.tolist()):
            assert torch.equal(found.values[place], kept.values[row].float())
            assert found.mask is None or torch.equal(found.mask[place], kept.mask[row])
    assert batch.structured("video").mask is None


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_no_more_than_the_batch_is_read_or_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = stored(tmp_path, dtype)
    most = len(ROWS) * T * N * D
    with Sizes() as sizes:
        whole.batch(ROWS)
    assert sizes.float32 == most
    assert sizes.all <= 4 * most + 64  # room for a batch, in bytes
    with Sizes() as sizes:
        whole.batch(ROWS, positions={"patches": torch.tensor([1])})
    assert sizes.float32 == max(most // T, len(ROWS) * T * D)


def test_only_the_wanted_positions_of_a_level_are_read(tmp_path: Path) -> None:
    whole, frames = stored(tmp_path), torch.tensor([3, 0])
    batch = whole.batch(ROWS, positions={"frames": frames, "patches": frames})
    for name in ("frames", "patches"):
        found, kept = batch.structured(name), whole.structured(name)
        assert found.mask is not None
        for place, row in enumerate(ROWS.tolist()):
            for position, frame in enumerate(frames.tolist()):
                assert torch.equal(found.values[place, position], kept.values[row, frame])
                assert found.mask[place, position] == kept.mask[row, frame]
    assert torch.equal(batch.structured("video").values, whole.structured("video").values[ROWS])


def test_a_batch_of_picked_rows_counts_among_them(tmp_path: Path) -> None:
    whole = stored(tmp_path)
    picked = whole.picked(torch.tensor([4, 9, 2]), ["e", "j", "c"])
    batch = picked.batch(torch.tensor([2, 0]), positions={"frames": torch.tensor([1])})
    assert batch.ids == ("c", "e")
    assert torch.equal(batch.structured("frames").values[:, 0], whole.structured("frames").values[[2, 4], 1])


def test_a_row_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        stored(tmp_path).batch(torch.tensor([COUNT]))


def test_a_batch_may_be_changed_and_leaves_the_stored_levels_as_they_are(tmp_path: Path) -> None:
    whole = stored(tmp_path)
    before = whole.structured("frames").values.clone()
    first, second = whole.batch(ROWS), whole.batch(ROWS)
    first.structured("frames").values.zero_()
    assert torch.equal(second.structured("frames").values, before[ROWS])
    assert torch.equal(whole.structured("frames").values, before)


def test_gathering_keeps_the_type_and_starts_where_vectors_of_any_width_may_start() -> None:
    for dtype in (torch.uint8, torch.bool, torch.float16, torch.int64):
        source = torch.arange(40).view(10, 4).to(dtype)
        found = gathered(source, torch.tensor([9, 1]), "cpu")
        assert (found.dtype, found.data_ptr() % 64) == (dtype, 0)
        assert torch.equal(found, source[[9, 1]])
    assert gathered(torch.ones(3, 2), torch.empty(0, dtype=torch.int64), "cpu").shape == (0, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_on_a_gpu_a_batch_is_that_of_the_processor(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = stored(tmp_path, dtype)
    for _ in range(3):
        found = whole.batch(ROWS, "cuda")
        for name in ("frames", "patches", "video"):
            assert torch.equal(found.structured(name).values.cpu(), whole.batch(ROWS).structured(name).values)


# ------------------------------------------------------- in the fit step


def test_the_frames_of_a_step_are_taken_from_levels_that_have_them(toys: None, tmp_path: Path) -> None:
    video = stored(tmp_path)
    tags = torch.randn(COUNT, T, D)  # texts of the data set: as many as there are frames, by chance
    video = video.with_level("tags", Tokens(tags))
    dataset = Spec("toy_videos", ToyVideos.Config(str(tmp_path), tags=True))
    source: Any = SimpleNamespace(experiment=SimpleNamespace(data=SimpleNamespace(dataset=dataset, num_frames=T)))
    text = TextFeatures(sentence=torch.randn(COUNT, D))
    batch = fit._from_features(text, video, source, torch.device("cpu"))
    frames = torch.tensor([0, 2])
    found_text, found = batch(ROWS + 0, ROWS, frames)
    assert torch.equal(found.structured("patches").values, video.structured("patches").values[ROWS][:, frames])
    assert torch.equal(found.structured("video").values, video.structured("video").values[ROWS])
    assert torch.equal(found.structured("tags").values, tags[ROWS])
    assert torch.equal(found_text.structured("sentence").values, text.structured("sentence").values[ROWS])
    assert torch.equal(batch(ROWS, ROWS, None)[1].structured("frames").values, video.structured("frames").values[ROWS])


@pytest.mark.parametrize("dtype", HALF)
def test_training_and_validating_on_half_precision_is_that_on_its_values_in_float32(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    read = fit.read_features
    changes = {"train.keep": "best", "train.num_frames": 2}

    def trained(change: Any) -> tuple[Mapping[str, Tensor], list[dict[str, float]]]:
        def changed(*given: Any) -> Any:
            return [features.to(dtype=dtype).to(dtype=change) for features in read(*given)]

        monkeypatch.setattr(fit, "read_features", changed)
        lab.run(changes)
        (entry,) = lab.entries("fit")
        state, curve = {name: t.clone() for name, t in entry.tensors().items()}, entry.json("history.json")
        shutil.rmtree(lab.store)
        return state, [{name: value for name, value in record.items() if name != "seconds"} for record in curve]

    (half, half_curve), (whole, whole_curve) = trained(dtype), trained(torch.float32)
    assert half_curve == whole_curve
    assert "validation" in half_curve[0]
    assert all(torch.equal(half[name], whole[name]) for name in whole)
    assert all(tensor.dtype == torch.float32 for tensor in half.values())
