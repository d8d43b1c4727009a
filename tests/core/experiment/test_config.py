"""Experiment files: reading, extending, overriding, interpolating, and what is said of those that are wrong."""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core import ConfigError
from core.experiment.config import Experiment, check, read_core, read_document, resolve
from core.experiment.config.documents import _merge
from tests.core.experiments import BASE, document, edited, problems_of, write

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def check_file(path, overrides=()):
    return read_core(read_document(path, overrides))


def core(folder: Path, changes=None, overrides=()):
    """The checked experiment of a file, components as they stand."""
    experiment, problems = check(read_core(document(folder, changes, tuple(overrides))), None)
    assert experiment is not None, problems
    return experiment


def faults(folder: Path, changes=None, overrides=()):
    return problems_of(lambda: read_core(document(folder, changes, tuple(overrides))))


def fault_of(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------ files


def test_a_missing_file_is_named_with_where_it_was_looked_for_and_the_nearest(tmp_path):
    write(tmp_path, BASE, "topk.yaml")
    missing = tmp_path / "topkk.yaml"
    assert fault_of(read_document, str(missing)) == (
        f"{missing}: no such file: looked for {missing}. Did you mean `topk.yaml`?"
    )


def test_broken_yaml_is_located(tmp_path):
    path = write(tmp_path, "name: a\ntrain: {epochs: 3\nseeds: [0]\n")
    assert fault_of(read_document, str(path)).startswith(f"{path}: is not valid YAML: line 3, column")


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = write(tmp_path, "name: a\ntrain: {}\ntrain: {epochs: 3}\n")
    assert "line 3, column 1: found duplicate key train" in fault_of(read_document, str(path))


def test_what_a_merged_mapping_writes_over_is_no_key_that_stands_twice(tmp_path):
    inner = "variants:\n  deep:\n    fields: &b\n      <<: &a {x: 1}\n      x: 2\n"
    path = write(tmp_path, f"name: a\n{inner}train: {{<<: *b, y: 3}}\n")
    values = read_document(str(path)).values
    assert values["variants"]["deep"]["fields"] == {"x": 2}
    assert values["train"] == {"x": 2, "y": 3}


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert fault_of(read_document, str(path)).startswith(f"{path}: cannot be read")


@pytest.mark.parametrize("text", ["- a\n- b\n", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = write(tmp_path, text)
    assert fault_of(read_document, str(path)).startswith(f"{path}: expected a mapping of sections, got")


def test_an_empty_file_lacks_everything_that_is_needed(tmp_path):
    path = write(tmp_path, "")
    found = problems_of(check_file, str(path))
    assert list(found) == ["name", "data", "encoder", "model", "retrieve"]


def test_objects_are_not_made_from_yaml(tmp_path):
    path = write(tmp_path, "name: !!python/object/apply:os.getcwd []\n")
    assert "is not valid YAML" in fault_of(read_document, str(path))


@pytest.mark.parametrize(("written", "read"), [("on", "true"), ("off", "false"), ("yes", "true"), ("no", "false")])
def test_a_key_that_yaml_reads_as_true_or_false_is_explained(tmp_path, written, read):
    path = write(tmp_path, f"name: a\nmodel: {{losses: {{contrast: {{{written}: video}}}}}}\n")
    assert fault_of(read_document, str(path)) == (
        f"{path}: model.losses.contrast.{read}: a key must be a text. "
        "YAML reads on, off, yes, no, y and n as true and false; put it in quotes"
    )


def test_every_odd_key_is_found(tmp_path):
    path = write(tmp_path, 'name: a\nvariants: {1: {}, "": {}}\nseeds: [{2: 3}]\n"a[b": 1\n')
    found = problems_of(read_document, str(path))
    assert list(found) == ["variants.1", "variants", "seeds[0].2", "[a[b]"]


def test_check_file_accepts_what_is_right_and_loads_no_plugin(tmp_path):
    path = write(tmp_path, edited({"encoder.name": "nobody_has_this"}))
    check_file(str(path), ["train.epochs=3"])


# ------------------------------------------------------------------------------------------------ the core schema


def test_every_fault_of_a_file_is_reported_at_once_with_file_and_full_key(tmp_path):
    path = write(
        tmp_path,
        edited(
            {
                "train": {"epoch": 3, "batch_size": 1, "learning_rate": "fast", "keep": "final"},
                "data": {"dataset": "shapes", "num_frames": True},
                "evalute": {},
                "retrieve.first_stage": ...,
                "evaluate": {"directions": ["t2v", "t3v"]},
            }
        ),
    )
    with pytest.raises(ConfigError) as caught:
        check_file(str(path))
    assert str(caught.value).startswith("9 problems in the configuration:\n")
    assert set(str(caught.value).split("\n")[1:]) == {
        f"{path}: data.dataset: expected {{name: …}} naming a dataset; write {{name: shapes}}",
        f"{path}: data.num_frames: expected a whole number, got true",
        f"{path}: evalute: unknown key. Did you mean `evaluate`?",
        f"{path}: train.epoch: unknown key; here it is `train.epochs`",
        f"{path}: train.batch_size: must be at least 2, got 1",
        f"{path}: train.learning_rate: expected a number, got 'fast' (a text)",
        f"{path}: train.keep: 'final' (a text) is not allowed. Known: best, last.",
        f"{path}: retrieve.first_stage: is needed and missing "
        "(the interaction, or mixture, that ranks the whole gallery)",
        f"{path}: evaluate.directions: 't3v' (a text) is not allowed. Did you mean `t2v`?",
    }


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.0e-4", "0.0001"])
def test_small_numbers_are_numbers_in_every_notation(tmp_path, text):
    path = write(tmp_path, yaml.safe_dump(edited({"train": ...})) + f"train: {{learning_rate: {text}}}\n")
    experiment, _ = check(read_core(read_document(str(path))), None)
    assert experiment.train.learning_rate == 1e-4
    assert core(tmp_path, overrides=[f"train.learning_rate={text}"]).train.learning_rate == 1e-4


def test_one_encoder_or_several_by_name(tmp_path):
    assert list(core(tmp_path).encoder) == [""]
    two = core(tmp_path, {"encoder": {"small": {"name": "a"}, "large": {"name": "b"}, "gone": None}})
    assert list(two.encoder) == ["small", "large"]


def test_without_an_encoder_there_is_nothing_to_do(tmp_path):
    for nothing in ({}, {"a": None}, None, ...):
        assert list(faults(tmp_path, {"encoder": nothing})) == ["encoder"]


def test_null_for_a_section_means_its_defaults(tmp_path):
    assert core(tmp_path, {"train": None, "evaluate": None, "model.losses": None}).train.epochs == 10
    assert core(tmp_path, {"model.losses": None}).model.losses == {}


def test_seeds_are_given_once_each(tmp_path):
    assert faults(tmp_path, {"seeds": []}) == {"seeds": "needs one seed at least"}
    assert "1 stands twice" in faults(tmp_path, {"seeds": [0, 1, 1]})["seeds"]
    assert faults(tmp_path, {"seeds": [-1]}) == {"seeds": "must be at least 0, got -1"}


def test_the_logit_scale_starts_below_its_limit(tmp_path):
    found = faults(tmp_path, {"model.logit_scale": {"init": 200, "max": 100}})
    assert found == {"model.logit_scale.init": "must be at most `max` (100), got 200"}


def test_every_field_of_the_schema_has_a_doc_line():
    waiting, undocumented = [Experiment], []
    while waiting:
        cls = waiting.pop()
        hints = typing.get_type_hints(cls)
        undocumented += [f"{cls.__name__}.{f.name}" for f in dataclasses.fields(cls) if not f.metadata.get("doc")]
        waiting += [hint for hint in hints.values() if dataclasses.is_dataclass(hint) and hint.__name__ != "Spec"]
    assert not undocumented


def test_no_key_of_the_schema_is_a_yaml_truth_value():
    assert not {f.name for f in dataclasses.fields(Experiment)} & {"on", "off", "yes", "no", "y", "n"}


# ------------------------------------------------------------------------------------------------ extends


def chain(folder: Path, base: dict, over: dict, *more: dict):
    """Values of the last of files that extend each other."""
    write(folder, base, "0.yaml")
    for number, values in enumerate((over, *more), start=1):
        write(folder, {"extends": f"{number - 1}.yaml", **values}, f"{number}.yaml")
    return read_document(str(folder / f"{1 + len(more)}.yaml"))


def test_an_extending_file_overrides_what_differs_and_keeps_the_rest(tmp_path):
    found = chain(
        tmp_path, {"name": "a", "train": {"epochs": 1, "keep": "last"}}, {"name": "b", "train": {"epochs": 2}}
    )
    assert found.values == {"name": "b", "train": {"epochs": 2, "keep": "last"}}


def test_each_key_is_blamed_on_the_file_that_wrote_it(tmp_path):
    found = chain(tmp_path, {"train": {"epochs": 1, "keep": "last"}}, {"train": {"epochs": 2}})
    assert Path(found.origin("train.epochs")).name == "1.yaml"
    assert Path(found.origin("train.keep")).name == "0.yaml"
    assert Path(found.origin("train.keep.deeper[3]")).name == "0.yaml"
    assert Path(found.origin("nowhere")).name == "1.yaml"


def test_null_removes_one_of_a_named_mapping(tmp_path):
    losses = {"contrast": {"name": "info_nce", "of": "video"}, "pearson": {"name": "pearson", "of": "video"}}
    write(tmp_path, edited({"model.losses": losses}), "0.yaml")
    path = write(tmp_path, {"extends": "0.yaml", "model": {"losses": {"pearson": None}}})
    experiment, _ = check(read_core(read_document(str(path))), None)
    assert list(experiment.model.losses) == ["contrast"]


def test_a_component_of_another_name_replaces_the_inherited_one_whole(tmp_path):
    base = {"encoder": {"name": "clip", "model": "folder", "max_words": 24}}
    assert chain(tmp_path, base, {"encoder": {"name": "other"}}).values == {"encoder": {"name": "other"}}
    kept = chain(tmp_path, base, {"encoder": {"max_words": 32}}).values["encoder"]
    assert kept == {"name": "clip", "model": "folder", "max_words": 32}
    assert chain(tmp_path, base, {"encoder": {"name": "clip", "max_words": 1}}).values["encoder"]["model"] == "folder"


def test_the_name_of_the_experiment_does_not_make_it_another_component(tmp_path):
    assert chain(tmp_path, {"name": "a", "claim": "x"}, {"name": "b"}).values == {"name": "b", "claim": "x"}


@pytest.mark.parametrize("key", ["ablate", "one_at_a_time", "variants", "hypotheses", "baseline"])
def test_what_designs_the_comparison_is_replaced_whole(tmp_path, key):
    assert chain(tmp_path, {key: {"a": {"x": 1}}}, {key: {"b": {}}}).values == {key: {"b": {}}}


def test_lists_are_replaced(tmp_path):
    assert chain(tmp_path, {"seeds": [0, 1, 2]}, {"seeds": [3]}).values == {"seeds": [3]}


def test_a_chain_of_three_files_is_read_from_its_root(tmp_path):
    found = chain(tmp_path, {"a": 1, "b": 1, "c": 1}, {"b": 2, "c": 2}, {"c": 3})
    assert found.values == {"a": 1, "b": 2, "c": 3}


def test_a_removed_mapping_can_be_given_again(tmp_path):
    found = chain(tmp_path, {"train": {"epochs": 1}}, {"train": None}, {"train": {"keep": "last"}})
    assert found.values == {"train": {"keep": "last"}}


def test_files_that_extend_each_other_in_a_circle_are_refused(tmp_path):
    write(tmp_path, {"extends": "b.yaml"}, "a.yaml")
    write(tmp_path, {"extends": "a.yaml"}, "b.yaml")
    assert "extends: the files extend each other in a circle" in fault_of(read_document, str(tmp_path / "a.yaml"))
    write(tmp_path, {"extends": "c.yaml"}, "c.yaml")
    assert "in a circle" in fault_of(read_document, str(tmp_path / "c.yaml"))


def test_extends_is_relative_to_the_file_that_says_it(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    write(tmp_path, {"name": "root"}, "base.yaml")
    path = write(tmp_path / "papers", {"extends": "../base.yaml"})
    monkeypatch.chdir(tmp_path / "papers")
    assert read_document(str(path)).values == {"name": "root"}
    assert read_document("trial.yaml").values == {"name": "root"}


def test_extends_from_the_working_directory_is_refused_with_what_to_write(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    write(tmp_path, {"name": "root"}, "base.yaml")
    path = write(tmp_path / "papers", {"extends": "base.yaml"})
    monkeypatch.chdir(tmp_path)
    fault = fault_of(read_document, str(path))
    assert f"no such file, which {path} extends: looked for {tmp_path}/papers/base.yaml. " in fault
    assert fault.endswith(
        "There is base.yaml in the working directory, but paths in a file start in the file's folder: write "
        "../base.yaml"
    )


def test_a_file_that_is_extended_but_missing_is_named_with_who_extends_it(tmp_path):
    path = write(tmp_path, {"extends": "nowhere.yaml"})
    assert f"nowhere.yaml: no such file, which {path} extends" in fault_of(read_document, str(path))


def test_extends_names_one_file(tmp_path):
    path = write(tmp_path, {"extends": ["a.yaml"]})
    assert fault_of(read_document, str(path)) == f"{path}: extends: expected a file name, got ['a.yaml']"


def test_a_fault_of_the_extended_file_is_blamed_on_it(tmp_path):
    base = write(tmp_path, edited({"train.epochs": "x"}), "base.yaml")
    path = write(tmp_path, {"extends": "base.yaml"})
    assert fault_of(check_file, str(path)).startswith(f"{base}: train.epochs: ")


def test_an_experiment_inside_an_installed_package(tmp_path, monkeypatch):
    package = tmp_path / "toy_papers"
    package.mkdir()
    (package / "__init__.py").write_text("")
    write(package, {"name": "inside"}, "paper.yaml")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert read_document("toy_papers:paper.yaml").values == {"name": "inside"}
        extending = write(tmp_path, {"extends": "toy_papers:paper.yaml", "seeds": [1]})
        assert read_document(str(extending)).values == {"name": "inside", "seeds": [1]}
        assert "Did you mean `paper.yaml`?" in fault_of(read_document, "toy_papers:papers.yaml")
    finally:
        sys.modules.pop("toy_papers", None)
    assert fault_of(read_document, "no_such_pkg:a.yaml") == ("no_such_pkg:a.yaml: no installed package `no_such_pkg`")


trees = st.recursive(
    st.one_of(st.integers(), st.lists(st.integers(), max_size=2), st.none()),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
roots = st.dictionaries(st.sampled_from("abcd"), trees, max_size=4)


@given(roots, roots)
def test_merging_changes_neither_file_and_is_idempotent(base, over):
    before = (repr(base), repr(over))
    merged = _merge(base, over)
    assert (repr(base), repr(over)) == before
    assert _merge(merged, over) == merged
    assert _merge(base, {}) == base
    assert _merge({}, over) == over


@given(*[st.dictionaries(st.sampled_from(["x", "y"]), st.dictionaries(st.sampled_from("abc"), st.integers()))] * 3)
def test_extending_twice_is_extending_by_the_merged_files(first, second, third):
    assert _merge(_merge(first, second), third) == _merge(first, _merge(second, third))


# ------------------------------------------------------------------------------------------------ the command line


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.epochs=3", "train", {"epochs": 3}),
        ("seeds=[1, 2]", "seeds", [1, 2]),
        ("claim=null", "claim", None),
        ("claim=", "claim", None),
        ("name=a=b", "name", "a=b"),
        ("name='3'", "name", "3"),
        ("train={epochs: 1, keep: last}", "train", {"epochs": 1, "keep": "last"}),
        ("ablate[train.epochs]=[1,5]", "ablate", {"train.epochs": [1, 5]}),
        ("ablate[train.learning_rate]=[1e-4, 3E-4]", "ablate", {"train.learning_rate": [1e-4, 3e-4]}),
        ("variants[two words][train.epochs]=2", "variants", {"two words": {"train.epochs": 2}}),
    ],
)
def test_values_of_the_command_line(tmp_path, override, key, value):
    found = document(tmp_path, {"train": ...}, (override,))
    assert found.values[key] == value
    assert found.origin(override.split("=")[0]) == "command line"


def test_an_override_replaces_a_mapping_whole(tmp_path):
    found = document(tmp_path, {}, ("model.losses={}",))
    assert found.values["model"]["losses"] == {}


def test_overrides_apply_in_order(tmp_path):
    found = document(tmp_path, {}, ("retrieve.rerank={name: other}", "retrieve.rerank.top_k=3"))
    assert found.values["retrieve"]["rerank"] == {"name": "other", "top_k": 3}


@given(st.integers(1, 9), st.sampled_from(["train.epochs", "data.num_frames"]))
def test_the_same_override_twice_is_the_same_as_once(tmp_path_factory, number, key):
    folder = tmp_path_factory.mktemp("twice")
    override = f"{key}={number}"
    once, twice = document(folder, {}, (override,)), document(folder, {}, (override, override))
    assert (once.values, once.origins) == (twice.values, twice.origins)


def test_a_fault_of_an_override_is_blamed_on_the_command_line(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^command line: train\.epochs: expected a whole number, got 'x' \(a text\)$"
    ):
        read_core(document(tmp_path, {}, ("train.epochs=x",)))
    with pytest.raises(ConfigError, match=r"^command line: no_section: unknown key"):
        read_core(document(tmp_path, {}, ("no_section.field=1",)))
    with pytest.raises(ConfigError, match=r"command line: train\.keep: 'x'"):
        read_core(document(tmp_path, {"train.keep": "last"}, ("train={keep: x}",)))


def test_every_bad_override_is_reported(tmp_path):
    overrides = ("train.epochs", "a..b=1", "seeds=[1", "retrieve.first_stage.a=1", "extends=x.yaml", "model={on: 1}")
    found = problems_of(document, tmp_path, {}, overrides)
    assert found == {
        "train.epochs": "expected key=value",
        "a..b": "not a key; write section.field, or section[a.dotted.name]",
        "seeds": "the value '[1' is not YAML: did not find expected ',' or ']'",
        "retrieve.first_stage.a": "cannot be set, because `retrieve.first_stage` is 'video' (a text); "
        "set `retrieve.first_stage` first",
        "extends": "can only be written in a file",
        "model.true": found["model.true"],
    }


def test_below_null_nothing_can_be_set(tmp_path):
    found = problems_of(document, tmp_path, {"retrieve.rerank": None}, ("retrieve.rerank.top_k=3",))
    assert found == {
        "retrieve.rerank.top_k": "cannot be set, because `retrieve.rerank` is null; set `retrieve.rerank` first"
    }


# ------------------------------------------------------------------------------------------------ interpolation


def test_interpolation_follows_overrides_and_extending_files(tmp_path):
    changes = {"train.encoder_learning_rate": "${train.learning_rate}", "train.learning_rate": 1e-3}
    assert core(tmp_path, changes).train.encoder_learning_rate == 1e-3
    assert core(tmp_path, changes, ["train.learning_rate=1e-5"]).train.encoder_learning_rate == 1e-5
    write(tmp_path, edited(changes), "base.yaml")
    path = write(tmp_path, {"extends": "base.yaml", "train": {"learning_rate": 2.0}})
    assert read_core(read_document(str(path)))["train"]["encoder_learning_rate"] == 2.0


def test_a_whole_mapping_may_be_written_once():
    found = resolve({"a": {"x": 1, "y": "${b}"}, "b": 2, "c": "${a}", "d": ["${a.x}", "k${b}"]})
    assert found == {"a": {"x": 1, "y": 2}, "b": 2, "c": {"x": 1, "y": 2}, "d": [1, "k2"]}


def test_every_interpolation_that_points_nowhere_is_reported(tmp_path):
    changes = {"train.epochs": "${train.epoks}", "data.num_frames": "${nowhere.at_all}", "seeds": [0, "${train.no}"]}
    found = faults(tmp_path, changes)
    assert list(found) == ["data.num_frames", "train.epochs", "seeds[1]"]
    assert found["train.epochs"] == "Interpolation key 'train.epoks' not found. Did you mean `train.epochs`?"


def test_interpolation_in_a_circle_is_refused(tmp_path):
    found = faults(tmp_path, {"train.epochs": "${data.num_frames}", "data.num_frames": "${train.epochs}"})
    assert set(found) == {"train.epochs", "data.num_frames"}


def test_an_unfinished_interpolation_is_located(tmp_path):
    path = write(tmp_path, 'name: a\ntrain: {epochs: "${train.x"}\n')
    found = fault_of(read_document, str(path))
    assert found == f"{path}: train.epochs: expected a whole key, such as `${{section.field}}`, got `${{train.x`"
    assert "command line: train.epochs: " in fault_of(document, tmp_path, {}, ("train.epochs=${",))


def test_what_a_file_leaves_open_must_be_given(tmp_path):
    assert faults(tmp_path, {"name": "???"}) == {"name": "is needed: the file leaves it open with ???"}
    assert core(tmp_path, {"name": "???"}, ["name=mine"]).name == "mine"


# ------------------------------------------------------------------------------------------------ what is shipped


SHIPPED = sorted(path for path in EXPERIMENTS.rglob("*.yaml") if path.parent.name != "references")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_fits_the_core_schema_and_means_what_it_says(path):
    check_file(str(path))
    written = yaml.safe_load(path.read_text())
    assert all(isinstance(key, str) for key in written)
    read = read_document(str(path)).values
    for key in {"name", "seeds", "ablate", "variants", "baseline", "hypotheses"} & set(written):
        assert read[key] == written[key]
