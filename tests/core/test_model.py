from typing import Any

import pytest
import torch
from torch import Tensor

from core import Levels, LevelShape, TextFeatures, VideoFeatures
from core.config import LogitScale
from core.model import Model, has_parameters, levels_of, transforms_for
from core.settings import Spec
from tests.engine import Doubled, ToyDot, ToyLinear

SHAPES = {"sentence": LevelShape(None, 4), "frames": LevelShape(3, 4), "patches": LevelShape(6, 4)}


def doubled(level: str, into: str) -> Spec:
    return Spec("toy_doubled", Doubled.Config(level=level, into=into))


def dot(level: str) -> Spec:
    return Spec("toy_dot", ToyDot.Config(level=level))


def test_only_the_transforms_that_a_level_depends_on_are_taken_in_their_order(toys: None) -> None:
    transforms = {
        "a": doubled("frames", "one"),
        "b": doubled("one", "two"),
        "c": doubled("patches", "three"),
        "d": doubled("two", "two"),
        "e": doubled("two", "after"),
    }
    kept, raw = transforms_for(transforms, Levels(("sentence",), ("two",)))
    assert list(kept) == ["a", "b", "d"]
    assert raw == Levels(("sentence",), ("frames",))
    kept, raw = transforms_for(transforms, Levels((), ("patches",)))
    assert (list(kept), raw) == ([], Levels((), ("patches",)))


def test_a_level_that_is_written_anew_needs_not_what_wrote_it_before(toys: None) -> None:
    transforms = {"a": doubled("frames", "one"), "b": doubled("patches", "one")}
    kept, raw = transforms_for(transforms, Levels((), ("one",)))
    assert (list(kept), raw.video) == (["b"], ("patches",))


def test_a_level_changed_in_place_is_still_read_from_the_encoder(toys: None) -> None:
    kept, raw = transforms_for({"a": doubled("frames", "frames")}, Levels((), ("frames",)))
    assert (list(kept), raw.video) == (["a"], ("frames",))


def test_the_levels_of_several_interactions_are_their_union(toys: None) -> None:
    assert levels_of({"a": dot("frames"), "b": dot("patches")}) == Levels(("sentence",), ("frames", "patches"))


def test_transforms_apply_in_order_and_features_pass_through(toys: None) -> None:
    model = Model({"a": doubled("frames", "x"), "b": doubled("x", "x")}, {"dot": dot("x")}, SHAPES, LogitScale())
    frames = torch.ones(2, 3, 4)
    first, second = (part.factor.detach() for part in model.transforms.values())  # type: ignore[union-attr,operator]
    made = model.video(VideoFeatures(frames=frames))
    torch.testing.assert_close(made.structured("x").values, frames * first * second)
    assert torch.equal(made.structured("frames").values, frames)
    text = TextFeatures(sentence=torch.ones(2, 4))
    assert model.text(text) is text


def test_parameters_are_found_without_making_them(toys: None) -> None:
    assert has_parameters("interaction", Spec("toy_linear", ToyLinear.Config()), SHAPES)
    assert not has_parameters("interaction", dot("frames"), SHAPES)
    before = torch.get_rng_state()
    has_parameters("feature_transform", doubled("frames", "x"), SHAPES)
    assert torch.equal(before, torch.get_rng_state())


def test_start_weights_go_only_to_parts_that_ask_for_them(toys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    def start_from(self: Any, weights: dict[str, Tensor]) -> None:
        given.append(self.config.level)

    monkeypatch.setattr(Doubled, "start_from", start_from)
    monkeypatch.setattr(Doubled, "starts_from_encoder", property(lambda self: self.config.level == "x"))
    model = Model({"a": doubled("frames", "x"), "b": doubled("x", "y")}, {"dot": dot("y")}, SHAPES, LogitScale())
    model.start_from({})
    assert given == ["x"]


def test_the_scale_starts_at_its_start_and_never_above_its_limit(toys: None) -> None:
    def scale(init: float, limit: float) -> float:
        return Model({}, {"dot": dot("frames")}, SHAPES, LogitScale(init, limit)).logit_scale.item()

    assert scale(20.0, 100.0) == pytest.approx(20.0)
    assert scale(200.0, 100.0) == pytest.approx(100.0)
