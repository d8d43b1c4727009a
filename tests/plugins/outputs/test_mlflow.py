"""MLflow from stored results. The engine does not run here: results and fits are put into the store by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sqlite3
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from core.evidence.trials import Trial
from core.experiment.selection import name_of
from core.outputs import Outputs
from plugins.outputs.mlflow import experiment
from plugins.outputs.mlflow.trial import TrialRecord, rounded, run_name
from plugins.outputs.mlflow.view import CREATED, shared_views
from plugins.outputs.tables import header
from tests.engine import plan_of

from .still import EXPERIMENT, QUERIES, VIDEOS, Place, _plugin, artifacts

__all__ = ["_plugin"]


def test_one_parent_and_one_child_a_trial_named_by_what_varies(tracked: SimpleNamespace) -> None:
    assert tracked.answer.new_runs == 8
    children = tracked.place.runs("trial")
    names = {f"layers={layers} · seed {seed}" for layers in (1, 2, 3) for seed in (0, 1)} | {"untrained"}
    assert {run.info.run_name for run in children} == names
    (parent,) = tracked.place.runs("experiment")
    assert parent.info.run_id == tracked.answer.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}


def test_running_the_same_file_again_adds_nothing(tracked: SimpleNamespace) -> None:
    place = tracked.place

    def everything() -> list[Any]:
        tables = ("runs", "params", "metrics", "latest_metrics", "tags", "experiment_tags")
        runs = place.runs("trial") + place.runs("experiment")
        return [{run.info.run_id: run.data.tags for run in runs}, *(place.count(table) for table in tables)]

    before = everything()
    again = place.track(place.result())
    assert again.new_runs == 0
    assert again.run_id == tracked.answer.run_id
    assert everything() == before


def test_another_version_of_the_file_gets_its_own_parent(place: Place) -> None:
    first, second = place.track(place.result("seeds=[1]")), place.track(place.result("seeds=[0]"))
    assert second.experiment_id == first.experiment_id
    assert second.run_id != first.run_id
    assert second.new_runs == 5
    assert place.client.get_run(second.run_id).data.tags["overrides"] == "seeds=[0]"


def test_where_weights_are_exported_to_does_not_make_another_version(tracked: SimpleNamespace) -> None:
    assert tracked.place.track(tracked.place.result("outputs.export.folder=weights")).new_runs == 0


def test_nothing_is_written_where_the_output_is_left_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place.uri)
    result = place.result("outputs.mlflow=null")
    outputs = Outputs(plan_of(result), place.folder / "runs")
    outputs.finished(result)
    assert outputs.faults == []
    assert place.client.get_experiment_by_name("depth") is None


def test_params_are_what_varies_and_the_seed(tracked: SimpleNamespace) -> None:
    assert tracked.place.run("layers=3 · seed 1").data.params == {"layers": "3", "first_stage": "deep", "seed": "1"}
    assert tracked.place.run("untrained").data.params == {"layers": "1", "first_stage": "plain", "seed": "-"}


def test_params_tell_null_as_written_from_what_does_not_apply(place: Place) -> None:
    variants = "variants={few: {train.epochs: 1}, all: {train.num_frames: null, train.epochs: 2}}"
    place.track(place.result("ablate={}", variants, "baseline=few", "hypotheses={}", "seeds=[7]"))
    assert place.run("few · seed 7").data.params == {"epochs": "1", "num_frames": "-", "seed": "7"}
    assert place.run("all · seed 7").data.params == {"epochs": "2", "num_frames": "none", "seed": "7"}


def test_metrics_bear_the_results_names_rounded(tracked: SimpleNamespace) -> None:
    stored = {found.key: found.metrics for row in tracked.result.rows for found in row.results}
    for run in tracked.place.runs("trial"):
        own = {name: value for name, value in run.data.metrics.items() if name.startswith(("t2v/", "v2t/"))}
        assert (own.pop("t2v/ceiling"), own.pop("t2v/index_recall")) == (97.5, 88.0)
        assert own == {name: rounded(value) for name, value in stored[run.data.tags["trial_key"]].items()}
        assert {"t2v/R1", "t2v/MdR", "v2t/MRR"} <= set(own)


def test_the_training_curve_is_logged_by_epoch(tracked: SimpleNamespace) -> None:
    history = tracked.place.client.get_metric_history
    trained = tracked.place.run("layers=2 · seed 0").info.run_id
    curve = history(trained, "train/loss/contrast")
    assert [(point.step, point.value) for point in curve] == [(1, 2.0), (2, 1.0), (3, 0.6667)]
    assert [(point.step, point.value) for point in history(trained, "validation/t2v/R1")] == [(2, 40.0)]


def test_values_that_are_not_finite_are_left_out(tracked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    row = tracked.result.rows[0]
    values = {"t2v/R1": 3.0, "t2v/R5": math.nan, "v2t/MnR": math.inf}
    monkeypatch.setattr(Trial, "metrics", values)
    points = TrialRecord(tracked.result, row, row.results[0]).points
    assert {name for name, _, step in points if step == 0} == {"t2v/R1", "t2v/ceiling", "t2v/index_recall"}


def test_tags_say_where_a_trial_comes_from_and_how_it_fared(tracked: SimpleNamespace) -> None:
    tags = tracked.place.run("layers=3 · seed 1").data.tags
    trial = next(trial for trial in plan_of(tracked.result).trials if trial.name == "layers=3 · seed 1")
    assert tags["trial_key"] == trial.last.key
    assert "still-life 0.3" in tags["plugins"]
    assert (tags["variant"], tags["seed"], tags["mlflow.source.name"]) == ("layers=3", "1", tracked.place.file)
    assert len(tags["data"]) == 16
    assert tags["outcome"].startswith("▲ better p")
    assert tracked.place.run("untrained").data.tags["outcome"] == "baseline"


def test_artifacts_of_a_trial_hold_its_ranks_and_a_file_that_repeats_it(tracked: SimpleNamespace) -> None:
    run = tracked.place.run("layers=3 · seed 1")
    rows = list(csv.DictReader(io.StringIO((artifacts(tracked.place, run) / "per_query/t2v.csv").read_text())))
    assert len(rows) == QUERIES
    assert list(rows[0]) == ["query", "cluster", "R1", "R5", "R10", "rank", "MRR"]
    assert rows[0]["query"] == "t0"
    mean = sum(float(row["R1"]) for row in rows) / QUERIES
    assert mean == pytest.approx(run.data.metrics["t2v/R1"], abs=5e-3)
    assert len((artifacts(tracked.place, run) / "per_query/v2t.csv").read_text().splitlines()) == VIDEOS + 1
    again = tracked.place.plan(str(artifacts(tracked.place, run) / "config.yaml"))
    assert [trial.last.key for trial in again.trials] == [run.data.tags["trial_key"]]


def test_artifacts_of_the_parent_hold_report_table_and_files(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    folder = artifacts(tracked.place, parent)
    assert (folder / "experiment" / "depth.yaml").read_text() == EXPERIMENT
    assert "depth_helps" in (folder / "report/report.md").read_text()
    assert {"report.html", "table.csv", "table.tex"} <= {path.name for path in (folder / "report").iterdir()}
    assert (folder / "report/figures/differences.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "hypotheses.json").read_text())[0]["verdict"] == "supported"
    table = json.loads((folder / "ablation_table.json").read_text())
    assert [row[0] for row in table["data"]] == ["layers=1", "layers=2", "layers=3", "untrained"]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"])[0]["path"] == "ablation_table.json"
    assert list(tracked.place.plan(str(folder / "experiment" / "baseline_resolved.yaml")).experiment.seeds) == [0, 1]


def test_the_parents_note_begins_with_the_verdicts(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    first, _, third, _, fifth, *_ = parent.data.tags["mlflow.note.content"].splitlines()
    assert first.startswith("**Hypotheses: 1 supported. Variants: ")
    assert third.startswith("1 hypothesis: 1 supported. 3 variants against `untrained` on t2v/R1: ")
    assert "SUPPORTED: depth_helps" in fifth
    assert parent.data.tags["verdict/depth_helps"] == "supported"


def test_the_parents_note_has_question_table_figures_and_how_to_repeat_it(tracked: SimpleNamespace) -> None:
    (parent,) = tracked.place.runs("experiment")
    note = parent.data.tags["mlflow.note.content"]
    figure = "![](get-artifact?path=report/figures/"
    parts = ["Question: Does depth help?", "| layers=3 |", figure, "python -m core.run"]
    places = [note.index(part) for part in parts]
    assert places == sorted(places)
    shown = re.findall(r"path=(\S+)&run_uuid=(\w+)\)", note)
    assert shown
    assert all(run == parent.info.run_id and (artifacts(tracked.place, parent) / path).is_file() for path, run in shown)


def test_a_long_note_is_cut_at_a_line(tracked: SimpleNamespace) -> None:
    note = experiment.note(replace(tracked.result, notes=1000 * ["one more line"]), "#/", [])
    assert len(note) <= 8000
    assert note.endswith("one more line\n\nThe rest is in the artifact report/report.html.")


def test_the_note_of_many_variants_shows_the_first_and_counts_the_rest(
    tracked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ["x", *[""] * (len(header(tracked.result)) - 1)]
    monkeypatch.setattr(experiment, "table", lambda result: [row] * 53)
    note = experiment.note(tracked.result, "#/", [])
    assert note.count("| x |") == experiment.ROWS_IN_NOTE
    assert "33 more variants: [table](#/)" in note


def test_a_trial_names_the_data_that_it_was_trained_and_scored_on(tracked: SimpleNamespace) -> None:
    def data(run: Any) -> dict[str, Any]:
        inputs = tracked.place.client.get_run(run.info.run_id).inputs.dataset_inputs
        return {one.tags[0].value: one.dataset for one in inputs}

    trained, untrained = data(tracked.place.run("layers=2 · seed 0")), data(tracked.place.run("untrained"))
    assert set(trained) == {"train", "test"}
    assert set(data(*tracked.place.runs("experiment"))) == {"test"}
    assert set(untrained) == {"test"}
    assert trained["test"].name == "still test"
    assert trained["test"].digest == untrained["test"].digest
    assert json.loads(trained["test"].profile) == {"videos": VIDEOS, "texts": QUERIES}


def test_saved_views_show_the_trials_and_the_means_over_seeds_best_first(tracked: SimpleNamespace) -> None:
    place, answer = tracked.place, tracked.answer
    tags = place.client.get_experiment(answer.experiment_id).tags
    views = {
        name.rpartition(".")[2]: json.loads(value)
        for name, value in tags.items()
        if name.startswith("mlflow.sharedViewState.")
    }
    (trials_key, trials), (_, means) = sorted(views.items())
    assert trials["name"].startswith("Trials · file ")
    assert means["name"].startswith("Means over seeds · file ")
    states = [json.loads(view["state"]) for view in (trials, means)]
    params = ["params.`layers`", "params.`first_stage`", "params.`seed`"]
    assert states[0]["selectedColumns"][:6] == ["metrics.`t2v/R1`", *params, "tags.`outcome`", "tags.`difference`"]
    assert states[1]["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "variant"}]
    for state in states:
        assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`t2v/R1`", False)
        assert len(place.client.search_runs([answer.experiment_id], state["searchFilter"])) == 7
    assert any(f"viewStateShareKey={trials_key}" in line for line in answer.lines)
    assert any(f"--backend-store-uri {place.uri}" in line for line in answer.lines)
    assert "does depth help?" in tags["mlflow.note.content"]


def test_the_params_of_a_view_have_room_beside_the_metric_on_a_narrow_page(tracked: SimpleNamespace) -> None:
    state = json.loads(next(iter(shared_views(tracked.result).values()))["state"])
    widths = state["columnWidths"]
    assert state["columnOrder"][0] == CREATED
    params = [f"params.`{name}`" for name in ("layers", "first_stage", "seed")]
    assert all(56 <= widths[name] <= 100 for name in params)
    assert widths["params.`seed`"] < widths["params.`first_stage`"]
    assert 190 + sum(widths[name] for name in (CREATED, "metrics.`t2v/R1`", *params)) < 600


def test_what_was_found_stands_in_the_line_that_is_seen_of_a_folded_note(tracked: SimpleNamespace) -> None:
    result = tracked.result
    many = replace(result, rows=20 * result.rows, decisions=20 * result.decisions)
    for found in (result, many):
        first = experiment.experiment_note(found, {"Trials": "#/"}).splitlines()[0]
        assert first == f"**{experiment.headline(found)}**"
        assert len(first) < 80
    assert experiment.headline(result).startswith("Hypotheses: 1 supported. Variants: ")
    assert experiment.headline(many).startswith("Hypotheses: 20 supported. Variants: ")


def variants_named(*assignments: dict[str, Any], names: tuple[str, ...] = ()) -> list[Any]:
    keys = list(dict.fromkeys(key for values in assignments for key in values))
    given = names or [name_of(values, keys) for values in assignments]
    return [SimpleNamespace(name=name, assignments=values) for name, values in zip(given, assignments, strict=True)]


def test_a_run_is_named_by_what_varies_most_and_the_data_last() -> None:
    grid = [{"data.dataset.preset": preset, "a.top_k": k} for preset in ("partial", "like") for k in (1, 5, 50)]
    off = [{"data.dataset.preset": preset, "a.rerank": None} for preset in ("partial", "like")]
    variants = variants_named(*grid, *off)
    names = [run_name(variant, variants) for variant in variants]
    assert names[2:4] == ["top_k=50 partial", "top_k=1 like"]
    assert names[-2:] == ["rerank=none partial", "rerank=none like"]
    assert len({*names}) == len(variants)


def test_a_word_keeps_its_key_where_another_variant_has_none_and_a_number_always() -> None:
    some = variants_named({"k": 1, "a": "x"}, {"k": 2, "a": "x"}, {"k": 1, "b": "x"}, {"k": 1, "a": "x", "c": 0.5})
    names = [run_name(variant, some) for variant in some]
    assert names == ["k=1 a=x", "k=2 a=x", "k=1 b=x", "k=1 a=x c=0.5"]


def test_a_name_given_by_hand_stays() -> None:
    variants = variants_named({"k": 1, "a": "x"}, {}, names=("mine", "as written"))
    assert [run_name(variant, variants) for variant in variants] == ["mine", "as written"]


def test_one_seed_needs_no_view_of_means(place: Place) -> None:
    answer = place.track(place.result("seeds=[0]"))
    tags = place.client.get_experiment(answer.experiment_id).tags
    assert len([name for name in tags if name.startswith("mlflow.sharedViewState.")]) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [(42.973612, 42.97), (0.66666, 0.6667), (1.23456e-5, 1.235e-5), (0.0, 0.0), (1234567.0, 1234567.0)],
)
def test_numbers_are_rounded_to_what_a_column_shows(value: float, shown: float) -> None:
    assert rounded(value) == shown


def test_the_database_is_write_ahead_and_artifacts_lie_beside_it(tracked: SimpleNamespace) -> None:
    with sqlite3.connect(tracked.place.folder / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    (parent,) = tracked.place.runs("experiment")
    assert artifacts(tracked.place, parent).is_dir()
