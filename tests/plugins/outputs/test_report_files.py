"""Files of a report: complete, self-contained, the same numbers in each, written again from the store alone."""

from __future__ import annotations

import csv
import io
import math
import re
import shutil
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import UserError
from core.evidence.findings import Result, findings
from core.measure.significance import holm, paired_test
from core.run import main
from plugins.outputs import report
from plugins.outputs.figures.forest import Forest
from plugins.outputs.numbers import p_value, short_number
from plugins.outputs.pictures import Pictures
from plugins.outputs.report.as_csv import hypotheses_csv
from plugins.outputs.report.as_html import html
from plugins.outputs.tables import header, table
from tests.engine import COUNTS, Lab

from .reported import EXPERIMENT, TEMPERATURE, write

FEWER = {**EXPERIMENT, "ablate": {"retrieve.rerank.top_k": [3], TEMPERATURE: [0.5]}, "hypotheses": {}}
VOID = {"meta", "img", "br"}


@pytest.fixture
def runs(reported: Lab, tmp_path: Path) -> Path:
    """A folder with the report, to be written again."""
    return shutil.copytree(reported.folder / "runs", tmp_path / "runs")


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


def written_again(lab: Lab, runs: Path, changes: Mapping[str, Any], *more: str) -> int:
    """The command that has the report written from the store."""
    places = ["--store", str(lab.store), "--runs", str(runs)]
    return main([str(lab.write(changes)), *more, *places, "--stored", "--only", "figures,pictures,report"])


def page_of(reported: Lab) -> Page:
    return Page((reported.folder / "runs" / "lab" / "report.html").read_text())


# ------------------------------------------------------------------------------------------------ HTML


def test_the_page_needs_no_other_file_to_be_read(reported: Lab) -> None:
    page = page_of(reported)
    inside = [reference for reference in page.references if reference != "pictures.html"]
    assert all(reference.startswith(("#", "data:image/svg+xml;base64,")) for reference in inside)
    assert sum(reference.startswith("data:") for reference in page.references) >= 3
    links = {reference[1:] for reference in page.references if reference.startswith("#")}
    assert links == set(page.sections)
    text = (reported.folder / "runs" / "lab" / "report.html").read_text()
    assert not re.search(r"https?://|url\(|@import|<script|<link", text)


def test_the_page_says_verdicts_first_then_what_was_compared_and_how_to_repeat_it_last(reported: Lab) -> None:
    page = page_of(reported)
    assert page.sections == ["verdicts", "compared", "results", "sure", "costs", "figures", "repeat"]
    for said in (
        "a_<b>_&_c: top_k=3 temperature=0.5 is better than rerank=none on t2v/R1",
        "python -m core.run ",
        "retrieve.rerank.top_k",
        "n = 24 videos, 48 texts",
        "toy_encoder",
        "2, the same for every variant",
        "Holm over 6 variants",
        "Not measured: evaluate.efficiency=true adds memory",
        "torch ",
    ):
        assert said in page.text


def test_the_page_has_the_numbers_of_the_table(reported: Lab, result: Result) -> None:
    head, *rows = page_of(reported).tables[0]
    expected_head, expected = header(result), table(result)
    for name in head:
        if name == "p, raw":
            continue
        column = [row[head.index(name)].removeprefix("▲ ").removeprefix("▼ ") for row in rows]
        assert column == [row[expected_head.index(name)] for row in expected]
    raw = [row[head.index("p, raw")] for row in rows]
    tested = [row.comparisons.get("t2v/R1") for row in result.rows]
    assert raw == [p_value(one.p) if one else "" for one in tested]
    other_head, *other = page_of(reported).tables[1]
    assert other_head == ["variant", "v2t/R1", "v2t/R5", "v2t/MnR"]
    assert [row[1] for row in other] == [f"{row.mean('v2t/R1'):.1f}" for row in result.rows]


