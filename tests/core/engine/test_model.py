import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core import FeatureTransform, Interaction, Levels, LevelShape, TextFeatures, VideoFeatures
from core.contract.settings import Spec
from core.engine.model import Model, Outline, levels_of, outline, transforms_for
from core.experiment.config import LogitScale
from core.plugins import Registered, registry
from tests.core.experiments import plugged, plugin_of
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


class Summed(FeatureTransform):
    """Writes the text level `summed` from `words`."""

    name = "toy_summed"

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("words",))

    @classmethod
    def writes(cls, config: Any) -> Levels:
        return Levels(("summed",))


def test_a_transform_of_texts_is_taken_where_its_level_is_read_and_not_else(toys: None) -> None:
    with plugged(plugin_of(register_feature_transforms=lambda register: register(Summed))):
        transforms = {"t": Spec("toy_summed", None), "v": doubled("frames", "x")}
        kept, raw = transforms_for(transforms, Levels(("summed",), ("frames",)))
        assert (list(kept), raw) == (["t"], Levels(("words",), ("frames",)))
        kept, raw = transforms_for(transforms, Levels(("sentence",), ("x",)))
        assert (list(kept), raw) == (["v"], Levels(("sentence",), ("frames",)))


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


def rss() -> int:
    """Bytes of memory that this process has touched."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Wide(Interaction):
    """256 MiB of parameters, each filled by a function of its own, and a table that is drawn."""

    name = "wide"
    touched = 0

    def __init__(self, config: Any, shapes: Any):
        super().__init__(config, shapes)
        before = rss()
        self.layer = nn.Linear(4096, 4096)
        self.square = nn.Parameter(torch.empty(4096, 4096))
        for fill in (nn.init.xavier_uniform_, nn.init.normal_, nn.init.kaiming_normal_, nn.init.trunc_normal_):
            fill(self.square)
        self.heads = nn.MultiheadAttention(2048, 8)
        self.table = nn.Parameter(0.01 * torch.randn(10, 4))
        type(self).touched = rss() - before


def test_an_outline_says_whether_there_are_parameters_and_which_shapes_are_written(toys: None) -> None:
    made = outline("feature_transform", doubled("frames", "x"), SHAPES)
    assert (made.parametric, made.writes) == (True, {"x": SHAPES["frames"]})
    assert outline("interaction", Spec("toy_linear", ToyLinear.Config()), SHAPES) == Outline(True, {})
    assert outline("interaction", dot("frames"), SHAPES) == Outline(False, {})


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux says how much memory is touched")
def test_an_outline_touches_no_parameter_and_leaves_the_generator_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry().found, ("interaction", "wide"), Registered(Wide, "tests", ""))
    before = torch.get_rng_state()
    assert outline("interaction", Spec("wide", Wide.Config()), {}).parametric
    assert torch.equal(before, torch.get_rng_state())
    assert Wide.touched < 100 * 2**20  # other threads of a long session touch some, too


def test_outlines_of_the_built_in_components_do_without_the_imports_of_the_device_meta() -> None:
    code = """
import sys
from core import LevelShape
from core.engine.model import outline
from core.plugins import registry
from core.contract.settings import Spec
shapes = {"sentence": LevelShape(None, 64), "frames": LevelShape(4, 64), "patches": LevelShape(16, 64)}
known = {name: (kind, found.component.Config()) for (kind, name), found in registry().found.items() if name in sys.argv}
for name, (kind, config) in known.items():
    print(name, outline(kind, Spec(name, config), shapes).parametric)
print("dynamo", "torch._dynamo" in sys.modules)
"""
    parts = ["temporal_transformer", "learnable_queries", "mean_pooling"]
    done = subprocess.run([sys.executable, "-c", code, *parts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {
        "temporal_transformer": "True",
        "learnable_queries": "True",
        "mean_pooling": "False",
        "dynamo": "False",
    }


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
