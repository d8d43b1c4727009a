"""Paths in an experiment file start in the folder of the file that writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core import ConfigError
from core.experiment.config import read_document
from core.experiment.config.paths import from_folder, from_working_directory

ROOT = Path(__file__).parents[3]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder of experiments and some files beside it."""
    for name in ("experiments/own.jsonl", "data/list.jsonl", "clip/config.json", "scores/a.npz", "scores/ids.txt"):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values_of(values: dict[str, Any], file: str | Path = "experiments/own.yaml", *overrides: str) -> dict[str, Any]:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text(yaml.safe_dump(values))
    return read_document(str(file), overrides).values


def dataset(path: str) -> dict[str, Any]:
    return {"data": {"dataset": {"name": "folder", "path": path}}}


# ------------------------------------------------------------------------------------------------ where they start


def test_a_path_is_read_from_the_folder_of_its_file_and_kept_from_the_working_directory(here: Path) -> None:
    assert values_of(dataset("own.jsonl")) == dataset("experiments/own.jsonl")
    assert values_of(dataset("../data/list.jsonl")) == dataset("data/list.jsonl")
    assert values_of(dataset("../data/list.jsonl"), here / "experiments" / "own.yaml") == dataset("data/list.jsonl")


def test_a_file_of_the_working_directory_has_its_paths_as_they_are_written(here: Path) -> None:
    for path in ("data/list.jsonl", "./data//list.jsonl", "nowhere.jsonl"):
        assert values_of(dataset(path), "own.yaml") == dataset(path)
        assert values_of(dataset(path), here / "own.yaml") == dataset(path)