def test_a_refused_hypothesis_stands_among_the_verdicts_with_its_reason(lab: Lab) -> None:
    arms = {"variants": {"plain": {}, "tied": {"evaluate.ties": "optimistic"}}}
    claim = {"hypotheses": {"moved": {"better": "tied", "than": "plain"}}}
    page = Page(html(lab.result({"retrieve.rerank": None} | arms | claim), {}, False))
    assert "NOT DECIDED moved: tied is better than plain on t2v/R1" in page.text
    assert "Because evaluate.ties is optimistic in tied and expected in plain." in page.text
    assert "No hypothesis was stated." not in page.text


def test_each_verdict_has_its_colour_and_only_a_late_claim_its_mark(reported: Lab) -> None:
    first = EXPERIMENT["hypotheses"]
    arms = {"retrieve.rerank.top_k": 24, TEMPERATURE: 2.0}
    claims = {
        "harmless": {"no_worse": arms, "than": "baseline", "margin": 100},
        "wonderful": {"better": arms, "than": "baseline", "by": 99},
        "middling": {"better": arms, "than": {"retrieve.rerank.top_k": 24, TEMPERATURE: 0.5}},
    }
    result = findings(reported.plan({**EXPERIMENT, "hypotheses": first | claims}))
    shown = re.findall(
        r'<div class="claim (\w+)"><p><b>([A-Z ]+)</b> ([^:]+):.*?</p>(.*?)</div>', html(result, {}, False)
    )
    kinds = {name: (kind, verdict, "Post hoc" in reason) for kind, verdict, name, reason in shown}
    assert kinds["harmless"] == ("supported", "SUPPORTED", True)
    assert kinds["wonderful"] == ("refuted", "REFUTED", True)
    assert kinds["middling"] == ("open", "NOT DECIDED", True)
    assert not kinds["a_&lt;b&gt;_&amp;_c"][2]


def test_an_outcome_has_its_colour_and_what_stands_apart_its_own_rows(toys: None, tmp_path: Path) -> None:
    lab = Lab(tmp_path, {"train": 6, "val": 4, "test": 24})
    trained = {"retrieve.first_stage": "linear", "train.keep": "best", "train.select_on": "test"}
    arms = {
        "poor": {"model.interactions.dot.level": "patches"},
        "good": {},
        "re_weighted": {"retrieve.transforms": {"dsl": {"name": "dual_softmax"}}},
        "peeking": trained,
    }
    for baseline, mark, colour in (("poor", "▲ better", "better"), ("good", "▼ worse", "worse")):
        changes = {"variants": arms, "retrieve.rerank": None, "baseline": baseline, "evaluate.primary": "t2v/MnR"}
        page = html(lab.result(changes), {}, False)
        assert set(re.findall(rf'<td class="([^"]*)">{mark}</td>', page)) == {f"left {colour}"}
        table = page.partition('<section id="results">')[2].partition("</table>")[0]
        rows = re.findall(r'<tr(?: class="(\w+)")?><th scope="row"[^>]*>(\w+)', table)
        kinds = {name: kind for kind, name in rows}
        ordinary = {"poor": "", "good": "", baseline: "baseline"}
        assert kinds == {**ordinary, "re_weighted": "apart", "peeking": "apart"}


def test_the_odds_of_discordant_queries_stand_with_the_comparisons(result: Result) -> None:
    first = result.rows[0]
    found = first.comparisons["t2v/R1"]
    lines = csv.DictReader(io.StringIO(report.csv(result)))
    (line,) = [line for line in lines if (line["variant"], line["metric"]) == (first.name, "t2v/R1")]
    expected = found.wins / found.losses if found.losses else math.inf if found.wins else math.nan
    assert float(line["odds"] or "nan") == pytest.approx(expected, nan_ok=True)
    head = next(table for table in Page(html(result, {}, False)).tables if "odds" in table[0])[0]
    assert head[head.index("losses") + 1] == "odds"


