"""Encoding: each item once, as the encoder made it; videos that cannot be read; data sets of odd names."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import DataError
from tests.engine import COUNTS, FRAMES, Lab, ToyEncoder, write_pictures

from .outputs import SKIP, break_video, colours_of, encoded, output


@pytest.mark.parametrize(
    ("split", "names", "told"),
    [
        ("test", {1: "v0"}, "texts 0 and 2 of `test` have the same id, `v0-0`"),
        ("train", {3: "v1"}, "texts 2 and 6 of `train` have the same id, `v1-0`"),
    ],
)
def test_a_data_set_that_names_two_texts_alike_is_refused_before_anything_is_computed(
    lab: Lab, split: str, names: dict[int, str], told: str
) -> None:
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    for row, name in names.items():
        splits[split][row][0] = name
    listed.write_text(json.dumps(splits))
    with pytest.raises(DataError, match=rf"data\.dataset: {told}"):
        lab.plan()


def test_a_data_set_that_names_two_videos_alike_is_refused(lab: Lab) -> None:
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    splits["val"].append(["v2", []])
    listed.write_text(json.dumps(splits))
    with pytest.raises(DataError, match=r"data\.dataset: videos 2 and 4 of `val` have the same id, `v2`"):
        lab.plan()


def test_each_item_is_encoded_once_and_each_level_stored_as_the_encoder_made_it(lab: Lab) -> None:
    plan = lab.run({"model.interactions.linear.level": "patches"})
    assert (COUNTS["videos"], COUNTS["texts"], COUNTS["load"]) == (11, 22, 1)
    frames = output(plan, "encode test videos", level="frames").tensors()
    wanted = torch.stack([encoded(colours_of(lab, "test", f"v{row}")) for row in range(5)])
    torch.testing.assert_close(frames["values"], wanted)
    assert frames["mask"].all()
    patches = output(plan, "encode test videos", level="patches").tensors()["values"]
    torch.testing.assert_close(patches, torch.stack([wanted, -wanted], dim=2))
    captions = json.loads((lab.videos / "captions.json").read_text())["test"]
    colours = np.array([[int(word) for word in text.split()] for _, said in captions for text in said])
    torch.testing.assert_close(output(plan, "encode test texts").tensors()["values"], encoded(colours))


@pytest.mark.parametrize("order", ["reversed", "shuffled"])
def test_frames_are_reordered_within_each_video(lab: Lab, order: str) -> None:
    plan = lab.run({"data.frame_order": order})
    values = output(plan, "encode test videos").tensors()["values"]
    straight = torch.stack([encoded(colours_of(lab, "test", f"v{row}")) for row in range(5)])
    if order == "reversed":
        torch.testing.assert_close(values, straight.flip(1))
    else:
        torch.testing.assert_close(values.sort(1).values, straight.sort(1).values)
        assert not torch.allclose(values, straight)


def test_a_short_video_is_refused_or_padded_behind_a_mask(lab: Lab) -> None:
    shutil.rmtree(lab.videos / "test" / "v0")
    write_pictures(lab.videos / "test" / "v0", np.array([[10, 20, 30], [40, 50, 60]]))
    with pytest.raises(DataError, match="v0"):
        lab.run()
    plan = lab.run({"data.short_videos": "pad", "data.frame_order": "reversed"})
    stored = output(plan, "encode test videos").tensors()
    assert stored["mask"].sum(1).tolist() == [2, 3, 3, 3, 3]
    torch.testing.assert_close(stored["values"][0, :2], encoded(np.array([[40, 50, 60], [10, 20, 30]])))


def test_a_data_set_that_grows_is_encoded_only_where_it_is_new(done: Lab) -> None:
    listed = json.loads((done.videos / "captions.json").read_text())
    listed["test"].insert(1, ["extra", ["1 2 3"]])
    (done.videos / "captions.json").write_text(json.dumps(listed))
    write_pictures(done.videos / "test" / "extra", np.array([[1, 2, 3]] * FRAMES))
    plan = done.run()
    assert (COUNTS["videos"], COUNTS["texts"]) == (1, 1)
    values = output(plan, "encode test videos").tensors()["values"]
    names = ["v0", "extra", "v1", "v2", "v3", "v4"]
    torch.testing.assert_close(values, torch.stack([encoded(colours_of(done, "test", name)) for name in names]))


def test_fewer_items_need_no_encoder_at_all(done: Lab) -> None:
    listed = json.loads((done.videos / "captions.json").read_text())
    del listed["test"][1]
    (done.videos / "captions.json").write_text(json.dumps(listed))
    done.run({"retrieve.rerank": None})
    assert (COUNTS["videos"], COUNTS["texts"], COUNTS["load"]) == (0, 0, 0)


def test_damaged_rows_are_not_taken_over_by_another_entry(done: Lab) -> None:
    for entry in done.entries("encode"):
        file = entry.folder / "tensors.safetensors"
        file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    listed = json.loads((done.videos / "captions.json").read_text())
    del listed["test"][1]
    (done.videos / "captions.json").write_text(json.dumps(listed))
    plan = done.run({"retrieve.rerank": None})
    assert (COUNTS["videos"], COUNTS["texts"]) == (4, 8)
    assert output(plan, "encode test videos").tensors()["mask"].all()


def test_every_unreadable_video_is_listed_and_the_good_ones_are_kept(lab: Lab) -> None:
    first, second = break_video(lab, "test", "v1"), break_video(lab, "test", "v3")
    with pytest.raises(DataError) as fault:
        lab.run({"retrieve.rerank": None})
    assert all(text in str(fault.value) for text in (first, second, "2 videos", "on_unreadable: skip"))
    for number, folder in enumerate((first, second)):
        shutil.rmtree(folder)
        write_pictures(Path(folder), np.array([[number, 2, 3]] * FRAMES))
    lab.run({"retrieve.rerank": None})
    assert COUNTS["videos"] == 2


def test_a_missing_video_is_an_unreadable_one(lab: Lab) -> None:
    shutil.rmtree(lab.videos / "test" / "v1")
    with pytest.raises(DataError, match="v1"):
        lab.run()


def test_skipped_videos_leave_gallery_texts_and_training_and_are_listed(lab: Lab) -> None:
    broken = break_video(lab, "test", "v1")
    break_video(lab, "train", "v0")
    result = lab.result(SKIP)
    assert [path.rpartition("/")[0] for path in result.skipped] == [broken]
    items = result.rows[0].results[0].items
    assert items["videos"] == ["v0", "v2", "v3", "v4"]
    assert items["texts"] == [f"v{row}-{number}" for row in (0, 2, 3, 4) for number in (0, 1)]
    assert result.size == "4 videos, 8 texts"
    (fit,) = lab.entries("fit")
    assert fit.info["pairs"] == 10
    assert {tuple(e.tensors()["scores"].shape) for e in lab.entries("score")} == {(8, 4)}


def test_what_reads_only_attached_texts_leaves_out_the_same_videos(lab: Lab) -> None:
    break_video(lab, "test", "v1")
    tags = {"data.dataset.tags": True, "model.interactions.tag": {"name": "toy_dot", "level": "tags"}}
    mixed = lab.run(SKIP | tags | {"retrieve.first_stage": ["tag", "dot"]})
    assert output(mixed, "score tag").tensors()["scores"].shape == (8, 4)
    plan = lab.run(SKIP | tags | {"retrieve.rerank": {"name": "score_fusion", "weights": {"tag": 1.0}, "top_k": 4}})
    chosen = output(plan, "score dot").tensors()["scores"].argsort(dim=1, descending=True, stable=True)
    new = output(plan, "re-score tag t2v").tensors()["scores"]
    whole = output(mixed, "score tag").tensors()["scores"]
    torch.testing.assert_close(new, whole.gather(1, chosen))


def test_a_mended_video_is_all_that_is_encoded_again(lab: Lab) -> None:
    break_video(lab, "test", "v1")
    lab.run(SKIP)
    shutil.rmtree(lab.videos / "test" / "v1")
    write_pictures(lab.videos / "test" / "v1", np.array([[1, 2, 3]] * FRAMES))
    result = lab.result(SKIP)
    assert COUNTS["videos"] == 1
    assert result.skipped == {}


def test_one_file_in_two_splits_is_encoded_once(lab: Lab) -> None:
    shutil.rmtree(lab.videos / "test" / "v1")
    shutil.copytree(lab.videos / "train" / "v0", lab.videos / "test" / "v1")
    lab.run()
    assert COUNTS["videos"] == 10


def test_what_was_skipped_is_refused_by_an_experiment_that_wants_all(lab: Lab) -> None:
    broken = break_video(lab, "test", "v1")
    lab.run(SKIP)
    with pytest.raises(DataError, match=broken):
        lab.run()
    assert COUNTS["videos"] == 0


def test_skipping_every_video_is_refused(lab: Lab) -> None:
    for row in range(5):
        break_video(lab, "test", f"v{row}")
    with pytest.raises(DataError, match="5 videos"):
        lab.run(SKIP)


def test_encoding_that_was_killed_goes_on_where_it_stopped(tmp_path: Any, toys: None) -> None:
    lab = Lab(tmp_path, {"train": 2, "test": 70})
    changes = {"retrieve.rerank": None}
    ToyEncoder.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        lab.run(changes)
    assert lab.new(changes) > {"encode test videos"}
    ToyEncoder.fail_after = None
    plan = lab.run(changes)
    assert COUNTS["videos"] == 70 - 64
    values = output(plan, "encode test videos").tensors()["values"]
    torch.testing.assert_close(values[69], encoded(colours_of(lab, "test", "v69")))


def test_texts_attached_to_videos_are_a_level_of_the_video_side(lab: Lab) -> None:
    plan = lab.run({"data.dataset.tags": True, "model.interactions.dot.level": "tags"})
    stored = output(plan, "encode test tags").tensors()
    captions = json.loads((lab.videos / "captions.json").read_text())["test"]
    first = np.array([[int(word) for word in said[0].split()] for _, said in captions])
    torch.testing.assert_close(stored["values"], encoded(first)[:, None])
    scores = output(plan, "score dot").tensors()["scores"]
    torch.testing.assert_close(scores[::2].diagonal(), torch.ones(5))


def test_a_second_encoder_writes_levels_under_its_name(lab: Lab) -> None:
    plan = lab.run(
        {
            "encoder": {"main": {"name": "toy_encoder"}, "big": {"name": "toy_encoder", "gain": 3.0}},
            "model.interactions.dot.level": "big.frames",
        }
    )
    found = [e for e in lab.entries("encode") if e.meta["fields"]["settings"]["gain"] == 3.0]
    assert len(found) == 1
    assert output(plan, "score dot").tensors()["scores"].shape == (10, 5)


def test_random_encoders_are_loaded_with_the_seed_of_the_trial(lab: Lab) -> None:
    lab.run({"retrieve.rerank": None, "encoder.init": "random", "seeds": [3, 4]})
    stored = [e.tensors()["values"] for e in lab.entries("encode") if "sampling" not in e.meta["fields"]]
    captions = json.loads((lab.videos / "captions.json").read_text())["test"]
    colours = np.array([[int(word) for word in text.split()] for _, said in captions for text in said])
    for seed in (3, 4):
        encoder = ToyEncoder(ToyEncoder.Config(init="random"))
        encoder.load(seed)
        wanted = encoder.layer((torch.tensor(colours, dtype=torch.float32) - 128) / 64).detach()
        assert sum(torch.allclose(values, wanted) for values in stored) == 1
