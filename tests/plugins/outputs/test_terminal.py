"""The table on a terminal of any width and in a file: nothing is cut, no line is too wide, rows can be told apart."""

from __future__ import annotations

import io
import itertools
import re
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from core.engine.plan import Plan
from core.evidence.findings import Result
from core.evidence.results import Decision
from core.experiment.hypotheses import Hypothesis
from core.measure.significance import better, decide
from plugins.outputs.terminal import report_text
from plugins.outputs.terminal.layout import wrapped
from tests.plugins.outputs.tabled import PRIMARY, Made, bare, numbers_of, planned, result_of, shown, tables_in

__all__ = ["planned"]
WIDTHS = [60, 80, 100, 120, 200, None]
TOP_K, TEMPERATURE, LEVEL = "a.b.top_k", "a.b.temperature", "a.c.level"
OUTCOMES = ("n.s.", "better", "worse", "baseline selected on test: not compared")


def named(count: int) -> list[Made]:
    """Names of 60 letters that differ in the last ones alone."""
    return [Made(f"{'a long name_of one thing ' * 3}"[:56] + f"{n:04}", outcome=OUTCOMES[n % 4]) for n in range(count)]


def wide(count: int) -> list[Made]:
    """Names that take two cells a letter."""
    return [
        Made("視頻檢索" * 14 + f"第{n}號", failed=(0, 1, 2)[n % 3], outcome="seed 0 failed: not compared")
        for n in range(count)
    ]


def grid(count: int) -> list[Made]:
    """Three axes beside a baseline."""
    settings = itertools.product(
        (1, 50, 200, 500), (0.01, 0.1, 1.0, 2.5, 10.0), ("frames", "patches", "video", "文字", "all")
    )
    cells = [{TOP_K: k, TEMPERATURE: t, LEVEL: level} for k, t, level in settings]
    return [Made("", {"a.rerank": "none"}), *(Made("", cell, OUTCOMES[n % 3]) for n, cell in enumerate(cells))][:count]


def sweep(count: int) -> list[Made]:
    return [Made("", {"a.rerank": "none"}), *(Made("", {TOP_K: 5**n}) for n in range(count - 1))]


def assert_read(result: Result, width: int | None) -> None:
    """Every line fits, every number stands whole, no row looks like another."""
    lines = shown(result, width)
    assert max(map(cell_len, lines)) <= (width or 100)
    text = tables_in(lines)
    for row in result.rows:
        for number in numbers_of(row):
            assert re.search(rf"(?<![\w.]){re.escape(number)}(?![\w.])", text), number
    first = text.partition("\n\n")[2].partition("\n\n")[0].split("\n")
    if any("outcome" in line for line in first):
        means = {re.escape(numbers_of(row)[0]) for row in result.rows}
        labels = [match[1] for line in first if (match := re.match(rf"(.*?)\s+({'|'.join(means)})(  |$)", line))]
        assert len(labels) == len(set(labels)) == len(result.rows)
        if labels[0].strip() != "1":
            return
    assert all(bare(row.name) in bare(text) for row in result.rows)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 3, 20, 100])
@pytest.mark.parametrize("kind", [named, wide, grid])
def test_the_table_can_be_read_at_any_width(planned: Plan, kind: Any, count: int, width: int | None) -> None:
    assert_read(result_of(planned, kind(count)), width)


LETTERS = st.sampled_from("abcXYZ019_=.-/ [](){}:,½é中文한국語🎬ßÆ")
NAMES = st.builds("".join, st.lists(LETTERS, min_size=1, max_size=60)).map("n{}".format)


