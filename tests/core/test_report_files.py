"""Files of a report: complete, self-contained, the same numbers in each, written again from the store alone."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core import report
from core.findings import Result, findings
from core.panels import forest
from core.report.__main__ import main
from core.report.as_html import html
from core.report.as_latex import escaped, latex
from core.report.numbers import short_number
from core.report.trials import experiment_of
from tests.engine import COUNTS, Lab, registered_toys

CHANGES = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {"a_<b>_&_c": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}
VOID = {"meta", "img", "br"}


@pytest.fixture(scope="module")
def ran_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where CHANGES were run and reported."""
    with registered_toys():
        lab = Lab(tmp_path_factory.mktemp("reported"), {"train": 6, "val": 4, "test": 12})
        report.write_report(lab.result(CHANGES), lab.folder / "runs")
    return lab.folder


@pytest.fixture
def ran(toys: None, ran_folder: Path) -> Lab:
    return Lab(ran_folder)


@pytest.fixture
def result(ran: Lab) -> Result:
    return findings(ran.plan(CHANGES))


class Page(HTMLParser):
    """Tables as text, what the page refers to, the order of its parts. Raises for tags that do not match."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.references: list[str] = []
        self.sections: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in VOID else [tag]
        given = dict(attributes)
        self.references += [given[name] or "" for name in ("src", "href") if name in given]
        self.sections += [given["id"] or ""] if tag == "section" else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def page_of(ran: Lab) -> Page:
    return Page((ran.folder / "runs" / "lab" / "report.html").read_text())


# ------------------------------------------------------------------------------------------------ HTML


def test_the_page_needs_no_other_file(ran: Lab) -> None:
    page = page_of(ran)
    assert all(reference.startswith(("#", "data:image/svg+xml;base64,")) for reference in page.references)
    assert sum(reference.startswith("data:") for reference in page.references) >= 3
    links = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert links == set(page.sections)
    text = (ran.folder / "runs" / "lab" / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)


def test_the_page_says_verdicts_first_then_what_was_compared_and_how_to_repeat_it_last(ran: Lab) -> None:
    page = page_of(ran)
    assert page.sections == ["verdicts", "compared", "results", "figures", "sure", "repeat"]
    for said in (
        "a_<b>_&_c: top_k=2 is better than rerank=none on t2v/R1",
        "python -m core.run ",
        "retrieve.rerank.top_k",
        "n = 12 videos, 24 texts",
        "toy_encoder",
        "2, the same for every variant",
        "Holm over 3 variants",
        "torch ",
    ):
        assert said in page.text


def test_the_page_has_the_numbers_of_the_table(ran: Lab, result: Result) -> None:
    head, *rows = page_of(ran).tables[0]
    expected_head, expected = report.header(result), report.table(result)
    for name in head:
        if name == "p, raw":
            continue
        column = [row[head.index(name)].removeprefix("▲ ").removeprefix("▼ ") for row in rows]
        assert column == [row[expected_head.index(name)] for row in expected]
    raw = [row[head.index("p, raw")] for row in rows]
    tested = [row.comparisons.get("t2v/R1") for row in result.rows]
    assert raw == [report.p_value(one.p) if one else "" for one in tested]
    other_head, *other = page_of(ran).tables[1]
    assert other_head == ["variant", "v2t/R1", "v2t/R5", "v2t/MnR"]
    assert [row[1] for row in other] == [f"{row.mean('v2t/R1'):.1f}" for row in result.rows]


def test_measured_costs_have_a_table_and_a_figure_each(result: Result, tmp_path: Path) -> None:
    for number, row in enumerate(result.rows):
        for found in row.results:
            costs = {"cost/latency_ms": 1.0 + number, "cost/parameters": 1234567.0}
            found.__dict__["stored"] = {**found.stored, "costs": costs}
    folder = report.write_report(result, tmp_path)
    page = Page((folder / "report.html").read_text())
    head, *rows = next(table for table in page.tables if "parameters" in table[0])
    assert head == ["variant", "parameters", "ms a query, median"]
    assert [row[1:] for row in rows] == [["1.23 M", f"{1 + number}"] for number in range(len(result.rows))]
    assert (folder / "figures" / "pareto_latency_ms.svg").is_file()
    assert not (folder / "figures" / "pareto_parameters.svg").exists()
    lines = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert [float(line["mean"]) for line in lines if line["metric"] == "cost/latency_ms"] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.01234, "0.0123"), (850, "850"), (999.6, "1 k"), (1234, "1.23 k"), (999_999, "1 M"), (5e9, "5 G"),
        (3e16, "30 P"),
    ],
)  # fmt: skip
def test_large_numbers_are_written_with_units_of_a_thousand(value: float, expected: str) -> None:
    assert short_number(value) == expected


# ------------------------------------------------------------------------------------------------ LaTeX


@pytest.mark.parametrize("first", [None, {"retrieve.rerank.top_k": 1}, "alone"])
def test_latex_is_whole_wherever_the_baseline_stands(ran: Lab, first: Any) -> None:
    changes = CHANGES if first is None else {**CHANGES, "baseline": first, "hypotheses": {}}
    result = findings(ran.plan({"seeds": [0, 1]} if first == "alone" else changes))
    text = latex(result)
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert re.findall(r"\\begin{(\w+)}", text) == ["table", "tabular"] * 2
    assert re.findall(r"\\end{(\w+)}", text) == ["tabular", "table"] * 2
    for columns, body in re.findall(r"\\begin{tabular}{@{}(\w+)@{}}(.*?)\\end{tabular}", text, re.DOTALL):
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(lines) == 1 + len(result.rows)
        for line in lines:
            spans = sum(int(span) - 1 for span in re.findall(r"\\multicolumn{(\d)}", line))
            assert len(re.findall(r"(?<!\\)&", line)) + 1 + spans == len(columns)


def test_latex_prints_every_mean_and_the_best_in_bold(result: Result) -> None:
    lines = [line for line in latex(result).splitlines() if line.endswith(r" \\")]
    printed = {line.split(" & ")[0]: line for line in lines[1 : 1 + len(result.rows)]}
    best = max(row.mean("t2v/R1") for row in result.rows)
    for row in result.rows:
        shown = printed[escaped(row.name)].split(" & ")[1]
        value = f"{row.mean('t2v/R1'):.1f}"
        assert shown.startswith(rf"\textbf{{{value}}}" if f"{best:.1f}" == value else value)
        assert (f"$\\pm${row.spread('t2v/R1'):.1f}" in shown) == (len(row.results) > 1)


def test_the_caption_says_test_correction_n_seeds_and_protocol(result: Result) -> None:
    caption = re.search(r"\\caption{(.*)}", latex(result))
    assert caption is not None
    tested = result.rows[0].comparisons["t2v/R1"]
    for said in (
        tested.method,
        "Holm over 3",
        "n = 24 queries in 12 clusters",
        "2 seeds",
        "last epoch",
        "ties expected",
    ):
        assert said in caption[1]


def test_what_latex_would_read_as_its_own_is_escaped() -> None:
    assert escaped(r"a_b 5% {x} $y$ #1 &c \d ~ ^ < > | ± ½") == (
        r"a\_b 5\% \{x\} \$y\$ \#1 \&c \textbackslash{}d \textasciitilde{} \textasciicircum{} "
        r"\textless{} \textgreater{} \textbar{} $\pm$ $\tfrac12$"
    )


# ------------------------------------------------------------------------------------------------ CSV


def test_csv_gives_back_every_number_to_the_last_digit(ran: Lab, result: Result) -> None:
    lines = list(csv.DictReader(io.StringIO((ran.folder / "runs" / "lab" / "table.csv").read_text(), newline="")))
    for row in result.rows:
        for name in result.metrics:
            (line,) = [line for line in lines if (line["variant"], line["metric"]) == (row.name, name)]
            assert [float(value) for value in line["values"].split()] == row.values(name)
            assert float(line["mean"]) == row.mean(name)
            found = row.comparisons.get(name)
            for column in ("difference", "low", "high", "standard_error", "p", "d_z", "detectable"):
                value = getattr(found, column) if found else float("nan")
                assert float(line[column] or "nan") == pytest.approx(value, rel=0, abs=0, nan_ok=True)


def test_hypotheses_stand_in_a_file_of_their_own(ran: Lab, result: Result) -> None:
    (line,) = csv.DictReader(io.StringIO((ran.folder / "runs" / "lab" / "hypotheses.csv").read_text(), newline=""))
    verdict = result.claims[0].verdict
    assert (line["name"], line["verdict"], line["arms"]) == ("a_<b>_&_c", verdict.verdict, "top_k=2; rerank=none")
    assert float(line["p_corrected"]) == verdict.p_corrected


# ------------------------------------------------------------------------------------------------ written again


def test_the_command_writes_the_same_files_from_the_store_and_computes_nothing(ran: Lab, tmp_path: Path) -> None:
    file, first = ran.write(CHANGES), ran.folder / "runs" / "lab"
    COUNTS.clear()
    assert main([str(file), "--store", str(ran.store), "--out", str(tmp_path)]) == 0
    assert not COUNTS
    names = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert {Path(name) for name in ("report.html", "report.md", "table.csv", "table.tex", "resolved.json")} <= names
    assert names == {path.relative_to(tmp_path / "lab") for path in (tmp_path / "lab").rglob("*") if path.is_file()}
    for name in names:
        assert (first / name).read_bytes() == (tmp_path / "lab" / name).read_bytes(), name


def test_figures_are_drawn_again_only_where_the_result_changed(ran: Lab, tmp_path: Path) -> None:
    def drawn() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "lab" / "figures").iterdir()}

    report.write_report(findings(ran.plan(CHANGES)), tmp_path)
    before = drawn()
    report.write_report(findings(ran.plan(CHANGES)), tmp_path)
    assert drawn() == before
    fewer = {**CHANGES, "ablate": {"retrieve.rerank.top_k": [2]}}
    report.write_report(findings(ran.plan(fewer)), tmp_path)
    assert "sweep_top_k.png" in before
    assert "sweep_top_k.png" not in drawn()
    assert drawn()["differences.png"] > before["differences.png"]


def test_missing_results_are_told_with_the_command_that_computes_them(
    ran: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = ran.write({**CHANGES, "seeds": [0, 7]})
    assert main([str(file), "--store", str(ran.store), "--out", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"python -m core.run {file}" in told
    assert f"--store {ran.store}" in told
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_file_ends_the_command_with_2(ran: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ran.write(CHANGES)), "train.epoch=3", "--store", str(ran.store)]) == 2
    assert "train.epoch: unknown field" in capsys.readouterr().err


def test_trials_are_compared_by_their_keys(
    ran: Lab, result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [result.rows[0], result.rows[2]]
    keys = [found.trial.last.key for row in chosen for found in row.results]
    COUNTS.clear()
    assert main([*keys, "--store", str(ran.store), "--out", str(tmp_path)]) == 0
    assert not COUNTS
    (folder,) = tmp_path.iterdir()
    assert str(folder / "report.html") in capsys.readouterr().out
    lines = list(csv.DictReader((folder / "table.csv").open(newline="")))
    means = {line["variant"]: float(line["mean"]) for line in lines if line["metric"] == "t2v/R1"}
    assert means == {f"top_k={k}": row.mean("t2v/R1") for k, row in zip((1, 3), chosen, strict=True)}


def test_a_trial_that_is_not_there_is_told(ran: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["feedbeef", "--store", str(ran.store), "--out", str(tmp_path)]) == 1
    assert "no trial with a key that begins with `feedbeef`" in capsys.readouterr().err


def test_trials_of_other_components_vary_in_the_whole_component() -> None:
    first = {"encoder": {"": {"name": "a"}}, "retrieve": {"rerank": None, "k": 1}, "name": "x", "seeds": [0]}
    second = {"encoder": {"": {"name": "a"}}, "retrieve": {"rerank": {"name": "r", "k": 2}, "k": 1}, "seeds": [1]}
    made = experiment_of([first, second, first], [0, 0, 3])
    assert made["encoder"] == {"name": "a"}
    assert made["seeds"] == [0, 3]
    assert list(made["variants"].values()) == [{"retrieve.rerank": None}, {"retrieve.rerank": {"name": "r", "k": 2}}]
    assert made["baseline"] == "rerank=none"


def test_text_of_a_page_is_escaped(result: Result) -> None:
    assert "a_<b>" not in html(result, {})
    assert "a_&lt;b&gt;_&amp;_c" in html(result, {})


def test_transductive_rows_are_marked_in_every_table_and_figure(lab: Lab, tmp_path: Path) -> None:
    changes = {
        "retrieve": {"first_stage": "dot"},
        "variants": {"plain": {}, "re_weighted": {"retrieve.transforms": {"dsl": {"name": "dual_softmax"}}}},
        "baseline": "plain",
    }
    result = lab.result(changes)
    mark = "re_weighted [transductive]"
    page = Page(html(result, {}))
    assert [row[0] for row in page.tables[0]] == [row[0] for row in page.tables[1]] == ["variant", "plain", mark]
    assert f"| {mark} |" in report.markdown(result)
    assert "Transductive: re_weighted." in report.markdown(result)
    assert r"re\_weighted$^\ddagger$ & " in latex(result)
    assert r"$^\ddagger$ transductive" in latex(result)
    panel = forest(result)
    assert panel is not None
    assert panel.rows == (mark,)
    lines = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert {line["variant"] for line in lines if line["transductive"] == "True"} == {"re_weighted"}
