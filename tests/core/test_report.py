"""Tables: what they hold agrees with the findings, and reads well."""

from __future__ import annotations

import csv
import io
import math

import pytest

from core import report
from tests.engine import Lab, write_videos

CHANGES = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}


def test_the_csv_holds_every_variant_and_metric_with_its_comparison(lab: Lab) -> None:
    result = lab.result(CHANGES)
    rows = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert {(row["variant"], row["metric"]) for row in rows} == {
        (row.name, name) for row in result.rows for name in result.metrics
    }
    found = next(row for row in rows if row["variant"] == "top_k=2" and row["metric"] == "t2v/R1")
    comparison = next(row for row in result.rows if row.name == "top_k=2").comparisons["t2v/R1"]
    assert float(found["difference"]) == comparison.difference
    assert float(found["mean"]) == pytest.approx(sum(result.rows[1].values("t2v/R1")) / 2)


def test_markdown_says_verdict_first_then_a_table_whose_rows_have_one_cell_a_column(lab: Lab) -> None:
    result = lab.result(CHANGES)
    lines = report.markdown(result).splitlines()
    assert lines[2].startswith(("- SUPPORTED: helps", "- REFUTED: helps", "- NOT DECIDED: helps"))
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(result.rows)
    assert len({line.count("|") for line in table}) == 1


def test_a_claim_added_after_the_scoring_is_marked(lab: Lab) -> None:
    lab.result(CHANGES)
    late = {**CHANGES, "hypotheses": {"late": {"better": {"retrieve.rerank.top_k": 3}, "than": "baseline"}}}
    assert "post hoc" in report.markdown(lab.result(late))


def test_a_claim_that_was_registered_and_dropped_is_told(lab: Lab) -> None:
    lab.result(CHANGES)
    told = report.markdown(lab.result({**CHANGES, "hypotheses": {}}))
    assert "Withdrawn after it was registered: helps: top_k=2 is better than rerank=none on t2v/R1" in told


def test_a_claim_across_different_galleries_is_told_as_undecided(lab: Lab) -> None:
    for picture in (lab.videos / "test" / "v0").iterdir():
        picture.write_bytes(b"")
    write_videos(lab.folder / "other", {"train": 6, "val": 4, "test": 6}, seed=1)
    root = str(lab.folder / "other")
    changes = {
        "variants": {"here": {"data.on_unreadable": "skip"}, "there": {"data.dataset.root": root}},
        "hypotheses": {"moved": {"better": "there", "than": "here"}},
    }
    told = report.markdown(lab.result(changes))
    assert "Not decided, because its arms rank other queries: moved: there is better than here on t2v/R1" in told
    assert "other queries: not compared" in told


def test_p_values_are_never_zero_and_blank_where_not_tested() -> None:
    assert report.p_value(1e-9) == "< 0.001"
    assert report.p_value(0.0321) == "0.032"
    assert report.p_value(math.nan) == ""


def test_a_name_becomes_a_file_name() -> None:
    assert report.slug("a/b c:d") == "a_b_c_d"
    assert report.slug("..") == "experiment"
