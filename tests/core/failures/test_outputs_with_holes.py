"""Every output says what is missing and why."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core import LossInputs
from tests.engine import Lab

from .odd import FAULT, HOLE, ONE_SEED, SEED, TRIED, WEIGHT, OddLoss, command, report, table, variants, written

# ---------------------------------------------------------------------------------------------- every output


GRID = HOLE | {
    "variants": None,
    "ablate": {WEIGHT: [0.5, 1.0], "train.learning_rate": [0.01, 0.02]},
    "baseline": {WEIGHT: 1.0, "train.learning_rate": 0.01},
    "hypotheses": {},
}


def test_every_file_of_the_report_shows_the_hole_and_why(drawn: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    command(drawn, HOLE)
    why = "the loss is odd"
    printed = capsys.readouterr().out
    for text in (printed, report(drawn, "report.md"), report(drawn, "report.html")):
        assert "9 of 12 trials done, 3 failed" in text
        assert why in text
        assert "NOT DECIDED" in text
    assert "| odd | failed |  |  |  | failed |  |" in report(drawn, "report.md")
    line = table(drawn)["odd", "t2v/R1"]
    assert (line["mean"], line["seeds"], line["values"], line["outcome"]) == ("", "0", "", "failed")
    latex = report(drawn, "table.tex")
    assert r"odd$^\S$ & --" in latex
    assert r"\multicolumn{3}{c}{failed}" in latex
    assert r"$^\S$\,Trials failed" in latex
    figures = {path.name for path in (drawn.folder / "runs" / "lab" / "figures").glob("*.svg")}
    assert {"differences.svg", "training_model.svg"} <= figures


def test_figures_leave_out_what_failed(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from plugins.outputs.figures.figure import figures_of

    plain = OddLoss.forward

    def failing(self: OddLoss, inputs: LossInputs) -> Tensor:
        if self.config.weight == 0.5 and torch.initial_seed() // 1_000_003 == self.config.seed:
            raise ValueError("odd")
        return plain(self, inputs)

    monkeypatch.setattr(OddLoss, "forward", failing)
    for seed, shown in ((1, "seed 1 failed: not compared"), (-2, "n.s.")):
        result = wide.result(GRID | {SEED: seed, "seeds": [0, 1]})
        figures = figures_of(result)
        grid, curves = figures["grid"], figures.get("sweep_weight")
        assert grid.outcomes[0][0] == shown  # type: ignore[union-attr]
        assert (curves is None) == (seed == 1)


def test_a_sweep_is_drawn_without_the_value_that_failed(wide: Lab) -> None:
    from plugins.outputs.figures.curves import Curves

    changes = variants() | {"variants": None, FAULT: "none", "baseline": {WEIGHT: 0.5}}
    result = wide.result(
        changes | {"ablate": {WEIGHT: [0.5, 1.0, 2.0]}, "variants": {"odd": {FAULT: "nan", WEIGHT: 9}}}
    )
    figure = Curves.of(result, WEIGHT)
    assert figure is not None
    assert figure.at == (0.5, 1.0, 2.0)


def test_what_the_store_has_is_reported_again_with_its_holes(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = ONE_SEED | {"ablate": {}}
    command(wide, changes)
    before = {name: report(wide, name) for name in ("report.md", "table.csv", "table.tex", "hypotheses.csv")}
    TRIED.clear()
    assert command(wide, changes, "--stored") == 0
    assert {name: report(wide, name) for name in before} == before
    assert not TRIED
    assert "11 of 12 trials done, 1 failed" in capsys.readouterr().out


def test_where_all_failed_there_is_nothing_to_report(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants() | {FAULT: "raise"}
    command(wide, every)
    capsys.readouterr()
    assert command(wide, every, "--stored") == 1
    assert "all of its 9 trials failed" in capsys.readouterr().err
    assert written(wide) == ["registration.json"]


# ---------------------------------------------------------------------------------------------- MLflow


def runs_of(lab: Lab) -> dict[str, Any]:
    """{name: run} of every run of the one experiment, but superseded ones."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lab.folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lab")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    return {run.info.run_name: run for run in found if run.data.tags["role"] != "superseded"}


def parent_of(runs: dict[str, Any]) -> Any:
    return next(run for run in runs.values() if run.data.tags["role"] == "experiment")


def failure_text(lab: Lab, run: Any) -> str:
    place = run.info.artifact_uri.replace("mlflow-artifacts:/", "")
    return (lab.folder / "mlartifacts" / place.lstrip("/") / "failure.txt").read_text()


def test_mlflow_has_failed_trials_as_failed_runs_and_as_finished_ones_when_they_succeed(
    wide: Lab, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wide.folder)
    database = shutil.copy(template, wide.folder / "mlflow.db")
    tracked = ONE_SEED | {"outputs": {"mlflow": {"uri": f"sqlite:///{database}"}}}
    for _ in range(2):  # writing again adds nothing
        assert command(wide, tracked) == 1
        runs = runs_of(wide)
        assert len(runs) == 1 + 12
        lost = runs["odd · seed 1"]
        assert (lost.info.status, lost.data.metrics) == ("FAILED", {})
        assert lost.data.tags["outcome"] == "failed"
        text = failure_text(wide, lost)
        assert "Traceback (most recent call last):" in text
        assert "the loss is not finite" in text
        assert runs["odd · seed 0"].info.status == "FINISHED"
        parent = parent_of(runs)
        assert parent.info.status == "FAILED"
        assert "11 of 12 trials done, 1 failed" in parent.data.tags["mlflow.note.content"]
        assert parent.data.tags["verdict/odd_helps"].startswith("not decided")
    assert command(wide, tracked, "--stored", "--only", "mlflow") == 0
    assert runs_of(wide)["odd · seed 1"].info.status == "FAILED"
    OddLoss.mended = True
    assert command(wide, tracked) == 0
    runs = runs_of(wide)
    assert len(runs) == 1 + 12
    again = runs["odd · seed 1"]
    assert again.info.run_id != lost.info.run_id
    assert again.info.status == parent_of(runs).info.status == "FINISHED"
    assert "t2v/R1" in again.data.metrics
    assert "failure" not in again.data.tags
