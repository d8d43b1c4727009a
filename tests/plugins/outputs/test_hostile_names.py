"""Names and messages of others in what is printed and written: they stay texts."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from core.contract.escaping import markdown as escaped
from core.contract.escaping import markdown_sentence as sentence
from core.experiment.config import Claim
from plugins.outputs import claims, terminal
from plugins.outputs.figures import drawing
from plugins.outputs.report.as_csv import _written
from plugins.outputs.report.as_latex import escaped as latex
from plugins.outputs.report.as_markdown import markdown_table

HOSTILE = [
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "[x]: javascript:alert(1)",
    "a|b",
    "# a\nb",
    "\x1b[31mred",
    "a\u202eb",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_html_link_or_second_line_in_markdown(name):
    (row,) = markdown_table(["variant"], [[name]], cell=escaped)[2:]
    for text in (row, sentence(f"Differences are to `a`, {name}."), escaped(name)):
        assert "<script" not in text
        assert not re.search(r"(?<!\\)\]\(|^\[[^\]]*\]:", text)
        assert not any(letter in text for letter in "\n\x1b\u202e")
    assert row.replace("\\|", "").count("|") == 2


@pytest.mark.parametrize(
    "name", ["top_k=50 temperature=0.1", "rerank_helps [top_k=5]", "video, ½ frame", "R1 < 0.001", "R@1 50.0, R@5."]
)
def test_ordinary_names_stand_in_markdown_as_they_are(name):
    assert escaped(name) == name
    assert (
        sentence(f"{name} is better (p < 0.001) [post hoc: late]") == f"{name} is better (p < 0.001) [post hoc: late]"
    )


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_name_is_a_formula_in_csv(name):
    _, (cell, number) = csv.reader(io.StringIO(_written(["variant", "mean"], [[name, -1.5]]), newline=""))
    assert cell == f"'{name}"
    assert number == "-1.5"


def test_ordinary_cells_are_written_as_they_are():
    written = _written(["variant", "mean"], [["top_k=50", -0.5], ["a, b", float("nan")], ["-1.5", 3]])
    assert written == 'variant,mean\r\ntop_k=50,-0.5\r\n"a, b",\r\n-1.5,3\r\n'


def test_no_name_is_html_link_or_second_line_on_the_page_of_claims():
    for name in HOSTILE:
        nothing: dict[str, Any] = {"rows": [], "decisions": [], "hypotheses": [], "incomparable": []}
        result: Any = SimpleNamespace(name=name, file=name, command=name, withdrawn=[name], primary="t2v/R1", **nothing)
        claim = Claim(name, name, name, name)
        part = {"name": name, "ground": [name], "overview": claims._overview(result, claim)}
        for line in claims.page([part | {"section": claims._section(result, claim)}]).splitlines():
            bare = re.sub(r"`[^`]*`", "", line)
            assert "<script" not in bare
            assert not re.search(r"(?<!\\)\]\(j", bare)
            assert not any(letter in line for letter in "\n\x1b\u202e")


def test_no_name_is_a_formula_of_matplotlib(tmp_path):
    import numpy as np

    from plugins.outputs.figures.forest import Forest

    name = r"costs $\frac{ and $x_1$"
    one = np.array([1.0])
    figure = Forest(name, "t2v/R1", (name,), one, one - 1, one + 1, ("n.s.",))
    drawing.draw(name, [figure], [name], tmp_path / "a.svg")
    assert "frac" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "\\input{x}", "%", "a\u202eb", "\0"])
def test_no_name_is_a_command_of_latex(name):
    written = latex(name)
    assert written.isprintable()
    assert "\\input" not in written
    assert "%" not in written.replace("\\%", "")


def test_no_name_is_markup_or_a_picture_on_the_terminal(result: Any):
    name = "[red]a[/red] :fire: \x1b[31mb"
    result.rows[0].variant = replace(result.rows[0].variant, name=name)
    result.notes = [name]
    printed = terminal.report_text(result)
    assert printed.count("[red]a[/red] :fire: \\x1b[31mb") == 3, "in both tables and the notes"
    assert "\x1b" not in printed
