"""What a plugin says or does where it fails: told in one line, with its name, and harmlessly."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from core import LossInputs, UserError
from tests.engine import Lab, ToyMatching

from .odd import FAULT, HOLE, ODD_PLACE, OddLoss, OddOutput, command, variants, written

HOSTILE = "\x1b[2J\u202e no postgresql://bob:hunter2@db/x"


@pytest.mark.parametrize("fault", [ValueError(HOSTILE), UserError(HOSTILE)], ids=["exception", "message"])
def test_what_a_plugin_says_of_its_failure_neither_moves_the_cursor_nor_tells_a_password(
    drawn: Lab,
    template: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
) -> None:
    def odd(self: OddLoss, inputs: LossInputs) -> Tensor:
        if self.config.fault != "none":
            raise fault
        return ToyMatching.forward(self, inputs)

    def broken(name: str) -> None:
        raise fault

    monkeypatch.setattr(OddLoss, "forward", odd)
    monkeypatch.setattr(OddOutput, "fault", broken)
    database = shutil.copy(template, drawn.folder / "mlflow.db")
    outputs = {"mlflow": {"uri": f"sqlite:///{database}"}, "odd_output": {}}
    assert command(drawn, HOLE | {"outputs": outputs}) == 1
    shown = capsys.readouterr()
    kept = [file for place in ("runs", "store", "mlartifacts") for file in (drawn.folder / place).rglob("*")]
    texts = [file.read_bytes().decode(errors="replace") for file in kept if file.is_file()]
    assert r"\x1b[2J\u202e no postgresql://***@db/x" in shown.out
    assert r"\x1b[2J\u202e no postgresql://***@db/x" in shown.err
    for secret in ("\x1b[2J", "\u202e", "hunter2"):
        assert not any(secret in text for text in (shown.out, shown.err, *texts))
    assert "hunter2" not in database.read_bytes().decode(errors="replace")


def test_a_component_that_calls_exit_at_construction_is_named(wide: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    changes = variants() | {"model.interactions.dot": {"name": "odd_dot", "start": "exit"}}
    assert command(wide, changes) == 1
    told = capsys.readouterr().err
    assert "interaction `odd_dot` (odd-package, odd.py line " in told
    assert "sys.exit('I do not want to') was called" in told


AT_PLANNING = {
    "reading data": ({"name": "odd_videos", "fault": "reading"}, "dataset `odd_videos` {}: KeyError: 'read'"),
    "data": ({"name": "odd_videos", "fault": "construction"}, "dataset `odd_videos` {}: KeyError: 'constructed'"),
    "encoder": ({"name": "odd_encoder"}, "encoder `odd_encoder` {}: TypeError: constructed"),
    "interaction": ({"name": "odd_dot", "start": "raise"}, "interaction `odd_dot` {}: AttributeError: constructed …"),
}


@pytest.mark.parametrize("option", [[], ["--dry-run"], ["--check-videos"]], ids=["run", "dry run", "check videos"])
@pytest.mark.parametrize("fault", AT_PLANNING)
def test_a_component_that_fails_before_anything_runs_is_told_in_one_line(
    wide: Lab, capsys: pytest.CaptureFixture[str], fault: str, option: list[str]
) -> None:
    settings, told = AT_PLANNING[fault]
    key = {"encoder": "encoder", "interaction": "model.interactions.dot"}.get(fault, "data.dataset")
    settings = settings | ({"root": str(wide.videos)} if key == "data.dataset" else {})
    assert command(wide, variants(odd={"train.epochs": 2}) | {key: settings}, *option) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(f"error: (data.dataset|.*yaml): {told.format(ODD_PLACE)}\n", shown.err)
    assert shown.out == ""
    assert written(wide) == []


def test_what_no_component_raised_before_anything_runs_is_not_taken_for_its_fault(
    wide: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("core.engine.plan._trial", odd)
    with pytest.raises(KeyError, match="ours"):
        command(wide, variants())


def test_a_loss_that_cannot_be_constructed_costs_the_trials_that_train_with_it(
    wide: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(wide, variants(odd={FAULT: "construction"})) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == "9 of 12 trials done, 3 failed"
    assert re.search(rf"failed: odd · seed 0: train: loss `odd_loss` {ODD_PLACE}: KeyError: 'constructed' ", shown.out)
