"""A trial that fails costs itself and nothing else."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import core
from core import LossInputs, RunError
from tests.core.engine.test_execute import spawn, work
from tests.engine import Lab, registered_toys, without_log

from .odd import (
    FAULT,
    FAULTS,
    HOLE,
    ONE_SEED,
    SOUND,
    TRIED,
    OddLoss,
    OddOutput,
    command,
    new_lab,
    records,
    registered_odd,
    report,
    table,
    variants,
    written,
)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, str]]:
    """The table of the sound variants, run without any other."""
    with registered_toys(), registered_odd():
        lab = new_lab(tmp_path_factory.mktemp("alone"))
        assert command(lab, variants()) == 0
    return table(lab)


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_in_one_variant_the_others_get_the_results_they_would_have_had(
    alone: dict[tuple[str, str], dict[str, str]], wide: Lab, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    assert command(wide, variants(odd={FAULT: fault})) == 1
    found = table(wide)
    of_family = ("p_corrected", "family", "outcome")
    for place, line in alone.items():
        kept = {name: value for name, value in found[place].items() if name not in of_family}
        assert kept == {name: value for name, value in line.items() if name not in of_family}
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "9 of 12 trials done, 3 failed"
    told = [line for line in printed if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in told] == [f"odd · seed {seed}" for seed in range(3)]
    where = "train: " if fault == "nan" else "train: loss `odd_loss` (odd-package, odd.py line "
    assert all(where in line for line in told)
    assert all(re.search(FAULTS[fault], line) for line in told)


def test_the_traceback_of_a_failed_trial_lies_where_the_last_lines_say(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    command(wide, HOLE)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("failed: odd · seed 1"))
    told = json.loads(Path(line.partition("(traceback: ")[2].rstrip(")")).read_text())
    assert told["traceback"][0] == "Traceback (most recent call last):"
    assert told["traceback"][-2:] == ["ValueError: the loss is odd", "in more than one line"]
    assert (told["experiment"], told["trial"]) == ("lab", "odd · seed 1")


def test_what_failed_is_tried_once_a_run_and_again_by_the_same_command(wide: Lab) -> None:
    shared = variants(odd={FAULT: "raise"}, odd_too={FAULT: "raise", "evaluate.ties": "pessimistic"})
    assert command(wide, shared) == 1
    assert TRIED["raise"] == 3  # once a seed, for two variants
    assert len(records(wide)) == 6
    assert command(wide, shared) == 1
    assert TRIED["raise"] == 6
    OddLoss.mended = True
    assert command(wide, shared) == 0
    assert records(wide) == []
    assert " failed" not in report(wide, "report.md")


def test_a_record_goes_when_the_trial_succeeds_under_another_key(wide: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    command(wide, ONE_SEED)
    assert [record["trial"] for record in records(wide)] == ["odd · seed 1"]
    OddLoss.mended = True
    assert command(wide, ONE_SEED, "train.epochs=2") == 0
    assert records(wide) == []


def test_one_member_of_a_group_that_fails_costs_no_other_member(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    temperatures = variants() | {
        "model.interactions.dot.name": "odd_dot",
        "retrieve.first_stage": "dot",
        "model.losses.odd": None,
        "variants": None,
        "ablate": {"retrieve.settings.dot.temperature": [0.5, 7, 13, 2.0]},
        "baseline": {"retrieve.settings.dot.temperature": 0.5},
    }
    assert command(wide, temperatures) == 1
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "2 of 4 trials done, 2 failed"
    assert "temperature=7 · seeds: none: score dot: interaction `odd_dot` (odd-package, odd.py" in printed
    assert "temperature=13 · seeds: none: score dot: interaction `odd_dot` (odd-package): a score of query" in printed
    rows = table(wide)
    assert rows["temperature=2.0", "t2v/R1"]["outcome"] == "n.s."
    assert {rows[f"temperature={bad}", "t2v/R1"]["outcome"] for bad in (7, 13)} == {"failed"}


def test_a_fault_that_spares_no_trial_ends_with_that_one_message(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants() | {FAULT: "raise"}
    every["variants"] = {"base": {}, "other": {"evaluate.ties": "pessimistic"}}
    assert command(wide, every) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    error, traceback = without_log(shown.err).splitlines()
    assert error.startswith("error: train: loss `odd_loss` (odd-package, odd.py line ")
    assert error.endswith("ValueError: the loss is odd …")
    assert Path(traceback.removeprefix("Traceback: ")).is_file()
    assert TRIED["raise"] == 3  # one fit a seed
    assert written(wide) == ["registration.json"]


def test_different_faults_of_all_trials_are_all_told(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    every = variants(odd={FAULT: "memory"}) | {FAULT: "raise", "seeds": [0]}
    assert command(wide, every) == 1
    told = without_log(capsys.readouterr().err).splitlines()
    assert told[0] == "error: 0 of 4 trials done, 4 failed:"
    assert [line.partition(" · ")[0].strip() for line in told[1:]] == ["base", "light", "heavy", "odd"]


def test_unreadable_videos_of_every_trial_are_one_message(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for picture in (wide.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    assert command(wide, variants()) == 1
    shown = capsys.readouterr()
    assert without_log(shown.err).startswith("error: data.dataset: 1 video cannot be used:\n")
    assert shown.out == ""


def test_a_file_that_a_plugin_may_not_read_is_its_fault_and_not_the_stores(wide: Lab) -> None:
    def forbidden(self: OddLoss, inputs: LossInputs) -> Tensor:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/weights/of/mine")

    plain = OddLoss.forward
    OddLoss.forward = forbidden  # type: ignore[method-assign]
    try:
        with pytest.raises(RunError, match=r"loss `odd_loss`.*PermissionError"):
            wide.run(variants())
    finally:
        OddLoss.forward = plain  # type: ignore[method-assign]


def test_a_run_that_is_stopped_says_what_was_not_tried(
    wide: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(name: str) -> None:
        if name == "light · seed 1":
            raise KeyboardInterrupt

    monkeypatch.setattr(OddOutput, "fault", stop)
    changes = variants() | {"variants": {"base": {}, "odd": {FAULT: "nan"}, **SOUND}}
    assert command(wide, changes | {"outputs": {"mlflow": None, "odd_output": {}}}) == 130
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "5 of 12 trials done, 3 failed, 4 not tried"
    assert "stopped; results so far are kept, and the same command resumes" in shown.err


def test_from_python_the_failed_trials_stand_in_the_result(wide: Lab) -> None:
    result = core.run_experiment(
        str(wide.write(ONE_SEED)), store=str(wide.store), runs=str(wide.folder / "runs"), workers=0, device="cpu"
    )
    assert [(one.name, one.failure.step) for one in result.failed] == [("odd · seed 1", "train [odd · seed 1]")]


def test_a_dry_run_says_what_failed_before(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    command(wide, ONE_SEED)
    capsys.readouterr()
    assert command(wide, ONE_SEED, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert printed.count("failed before") == 1
    assert "    odd · seed 1 failed before: train: the loss is not finite" in printed
    assert "odd  2 of 3 trials are in the store" in printed


def test_processes_that_share_the_work_leave_the_same_hole(wide: Lab) -> None:
    torch.set_num_threads(1)
    processes = [spawn(work, wide, str(wide.folder / f"process{number}"), ONE_SEED) for number in range(2)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [record["trial"] for record in records(wide)] == ["odd · seed 1"]
    assert len(wide.entries("evaluate")) == 11
    assert not list((wide.store / "leases").glob("fit-*"))
