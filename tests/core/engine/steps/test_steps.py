import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import ScoreTransform, Split, Text, hookimpl
from core.contract.components import Video
from core.contract.store import Entry, Store
from core.engine.plan import Plan
from core.engine.scoring import score_blocks
from core.engine.scoring.candidates import _Block
from core.engine.steps import rank, retrieval, score
from core.engine.steps.fit import choose_frames
from core.engine.steps.score import ScoreSource
from core.engine.steps.weights import loaded_encoder
from core.errors import ConfigError, DataError, RunError
from core.evidence.trials import trial_of
from core.measure.metrics import TIES, Relevance, evaluate, rank_counts
from core.plugins import registry
from tests.core.engine.test_reranking import RERANK
from tests.engine import COUNTS, FRAMES, Lab, ToyEncoder, ToyLinear, ToyVideos, named, write_pictures

SKIP = {"data.on_unreadable": "skip"}


def output(plan: Plan, label: str, **fields: Any) -> Entry:
    """The output of the one step with this label (without the trial's name) and these fields."""
    found = [
        step
        for step in plan.steps.values()
        if step.label.split(" [")[0] == label and fields.items() <= step.fields.items()
    ]
    assert len(found) == 1, [step.label for step in plan.steps.values()]
    return plan.workspace.read(found[0])


def break_video(lab: Lab, split: str, name: str) -> str:
    folder = lab.videos / split / name
    for picture in folder.iterdir():
        picture.write_bytes(b"no picture")
    return str(folder)


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


def encoded(colours: np.ndarray, seed: int = 0) -> torch.Tensor:
    """What ToyEncoder makes of colours [..., 3]."""
    encoder = ToyEncoder(ToyEncoder.Config())
    encoder.load(seed)
    return encoder.layer((torch.as_tensor(colours, dtype=torch.float32) - 128) / 64).detach()


def colours_of(lab: Lab, split: str, name: str) -> np.ndarray:
    from PIL import Image

    files = sorted((lab.videos / split / name).iterdir())
    return np.stack([np.asarray(Image.open(file))[0, 0] for file in files])


# ------------------------------------------------------------------------------------------------------ encoding


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


# ------------------------------------------------------------------------------------- scores, ranks, evaluation


def brute_force(scores: np.ndarray, relevant: np.ndarray, top_k: int, new: np.ndarray | None) -> np.ndarray:
    """Rank of each query's best relevant item [Q], after re-ranking the best `top_k` by `new`; no ties."""
    ranks = []
    for query, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda item: -row[item])
        if new is not None:
            head = sorted(order[:top_k], key=lambda item: -new[query, item])
            order = head + order[top_k:]
        ranks.append(min(order.index(item) for item in np.flatnonzero(relevant[query])) + 1)
    return np.array(ranks)


@pytest.mark.parametrize("top_k", [1, 2, 3, 100])
def test_metrics_of_both_directions_are_those_of_brute_force(lab: Lab, top_k: int) -> None:
    plan = lab.run({"retrieve.rerank.top_k": top_k, "retrieve.first_stage": {"dot": 0.5, "linear": -0.25}})
    dot, linear = (output(plan, f"score {name}").tensors()["scores"].numpy() for name in ("dot", "linear"))
    first = np.float32(0.5) * dot - np.float32(0.25) * linear
    relevant = np.repeat(np.eye(5, dtype=bool), 2, axis=0)
    found = trial_of(plan, plan.trials[0])
    for direction, scores, new, truth in (("t2v", first, linear, relevant), ("v2t", first.T, linear.T, relevant.T)):
        ranks = brute_force(scores, truth, top_k, new)
        assert found.metrics[f"{direction}/R1"] == pytest.approx(100 * (ranks <= 1).mean())
        assert found.metrics[f"{direction}/MnR"] == pytest.approx(ranks.mean())
        assert found.tensors[f"{direction}/R5"].tolist() == pytest.approx((100.0 * (ranks <= 5)).tolist())
        ceiling = brute_force(scores, truth, top_k, None) <= top_k
        assert ((ranks <= 1) <= ceiling).all()


