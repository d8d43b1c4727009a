"""Progress: every item passes, what lasts is shown on a terminal and written in a log, labels appear as written."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable

import pytest
import rich.progress  # which takes longer than the tests wait

from core.contract import terminal
from core.contract.terminal import duration, log, logging, phase, progress


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lasts a tenth of a second is shown, and a minute of a log is half a second."""
    monkeypatch.setattr(terminal, "PATIENCE", 0.1)
    monkeypatch.setattr(terminal, "MINUTE", 0.5)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(hasty: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Screen]:
    """Called in a test, which has a standard error of its own: makes that a terminal of 120 columns."""
    assert rich.progress.Progress

    def opened() -> Screen:
        stream = Screen()
        monkeypatch.setattr(terminal.sys, "stderr", stream)
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "120")
        return stream

    return opened


def slowly(count: int, seconds: float) -> list[int]:
    items = []
    for item in progress(range(count), "train [top_k=1 · seed 0]"):
        time.sleep(seconds)
        items.append(item)
    return items


def test_every_item_passes_in_order_and_nothing_is_shown_off_a_terminal(
    hasty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(progress(iter(range(5)), "count", total=5)) == list(range(5))
    assert slowly(2, 0.4) == [0, 1]
    log("a line")
    assert capsys.readouterr() == ("", "")


def test_what_lasts_shows_its_label_with_its_brackets_and_how_many_of_how_many(screen: Callable[[], Screen]) -> None:
    shown = screen()
    assert slowly(3, 0.4) == [0, 1, 2]
    assert "train [top_k=1 · seed 0]" in shown.getvalue()
    assert "1/3" in shown.getvalue()


def test_a_single_item_that_lasts_is_shown_while_it_runs(screen: Callable[[], Screen]) -> None:
    shown = screen()
    for _ in progress([1], "decode"):
        time.sleep(0.8)
        assert "decode" in shown.getvalue()


def test_a_phase_stands_above_the_bar_of_what_runs_in_it(screen: Callable[[], Screen]) -> None:
    shown = screen()
    with phase("step 3 of 7: train"):
        slowly(2, 0.5)
    drawn = shown.getvalue()
    assert drawn.index("step 3 of 7: train") < drawn.index("train [top_k=1 · seed 0]")


def test_what_is_over_at_once_is_not_shown(screen: Callable[[], Screen]) -> None:
    shown = screen()
    for _ in range(20):
        with phase("short"):
            slowly(2, 0)
    assert shown.getvalue() == ""


def test_a_log_says_where_it_is_with_the_time_each_minute(hasty: None, capsys: pytest.CaptureFixture[str]) -> None:
    with logging():
        log("step 1 of 2: \x1b[31mencode")
        with phase("read the store"):
            slowly(4, 0.4)
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    texts = [line[9:] for line in lines]
    assert texts[0] == r"step 1 of 2: \x1b[31mencode"
    assert texts[1] == "read the store"
    within = [text for text in texts[2:] if text.startswith("train [top_k=1 · seed 0]: ")]
    assert within == texts[2:] != []
    assert within[0].startswith("train [top_k=1 · seed 0]: 1 of 4 in ")
    assert within[0].endswith("s left")


def test_a_loop_that_is_left_by_an_exception_is_shown_no_longer(screen: Callable[[], Screen]) -> None:
    screen()
    with pytest.raises(ValueError, match="no"):  # noqa: PT012
        for _ in progress([1, 2], "broken"):
            raise ValueError("no")
    assert terminal._watch.tasks == []
    assert terminal._watch._thread is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (7500, "2 h 05 min")]
)
def test_durations_are_said_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words