def test_the_table_of_all_comparisons_holds_each_of_them_cell_by_cell(result: Result) -> None:
    """Counted from the values of the queries; two captions of a video are one unit in t2v."""
    tables = Page(html(result, {}, False)).tables
    head, *lines = next(table for table in tables if "odds" in table[0])
    texts = "difference", "95 % interval", "p, raw", "wins", "ties", "losses", "odds", "d_z", "detectable"
    assert head == ["variant", "metric", *texts]
    others = [row for row in result.rows if not row.is_baseline]
    assert [line[:2] for line in lines] == [[row.name, name] for row in others for name in result.metrics]
    unlike = set()
    for row, name, line in ((row, name, lines.pop(0)) for row in others for name in result.metrics):
        cells, found = dict(zip(head, line, strict=True)), row.comparisons[name]
        differences = (row.per_query(name) - result.baseline.per_query(name)).mean(0)
        units = differences.reshape(24, -1).mean(1)
        gains = units * (-1 if name.endswith("MnR") else 1)
        wins, ties, losses = (int(np.sum(np.sign(gains.round(9)) == sign)) for sign in (1, 0, -1))
        assert [cells[column] for column in ("wins", "ties", "losses")] == [str(wins), str(ties), str(losses)]
        assert cells["difference"] == f"{differences.mean():+.2f}"
        assert cells["95 % interval"] == f"{found.low:+.2f} to {found.high:+.2f}"
        assert cells["p, raw"] == (f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001")
        odds = wins / losses if losses else math.inf if wins else math.nan
        sizes = {"odds": odds, "d_z": units.mean() / (units.std(ddof=1) or math.nan), "detectable": found.detectable}
        assert {column: cells[column] for column in sizes} == {
            column: "" if math.isnan(size) else f"{size:.2f}" for column, size in sizes.items()
        }
        unlike |= {name} if len({wins, ties, losses}) == 3 else set()
    assert {"t2v/R1", "t2v/MnR", "v2t/MnR"} <= unlike


def test_measured_costs_have_a_table_and_a_figure_each(reported: Lab, tmp_path: Path) -> None:
    result = findings(reported.plan(FEWER))
    for number, row in enumerate(result.rows):
        for found in row.results:
            costs = {"cost/latency_ms": 1.0 + number, "cost/parameters": 1234567.0}
            found.__dict__["stored"] = {**found.stored, "costs": costs}
    folder = write(result, tmp_path)
    page = Page((folder / "report.html").read_text())
    head, *rows = next(table for table in page.tables if "parameters" in table[0])
    assert head == ["variant", "parameters", "ms a query, median"]
    assert [row[1:] for row in rows] == [["1.23 M", f"{1 + number}"] for number in range(len(result.rows))]
    assert (folder / "figures" / "pareto_latency_ms.svg").is_file()
    assert not (folder / "figures" / "pareto_parameters.svg").exists()
    lines = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert [float(line["mean"]) for line in lines if line["metric"] == "cost/latency_ms"] == [
        1.0 + number for number in range(len(result.rows))
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.01234, "0.0123"), (850, "850"), (999.6, "1 k"), (1234, "1.23 k"), (999_999, "1 M"), (5e9, "5 G"),
        (3e16, "30 P"),
    ],
)  # fmt: skip
def test_large_numbers_are_written_with_units_of_a_thousand(value: float, expected: str) -> None:
    assert short_number(value) == expected


# ------------------------------------------------------------------------------------------------ CSV


