"""Tables: what they hold agrees with the findings, and reads well."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import replace

import pytest

from core.evidence.findings import Result
from core.evidence.wording import notes
from plugins.outputs import report
from plugins.outputs.figures.files import apart
from plugins.outputs.numbers import p_value
from plugins.outputs.report.as_html import html
from plugins.outputs.report.as_latex import latex
from plugins.outputs.tables import header, table
from plugins.outputs.terminal import report_text
from tests.engine import Lab, plan_of, write_videos

CHANGES = {
    "ablate": {"retrieve.rerank.top_k": [1, 2, 3]},
    "baseline": {"retrieve.rerank": None},
    "seeds": [0, 1],
    "hypotheses": {"helps": {"better": {"retrieve.rerank.top_k": 2}, "than": "baseline"}},
}
EXPLORED = "Benjamini-Hochberg over 3 variants (controls the share of false findings, for exploration)"


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


def test_the_correction_stands_in_every_form_of_the_report(lab: Lab) -> None:
    told = {"holm": ("p (Holm)", "Holm over 3 variants"), "benjamini_hochberg": ("p (BH)", EXPLORED)}
    for correction, (column, words) in told.items():
        result = lab.result({**CHANGES, "evaluate.correction": correction})
        assert header(result)[4] == column
        for text in (report.markdown(result), latex(result), html(result, {}, False)):
            assert words in text
        assert f"| {column} |" in report.markdown(result)
        assert {row["correction"] for row in csv.DictReader(io.StringIO(report.csv(result)))} == {correction, ""}
        assert "1 hypothesis in one Holm family" in report.markdown(result)


def test_the_sample_is_told_in_videos_and_captions_and_one_seed_says_what_it_covers(lab: Lab) -> None:
    result = lab.result({**CHANGES, "seeds": [0]})
    notes, basis = " ".join(result.notes), " ".join(result.basis)
    test = "sign-flip and skewness-corrected t, inverted for the interval; covers query sampling only"
    assert f"n = 5 videos (10 captions). Test: {test}; Holm over" in notes
    assert "n = 5 videos (10 captions). Test against rerank=none: sign-flip" in basis
    assert "One seed: only query sampling is covered." in basis
    turned = lab.result({**CHANGES, "evaluate.primary": "v2t/R1"})
    assert "n = 5 videos. Test: crossed" in " ".join(turned.notes)


def test_what_could_have_been_shown_stands_beside_every_outcome_that_is_not_significant(lab: Lab) -> None:
    result = lab.result(CHANGES)
    shown = {row.name: cells[5] for row, cells in zip(result.rows, table(result), strict=True)}
    unclear = [row for row in result.rows if row.outcome == "n.s."]
    assert unclear
    for row in unclear:
        detectable = row.comparisons["t2v/R1"].detectable
        assert shown[row.name] == ("n.s." if math.isnan(detectable) else f"n.s. (detectable: {detectable:.1f})")
    assert "detectable" in "".join(shown.values())


def test_weights_that_were_chosen_on_the_split_that_is_scored_are_told(lab: Lab) -> None:
    trained = {"retrieve": {"first_stage": "linear"}, "evaluate.split": "val"}
    told = "Beware: weights were chosen by their results on the val split, which is scored here."
    assert told in lab.result(trained | {"train.keep": "best"}).notes
    assert told not in lab.result(trained | {"train.keep": "last"}).notes
    assert told not in lab.result({"retrieve": {"first_stage": "dot"}, "evaluate.split": "val"}).notes


def test_a_median_as_the_primary_metric_is_in_no_family(lab: Lab) -> None:
    result = lab.result({**CHANGES, "evaluate.primary": "t2v/MdR", "hypotheses": {}})
    told = report.markdown(result)
    assert "bootstrap interval of the medians, no test" in told
    assert "Holm over" not in told
    assert "80 % power" not in told
    assert {cells[4] for cells in table(result)} == {""}


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
    why = "there ranks 12 texts, of which 8 are among the 8 in here (data.dataset and data.on_unreadable)"
    assert f"Not decided, because {why}: moved: there is better than here on t2v/R1" in told
    assert f"Not compared, because {why}: there." in told
    assert "other queries: not compared" in told


def test_what_was_selected_on_test_is_labelled_in_table_and_notes(lab: Lab) -> None:
    changes = {
        "retrieve": {"first_stage": "linear"},
        "train.keep": "best",
        "variants": {"honest": {}, "repeated": {"train.select_on": "test"}},
        "hypotheses": {"peeking": {"better": "repeated", "than": "honest"}},
    }
    result = lab.result(changes)
    told = report.markdown(result)
    (row,) = [line for line in told.splitlines() if line.startswith("| repeated")]
    assert "| selected on test: not compared |" in row
    why = "the weights of repeated were selected on test (train.select_on: test), those of honest were not"
    assert f"Not compared, because {why}: repeated." in told
    assert f"Not decided, because {why}: peeking: repeated is better than honest" in told
    assert "those weights were kept that did best on the test split" in told
    rows = list(csv.DictReader(io.StringIO(report.csv(result))))
    assert {row["p"] for row in rows if row["variant"] == "repeated"} == {""}


PUBLISHED = """
dataset: Toys
split: test
protocol: one caption is a query
videos: 5000
sources:
  own: {publication: Toy paper, known: from the abstract, note: chosen on test}
  later: {publication: Later paper, known: quoted by a later paper}
