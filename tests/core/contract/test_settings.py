"""Mappings checked against typed settings: types, limits, choices, null, mixtures, and all faults at once."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.contract.keys import assign, dotted, join, lookup, split_key
from core.contract.settings import Checker, Mixture, Spec, describe, plain, setting
from core.errors import ConfigError, DataError, Problem, VideoError, nearest, show


@dataclass(frozen=True)
class Inner:
    depth: int = setting(1, "how deep", ge=1)


@dataclass(frozen=True)
class Sample:
    size: int = setting(doc="how large", ge=1, le=10)
    rate: float = setting(0.1, "how fast", gt=0)
    label: str = setting("a", "which", choices=("a", "b"))
    flag: bool = setting(False, "whether")
    limit: int | None = setting(None, "at most; null: none", ge=1)
    either: int | str = setting(1, "a number or a name")
    names: tuple[str, ...] = setting((), "some")
    span: tuple[float, float] = setting((0.0, 1.0), "from, to")
    shares: Mixture = setting(factory=dict, doc="of each", ge=0)
    inner: Inner = setting(Inner(), "further fields")
    inners: dict[str, Inner] = setting(factory=dict, doc="named")
    extra: dict[str, Any] = setting(factory=dict, doc="anything")

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < self.size:
            raise ValueError(f"limit ({self.limit}) is below size ({self.size})")


def built(**given: Any) -> Any:
    checker = Checker()
    made = checker.build(Sample, {"size": 3, **given}, "part")
    assert not checker.problems
    return made


def faults(given: Any) -> dict[str, str]:
    checker = Checker()
    assert checker.build(Sample, given, "part") is None
    return {problem.key: problem.message for problem in checker.problems}


def fault(**given: Any) -> str:
    found = faults({"size": 3, **given})
    assert list(found) == [f"part.{name}" for name in given], found
    return next(iter(found.values()))


def test_defaults_fill_what_is_left_out():
    assert built() == Sample(size=3)


def test_a_whole_number_serves_as_a_number_and_becomes_one():
    assert built(rate=2).rate == 2.0
    assert isinstance(built(rate=2).rate, float)


def test_the_type_that_was_expected_and_the_one_that_was_given_are_named():
    assert fault(size="3") == "expected a whole number, got '3' (a text)"
    assert fault(size=3.0) == "expected a whole number, got 3.0 (a number)"
    assert fault(rate="1e-4") == "expected a number, got '1e-4' (a text)"
    assert fault(label=1) == "expected a text, got 1 (a whole number)"
    assert fault(flag="yes") == "expected true or false, got 'yes' (a text)"
    assert fault(inner=3) == "expected a mapping, got 3 (a whole number)"
    assert fault(names="a") == "expected a list, got 'a' (a text)"
    assert fault(rate=None) == "expected a number, got null"


@pytest.mark.parametrize("name", ["size", "rate"])
def test_true_and_false_are_no_numbers(name):
    assert fault(**{name: True}).endswith("got true")


def test_a_number_is_neither_true_nor_false():
    assert fault(flag=1) == "expected true or false, got 1 (a whole number)"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    assert fault(rate=value).startswith("expected a finite number")


@pytest.mark.parametrize(("value", "words"), [(0, "at least 1"), (11, "at most 10")])
def test_limits_are_named(value, words):
    assert faults({"size": value}) == {"part.size": f"must be {words}, got {value}"}


def test_a_strict_limit_excludes_itself():
    assert fault(rate=0) == "must be more than 0, got 0.0"


def test_limits_hold_for_optional_numbers_and_within_mixtures():
    assert fault(limit=0) == "must be at least 1, got 0"
    assert fault(shares={"a": -1}) == "must be at least 0, got -1.0"


def test_a_choice_that_is_not_allowed_is_answered_with_those_that_are():
    assert fault(label="c") == "'c' (a text) is not allowed. Known: a, b."


def test_an_unknown_field_is_answered_with_the_nearest():
    assert fault(lable="b") == "unknown key. Did you mean `label`?"


def test_an_unknown_field_that_resembles_nothing_is_answered_with_all():
    assert "Known: either, extra, flag" in fault(zzzzzz=1)


def test_a_missing_field_is_named_with_its_doc():
    assert faults({}) == {"part.size": "is needed and missing (how large)"}


def test_all_faults_are_found_at_once_with_full_keys():
    found = faults({"rate": "x", "inner": {"depth": 0, "width": 1}, "inners": {"b": {"depth": "d"}}, "names": ["a", 1]})
    inside = {"part.inner.width", "part.inner.depth", "part.inners.b.depth", "part.names[1]"}
    assert set(found) == {"part.rate", "part.size", *inside}


def test_what_a_config_refuses_in_post_init_is_a_fault_at_its_key():
    assert faults({"size": 3, "limit": 2}) == {"part": "limit (2) is below size (3)"}


def test_a_choice_of_types_takes_either_and_names_both():
    assert built(either="x").either == "x"
    assert fault(either=1.5) == "expected a whole number or a text, got 1.5 (a number)"


def test_a_tuple_of_fixed_length_has_that_length():
    assert built(span=[0, 2]).span == (0.0, 2.0)
    assert fault(span=[1, 2, 3]) == "expected 2 items, got 3"


def test_null_for_a_mapping_is_the_same_as_leaving_it_out():
    assert built(inner=None, inners=None, shares=None, extra=None) == Sample(size=3)


def test_null_removes_one_of_a_named_mapping_but_stays_where_anything_may_stand():
    assert built(inners={"a": None, "b": {}}).inners == {"b": Inner()}
    assert built(extra={"a": None}).extra == {"a": None}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("a", {"a": 1.0}), (["a", "b"], {"a": 1.0, "b": 1.0}), ({"a": 2, "b": None}, {"a": 2.0})],
)
def test_a_mixture_is_a_name_a_list_or_weights(written, meant):
    assert built(shares=written).shares == meant


@pytest.mark.parametrize("written", [[], {"a": None}, 3, [1, 2]])
def test_a_mixture_of_nothing_is_refused(written):
    assert fault(shares=written).startswith("expected a name, a list of names or {name: weight}, got")


def test_a_mixture_names_nothing_twice():
    assert "stands twice" in fault(shares=["a", "a"])


def test_a_weight_is_a_number():
    assert faults({"size": 1, "shares": {"a": "x"}}) == {"part.shares.a": "expected a number, got 'x' (a text)"}


@dataclass(frozen=True)
class Whole:
    part: Spec = setting(doc="a part", kind="loss")
    parts: dict[str, Spec] = setting(factory=dict, doc="named parts", kind="feature_transform")
    maybe: Spec | None = setting(None, "a part or null", kind="reranker")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("info_nce", "expected {name: …} naming a loss; write {name: info_nce}"),
        (3, "expected {name: …} naming a loss, got 3 (a whole number)"),
        (None, "expected {name: …} naming a loss, got null"),
        ({"of": "a"}, "has no `name` that says which loss it is"),
        ({"name": 3}, "has no `name` that says which loss it is"),
    ],
)
def test_a_component_says_its_name_even_before_any_plugin_is_known(given, message):
    checker = Checker()
    checker.build(Whole, {"part": given}, "")
    assert [(p.key, p.message) for p in checker.problems] == [("part", message)]


def test_components_are_handed_to_the_callback_with_their_keys():
    seen = []
    checker = Checker(lambda kind, given, key, _: seen.append((kind, given["name"], key)))
    checker.build(Whole, {"part": {"name": "a"}, "parts": {"x": {"name": "b"}, "y": None}, "maybe": None}, "top")
    assert seen == [("loss", "a", "top.part"), ("feature_transform", "b", "top.parts.x")]


def test_plain_turns_everything_into_json_data():
    value = {"spec": Spec("tib", Inner(2)), "row": (1, Inner()), 3: None}
    assert plain(value) == {"spec": {"name": "tib", "depth": 2}, "row": [1, {"depth": 1}], "3": None}


def test_a_setting_without_default_must_be_given():
    with pytest.raises(TypeError):
        Sample()


def test_types_are_described_in_words():
    words = [describe(hint) for hint in (Mixture, Inner, list, tuple[int, ...], dict[str, int])]
    assert words == ["a mixture", "a mapping", "a list", "a list", "a mapping"]


# ------------------------------------------------------------------------------------------------ keys

names = st.text(st.characters(exclude_characters="[]", exclude_categories=("Cs",)), min_size=1)


def bracketed(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(names, inner, st.text("ab.", max_size=3)).map(lambda parts: f"{parts[0]}[{parts[1]}]{parts[2]}")


@given(st.lists(st.recursive(names, bracketed, max_leaves=3), min_size=1, max_size=5))
def test_a_full_key_splits_into_the_names_that_it_was_joined_from(parts):
    assert split_key(dotted(parts)) == parts


@pytest.mark.parametrize("key", ["", ".", "a..b", ".a", "a.", "a[", "a]", "a[]", "[a]b", "a[b]c"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ConfigError, match="not a key"):
        split_key(key)
    assert split_key(key, lenient=True) == [key]


def test_a_name_with_dots_stands_in_brackets():
    assert join("ablate", "retrieve.rerank.top_k") == "ablate[retrieve.rerank.top_k]"
    assert join("", "a.b") == "[a.b]"
    assert join("encoder", "") == "encoder"


keys = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
values = st.one_of(st.integers(), st.none(), st.dictionaries(st.sampled_from("abc"), st.integers()))


@given(st.dictionaries(st.sampled_from("abc"), st.dictionaries(st.sampled_from("abc"), st.just({}))), keys, values)
def test_assigning_sets_that_key_and_assigning_again_changes_nothing(place, key, value):
    assign(place, key, value)
    assert lookup(place, split_key(key)) == value
    once = plain(place)
    assign(place, key, value)
    assert place == once


def test_an_assigned_value_replaces_a_mapping_whole():
    place = {"a": {"b": {"x": 1}, "c": 2}}
    assign(place, "a.b", {"y": 3})
    assert place == {"a": {"b": {"y": 3}, "c": 2}}


def test_an_assigned_value_is_a_copy():
    shared = {"x": [1]}
    place: dict[str, Any] = {}
    assign(place, "a", shared)
    assign(place, "a.x", 2)
    assert shared == {"x": [1]}


@pytest.mark.parametrize(("found", "shown"), [(None, "null"), ("video", "'video'"), ([1], r"\[1\]")])
def test_nothing_is_assigned_below_what_is_no_mapping(found, shown):
    with pytest.raises(ConfigError, match=rf"a\.b\.c: cannot be set, because `a\.b` is {shown}"):
        assign({"a": {"b": found}}, "a.b.c", 1)


def test_looking_up_ends_in_none_where_the_way_ends():
    assert lookup({"a": {"b": 1}}, ["a", "b", "c"]) is None
    assert lookup(None, ["a"]) is None


# ------------------------------------------------------------------------------------------------ errors


def test_a_problem_names_file_key_and_fault():
    assert str(Problem("train.epochs", "is wrong", "x.yaml")) == "x.yaml: train.epochs: is wrong"
    assert str(Problem("", "is wrong")) == "is wrong"


def test_several_problems_are_listed_under_their_number_and_repeated_ones_once():
    error = ConfigError([Problem("a", "x"), Problem("b", "y"), Problem("a", "x")])
    assert str(error) == "2 problems in the configuration:\na: x\nb: y"
    assert error.exit_code == 2


def test_one_problem_stands_alone():
    assert str(ConfigError(Problem("a", "x"))) == "a: x"


@pytest.mark.parametrize(
    "error",
    [ConfigError([Problem("a", "x"), Problem("b", "y")]), VideoError("v.mp4", "broken", "fix it"), DataError("no")],
)
def test_errors_survive_the_way_back_from_a_worker_process(error):
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))


def test_a_misspelt_word_is_answered_with_the_nearest_known():
    assert nearest("frmaes", ["frames", "patches"]) == " Did you mean `frames`?"
    assert nearest("x", ["b", "a"]) == " Known: a, b."
    assert nearest("x", []) == ""


@dataclass(frozen=True)
class Listed:
    rows: list[int] = field(default_factory=list)


def test_a_plain_dataclass_field_without_setting_is_checked_by_its_type():
    checker = Checker()
    assert checker.build(Listed, {"rows": [1, 2]}, "") == Listed([1, 2])
    assert checker.build(Listed, {"rows": [1, "b"]}, "") is None
    assert str(checker.problems[0]) == "rows[1]: expected a whole number, got 'b' (a text)"


def test_values_are_shown_as_yaml_has_them():
    assert [show(value) for value in (None, True, False, "a", [1])] == ["null", "true", "false", "'a' (a text)", "[1]"]