def test_clusters_are_the_videos_for_texts_and_single_for_videos(lab: Lab) -> None:
    plan = lab.run({"retrieve.rerank": None})
    found = trial_of(plan, plan.trials[0])
    assert found.tensors["t2v/clusters"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found.tensors["v2t/clusters"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_left_beside_a_skipped_video_keeps_its_own_features_and_answers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos 1 and 3 also answer the first text; video 1 is the one that cannot be read."""
    split_of = ToyVideos._split

    def related(self: ToyVideos, folder: Path, items: list[Any]) -> Split:
        return replace(split_of(self, folder, items), also_relevant=((0, 1), (0, 3)))

    monkeypatch.setattr(ToyVideos, "_split", related)
    whole = output(lab.run({"retrieve.rerank": None}), "score dot").tensors()["scores"]
    for picture in (lab.videos / "test" / "v1").iterdir():
        picture.write_bytes(b"")
    plan = lab.run({"retrieve.rerank": None, "data.on_unreadable": "skip"})
    texts, videos = [0, 1, 4, 5, 6, 7, 8, 9], [0, 2, 3, 4]
    scores = output(plan, "score dot").tensors()["scores"]
    torch.testing.assert_close(scores, whole[texts][:, videos])
    answers = np.array([0, 0, 1, 1, 2, 2, 3, 3])[:, None] == np.arange(4)
    answers[0, 2] = True
    wanted = evaluate(scores.numpy(), Relevance.from_dense(answers), ["R1", "R5", "MnR"]).metrics
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted)


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


class Centred(ScoreTransform):
    """Without the mean over the queries: each score depends on the whole matrix."""

    name = "toy_centred"

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        return scores - scores.mean(0, keepdim=True)


class CentredPlugin:
    @hookimpl
    def register_score_transforms(self, register: Any) -> None:
        register(Centred)


@pytest.fixture
def centred() -> Iterator[None]:
    plugin = CentredPlugin()
    registry().add_plugin(plugin, "centred", "1")
    yield
    registry().remove_plugin(plugin, "centred")


@pytest.mark.parametrize("transform", [False, True])
def test_a_first_stage_is_mixed_transformed_and_ranked_in_blocks(
    lab: Lab, centred: None, transform: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"retrieve.first_stage": {"dot": 0.5, "linear": 2.0}, "retrieve.rerank": None}
    changes |= {"retrieve.transforms": {"own": {"name": "toy_centred"}}} if transform else {}
    monkeypatch.setattr(retrieval, "block_floats", lambda: 1)
    sizes = []
    monkeypatch.setattr(rank, "rank_counts", lambda *given: sizes.append(len(given[0])) or rank_counts(*given))
    plan = lab.run(changes)
    assert sizes == [1] * (10 + 5)
    dot, linear = (output(plan, f"score {name}").tensors()["scores"] for name in ("dot", "linear"))
    scores = 0.5 * dot + 2 * linear
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    wanted = {}
    for direction, over in (("t2v", 0), ("v2t", 1)):  # the queries are the rows of the transform
        asked = scores - scores.mean(over, keepdim=True) if transform else scores
        wanted |= evaluate(asked.numpy(), relevance, ["R1", "R5", "MnR"], [direction]).metrics
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted)


@pytest.mark.parametrize("at_once", [True, False])
def test_fewer_candidates_than_are_stored_are_ranked_by_the_scores_of_the_first_ones(lab: Lab, at_once: bool) -> None:
    """All numbers of candidates in one run, or one after the other from what the largest has stored."""
    metrics = {"evaluate.metrics": ["R1", "R5", "MnR", "MRR"]}
    sweep = {"ablate": {"retrieve.rerank.top_k": [4, 1, 2]}, "baseline": "top_k=4"}
    weights = {"retrieve.rerank.weights": {"linear": 1.0, "first_stage": 0.5}}
    changes = [sweep] if at_once else [{"retrieve.rerank.top_k": k} for k in (4, 1, 2)]
    plans = [lab.run(change | metrics | weights) for change in changes]
    results = [plan.workspace.read(trial.last).json() for plan in plans for trial in plan.trials]
    first = output(plans[0], "score dot").tensors()["scores"].numpy()
    every = lab.run({"retrieve.first_stage": "linear", "retrieve.rerank": None})
    new = output(every, "score linear").tensors()["scores"].numpy() + 0.5 * first
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    for k, found in zip((4, 1, 2), results, strict=True):
        wanted = evaluate(lifted(first, new, k), relevance, metrics["evaluate.metrics"], ["t2v"]).metrics
        wanted |= evaluate(lifted(first.T, new.T, k).T, relevance, metrics["evaluate.metrics"], ["v2t"]).metrics
        assert found["metrics"] == pytest.approx(wanted), k
        best = np.argsort(-first, axis=1)[:, :k]
        there = (best == np.arange(10)[:, None] // 2).any(1)
        asked = (np.argsort(-first.T, axis=1)[:, :k] // 2 == np.arange(5)[:, None]).any(1)
        assert found["ceilings"] == pytest.approx({"t2v": 100 * there.mean(), "v2t": 100 * asked.mean()}), k


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_tied_scores_are_ranked_as_the_file_says(lab: Lab, ties: Any) -> None:
    """Of the power 0 only the sign of a score is left, so that most tie."""
    interactions = {"dot": {"name": "toy_dot", "power": 0.0}}
    changes: dict[str, Any] = {"model.interactions": interactions, "model.losses": {}, "retrieve.rerank": None}
    plan = lab.run(changes | {"evaluate.ties": ties})
    scores = output(plan, "score dot").tensors()["scores"].numpy()
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    found = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    by_rule = {rule: evaluate(scores, relevance, ["R1", "R5", "MnR"], ties=rule).metrics for rule in TIES}
    assert found == pytest.approx(by_rule[ties])
    assert [rule for rule, metrics in by_rule.items() if found == pytest.approx(metrics)] == [ties]


@pytest.mark.parametrize("asked", ["each_side", "text_side"])
def test_re_ranking_is_the_same_in_blocks(lab: Lab, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"retrieve.candidates_from": asked, "retrieve.rerank.top_k": 3}
    before = [entry.json() for entry in evaluated(lab.run(changes))]
    for name in ("rank", "evaluate"):
        shutil.rmtree(lab.store / name)
    monkeypatch.setattr(retrieval, "block_floats", lambda: 1)
    assert [entry.json() for entry in evaluated(lab.run(changes))] == before


def evaluated(plan: Plan) -> list[Entry]:
    return [plan.workspace.read(trial.last) for trial in plan.trials]


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


def test_a_listwise_reranker_reranks_each_query(lab: Lab) -> None:
    plain = lab.result({"retrieve.rerank": None}).rows[0]
    listwise = lab.result({"retrieve.rerank": {"name": "toy_listwise", "top_k": 3}}).rows[0]
    assert listwise.results[0].metrics == plain.results[0].metrics


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


def lifted(first: np.ndarray, new: np.ndarray, top_k: int) -> np.ndarray:
    """The released program's matrix: 100 more for each text's candidates."""
    final = first.copy()
    for row in range(len(first)):
        best = np.argsort(-first[row], kind="stable")[:top_k]
        final[row, best] = 100 + new[row, best]
    return final


@pytest.mark.parametrize("rerank", [True, False])
def test_candidates_from_the_text_side_rank_both_directions_by_one_matrix(lab: Lab, rerank: bool) -> None:
    changes: dict[str, Any] = {"retrieve.candidates_from": "text_side", "evaluate.metrics": ["R1", "R5", "MnR", "MRR"]}
    plan = lab.run(changes if rerank else changes | {"retrieve.rerank": None})
    first = output(plan, "score dot").tensors()["scores"].numpy()
    every = lab.run({"retrieve.first_stage": "linear", "retrieve.rerank": None})
    new = output(every, "score linear").tensors()["scores"].numpy()
    final = lifted(first, new, 2) if rerank else first
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    wanted = evaluate(final, relevance, ["R1", "R5", "MnR", "MRR"], ["t2v", "v2t"]).metrics
    made = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    assert made == pytest.approx(wanted)


# ------------------------------------------------------------------------------------------------ diagnostics


def test_a_diagnostic_is_measured_on_each_text_with_its_own_video(lab: Lab) -> None:
    plan = lab.run({"evaluate.diagnostics": ["dot.spread"], "retrieve.rerank": None})
    entry = plan.workspace.read(plan.trials[0].last)
    values = entry.tensors()["t2v/dot.spread"]
    texts = output(plan, "encode test texts").tensors()["values"]
    videos = output(plan, "encode test videos").tensors()["values"]
    wanted = [100 * torch.sigmoid(texts[row] @ videos[row // 2].mean(0)) for row in range(10)]
    torch.testing.assert_close(values.float(), torch.stack(wanted))
    assert entry.json()["metrics"]["t2v/dot.spread"] == pytest.approx(values.mean().item())


def test_a_diagnostic_decides_a_hypothesis_of_lower_or_higher(lab: Lab) -> None:
    changes = {
        "evaluate.diagnostics": ["dot.spread"],
        "evaluate.directions": ["t2v"],
        "variants": {"one": {}, "other": {"encoder.gain": 3.0}},
        "baseline": "one",
        "hypotheses": {"grows": {"higher": "other", "than": "one", "metric": "t2v/dot.spread"}},
    }
    result = lab.result(changes)
    (claim,) = result.decisions
    rows = {row.name: row for row in result.rows}
    gained = rows["other"].mean("t2v/dot.spread") - rows["one"].mean("t2v/dot.spread")
    assert claim.verdict.evidence.observed == pytest.approx(gained)
    assert "higher than one on t2v/dot.spread" in str(claim.hypothesis)
    fall = {"falls": {"lower": "other", "than": "one", "metric": "t2v/dot.spread"}}
    (claim,) = lab.result({**changes, "hypotheses": fall}).decisions
    assert claim.verdict.evidence.observed == pytest.approx(-gained)
    with pytest.raises(ConfigError, match=r"`better` does not suit `t2v/dot.spread`; say higher or lower"):
        lab.plan({**changes, "hypotheses": {"grows": {"better": "other", "than": "one", "metric": "t2v/dot.spread"}}})
    with pytest.raises(ConfigError, match="`lower` does not suit `t2v/R1`"):
        lab.plan({**changes, "hypotheses": {"grows": {"lower": "other", "than": "one"}}})


def test_a_diagnostic_that_nothing_measures_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="`toy_dot` measures spread, not `entropy`"):
        lab.plan({"evaluate.diagnostics": ["dot.entropy"]})
    with pytest.raises(ConfigError, match=r"evaluate.diagnostics: no interaction named `dott`.*dot"):
        lab.plan({"evaluate.diagnostics": ["dott.spread"]})


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("rerank", ["score_fusion", "toy_matcher"])
def test_r1_after_re_ranking_is_at_most_the_first_stages_recall_at_k_which_is_stored(
    lab: Lab, top_k: int, rerank: str
) -> None:
    metrics = {"evaluate.metrics": ["R1", "R2", "R4"]}
    spec = {"name": "score_fusion", "weights": {"linear": 1.0}} if rerank == "score_fusion" else dict(RERANK)
    plan = lab.run({**metrics, "retrieve.rerank": {**spec, "top_k": top_k}})
    found = plan.workspace.read(plan.trials[0].last).json()
    alone = lab.run({**metrics, "retrieve.rerank": None})
    first = alone.workspace.read(alone.trials[0].last).json()
    assert first["ceilings"] == {}
    for direction in ("t2v", "v2t"):
        assert found["metrics"][f"{direction}/R1"] <= found["ceilings"][direction]
        assert found["ceilings"][direction] == pytest.approx(first["metrics"][f"{direction}/R{top_k}"])