rows:
  - {system: Toy, backbone: ViT-B/32, post_processing: none, source: own, values: {t2v/R1: 48, v2t/R1: 47.1}}
  - {system: Toy, backbone: ViT-B/32, post_processing: QB-Norm, source: later, values: {t2v/R1: 50.0},
     uncertain: [t2v/R1], note: "misread | perhaps"}
  - {system: Backwards, backbone: not stated, post_processing: not stated, source: later, values: {v2t/R1: 33.3}}
"""


def test_published_numbers_stand_in_a_table_of_their_own_after_the_measured_one(lab: Lab) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    told = report.markdown(lab.result({**CHANGES, "references": ["toys.yaml"]}))
    measured, title, published = told.partition("## Published, not measured here: Toys, test, 5,000 videos\n")
    assert title
    assert "Toy" not in measured
    table = [line for line in published.splitlines() if line.startswith("|")]
    assert table == [
        "| system | backbone | post-processing | t2v/R1 | v2t/R1 | source |",
        "| --- | --- | --- | ---: | ---: | --- |",
        "| Toy | ViT-B/32 | none | 48.0 | 47.1 | Toy paper (from the abstract) |",
        "| Toy | ViT-B/32 | QB-Norm | 50.0? |  | Later paper (quoted by a later paper) |",
        "| Backwards | not stated | not stated |  | 33.3 | Later paper (quoted by a later paper) |",
    ]
    for words in ("one caption is a query", "may be wrong", "chosen on test", "misread | perhaps"):
        assert words in published


def test_published_numbers_change_no_test_and_no_table(lab: Lab) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    alone = lab.result(CHANGES)
    beside = lab.result({**CHANGES, "references": ["toys.yaml"]})
    assert report.csv(beside) == report.csv(alone)
    assert beside.notes == alone.notes
    assert [str(claim) for claim in beside.decisions] == [str(claim) for claim in alone.decisions]
    assert report.markdown(beside).startswith(report.markdown(alone))


def test_the_terminal_shows_published_rows_of_the_primary_direction_only(lab: Lab) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    result = lab.result({**CHANGES, "references": ["toys.yaml"]})
    printed = report_text(result)
    measured, title, published = printed.partition("Published, not measured here: Toys, test, 5,000 videos")
    assert title
    assert "top_k  rerank" in measured
    assert "50.0?" in published
    assert "Backwards" not in published
    assert "v2t/R1" not in published
    assert re.search("^(SUPPORTED|REFUTED|NOT DECIDED): helps: ", published, re.MULTILINE)


def test_p_values_are_never_zero_and_blank_where_not_tested() -> None:
    assert p_value(1e-9) == "< 0.001"
    assert p_value(0.0321) == "0.032"
    assert p_value(math.nan) == ""


def test_figures_do_not_share_a_file_where_capital_letters_are_not_told_from_small_ones() -> None:
    files = apart(["gain_A", "gain_a", "gain a", "gain_a"])
    assert files["gain_A"] == "gain_A"
    assert len({file.casefold() for file in files.values()}) == 3


def test_a_warning_that_holds_for_some_rows_names_them(result: Result) -> None:
    rows = [row for row in result.rows if row.comparisons]
    assert len(rows) > 4
    for row in rows:
        row.comparisons[result.primary] = replace(row.comparisons[result.primary], warning="few videos")
    for row in rows[1:3]:
        row.comparisons[result.primary] = replace(row.comparisons[result.primary], warning="few videos; long tails")
    for row in rows[:4]:
        found = row.comparisons[result.primary]
        row.comparisons[result.primary] = replace(found, warning=f"{found.warning}; nothing differs")
    told = [line for line in notes(plan_of(result), result) if line.startswith("Beware")]
    names = [row.name for row in rows]
    assert "Beware: few videos." in told
    assert f"Beware, {names[1]}, {names[2]}: long tails." in told
    assert f"Beware, {', '.join(names[:3])} and 1 more: nothing differs." in told
