"""Grids, single axes, named variants, the baseline: which configurations an experiment file describes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import ConfigError
from core.errors import Problem
from core.experiment.selection import select, short_key, short_value
from core.experiment.variants import read_variants
from tests.core.experiments import document, edited, problems_of, write

TOP_K = "retrieve.rerank.top_k"
TEMPERATURE = "model.interactions.frame.temperature"


pytestmark = pytest.mark.usefixtures("toy_components")


@pytest.fixture
def read(tmp_path):
    """Variants of BASE with changes."""
    return lambda changes=None, *overrides: read_variants(document(tmp_path, changes, overrides))


@pytest.fixture
def faults(read):
    return lambda changes=None, *overrides: problems_of(read, changes, *overrides)


def names(variants):
    return [variant.name for variant in variants]


def baseline(variants):
    (found,) = [variant for variant in variants if variant.is_baseline]
    return found


# ------------------------------------------------------------------------------------------------ sweeps


def test_a_file_without_ablation_is_one_variant_and_its_own_baseline(read):
    (only,) = read()
    assert (only.name, only.assignments, only.is_baseline) == ("as written", {}, True)


def test_a_grid_is_every_combination_in_the_order_of_the_file(read):
    found = read({"ablate": {TOP_K: [1, 5], TEMPERATURE: [0.1, 1.0]}})
    assert names(found) == [f"top_k={k} temperature={t}" for k in (1, 5) for t in (0.1, 1.0)]
    assert [(v.value(TOP_K), v.value(TEMPERATURE)) for v in found] == [(1, 0.1), (1, 1.0), (5, 0.1), (5, 1.0)]


def test_a_grid_of_the_command_line(read):
    assert names(read({}, f"ablate[{TOP_K}]=[1, 5]")) == ["top_k=1", "top_k=5"]
    assert names(read({"ablate": {TOP_K: [1]}}, f"ablate[{TEMPERATURE}]=[1e-2]")) == ["top_k=1 temperature=0.01"]
    assert names(read({"ablate": {TOP_K: [1], TEMPERATURE: [1.0]}}, f"ablate[{TOP_K}]=null")) == ["temperature=1.0"]


def test_named_grids_stand_beside_each_other_uncrossed(read):
    found = read({"ablate": {"first": {TOP_K: [1, 5]}, "second": {TEMPERATURE: [1.0]}, "gone": None}})
    assert names(found) == ["top_k=1", "top_k=5", "temperature=1.0"]
    assert found[2].value(TOP_K) == 50


def test_a_grid_value_replaces_and_never_merges(read):
    rerank = {"name": "score_fusion", "weights": {"patch": 1}}
    (found,) = read({"ablate": {"retrieve.rerank": [rerank]}, "retrieve.rerank.top_k": 7})
    assert found.value("retrieve.rerank.weights") == {"patch": 1.0}
    assert found.value(TOP_K) == 50, "the default, not what the file wrote"


def test_a_longer_key_is_assigned_after_the_shorter_one_that_it_lies_in(read):
    rerank = {"name": "score_fusion", "weights": {"patch": 1}}
    found = read({"ablate": {TOP_K: [3, 4], "retrieve.rerank": [rerank]}})
    assert [variant.value(TOP_K) for variant in found] == [3, 4]


def test_one_at_a_time_varies_each_axis_around_the_files_own_configuration(read):
    found = read({"one_at_a_time": {TOP_K: [1, 5], TEMPERATURE: [1.0]}})
    assert names(found) == ["as written", "top_k=1", "top_k=5", "temperature=1.0"]
    assert [(v.value(TOP_K), v.value(TEMPERATURE)) for v in found] == [(50, 0.1), (1, 0.1), (5, 0.1), (50, 1.0)]
    assert baseline(found).name == "as written"


def test_an_axis_that_comes_by_the_files_own_value_is_that_variant_too(read):
    found = read({"one_at_a_time": {TOP_K: [1, 50], TEMPERATURE: [0.1]}})
    assert names(found) == ["as written", "top_k=1"]
    for name in ("as written", "top_k=50", "temperature=0.1"):
        assert select(found, name) == [found[0]]


def test_variants_by_hand_keep_their_names(read):
    found = read({"variants": {"plain": {"retrieve.rerank": None}, "sharp": {TEMPERATURE: 0.01, TOP_K: 5}, "own": {}}})
    assert names(found) == ["plain", "sharp", "own"]
    assert found[1].assignments == {TEMPERATURE: 0.01, TOP_K: 5}


def test_null_removes_a_variant(read):
    assert names(read({"variants": {"a": {TOP_K: 1}, "b": {TOP_K: 2}}}, "variants.b=null")) == ["a"]


def test_descriptions_of_one_configuration_are_one_variant_that_answers_to_all_names(read):
    found = read({"ablate": {TOP_K: [1, 5, 5]}, "variants": {"ours": {TOP_K: 5}, "ours too": {TOP_K: 5}}})
    assert names(found) == ["top_k=1", "ours"]
    assert all(select(found, name) == [found[1]] for name in ("ours", "ours too", "top_k=5"))


def test_the_order_of_transforms_makes_another_configuration(read):
    one = {"name": "temporal_transformer", "into": "a"}
    two = {"name": "temporal_transformer", "into": "b"}
    swapped = {"x": {"model.transforms": {"a": one, "b": two}}, "y": {"model.transforms": {"b": two, "a": one}}}
    assert names(read({"variants": swapped})) == ["x", "y"]


def test_a_whole_number_and_the_same_number_are_one_value(read):
    assert names(read({"ablate": {TEMPERATURE: [1, 1.0]}})) == ["temperature=1"]


def test_two_configurations_of_one_name_are_refused(faults):
    found = faults({"ablate": {TOP_K: [5]}, "variants": {"top_k=5": {TOP_K: 6}}})
    assert found == {"variants.top_k=5": "there are two different variants called `top_k=5`"}


def test_interpolation_follows_what_a_variant_assigns(read):
    found = read({"model.interactions.patch.temperature": f"${{{TEMPERATURE}}}", "ablate": {TEMPERATURE: [0.2, 0.3]}})
    assert [variant.value("model.interactions.patch.temperature") for variant in found] == [0.2, 0.3]


def test_interpolation_inside_a_swept_value_follows_what_the_variant_assigns(read):
    axes = {TEMPERATURE: [0.2, 0.3], "model.interactions.patch.temperature": [f"${{{TEMPERATURE}}}"]}
    found = read({"ablate": axes})
    assert [variant.value("model.interactions.patch.temperature") for variant in found] == [0.2, 0.3]
    assert names(found)[1] == "frame.temperature=0.3 patch.temperature=0.3"


def test_a_list_of_values_may_be_written_once(read):
    assert names(read({"seeds": [1, 2], "ablate": {TOP_K: "${seeds}"}})) == ["top_k=1", "top_k=2"]


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("key", "others", "short"),
    [
        ("a.b.c", [], "c"),
        ("a.b.c", ["x.c"], "b.c"),
        ("a.b.c", ["x.b.c", "c"], "a.b.c"),
        ("c", ["x.c"], "c"),
        ("a[x.y]", ["b.y"], "[x.y]"),
    ],
)
def test_a_key_is_named_by_its_shortest_ending_that_no_other_shares(key, others, short):
    assert short_key(key, [key, *others]) == short


paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)


@given(st.lists(paths, min_size=1, max_size=6, unique=True))
def test_short_keys_tell_all_keys_apart(keys):
    shorts = [short_key(key, keys) for key in keys]
    assert len(set(shorts)) == len(keys)
    assert all(key == short or key.endswith(f".{short}") for key, short in zip(keys, shorts, strict=True))


@pytest.mark.parametrize(
    ("value", "short"),
    [
        (None, "none"),
        (True, "true"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (["a", 1], "[a,1]"),
        ({"video": 0.5, "frame": 1}, "(video:0.5,frame:1)"),
        ({"name": "tib", "level": "frames"}, "tib(level:frames)"),
        ({"name": "tib"}, "tib"),
        ({}, "()"),
    ],
)
def test_values_are_named_in_few_letters(value, short):
    assert short_value(value) == short


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, min_size=2, max_size=2))
def test_two_numbers_never_share_a_name(pair):
    assert short_value(pair[0]) != short_value(pair[1])


# ------------------------------------------------------------------------------------------------ the baseline


def test_the_baseline_by_name(read):
    assert baseline(read({"ablate": {TOP_K: [1, 5]}, "baseline": "top_k=5"})).value(TOP_K) == 5


def test_the_baseline_by_assignments(read):
    assert baseline(read({"ablate": {TOP_K: [1, 5]}, "baseline": {TOP_K: 5}})).name == "top_k=5"


def test_a_baseline_that_the_grid_lacks_is_added(read):
    found = read({"ablate": {TOP_K: [1, 5]}, "baseline": {"retrieve.rerank": None}})
    assert names(found) == ["top_k=1", "top_k=5", "rerank=none"]
    assert found[2].is_baseline
    assert found[2].experiment.retrieve.rerank is None


def test_the_name_of_an_added_baseline_is_told_apart_from_swept_keys(read):
    found = read({"ablate": {TEMPERATURE: [1.0]}, "baseline": {"model.interactions.patch.temperature": 1.0}})
    assert names(found)[-1] == "patch.temperature=1.0"


def test_without_a_baseline_key_it_is_the_files_own_configuration_where_that_is_a_variant(read):
    assert baseline(read({"ablate": {TOP_K: [1, 50, 100]}})).name == "top_k=50"
    assert baseline(read({"ablate": {TOP_K: [1, 5]}})).name == "top_k=1"
    assert baseline(read({"variants": {"a": {TOP_K: 1}, "b": {}}})).name == "b"


def test_a_variant_called_baseline_is_the_baseline(read, faults):
    given = {"ours": {TOP_K: 5}, "baseline": {TOP_K: 1}, "own": {}}
    assert baseline(read({"variants": given})).name == "baseline"
    assert baseline(read({"variants": given, "baseline": "baseline"})).name == "baseline"
    found = faults({"variants": given, "baseline": "ours"})
    assert found == {"variants.baseline": "a variant called `baseline` must be what `baseline` selects"}


def test_the_files_own_configuration_can_be_the_baseline_of_a_grid_without_it(read):
    found = read({"ablate": {TOP_K: [1, 5]}, "baseline": "as written"})
    assert names(found) == ["top_k=1", "top_k=5", "as written"]
    assert baseline(found).value(TOP_K) == 50
    assert baseline(read({"ablate": {TOP_K: [1, 50]}, "baseline": "as written"})).name == "top_k=50"


def test_an_ambiguous_baseline_lists_what_it_selects(faults):
    grid = {TOP_K: [1, 5], TEMPERATURE: [0.1, 1.0]}
    assert faults({"ablate": grid, "baseline": {TOP_K: 5}}) == {
        "baseline": "selects 2 variants, not one: top_k=5 temperature=0.1; top_k=5 temperature=1.0"
    }
    assert "write `as written`" in faults({"ablate": grid, "baseline": {}})["baseline"]


def test_a_baseline_of_an_unknown_name_is_answered_with_the_nearest(faults):
    found = faults({"variants": {"sharp": {TEMPERATURE: 0.01}, "flat": {TEMPERATURE: 1.0}}, "baseline": "shrap"})
    assert found == {"baseline": "there is no variant called `shrap`. Did you mean `sharp`?"}


@pytest.mark.parametrize("given", [3, ["top_k=1"], True])
def test_a_baseline_is_a_name_or_assignments(faults, given):
    found = faults({"ablate": {TOP_K: [1, 5]}, "baseline": given})
    assert found["baseline"].startswith("expected the name of a variant, or assignments, got")


def test_a_misspelt_key_of_the_baseline_is_a_fault_of_the_baseline(faults):
    found = faults({"ablate": {TOP_K: [1, 5]}, "baseline": {"retrieve.rerank.topk": 1}})
    assert found == {"baseline[retrieve.rerank.topk]": "unknown key; here it is `retrieve.rerank.top_k`"}
    assert list(faults({"ablate": {TOP_K: [1]}, "baseline": {"a..b": 1}})) == ["baseline[a..b]"]


# ------------------------------------------------------------------------------------------------ references


@pytest.mark.parametrize(
    ("key", "value", "held"),
    [
        (TOP_K, 50, True),
        (TOP_K, 50.0, True),
        (TOP_K, 5, False),
        (TOP_K, True, False),
        ("retrieve.rerank", None, False),
        ("retrieve.rerank", {"name": "score_fusion"}, True),
        ("retrieve.rerank", {"name": "score_fusion", "top_k": 5}, False),
        ("retrieve.rerank", {"name": "score_fusion", "topk": 50}, False),
        ("retrieve.rerank", {"name": "toy_reranker"}, False),
        ("retrieve.rerank.name", "score_fusion", True),
        ("retrieve.rerank.weights", {"video": 0.5, "frame": 1}, True),
        ("retrieve.rerank.weights", {"video": 0.5}, False),
        ("retrieve.rerank.weights", {"video": 0.5, "frame": 1, "gone": None}, True),
        ("retrieve.first_stage", "video", True),
        ("retrieve.first_stage", ["video"], True),
        ("retrieve.first_stage", {"video": 1.0}, True),
        ("retrieve.first_stage", ["video", "frame"], False),
        ("retrieve.settings", {}, True),
        ("retrieve.settings.frame.temperature", None, True),
        ("retrieve.settings.frame.temperature", 0.1, False),
        ("encoder.name", "toy_encoder", True),
        ("encoder.model", "small", True),
        ("encoder", {"name": "toy_encoder"}, True),
        ("train", {"epochs": 2}, True),
        ("train.epochs", 2, True),
        ("train.epoch", None, False),
        ("evaluate.split", "test", True),
        ("seeds", [0], True),
    ],
)
def test_a_variant_holds_what_its_configuration_says(read, key, value, held):
    (only,) = read()
    assert only.matches({key: value}) is held


def test_settings_after_training_are_told_apart_from_none(read):
    found = read({"ablate": {"retrieve.settings.frame.temperature": [0.3]}, "variants": {"own": {}}})
    assert names(select(found, {"retrieve.settings": {}})) == ["own"]
    assert names(select(found, {"retrieve.settings.frame.temperature": 0.3})) == ["temperature=0.3"]


def test_a_value_is_plain_data_and_none_where_there_is_nothing(read):
    (only,) = read()
    assert only.value("retrieve.first_stage") == {"video": 1.0}
    assert only.value("retrieve.rerank")["name"] == "score_fusion"
    assert only.value("encoder.model") == "small"
    assert only.value("no.such.key") is None


# ------------------------------------------------------------------------------------------------ faults


def test_a_misspelt_swept_key_is_reported_once_at_the_ablation(faults):
    assert faults({"ablate": {"retrieve.rerank.topk": [1, 5, 10], TEMPERATURE: [0.1, 1.0]}}) == {
        "ablate[retrieve.rerank.topk]": "unknown key; here it is `retrieve.rerank.top_k`"
    }


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"ablate": {"train.epoch": [1, 2]}}, "ablate[train.epoch]", "unknown key; here it is `train.epochs`"),
        ({"ablate": {"trian.epochs": [1]}}, "ablate[trian.epochs]", "there is no `trian`. Did you mean `train`?"),
        (
            {"ablate": {"model.interactions.framme.temperature": [0.1, 0.2]}},
            "ablate[model.interactions.framme.temperature]",
            "there is no `model.interactions.framme`. Did you mean `frame`?",
        ),
        (
            {"ablate": {"sweep": {TOP_K: [0, 5]}}},
            f"ablate.sweep[{TOP_K}]",
            "must be at least 1, got 0",
        ),
        ({"one_at_a_time": {TOP_K: ["5"]}}, f"one_at_a_time[{TOP_K}]", "expected a whole number, got '5' (a text)"),
        (
            {"variants": {"a b": {"retrieve.rerank": {"name": "score_fuson"}}}},
            "variants.a b[retrieve.rerank].name",
            "no reranker named `score_fuson`. Did you mean `score_fusion`?",
        ),
        ({"ablate": {TOP_K: 5}}, f"ablate[{TOP_K}]", "expected a list of values, got 5 (a whole number)"),
        ({"ablate": {TOP_K: []}}, f"ablate[{TOP_K}]", "expected a list of values, got []"),
        ({"ablate": [1]}, "ablate", "expected a mapping, got [1]"),
        ({"variants": {"a": 3}}, "variants.a", "expected {key: value}, got 3 (a whole number)"),
        (
            {"ablate": {"a..b": [1]}},
            "ablate[a..b]",
            "not a key; write section.field, or section[a.dotted.name]",
        ),
        (
            {"ablate": {TOP_K: [1]}, "retrieve.rerank": None},
            f"ablate[{TOP_K}]",
            "cannot be set, because `retrieve.rerank` is null; set `retrieve.rerank` first",
        ),
    ],
)
def test_a_fault_that_an_ablation_brings_in_is_named_at_its_key(faults, changes, key, message):
    assert faults(changes) == {key: message}


def test_a_fault_of_the_file_itself_is_named_once_at_its_own_key(faults):
    assert faults({"model.interactions.frame.temperature": -1, "ablate": {TOP_K: [1, 5]}}) == {
        TEMPERATURE: "must be more than 0, got -1.0"
    }


def test_faults_of_different_variants_are_reported_together(faults):
    found = faults({"ablate": {TOP_K: [0, 5], TEMPERATURE: [-1, 1.0]}, "variants": {"x": {"encoder.modle": "a"}}})
    assert set(found) == {f"ablate[{TOP_K}]", f"ablate[{TEMPERATURE}]", "variants.x[encoder.modle]"}


@pytest.mark.parametrize(
    "key",
    [
        "seeds", "baseline", "hypotheses", "name", "outputs", "outputs.mlflow.uri", "evaluate", "evaluate.metrics",
        "evaluate.correction",
    ],
)  # fmt: skip
def test_what_all_variants_share_is_not_assigned_by_one(faults, key):
    shared = "is the same for all variants; set it outside of the ablation"
    assert faults({"ablate": {key: [1, 2]}}) == {f"ablate[{key}]" if "." in key else f"ablate.{key}": shared}
    assert list(faults({"variants": {"a": {key: 1}}}).values()) == [shared]
    assert list(faults({"ablate": {TOP_K: [1]}, "baseline": {key: 99}}).values()) == [shared]


def test_the_split_and_the_policy_for_ties_may_differ(read):
    assert names(read({"ablate": {"evaluate.ties": ["expected", "pessimistic"]}})) == [
        "ties=expected",
        "ties=pessimistic",
    ]


def test_an_interpolation_that_points_nowhere_is_blamed_on_the_file(tmp_path):
    found = document(tmp_path, {"train.epochs": "${train.epoks}"})
    with pytest.raises(ConfigError, match=r"trial\.yaml: train\.epochs: Interpolation key"):
        read_variants(found)


def test_a_fault_of_a_swept_value_of_the_command_line_is_blamed_on_it(tmp_path):
    with pytest.raises(ConfigError, match=r"^command line: ablate\[retrieve\.rerank\.top_k\]: must be at least 1"):
        read_variants(document(tmp_path, {}, (f"ablate[{TOP_K}]=[0]",)))


def test_a_composition_fault_is_located_at_the_key_that_brought_it_in(read):
    (only,) = read({"ablate": {"retrieve.first_stage": ["frame"]}})
    assert only.located(Problem("retrieve.first_stage", "x")).key == "ablate[retrieve.first_stage]"
    assert only.located(Problem("retrieve.rerank", "x")).key == "retrieve.rerank"


def test_faults_of_the_core_schema_come_before_any_plugin_is_loaded(tmp_path):
    path = write(tmp_path, edited({"ablate": {"train.epoch": [1], TOP_K: [1, 2]}}))
    code = (
        "import sys\nfrom core.experiment.config import read_document\n"
        "from core.experiment.variants import check_core\n"
        "from core.errors import ConfigError\n"
        f"try: check_core(read_document({str(path)!r}))\n"
        "except ConfigError as fault: print(fault)\n"
        "print(sorted({'torch', 'pluggy', 'plugins'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{path}: ablate[train.epoch]: unknown key; here it is `train.epochs`\n[]\n"
