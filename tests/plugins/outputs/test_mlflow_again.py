"""MLflow written to again: what was interrupted is completed, what changed is replaced, nothing stands twice."""

from __future__ import annotations

import multiprocessing
import shutil
from pathlib import Path

import pytest

from core import RunError
from core.run import main
from plugins.outputs.mlflow.server import Server, held, tracking_uri
from tests.engine import plan_of

from .still import Constant, Place, _plugin, artifacts

__all__ = ["_plugin"]


def test_a_child_that_was_interrupted_is_completed_in_place(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.track(result)
    broken = place.runs("trial")[0]
    shutil.rmtree(artifacts(place, broken))
    place.client.update_run(broken.info.run_id, status="RUNNING")
    points = place.count("metrics")
    assert place.track(result).new_runs == 0
    assert place.client.get_run(broken.info.run_id).info.status == "FINISHED"
    assert (artifacts(place, broken) / "config.yaml").is_file()
    assert place.count("metrics") == points


def test_a_parent_that_was_interrupted_is_completed(place: Place) -> None:
    result = place.result("seeds=[0]")
    parent = place.track(result).run_id
    for name in ("content", "mlflow.note.content"):
        place.client.delete_tag(parent, name)
    place.client.update_run(parent, status="RUNNING")
    assert place.track(result).run_id == parent
    found = place.client.get_run(parent)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.note.content"]


def test_an_outcome_that_changed_is_brought_up_to_date(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.track(result)
    next(row for row in result.rows if row.name == "layers=3").outcome = "n.s."
    assert place.track(result).new_runs == 0
    assert place.run("layers=3 · seed 0").data.tags["outcome"].startswith("— n.s. p")


def test_results_of_changed_code_replace_the_old_ones_in_the_table(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.track(place.result("seeds=[0]"))
    old = {run.info.run_id for run in place.runs("trial")}
    half_done = next(iter(old))
    place.client.update_run(half_done, status="RUNNING")
    monkeypatch.setattr(Constant, "fingerprint", lambda self: "changed")
    assert place.track(place.result("seeds=[0]")).new_runs == 4
    assert {run.info.run_id for run in place.runs("superseded")} == old
    assert len(place.runs("trial")) == 4
    assert place.client.get_run(half_done).info.status == "KILLED"


def test_a_deleted_experiment_comes_back(place: Place) -> None:
    result = place.result("seeds=[0]")
    place.client.delete_experiment(place.track(result).experiment_id)
    assert place.track(result).new_runs == 0
    assert len(place.runs("trial")) == 4


def test_four_processes_may_make_one_new_database_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    uri, ready, outputs = f"sqlite:///{tmp_path}/new folder/mlflow.db", context.Barrier(4), context.Queue()

    def make_one() -> None:
        ready.wait()
        with held(uri, tmp_path):
            outputs.put(Server(uri).experiment("one"))

    processes = [context.Process(target=make_one) for _ in range(4)]
    for process in processes:
        process.start()
    assert [outputs.get(timeout=60) for _ in processes] == ["1"] * 4
    for process in processes:
        process.join()


def test_a_server_that_cannot_be_reached_costs_no_result(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = place.result("outputs.mlflow.uri=http://someone:secret@127.0.0.1:9", "seeds=[0, 1]")
    with pytest.raises(RunError) as caught:
        place.track(result)
    message = str(caught.value)
    assert "could not be written" in message
    assert "No result is lost" in message
    assert f"python -m core.run {place.file} " in message
    assert f" --store {place.folder / 'store'} --stored --only mlflow\n" in message
    assert "'seeds=[0, 1]'" in message
    assert "secret" not in message


def test_the_uri_is_the_files_then_the_environments_then_a_database_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert tracking_uri(None) == "http://tracking:5000"
    assert tracking_uri("sqlite:///sub/a.db") == f"sqlite:///{tmp_path}/sub/a.db"


def test_the_command_writes_from_the_store_and_names_trials_that_lack_a_result(
    undrawn: None, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    result = place.result("seeds=[0]")
    arguments = [place.file, "seeds=[0]", f"outputs.mlflow.uri={place.uri}", "--stored", "--only", "mlflow"]
    arguments += ["--store", str(place.folder / "store"), "--runs", str(place.folder / "runs")]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"MLflow: sh {place.folder / 'runs' / 'depth' / 'mlflow.sh'}, at http://127.0.0.1:5000/#/")
    written = [run.info.run_id for run in place.client.search_runs([told.rstrip().rpartition("/")[2]])]
    assert len(written) == 5
    assert main(arguments) == 0
    assert capsys.readouterr().out == told
    assert [run.info.run_id for run in place.client.search_runs([told.rstrip().rpartition("/")[2]])] == written
    gone = plan_of(result).trials[0]
    store = plan_of(result).workspace.store
    assert store.remove(store.root / "evaluate" / gone.last.key)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert f"1 of its 4 trials are missing ({gone.name}" in error
    assert f"python -m core.run {place.file}" in error