def test_csv_gives_back_every_number_to_the_last_digit(reported: Lab, result: Result) -> None:
    lines = list(csv.DictReader(io.StringIO((reported.folder / "runs" / "lab" / "table.csv").read_text(), newline="")))
    for row in result.rows:
        for name in result.metrics:
            (line,) = [line for line in lines if (line["variant"], line["metric"]) == (row.name, name)]
            assert [float(value) for value in line["values"].split()] == row.values(name)
            assert float(line["mean"]) == row.mean(name)
            told = [line[column] for column in ("baseline", "seeds", "outcome", "transductive", "selected_on_test")]
            outcome = row.outcome if name == result.primary else ""
            assert told == [str(row.is_baseline), str(0 if row.is_baseline else 2), outcome, "False", "False"]
            assert float(line["sd_over_seeds"] or "nan") == pytest.approx(row.spread(name), nan_ok=True)
            found = row.comparisons.get(name)
            for column in ("difference", "low", "high", "standard_error", "p", "d_z", "detectable"):
                value = getattr(found, column) if found else float("nan")
                assert float(line[column] or "nan") == pytest.approx(value, rel=0, abs=0, nan_ok=True)


def test_hypotheses_stand_in_a_file_of_their_own(reported: Lab, result: Result) -> None:
    (line,) = csv.DictReader(io.StringIO((reported.folder / "runs" / "lab" / "hypotheses.csv").read_text(), newline=""))
    verdict = result.decisions[0].verdict
    assert (line["name"], line["verdict"], line["arms"]) == (
        "a_<b>_&_c",
        verdict.verdict,
        "top_k=3 temperature=0.5; rerank=none",
    )
    assert float(line["p_corrected"]) == verdict.p_corrected


def test_hypotheses_csv_says_of_each_hypothesis_what_its_columns_are_called(reported: Lab) -> None:
    """One that was written down before the scoring and gains in recall; one that was not, of a rank, where less is
    better and the interval is turned."""
    first = EXPERIMENT["hypotheses"]
    ranks = {"no_worse": {"retrieve.rerank.top_k": 24, TEMPERATURE: 2.0}, "than": "baseline"}
    ranks |= {"metric": "v2t/MnR", "margin": 80.5}
    result = findings(reported.plan({**EXPERIMENT, "hypotheses": first | {"ranks": ranks}}))
    rows = {row.name: row for row in result.rows}
    lines = list(csv.DictReader(io.StringIO(hypotheses_csv(result))))
    told = [(line["name"], line["kind"], line["metric"], float(line["bound"]), line["post_hoc"]) for line in lines]
    assert told == [("a_<b>_&_c", "better", "t2v/R1", 0, "False"), ("ranks", "no_worse", "v2t/MnR", 80.5, "True")]
    assert [line["arms"] for line in lines] == [
        "top_k=3 temperature=0.5; rerank=none",
        "top_k=24 temperature=2.0; rerank=none",
    ]
    assert [line["claim"] for line in lines] == [
        "top_k=3 temperature=0.5 is better than rerank=none on t2v/R1",
        "top_k=24 temperature=2.0 is no worse than rerank=none on v2t/MnR, margin 80.5",
    ]
    for line, sign, null in zip(lines, (1, -1), (0.0, 80.5), strict=True):
        variant, name = rows[line["arms"].partition(";")[0]], line["metric"]
        differences = variant.per_query(name) - result.baseline.per_query(name)
        clusters = np.arange(differences.shape[1]) // (2 if name == "t2v/R1" else 1)
        found = paired_test(differences, clusters, null=null, alternative="less" if sign < 0 else "two-sided")
        ends = sorted((sign * found.low, sign * found.high))
        assert float(line["observed"]) == pytest.approx(sign * differences.mean())
        assert [float(line["low"]), float(line["high"])] == pytest.approx(ends)
        assert float(line["p"]) == pytest.approx(found.p)
        assert float(line["detectable"]) == pytest.approx(found.detectable)
        assert f"gain {float(line['observed']):+.2f}, 95 % interval {ends[0]:+.2f} to {ends[1]:+.2f}" in line["reason"]
    raw = [float(line["p"]) for line in lines]
    assert [float(line["p_corrected"]) for line in lines] == pytest.approx(holm(raw).tolist())
    assert raw[0] != raw[1]
    assert [line["verdict"] for line in lines] == [claim.verdict.verdict for claim in result.decisions]
    assert {(line["family"], line["registration"]) for line in lines} == {("2", result.registration)}
    assert {line["times_scored"] for line in lines} == {str(6 * 2 + 1)}


