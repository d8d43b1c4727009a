"""Progress: every item passes, nothing is shown where nobody looks, labels appear as written."""

from __future__ import annotations

import itertools

import pytest

from core.contract import terminal
from core.contract.terminal import progress


def test_every_item_passes_in_order_and_nothing_is_shown_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(iter(range(5)), "count", total=5)) == list(range(5))
    assert capsys.readouterr() == ("", "")


def test_a_step_longer_than_a_second_shows_its_label_with_its_brackets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(terminal.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert list(progress([1, 2, 3], "train [top_k=1 · seed 0]")) == [1, 2, 3]
    assert "train [top_k=1 · seed 0]" in capsys.readouterr().err
