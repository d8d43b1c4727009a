import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.contract.settings import Spec
from core.contract.store import Store
from core.engine.steps import seeded
from core.engine.steps.step import arithmetic, source_of
from core.errors import ConfigError, DataError
from tests.engine import COUNTS, Lab, keys, named

TEXTS, VIDEOS = {"encode train texts", "encode test texts"}, {"encode train videos", "encode test videos"}
END = {"rank", "evaluate"}
RESCORED = {"candidates", *END}
SCORED = {"score", *RESCORED}
TRAINED = {"fit", *RESCORED}
ALL = TEXTS | VIDEOS | TRAINED | SCORED


def test_a_plan_lists_each_step_once_and_inputs_first(lab: Lab) -> None:
    plan = lab.plan()
    assert {named(step) for step in plan.steps.values()} == ALL
    order = list(plan.steps)
    for place, step in enumerate(plan.steps.values()):
        assert all(order.index((needed.name, needed.key)) < place for needed in step.inputs.values())


def test_what_was_run_is_not_computed_again(done: Lab) -> None:
    assert done.new() == set()
    done.run()
    assert not COUNTS


def test_a_folder_that_moved_changes_nothing(done: Lab) -> None:
    moved = shutil.copytree(done.videos, done.folder / "elsewhere" / "videos")
    assert done.new({"data.dataset.root": str(moved)}) == set()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another"},
        {"encoder.model": "elsewhere"},
        {"outputs": {"mlflow": None}},
        {"outputs.export": {"folder": "somewhere"}},
        {"variants": {"named so": {}}},
        {"train.sampler": "random"},
        {"train.encoder_learning_rate": 0.5},
        {"evaluate.primary": "v2t/R1"},
        {"evaluate.primary": "t2v/MnR"},
        {"data.on_unreadable": "fail"},
        {"model.interactions.unused": {"name": "toy_linear", "temperature": 0.3}},
        {"model.transforms.unused": {"name": "toy_doubled"}},
        {"encoder": {"main": {"name": "toy_encoder"}}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_no_step_reads_recomputes_nothing(done: Lab, changes: dict[str, Any]) -> None:
    assert done.new(changes) == set()


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"retrieve.rerank.top_k": 1}, END),
        ({"retrieve.rerank.top_k": 3}, RESCORED),
        ({"retrieve.rerank.weights": {"linear": 0.5, "first_stage": 1.0}}, END),
        ({"retrieve.rerank.weights": {"linear": 0.5, "dot": 1.0}}, RESCORED),
        ({"retrieve.rerank": None}, END),
        ({"retrieve.settings": {"linear": {"temperature": 0.5}}}, RESCORED),
        ({"retrieve.settings": {"dot": {"temperature": 0.5}}}, SCORED),
        ({"retrieve.first_stage": "linear"}, SCORED),
        ({"evaluate.metrics": ["R1", "R5", "MnR", "mAP"]}, {"evaluate"}),
        ({"evaluate.ties": "pessimistic"}, {"evaluate"}),
        ({"evaluate.directions": ["t2v"]}, {"evaluate"}),
        ({"model.interactions.dot.temperature": 0.5}, SCORED),
        ({"model.interactions.dot.power": 2.0}, SCORED),
        ({"model.interactions.linear.temperature": 0.5}, TRAINED),
        ({"model.losses.contrast.weight": 0.5}, TRAINED),
        ({"model.losses.contrast.of": {"linear": 1.0, "dot": 1.0}}, TRAINED),
        ({"model.logit_scale": {"init": 10.0}}, TRAINED),
        ({"train.learning_rate": 0.1}, TRAINED),
        ({"train.num_frames": 2}, TRAINED),
        ({"train.keep": "best"}, TRAINED | {"encode val texts", "encode val videos"}),
        ({"seeds": [1]}, TRAINED),
        ({"data.frame_order": "reversed"}, ALL - TEXTS),
        ({"data.num_frames": 2}, ALL - TEXTS),
        ({"encoder.gain": 2.0}, ALL),
        ({"evaluate.split": "val"}, ALL - {"fit", "encode train texts", "encode train videos"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_a_step_reads_recomputes_it_and_what_follows(done: Lab, changes: dict[str, Any], new: set[str]) -> None:
    wanted = {name.replace(" test ", " val ") for name in new} if "evaluate.split" in changes else new
    assert done.new(changes) == wanted


@pytest.mark.parametrize(
    ("kind", "name", "new"),
    [
        ("encoder", "toy_encoder", ALL),
        ("interaction", "toy_dot", SCORED),
        ("interaction", "toy_linear", TRAINED),
        ("loss", "info_nce", TRAINED),
        ("reranker", "score_fusion", END),
        ("dataset", "toy_videos", set()),
        ("interaction", "toy_broken", set()),
    ],
)
def test_an_edit_of_a_components_source_recomputes_what_depends_on_it(
    done: Lab, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, new: set[str]
) -> None:
    def edited(of: str, spec: Spec, left_out: tuple[str, ...] = ()) -> str:
        return "edited" if (of, spec.name) == (kind, name) else source_of(of, spec, left_out)

    for module in ("decode", "fit", "score", "first_stage", "fit_reranker"):
        monkeypatch.setattr(f"core.engine.steps.{module}.source_of", edited)
    assert done.new() == new


def test_the_content_of_a_video_and_the_words_of_a_caption_enter(done: Lab) -> None:
    picture = done.videos / "test" / "v0" / "0.png"
    picture.write_bytes((done.videos / "test" / "v1" / "0.png").read_bytes())
    assert done.new() == {"encode test videos", *SCORED}
    captions = done.videos / "captions.json"
    captions.write_text(captions.read_text().replace('"v0", ["', '"v0", ["1', 1))
    assert done.new() == {"encode test videos", "encode train texts", *TRAINED, *SCORED}


def test_the_order_of_training_videos_enters(done: Lab) -> None:
    captions = done.videos / "captions.json"
    first, second = '["v0", ', '["v1", '
    text = captions.read_text()
    start = text.index('"train"')
    train = text[start:].replace(first, "@", 1).replace(second, first, 1).replace("@", second, 1)
    captions.write_text(text[:start] + train)
    assert "fit" in done.new()


def test_the_order_of_transforms_enters_and_their_names_do_not_where_nothing_is_trained(lab: Lab) -> None:
    one, two = ({"name": "toy_doubled", "into": "frames", "shift": shift} for shift in (1.0, 2.0))

    def fits(transforms: dict[str, Any]) -> set[str]:
        return keys(lab.plan({"model.transforms": transforms}), "fit")

    assert fits({"a": one, "b": two}) != fits({"b": two, "a": one})


def test_interactions_of_equal_settings_share_under_two_names(lab: Lab) -> None:
    plan = lab.plan(
        {
            "model.interactions.twin": {"name": "toy_dot"},
            "variants": {"one": {}, "two": {"retrieve.first_stage": {"twin": 1.0}}},
        }
    )
    assert len(keys(plan, "score")) == 1


def test_trained_interactions_of_equal_settings_do_not_share_weights(lab: Lab) -> None:
    twins = {"linear": {"name": "toy_linear"}, "twin": {"name": "toy_linear"}}
    plan = lab.plan(
        {
            "model.interactions": twins,
            "model.losses.contrast.of": ["linear", "twin"],
            "retrieve": {"first_stage": ["linear", "twin"]},
        }
    )
    assert len(keys(plan, "score")) == 2


def test_variants_and_seeds_share_what_they_have_in_common(lab: Lab) -> None:
    plan = lab.plan(
        {"ablate": {"retrieve.rerank.top_k": [1, 2, 3]}, "one_at_a_time": {"train.epochs": [1]}, "seeds": [0, 1]}
    )
    assert len(plan.trials) == 8
    counts = {name: len(keys(plan, name)) for name in ("encode", "fit", "score", "candidates", "rank", "evaluate")}
    assert counts == {"encode": 4, "fit": 4, "score": 1, "candidates": 8, "rank": 16, "evaluate": 8}
    assert {step.top_k_stored for step in plan.steps.values() if step.name == "candidates"} == {2, 3}


def test_without_trained_parts_a_variant_is_one_trial_of_no_seed(lab: Lab) -> None:
    plan = lab.plan({"variants": {"plain": {"retrieve.rerank": None}, "trained": {}}, "seeds": [3, 4]})
    assert [trial.seed for trial in plan.trials] == [None, 3, 4]
    assert plan.trials[0].name == "plain · seeds: none"
    assert "seed" not in plan.trials[0].last.label


def test_a_random_frozen_encoder_is_drawn_for_each_seed(lab: Lab) -> None:
    plan = lab.plan({"retrieve.rerank": None, "encoder.init": "random", "seeds": [3, 4]})
    assert [trial.seed for trial in plan.trials] == [3, 4]
    assert len(keys(plan, "encode")) == 4


def test_two_experiments_share_their_prefix(done: Lab) -> None:
    done.run({"name": "second", "retrieve.rerank.weights": {"linear": 0.5}, "train.epochs": 2})
    assert not COUNTS


def test_what_is_computed_in_one_pass_is_one_group(lab: Lab) -> None:
    plan = lab.plan(
        {
            "model.interactions.patchy": {"name": "toy_dot", "level": "patches"},
            "retrieve.first_stage": ["dot", "patchy"],
            "variants": {
                "one": {},
                "cold": {"retrieve.settings": {"dot": {"temperature": 0.5}}},
                "other": {"model.interactions.dot.power": 2.0},
            },
        }
    )
    videos = next(step for step in plan.steps.values() if step.label == "encode test videos")
    assert {step.fields["level"] for step in plan.group(videos)} == {"frames", "patches"}
    sizes = sorted(len(plan.group(step)) for step in plan.steps.values() if step.name == "score")
    assert sizes == [1, 1, 2, 2]


def test_numbers_of_devices_do_not_enter_and_the_kind_of_arithmetic_does() -> None:
    assert arithmetic(torch.device("cuda:0")) == arithmetic(torch.device("cuda:1"))
    assert arithmetic(torch.device("cpu")) == arithmetic(torch.device("mps")) != arithmetic(torch.device("cuda"))


def test_whole_numbers_and_fractions_of_one_size_are_one_setting(done: Lab) -> None:
    assert done.new({"retrieve.settings": {"dot": {"temperature": 1}}}) == set()


def test_a_split_that_is_missing_is_named_with_those_there_are(lab: Lab) -> None:
    captions = lab.videos / "captions.json"
    captions.write_text(captions.read_text().replace('"val"', '"dev"'))
    with pytest.raises(DataError, match=r"no `val` split.* train, dev, test"):
        lab.plan({"train.keep": "best"})


def test_a_trained_encoder_that_should_read_attached_texts_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="tags"):
        lab.plan(
            {
                "data.dataset.tags": True,
                "encoder.trainable": True,
                "model.interactions.linear.level": "tags",
            }
        )


def count_calls(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    calls: list[Any] = []
    real: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_a_large_grid_digests_each_split_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    relevance = count_calls(monkeypatch, seeded, "split_digest")
    plan = lab.plan({"ablate": {"train.epochs": [1, 2, 3, 4], "retrieve.rerank.top_k": [1, 2, 3]}, "seeds": [0, 1, 2]})
    assert len(plan.trials) == 36
    assert len(relevance) == 2
    assert len({id(s) for trial in plan.trials for s in trial.last.walk() if s.name == "encode"}) == 4


def test_a_walk_meets_each_step_once(lab: Lab) -> None:
    last = lab.plan().trials[0].last
    steps = list(last.walk())
    assert len(steps) == len({id(step) for step in steps})
    assert steps[-1] is last


def test_what_the_store_has_is_seen_without_reading_it_whole(done: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = count_calls(monkeypatch, Store, "read")
    assert done.plan().new_steps() == []
    assert reads == []