# ------------------------------------------------------------------------------------------------ written again


def test_the_command_writes_the_same_files_from_the_store_and_computes_nothing(reported: Lab, tmp_path: Path) -> None:
    first = reported.folder / "runs" / "lab"
    COUNTS.clear()
    assert written_again(reported, tmp_path, EXPERIMENT) == 0
    assert not COUNTS
    names = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert {Path(name) for name in ("report.html", "report.md", "table.csv", "table.tex", "resolved.json")} <= names
    assert names == {path.relative_to(tmp_path / "lab") for path in (tmp_path / "lab").rglob("*") if path.is_file()}
    for name in names:
        assert (first / name).read_bytes() == (tmp_path / "lab" / name).read_bytes(), name


def test_figures_are_drawn_again_only_where_the_result_changed(reported: Lab, result: Result, runs: Path) -> None:
    def drawn() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in (runs / "lab" / "figures").iterdir()}

    before = drawn()
    write(result, runs, ["figures"])
    assert drawn() == before
    write(findings(reported.plan(FEWER)), runs, ["figures"])
    assert "sweep_top_k.png" in before
    assert "sweep_top_k.png" not in drawn()
    assert drawn()["differences.png"] > before["differences.png"]


@pytest.mark.parametrize("name", ["differences.svg", "differences.png", "differences.pdf", "drawn.json"])
def test_a_damaged_figure_is_not_shown_for_ever(
    result: Result, runs: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing gives the same bytes each time, as is tested above; here it copies them."""
    file = runs / "lab" / "figures" / name
    contents = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    sound = contents[name]

    def draw(title: str, panels: object, notes: object, *files: Path) -> None:
        for figure in files:
            figure.write_bytes(contents[figure.name])

    monkeypatch.setattr("plugins.outputs.figures.files.draw", draw)
    for damaged in (b"", sound[: len(sound) // 2], sound[:40] + bytes([sound[40] ^ 1]) + sound[41:], b"\xff{"):
        file.write_bytes(damaged)
        write(result, runs, ["figures"])
        assert file.read_bytes() == sound


def test_a_damaged_page_of_pictures_is_not_shown_for_ever(result: Result, runs: Path) -> None:
    file = runs / "lab" / "pictures.html"
    sound = file.read_bytes()
    for damaged in (sound[:900] + b"0" + sound[901:], sound[:900] + b"\xff" + sound[901:], sound[900:]):
        assert damaged != sound
        file.write_bytes(damaged)
        write(result, runs, ["pictures"])
        assert file.read_bytes() == sound


def test_missing_results_are_told_with_the_command_that_computes_them(
    reported: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written_again(reported, tmp_path, {**EXPERIMENT, "seeds": [0, 7]}) == 1
    told = capsys.readouterr().err
    assert f"python -m core.run {reported.folder / 'experiment.yaml'}" in told
    assert f"--store {reported.store}" in told
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_file_ends_the_command_with_2(
    reported: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert written_again(reported, tmp_path, EXPERIMENT, "train.epoch=3") == 2
    assert "train.epoch: unknown key" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ pictures


def test_pictures_of_the_queries_that_the_best_variant_moved_most_lie_beside_the_page(
    reported: Lab, result: Result
) -> None:
    page = page_of(reported)
    assert page.references.count("pictures.html") == 2
    assert "Pictures of single queries lie beside this file" in page.text
    text = (reported.folder / "runs" / "lab" / "pictures.html").read_text()
    moving = [row for row in result.rows if "top_k=3 " in row.name or "top_k=24 " in row.name]
    assert len(moving) == 4
    best = max(moving, key=lambda row: row.mean("t2v/R1"))
    assert f"<h1>lab: {best.name} · seed 0</h1>" in text
    assert 1 <= text.count('<section id="q') <= 6


def test_pictures_are_made_again_only_where_the_result_changed(
    reported: Lab, result: Result, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = runs / "lab" / "pictures.html"
    before = file.stat().st_mtime_ns
    with monkeypatch.context() as patched:
        patched.setattr("plugins.outputs.pictures.pages", None)
        write(result, runs, ["pictures"])
    assert file.stat().st_mtime_ns == before
    write(findings(reported.plan(FEWER)), runs, ["pictures"])
    assert file.stat().st_mtime_ns > before
    assert "<h1>lab: top_k=3 temperature=0.5 · seed 0</h1>" in file.read_text()


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (RuntimeError("no weights\nat all"), 1, "error: output `pictures` (retrieval-ablations"),
        (UserError("no videos: `a_<b>`"), 0, "No pictures of single queries: no videos: `a_<b>`\n"),
    ],
)
def test_whatever_hinders_the_pictures_the_report_is_written_without_them(
    reported: Lab,
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Exception,
    status: int,
    told: str,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("plugins.outputs.pictures.pages", broken)
    (runs / "lab" / "pictures.html").write_text("of another result")
    assert written_again(reported, runs, EXPERIMENT) == status
    assert told in "".join(capsys.readouterr())
    assert not (runs / "lab" / "pictures.html").exists()
    page = Page((runs / "lab" / "report.html").read_text())
    assert "pictures.html" not in page.references
    assert "ictures" not in page.text


def test_a_video_that_cannot_be_read_any_more_is_named(copied: Lab, tmp_path: Path) -> None:
    result = findings(copied.plan(EXPERIMENT))
    for picture in (copied.videos / "test").rglob("*.png"):
        picture.write_bytes(b"")
    (told,) = Pictures(Pictures.Config()).finished(result, tmp_path)
    assert re.match(rf"No pictures of single queries: {copied.videos}/test/v\d+", told)
    assert not (tmp_path / "pictures.html").exists()


def test_without_re_ranking_there_are_no_pictures(reported: Lab, tmp_path: Path) -> None:
    result = findings(reported.plan({"retrieve.rerank": None}))
    assert list(Pictures(Pictures.Config()).finished(result, tmp_path)) == []
    assert not (tmp_path / "pictures.html").exists()


def test_text_of_a_page_is_escaped(result: Result) -> None:
    assert "a_<b>" not in html(result, {}, False)
    assert "a_&lt;b&gt;_&amp;_c" in html(result, {}, False)


def test_transductive_rows_are_marked_in_every_table_and_figure(lab: Lab, tmp_path: Path) -> None:
    changes = {
        "retrieve": {"first_stage": "dot"},
        "variants": {"plain": {}, "re_weighted": {"retrieve.transforms": {"dsl": {"name": "dual_softmax"}}}},
        "baseline": "plain",
    }
    result = lab.result(changes)
    mark = "re_weighted [transductive]"
    page = Page(html(result, {}, False))
    assert [row[0] for row in page.tables[0]] == [row[0] for row in page.tables[1]] == ["variant", "plain", mark]
    assert f"| {mark} |" in report.markdown(result)
    assert "Transductive: re_weighted." in report.markdown(result)
    figure = Forest.of(result)
    assert figure is not None
    assert figure.rows == (mark,)
    lines = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert {line["variant"] for line in lines if line["transductive"] == "True"} == {"re_weighted"}


def test_files_of_what_the_experiment_no_longer_says_are_taken_away(reported: Lab, tmp_path: Path) -> None:
    result = findings(reported.plan(FEWER))
    folder = tmp_path / "lab"
    folder.mkdir()
    stale = {"published_1.csv", "published_7.csv", "hypotheses.csv"}
    for name in (*stale, "notes.txt"):
        (folder / name).write_text("old")
    report.write_report(result, folder)
    assert not stale & {path.name for path in folder.iterdir()}
    assert (folder / "notes.txt").read_text() == "old"
