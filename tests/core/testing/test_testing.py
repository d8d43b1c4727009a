"""check_component: a sound component of each kind passes, and each rule is broken by a component made to break it."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest
import torch

from core import ConfigError, LevelShape, TextFeatures, UserError, VideoFeatures
from core.testing import ContractError, check_component
from core.testing.check import CONTRACTS
from core.testing.description import CHECKS, FIRST
from tests.engine import ToyListwise

from .broken import BROKEN, NUMBERS, changed, sees_padding, with_init
from .sound import Clips, Colours, Dot, Fused, Heard, Hinge, Judge, Sharpened, Shifted, Sound


@pytest.mark.parametrize(
    ("component", "given"),
    [
        (Sound, {}),
        (Sound, {"temperature": 0.01}),
        (
            Sound,
            {"config": Sound.Config(2.0), "shapes": {"frames": LevelShape(9, 12), "sentence": LevelShape(None, 12)}},
        ),
        (Dot, {}),
        (Shifted, {}),
        (Shifted, {"into": "frames"}),
        (Hinge, {}),
        (Hinge, {"of": {"a": 0.5, "b": 2}, "auxiliary": {"text_vector": (3, 8)}}),
        (Fused, {}),
        (Judge, {}),
        (ToyListwise, {}),
        (Sharpened, {}),
        (Heard, {}),
        (Colours, {"captions": NUMBERS}),
        (Colours, {"captions": NUMBERS, "init": "random"}),
        (Clips, {}),
    ],
)
def test_a_sound_component_passes(component: type, given: dict[str, Any]) -> None:
    check_component(component, **given)


@pytest.mark.parametrize(("component", "given", "rule", "words"), BROKEN)
def test_a_broken_rule_is_named_with_what_was_seen(
    component: type, given: dict[str, Any], rule: str, words: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_component(component, **given)
    said = [f"{fault.seen}. {fault.remedy}" for fault in caught.value.faults if fault.rule == rule]
    assert any(re.search(words, text) for text in said), caught.value


def test_every_broken_rule_is_listed_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        check_component(type("Worst", (Sound,), {"name": "no name", "video_side": sees_padding, "inner_product": True}))
    rules = [fault.rule for fault in caught.value.faults]
    assert rules[:2] == ["it has a name", "it has a docstring"]
    assert {"masked tokens change nothing", "an inner product is one"} <= set(rules)
    text = str(caught.value)
    assert text.startswith(f"interaction `no name` breaks {len(rules)} rules of its contract:\n- it has a name: ")
    assert text.count("\n- ") == len(rules)


def test_the_error_is_a_failed_assertion_that_a_user_can_read_and_a_process_can_send() -> None:
    with pytest.raises(ContractError) as caught:
        check_component(type("Unnamed", (Sound,), {"__doc__": "No name.", "name": ""}))
    assert isinstance(caught.value, AssertionError)
    assert isinstance(caught.value, UserError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_component_that_says_so_may_ignore_masks() -> None:
    check_component(Sound, ignore_mask=True)


def test_every_check_of_a_kind_is_broken_by_a_component_here() -> None:
    checks = {*FIRST, *CHECKS, *(check for c in CONTRACTS.values() for check in (*c.first, *c.checks))}
    rules = {check.__name__.replace("_", " ") for check in checks}
    assert rules - {case.values[2] for case in BROKEN} == {"the gpu agrees with the cpu"}


def test_features_of_the_caller_are_used() -> None:
    text = TextFeatures(sentence=torch.randn(3, 8))
    video = VideoFeatures(frames=torch.randn(4, 5, 8))
    check_component(Sound, text=text, video=video)
    with pytest.raises(ContractError, match=r"score gives \[4, 3\]"):
        check_component(type("T", (Sound,), {"score": changed("score", lambda _, s: s.T)}), text=text, video=video)


def test_what_is_no_component_and_fields_that_are_refused_are_errors_of_the_call() -> None:
    with pytest.raises(UserError, match="takes the class of a component, not 'tib'"):
        check_component("tib")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"sound\.temprature: unknown key\. Did you mean `temperature`"):
        check_component(Sound, temprature=1.0)
    with pytest.raises(ConfigError, match=r"sound\.temperature: must be more than 0"):
        check_component(Sound, temperature=0.0)


def test_a_component_that_refuses_the_shapes_says_which_to_give() -> None:
    def refuse(self: Any) -> None:
        raise ValueError("`frames` need 12 tokens")

    with pytest.raises(ContractError, match=r"it refuses .*`frames` 4 x 16.*need 12 tokens.*`shapes=`"):
        check_component(type("Picky", (Sound,), {"__init__": with_init(Sound, refuse)}))


def test_random_numbers_of_the_caller_stay_as_they_were() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_component(Sound)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_tensor_that_stays_on_the_cpu_is_found() -> None:
    with pytest.raises(ContractError, match="the gpu agrees with the cpu: on the GPU"):
        check_component(
            type("Stays", (Sound,), {"score": changed("score", lambda _, s: s @ torch.eye(s.shape[1], dtype=s.dtype))})
        )