@given(
    st.lists(NAMES, min_size=1, max_size=12, unique_by=bare),
    st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(0, 2)), min_size=12, max_size=12),
    st.one_of(st.none(), st.integers(40, 220)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_can_be_read_whatever_the_names_and_outcomes(
    planned: Plan, names: list[str], kinds: list[tuple[str, int]], width: int | None
) -> None:
    rows = [
        Made(name, outcome="seed 0 failed: not compared" if failed else outcome, failed=failed)
        for name, (outcome, failed) in zip(names, kinds, strict=False)
    ]
    assert_read(result_of(planned, rows), width)


def test_what_varies_has_columns_of_its_own_and_what_does_not_has_none(planned: Plan) -> None:
    rows = [Made("", {"a.rerank": "none", "a.epochs": 3}), *(Made("", {TOP_K: k, "a.epochs": 3}) for k in (1, 50, 200))]
    lines = shown(result_of(planned, rows), 80)
    assert lines[2].split()[:3] == ["rerank", "top_k", PRIMARY]
    assert "epochs" not in tables_in(lines)
    assert lines[6].split()[:3] == ["50", "20.3", "±"]
    assert lines[6].endswith("n.s. (detectable: 2.7)")


def test_names_given_by_hand_are_kept_where_they_fit_and_numbered_where_not(planned: Plan) -> None:
    rows = [Made(name, {TOP_K: k}) for k, name in enumerate(("plain", "text-gated"))]
    result = result_of(planned, rows)
    assert shown(result, 80)[5].startswith(
        "text-gated  20.2 ± 0.1  +0.11  -1.59 to +12.41  0.500  n.s. (detectable: 2.6)"
    )
    longer = shown(result_of(planned, [Made("plain"), Made("text-gated at every level")]), 80)
    assert longer[2].split()[:2] == ["#", PRIMARY]
    assert longer[7:9] == ["1  plain", "2  text-gated at every level"]


def test_further_metrics_stand_beside_below_or_are_left_to_the_report(planned: Plan) -> None:
    result = result_of(planned, sweep(3))
    assert "t2v/MRR" in shown(result, 200)[2]
    below = shown(result, 80)
    assert "t2v/MRR" not in below[2]
    assert below[8].split() == ["rerank", "top_k", "t2v/R5", "t2v/R10", "t2v/MdR", "t2v/MnR", "t2v/MRR"]
    for width in (60, 80, 200):
        (left,) = [line for line in shown(result, width) if line.startswith("Left to the report: ")]
        assert left.endswith("v2t/MRR" if width >= 80 else "further metrics")
    fewer = tables_in(shown(result_of(planned, [Made("p" * 14), Made("q" * 14)]), 44))
    assert "t2v/R5  t2v/R10" in fewer
    assert fewer.rstrip().endswith("Left to the report: 7 further metrics")


def test_rows_stand_under_the_data_set_that_they_are_scored_on(planned: Plan) -> None:
    root = "data.dataset.root"
    rows = [
        Made("", {root: place, TOP_K: k}, dataset=place, baseline=k == 1) for k in (1, 5) for place in ("few", "many")
    ]
    lines = shown(result_of(planned, rows), 80)
    assert lines[2].split()[:2] == ["top_k", PRIMARY]
    assert [line for line in lines[4:10] if line.startswith("root")] == [
        "root few: 1,200 videos, 2,400 texts",
        "root many: 1,200 videos, 2,400 texts",
    ]
    assert [line.split()[0] for line in lines[4:10]] == ["root", "1", "5", "root", "1", "5"]


def test_nothing_that_an_encoding_lacks_is_printed(planned: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(planned, [Made("plain"), Made("中文 ½")])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = report_text(result)
    monkeypatch.undo()
    assert text.isascii()
    assert "20.1 +- 0.1" in text
    assert "\\u4e2d\\u6587 1/2" in text
    assert not re.search("[│┃━─┏└]", "\n".join(shown(result, 80)))


def test_notes_and_verdicts_are_wrapped_at_words_and_hang(planned: Plan) -> None:
    result = result_of(planned, sweep(3))
    result.notes = ["test split: " + "word " * 30 + "80 % power", "  " + "deeper " * 20]
    lines = shown(result, 60)
    notes = lines[next(place for place, line in enumerate(lines) if line.startswith("test split: ")) :]
    assert notes[1].startswith("  word")
    assert any("80 %" in line for line in notes)
    deeper = [line for line in notes if "deeper" in line]
    assert [len(line) - len(line.lstrip()) for line in deeper] == [2, *[4] * (len(deeper) - 1)]


def test_the_last_lines_say_what_would_decide_the_other_claims(planned: Plan) -> None:
    import numpy as np

    result = result_of(planned, sweep(3))
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(1, 200)) + np.linspace(-2, 2, 5)[:, None]
    spread -= spread.mean()
    claims = {"helps": better(1.2 + spread), "found": better(40 + spread)}
    arms = tuple(row.variant for row in result.rows[:2])
    result.decisions = [
        Decision(Hypothesis(name, "better", arms, PRIMARY, 0.0), verdict, False, 1)
        for name, verdict in decide(claims).items()
    ]
    *_, head, last = shown(result, 80)
    assert head == "For a verdict with 80 % power, if true gain and spread are those seen:"
    assert re.fullmatch(r"  helps \(\+1\.20\): about \d\d seeds \(5 now\)", last)


@given(st.text(st.one_of(LETTERS, st.just(" ")), max_size=200), st.integers(10, 60))
@settings(max_examples=200, deadline=None)
def test_wrapping_loses_no_letter_and_breaks_words_only_where_they_are_wider_than_a_line(text: str, width: int) -> None:
    lines = wrapped(text, width, "  ")
    assert bare("".join(lines)) == bare(text)
    assert max(map(cell_len, lines)) <= width
    words = set(text.split(" "))
    for line in lines:
        for word in line.split():
            assert word in words or any(word in longer for longer in words if cell_len(longer) > width - 2)