def test_from_another_working_directory_the_same_files_are_meant(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    absolute = here / "experiments" / "own.yaml"
    assert values_of(dataset("../data/list.jsonl"), absolute) == dataset(str(here / "data" / "list.jsonl"))
    assert values_of(dataset("../data/list.jsonl"), "../experiments/own.yaml") == dataset("../data/list.jsonl")


def test_the_paths_of_a_file_that_is_extended_start_in_its_own_folder(here: Path) -> None:
    values_of({**dataset("../data/list.jsonl"), "encoder": {"name": "clip", "model": "../clip"}}, "bases/base.yaml")
    child = {"extends": "../../bases/base.yaml", "data": {"dataset": {"root": "videos"}}}
    assert values_of(child, "experiments/deep/own.yaml") == {
        "data": {"dataset": {"name": "folder", "path": "data/list.jsonl", "root": "experiments/deep/videos"}},
        "encoder": {"name": "clip", "model": "clip"},
    }


def test_what_the_command_line_says_starts_at_the_working_directory(here: Path) -> None:
    override = "data.dataset.path=data/list.jsonl"
    assert values_of(dataset("own.jsonl"), "experiments/own.yaml", override) == dataset("data/list.jsonl")


def test_a_file_behind_a_link_finds_what_lies_beside_what_it_links_to(here: Path) -> None:
    (here / "linked").symlink_to(here / "data")
    (here / "data" / "clips").mkdir()
    far = here / "far"
    (far / "experiments").mkdir(parents=True)
    (far / "list.jsonl").touch()
    (here / "links").symlink_to(far / "experiments")
    assert values_of(dataset("../list.jsonl"), "links/own.yaml") == dataset("links/../list.jsonl")


def test_absolute_paths_homes_addresses_references_and_what_is_left_open_stay(here: Path) -> None:
    for path in ("/data/x.jsonl", "~/x.jsonl", "s3://data/x.jsonl", "${data.root}/x.jsonl", "???"):
        assert values_of(dataset(path)) == dataset(path)
    uri = {"outputs": {"mlflow": {"name": "mlflow", "uri": "sqlite:///mlflow.db"}}}
    assert values_of(uri) == uri


# ------------------------------------------------------------------------------------------------ which texts are paths


def test_a_path_that_is_not_there_yet_starts_in_the_folder_of_its_file(here: Path) -> None:
    outputs = {"export": {"folder": "../exported"}, "claims": {"page": "claims.md"}}
    assert values_of({"outputs": outputs})["outputs"] == {
        "export": {"folder": "exported"},
        "claims": {"page": "experiments/claims.md"},
    }


def test_a_hub_id_stays_one_and_a_folder_beside_the_file_is_a_folder(here: Path) -> None:
    hub = {"encoder": {"name": "clip", "model": "openai/clip-vit-base-patch32"}}
    assert values_of(hub) == hub
    (here / "experiments" / "openai" / "clip-vit-base-patch32").mkdir(parents=True)
    assert values_of(hub)["encoder"]["model"] == "experiments/openai/clip-vit-base-patch32"


def test_a_folder_that_leads_up_to_nothing_is_never_taken_for_a_hub_id(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.model: looked for models/clip, which does not exist"):
        values_of({"encoder": {"name": "clip", "model": "../models/clip"}})


def test_score_files_with_a_key_and_files_of_ids_are_found(here: Path) -> None:
    scores = {"name": "given_scores", "file": "../scores/a.npz:sim", "rows": "../scores/ids.txt"}
    assert values_of({"model": {"interactions": {"own": scores}}})["model"]["interactions"]["own"] == {
        "name": "given_scores",
        "file": "scores/a.npz:sim",
        "rows": "scores/ids.txt",
    }


def test_named_encoders_and_components_within_others_have_paths_too(here: Path) -> None:
    inner = {"name": "own", "file": "own.jsonl"}
    values = {
        "encoder": {"small": {"name": "clip", "model": "../clip"}},
        "model": {"transforms": {"a": {"name": "x", "inner": inner, "several": [inner]}}},
    }
    assert values_of(values) == {
        "encoder": {"small": {"name": "clip", "model": "clip"}},
        "model": {
            "transforms": {
                "a": {
                    "name": "x",
                    "inner": {"name": "own", "file": "experiments/own.jsonl"},
                    "several": [{"name": "own", "file": "experiments/own.jsonl"}],
                }
            }
        },
    }


def test_other_texts_stay_though_a_file_has_their_name(here: Path) -> None:
    for name in ("frames", "video", "list"):
        (here / "experiments" / name).touch()
    values = {
        "name": "list",
        "data": {"dataset": {"name": "folder", "columns": {"video": "list"}, "texts": ["frames"]}},
        "model": {"interactions": {"video": {"name": "mean_pooling", "level": "frames"}}},
        "retrieve": {"first_stage": "video"},
        "claim": {"text": "list", "source": "list"},
    }
    assert values_of(values) == values


def test_sweeps_variants_baseline_and_claims_name_the_same_paths_as_the_file(here: Path) -> None:
    key, written, read = "data.dataset.path", "../data/list.jsonl", "data/list.jsonl"
    for values, expected in (
        ({"ablate": {key: ["own.jsonl", written]}}, {"ablate": {key: ["experiments/own.jsonl", read]}}),
        ({"ablate": {"encoder": {key: [written]}}}, {"ablate": {"encoder": {key: [read]}}}),
        ({"one_at_a_time": {key: [written]}}, {"one_at_a_time": {key: [read]}}),
        ({"variants": {"data": {key: written}}}, {"variants": {"data": {key: read}}}),
        (
            {"variants": {"a": {"data.dataset": {"name": "folder", "path": written}}}},
            {"variants": {"a": {"data.dataset": {"name": "folder", "path": read}}}},
        ),
        ({"baseline": {key: written}}, {"baseline": {key: read}}),
        ({"baseline": "one"}, {"baseline": "one"}),
        (
            {"hypotheses": {"a": {"larger_gain": {"of": {key: written}}, "metric": "t2v/R1"}}},
            {"hypotheses": {"a": {"larger_gain": {"of": {key: read}}, "metric": "t2v/R1"}}},
        ),
    ):
        assert values_of(values) == expected


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_path_from_the_working_directory_is_refused_with_both_places_and_what_to_write(here: Path) -> None:
    values = {**dataset("data/list.jsonl"), "encoder": {"name": "clip", "model": "clip"}}
    with pytest.raises(ConfigError) as caught:
        values_of(values)
    assert str(caught.value).split("\n")[-2:] == [
        "experiments/own.yaml: data.dataset.path: looked for experiments/data/list.jsonl, which does not exist. There "
        "is data/list.jsonl in the working directory, but paths in a file start in the file's folder: write "
        "../data/list.jsonl",
        "experiments/own.yaml: encoder.model: looked for experiments/clip, which does not exist. There is clip in the "
        "working directory, but paths in a file start in the file's folder: write ../clip",
    ]


# ------------------------------------------------------------------------------------------------ and back


def test_a_mapping_is_written_so_that_its_file_means_the_same_paths(here: Path) -> None:
    values = {
        "extends": "experiments/own.jsonl",
        "data": {"dataset": {"name": "folder", "path": "data/list.jsonl", "root": "not/yet"}},
        "encoder": {"a": {"name": "clip", "model": "clip"}, "b": {"name": "clip", "model": "openai/clip"}},
        "references": ["data/list.jsonl"],
        "ablate": {"data.dataset.path": ["data/list.jsonl", "/abs.jsonl"]},
    }
    file = here / "runs" / "own" / "experiment.yaml"
    written = from_folder(values, file.parent)
    assert written["extends"] == "../../experiments/own.jsonl"
    assert written["data"]["dataset"]["path"] == "../../data/list.jsonl"
    extends = written.pop("extends")
    assert (file.parent / extends).resolve() == here / "experiments" / "own.jsonl"
    assert from_working_directory(written, file)[0] == {name: values[name] for name in values if name != "extends"}


# ------------------------------------------------------------------------------------------------ what ships


SHIPPED = [path for path in sorted((ROOT / "experiments").rglob("*.yaml")) if path.parent.name != "references"]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_experiment_means_the_same_files_from_anywhere(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    models = _models(read_document(str(file)).values)
    assert all(model.startswith("checkpoints/") for model in models)
    monkeypatch.chdir(tmp_path)
    assert _models(read_document(str(file)).values) == [str(ROOT / model) for model in models]


def _models(values: dict[str, Any]) -> list[str]:
    encoder = values.get("encoder", {})
    specs = [encoder] if "name" in encoder else encoder.values()
    return [spec["model"] for spec in specs if "model" in spec]
