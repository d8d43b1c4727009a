"""The benchmark of tracking writes what it says it writes, and counts what that takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tracking
from benchmarks.servers import postgres_programs
from plugins.outputs.mlflow.server import Server

SMALL = tracking.Size(trials=2, metrics=3, epochs=2, files=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return Server(f"sqlite:///{tmp_path_factory.mktemp('tracked')}/mlflow.db")


def test_every_trial_has_its_points_data_and_artifacts(server: Server) -> None:
    tracking.write(server, "whole", SMALL)
    client: Any = server.client
    runs = client.search_runs([client.get_experiment_by_name("whole").experiment_id])
    assert len(runs) == SMALL.trials
    for run in runs:
        assert run.info.status == "FINISHED"
        assert len(run.data.metrics) == SMALL.metrics + SMALL.values_an_epoch
        assert len(client.get_metric_history(run.info.run_id, "train/loss 0")) == SMALL.epochs
        assert len(run.inputs.dataset_inputs) == 1
    assert server.artifacts is not None
    files = [path for path in server.artifacts.rglob("*") if path.is_file()]
    assert len(files) == SMALL.trials * SMALL.files
    assert all(abs(path.stat().st_size - SMALL.bytes_a_file) < 10 for path in files)


def test_a_trial_takes_five_commits_however_many_points_it_has(server: Server) -> None:
    more = tracking.Size(trials=1, metrics=40, epochs=30)
    assert tracking.count(server, SMALL) == tracking.count(server, more) == {"commits": 5, "requests": None}


def test_what_core_sets_of_a_file_can_be_undone(tmp_path: Path) -> None:
    server = Server(f"sqlite:///{tmp_path}/mlflow.db")

    def settings() -> list[object]:
        with tracking.engine_of(server).connect() as connection:
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]

    assert settings() == ["wal", 1]
    tracking.restore_defaults(server)
    assert settings() == ["delete", 2]


@pytest.mark.slow
def test_the_small_run_writes_to_every_place_and_writes_it_down(tmp_path: Path) -> None:
    out = tmp_path / "tracking.json"
    tracking.main(["--small", "--out", str(out)])
    result = json.loads(out.read_text())
    rows = {row["place"]: row for row in result["places"]}
    there = [tracking.POSTGRES] if postgres_programs() else []
    assert list(rows) == [tracking.FILE, tracking.PLAIN, *there, tracking.HTTP]
    assert rows[tracking.FILE]["ratio"]["median"] == 1
    assert {row["commits"] for row in rows.values()} == {5, None}
    assert result["flush_ms"] > 0
    assert rows[tracking.HTTP]["requests"] == 4 + result["size"]["files"]
    kinds = ["runs/create", "runs/log-batch", "runs/log-inputs", "artifact", "runs/update"]
    assert [row["request"] for row in result["requests"]] == kinds
    assert tracking.FILE in out.with_suffix(".md").read_text()
    shipped = json.loads((Path(tracking.__file__).parent / "results" / "tracking.json").read_text())
    assert list(shipped) == list(result)
    assert {tuple(row) for row in shipped["places"]} == {tuple(row) for row in result["places"]}
