"""LaTeX of a report: any text compiles and is printed as it stands, tables are whole, marks say what was found.

Results are made here: the plan of a laboratory whose trials were never computed, with numbers chosen for each test.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.engine.plan import Plan, PlannedTrial
from core.evidence.findings import Result, not_compared, row_of
from core.evidence.trials import Trial
from core.evidence.wording import basis
from core.measure.metrics import COSTS
from core.measure.significance import Comparison
from plugins.outputs.report.as_latex import escaped, latex
from tests.engine import Lab

COMMANDS = {
    "\\textbackslash": "\\", "\\{": "{", "\\}": "}", "\\$": "$", "\\&": "&", "\\#": "#", "\\%": "%", "\\_": "_",
    "\\textasciicircum": "^", "\\textasciitilde": "~", "\\textless": "<", "\\textgreater": ">", "\\textbar": "|",
    "\\textendash": "–", "\\textemdash": "—", "\\textquoteleft": "‘", "\\textquoteright": "’",
    "\\textquotedblleft": "“", "\\textquotedblright": "”", "\\ldots": "…",
    r"$\pm$": "±", r"$\times$": "×", r"$\div$": "÷", r"$^1\!/_2$": "½", r"$^1\!/_4$": "¼", r"$^3\!/_4$": "¾",
    "$^2$": "²", r"$\cdot$": "·", "$-$": "−", r"$\ge$": "≥", r"$\le$": "≤", r"$\ne$": "≠", r"$\approx$": "≈",
    r"$\infty$": "∞", r"$\surd$": "√", r"$\to$": "→", r"$\bigtriangleup$": "▲", r"$\bigtriangledown$": "▼",
    r"$\lambda$": "λ", r"$\Lambda$": "Λ", r"$\varsigma$": "ς", r"$\varepsilon$": "ε", r"$\varphi$": "φ",
}  # fmt: skip
COMPILED = set(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿĀāĂăĆćĈĉĊċČčĎďĒēĔĕĖėĚěĜĝĞğĠġĢģĤĥĨĩĪīĬĭİıĲĳĴĵĶķĹĺĻļĽľŁł"
    "ŃńŅņŇňŌōŎŏŐőŒœŔŕŖŗŘřŚśŜŝŞşŠšŢţŤťŨũŪūŬŭŮůŰűŴŵŶŷŸŹźŻżŽž"
)
"""Letters beyond ASCII that pdfLaTeX printed, each compiled by itself, with the encodings OT1 and T1."""
ALIKE = str.maketrans({"'": "’", "`": "‘", '"': "”", "µ": "μ"})
NASTY = "\\{}$&#%_^~<>|\"`'[]*-,!?±½²·−αΛφ▲▼–—’…µéßłŊą中\x00\x07\n\t "


def printed(source: str) -> str:
    """What TeX prints of a line of text. Fails where it would not compile, or would join letters to another sign."""
    depth, shown, before = 0, "", ""
    for token in re.findall(r"\$[^$]*\$|\\[A-Za-z]+|\\.|.", source, re.DOTALL):
        if token in "{}":
            depth += 1 if token == "{" else -1
            assert depth >= 0
        elif token[0] in "\\$":
            shown += COMMANDS[token] if token in COMMANDS else greek(token)
        else:
            assert token not in '#&%~^_<>|"`'
            assert (token.isascii() and token.isprintable()) or token in COMPILED
            assert before + token not in ("--", "''", ",,")
            shown += token
        before = token
    assert depth == 0
    return shown


def greek(source: str) -> str:
    found = re.fullmatch(r"\$\\([A-Za-z][a-z]+)\$", source)
    assert found is not None, source
    return unicodedata.lookup(f"GREEK {'CAPITAL' if found[1][0].isupper() else 'SMALL'} LETTER {found[1].upper()}")


@given(st.text(st.one_of(st.sampled_from(NASTY), st.characters())))
@example("a--b ''c'' ,,d")
@example("!` ?` ``")
def test_any_text_compiles_and_is_printed_as_it_stands(text: str) -> None:
    def plain(line: str) -> str:
        spelled = re.sub(r"\[U\+([0-9A-F]{4,6})\]", lambda found: chr(int(found[1], 16)), line)
        return spelled.translate(ALIKE)

    made = escaped(text)
    assert plain(printed(made)) == plain(unicodedata.normalize("NFC", " ".join(text.split())))
    assert not made.startswith(("[", "*")), r"an argument of the \\ before it"


def test_a_letter_that_latex_lacks_is_printed_as_its_number() -> None:
    assert escaped("é 中\ud800") == "é {[}U+4E2D]{[}U+D800]"


# ------------------------------------------------------------------------------------------------ tables


@dataclass
class Table:
    columns: str
    head: list[str]
    rows: list[list[str]]
    caption: str
    label: str

    def column(self, name: str) -> dict[str, str]:
        """{first cell: cell of this column}; a cell that spans columns stands in each of them."""
        return {row[0]: row[self.head.index(name)] for row in self.rows}


def tables(source: str) -> list[Table]:
    """The tables of a file. Fails where environments do not match or a row has not one cell a column."""
    lines = [line for line in source.splitlines() if not line.startswith("%")]
    inside: list[str] = []
    for kind, name in re.findall(r"\\(begin|end){([a-z*]+)}", source):
        if kind == "begin":
            inside.append(name)
        else:
            assert inside.pop() == name
    assert inside == []
    found = []
    for part in "\n".join(lines).split("\\begin{table*}[t]")[1:]:
        body = re.search(r"\\begin{tabular}{@{}(\w+)@{}}\n\\toprule\n(.*?)\n\\bottomrule\n", part, re.DOTALL)
        caption, label = re.search(r"^\\caption{(.*)}$", part, re.M), re.search(r"^\\label{(.*)}$", part, re.M)
        assert body
        assert caption
        assert label
        head, *rows = [cells_of(line[:-3]) for line in body[2].split("\n") if line != "\\midrule"]
        assert {len(row) for row in (head, *rows)} == {len(body[1])}
        found.append(Table(body[1], head, rows, caption[1], label[1]))
    return found


def cells_of(line: str) -> list[str]:
    cells = []
    for cell in re.split(r"(?<!\\) & ", line):
        span = re.fullmatch(r"\\multicolumn{(\d)}{c}{(.*)}", cell)
        cells += [span[2]] * int(span[1]) if span else [cell]
    return cells


Values = dict[str, Sequence[float]]
BASE = {
    "retrieve.rerank": None,
    "retrieve.first_stage": "linear",
    "baseline": "base",
    "evaluate": {"metrics": ["R1", "MnR"]},
    "seeds": [0, 1],
}
R1, MNR = r"R@1 $\uparrow$", r"MnR $\downarrow$"


def variants(*names: str, **others: dict[str, Any]) -> dict[str, Any]:
    """Changes of the laboratory's experiment to these variants, the baseline first."""
    plain = {name: {"train.epochs": number + 2} for number, name in enumerate(("base", *names))}
    return {**BASE, "variants": plain | others}


def result_of(
    lab: Lab, changes: dict[str, Any], values: dict[str, Values], p: dict[str, float] | None = None
) -> Result:
    """A result of which nothing was computed.

    values: {variant: {metric: one a seed}}, one metric for all that are not given. p: corrected p of the variants that
    are compared with the baseline.
    """
    plan = lab.plan(changes)
    rows = [row_of(plan, v, [made_up(plan, trial) for trial in plan.trials_of(v)], []) for v in plan.variants]
    result = not_compared(plan, rows)
    for row in rows:
        for number, found in enumerate(row.results):
            given_values = {name: own[number] for name, own in values.get(row.name, {}).items()}
            metrics = dict.fromkeys(result.metrics, 50.0) | given_values
            found.__dict__["stored"] = {"metrics": metrics, "videos": 1200, "texts": 2400, "costs": {}}
        row.outcome = "baseline" if row.is_baseline else "other queries: not compared"
        if p is None or row.name in p:
            corrected = 0.5 if p is None else p[row.name]
            row.comparisons = {} if row.is_baseline else dict.fromkeys(result.metrics, compared(corrected))
    result.basis = basis(result)
    return result


def made_up(plan: Plan, planned: PlannedTrial) -> Trial:
    """A trial without an entry in the store."""
    facts = planned.name, planned.variant.name, planned.seed, planned.last.key, plan, planned
    return Trial(*facts, None)  # type: ignore[arg-type]


def compared(p: float) -> Comparison:
    """Of three in a Holm family; of none where p is nan."""
    family, correction = (0, "") if math.isnan(p) else (3, "holm")
    size = {"n_clusters": 1200, "n_queries": 2400, "seeds": 2, "wins": 1, "ties": 2, "losses": 3}
    spread = {"standard_error": 0.4, "p_t": math.nan, "seed_sd": 0.1, "d_z": 0.2, "detectable": 1.5}
    found = {"difference": -1.25, "low": -2.0, "high": 0.5, "p": p / 3, "p_corrected": p, "correction": correction}
    return Comparison(**found, **spread, **size, family=family, method="coin flips")  # type: ignore[arg-type]


def test_the_baseline_is_the_first_row_wherever_the_file_has_it(lab: Lab) -> None:
    changes = variants("before", "after") | {"baseline": "after"}
    for table in tables(latex(result_of(lab, changes, {}))):
        assert [row[0] for row in table.rows] == ["after", "base", "before"]


def test_one_variant_makes_whole_tables_without_a_test(lab: Lab) -> None:
    both = tables(latex(result_of(lab, variants(), {})))
    assert [table.head for table in both] == [["Variant", R1, MNR]] * 2
    assert all("No difference is tested here." in table.caption for table in both)
    assert not any("bold" in table.caption for table in both)


def test_the_best_of_each_column_is_bold_whichever_way_is_better(lab: Lab) -> None:
    values: dict[str, Values] = {
        "base": {"t2v/R1": (40, 41), "t2v/MnR": (9, 9)},
        "a": {"t2v/R1": (44.62, 44.62), "t2v/MnR": (7, 7)},
        "b": {"t2v/R1": (44.58, 44.58), "t2v/MnR": (8, 8)},
    }
    first, second = tables(latex(result_of(lab, variants("a", "b"), values)))
    assert {name for name, cell in first.column(R1).items() if "textbf{44.6}" in cell} == {"a", "b"}, "equal as printed"
    assert {name for name, cell in first.column(MNR).items() if "textbf{7.0}" in cell} == {"a"}
    assert first.column(R1)["base"] == r"40.5\,{\scriptsize$\pm$0.7}"
    assert not any("textbf" in cell for row in second.rows for cell in row), "all the same"
    assert ("bold" in first.caption, "bold" in second.caption) == (True, False)


def test_rows_that_may_not_be_compared_are_marked_and_never_bold(lab: Lab) -> None:
    others: dict[str, dict[str, Any]] = {
        "looks": {"retrieve.transforms": {"dsl": {"name": "dual_softmax"}}},
        "peeks": {"train.keep": "best", "train.select_on": "test"},
    }
    values: dict[str, Values] = {
        name: {"t2v/R1": (value, value), "v2t/R1": (value, value)}
        for name, value in {"base": 40, "a": 41, "elsewhere": 41, "looks": 91, "peeks": 92}.items()
    }
    result = result_of(lab, variants("a", "elsewhere", **others), values, {"a": 0.5, "looks": 0.5})
    for table in tables(latex(result)):
        marks = {name: name.partition("$")[2] for name in table.column(R1)}
        assert list(marks) == ["base", "a", "elsewhere", r"looks$^\ddagger$", r"peeks$^\dagger$"]
        assert [cell for cell in table.column(R1).values() if "textbf" in cell] == [
            r"\textbf{41.0}\,{\scriptsize$\pm$0.0}"
        ]
        assert r"$^\ddagger$\,Transductive: " in table.caption
        assert r"$^\dagger$\,Weights selected on test" in table.caption
    assert tables(latex(result))[0].column("$p$")["elsewhere"] == "other queries: not compared"
    plain = latex(result_of(lab, variants("a"), values))
    assert "dagger" not in plain


def test_differences_are_marked_by_their_corrected_p(lab: Lab) -> None:
    p = {"a": 0.0009, "b": 0.001, "c": 0.0499, "d": 0.05}
    table = tables(latex(result_of(lab, variants(*p), {}, p)))[0]
    told = table.column(table.head[2])
    marks = {name: re.sub(r"\\phantom{\**}", "", told[name]) for name in p}
    assert marks == {
        "a": "$-$1.25$^{***}$", "b": "$-$1.25$^{**}$", "c": "$-$1.25$^{*}$", "d": "$-$1.25$^{}$"
    }  # fmt: skip
    assert all(told[name].count("*") == 3 for name in p), "as wide with one star as with three"
    assert list(table.column("$p$").values()) == ["baseline", r"\textless{} 0.001", "0.001", "0.050", "0.050"]
    assert set(table.column(r"95\,\% interval").values()) == {"baseline", "[$-$2.00, +0.50]"}
    for mark, limit in (("*", "0.05"), ("**", "0.01"), ("***", "0.001")):
        assert rf"$^{{{mark}}}$\,$p$\,$<$\,{limit}" in table.caption


def test_the_caption_says_split_test_correction_n_seeds_and_protocol(lab: Lab) -> None:
    changes = variants("a_b") | {"evaluate": {**BASE["evaluate"], "split": "val"}}  # type: ignore[dict-item]
    tested, untested = (table.caption for table in tables(latex(result_of(lab, changes, {}))))
    shared = (r"Val split of toy\_videos: 1,200 videos, 2,400 texts.", "2 seeds", "last epoch", "ties expected")
    for said in (
        *shared,
        "Text-to-video",
        "against base: coin flips",
        "Holm over 3",
        "2,400",
        "1,200",
        "less that of base",
    ):
        assert said in tested
    for said in (*shared, "Video-to-text", "No difference is tested here."):
        assert said in untested
    assert "coin flips" not in untested


def test_what_has_no_p_and_what_is_no_number_is_a_dash(lab: Lab) -> None:
    changes = variants("a", "b") | {"evaluate": {"metrics": ["R1", "MdR"], "primary": "t2v/MdR"}}
    nothing: Values = {"t2v/R1": (math.nan, math.nan)}
    values: dict[str, Values] = {"base": nothing, "a": {"t2v/R1": (3, 3)}, "b": {"t2v/R1": (2, 2)}}
    table = tables(latex(result_of(lab, changes, values, {"a": math.nan, "b": math.nan})))[0]
    assert table.head[1] == r"MdR $\downarrow$"
    assert table.column("$p$") == {"base": "baseline", "a": "--", "b": "--"}
    assert table.column(R1)["base"].startswith("--")
    assert table.column(R1)["a"].startswith(r"\textbf{3.0}")
    assert "after correction" not in table.caption
    nowhere: dict[str, Values] = dict.fromkeys(("base", "a", "b"), nothing)
    assert "textbf" not in latex(result_of(lab, changes, nowhere))


def test_a_long_name_is_broken_into_lines_that_hold_all_of_it(lab: Lab) -> None:
    result = result_of(lab, variants("a"), {})
    name = "x" * 50 + " " + "word_of_it=5 " * 6 + "end"
    result.rows[1].variant = replace(result.rows[1].variant, name=name)
    for table in tables(latex(result)):
        found = re.fullmatch(r"\\begin{tabular}\[t\]{@{}l@{}}(.*)\\end{tabular}", table.rows[1][0])
        assert found is not None
        lines = [printed(line) for line in found[1].split(r"\\")]
        assert max(map(len, lines)) <= 40
        assert "".join(lines).replace(" ", "") == result.rows[1].name.replace(" ", "")


def test_costs_stand_in_a_table_with_a_column_for_each_that_was_measured(lab: Lab) -> None:
    result = result_of(lab, variants("a") | {"baseline": "a"}, {})
    for row in result.rows:
        for found in row.results:
            found.stored["costs"] = {"cost/parameters": 1.5e6, "cost/latency_ms": 2.5}
    table = tables(latex(result))[-1]
    wrapped = r"\begin{tabular}[b]{@{}r@{}}ms a query,\\median\end{tabular}"
    assert table.head == ["Variant", "parameters", wrapped]
    assert table.rows == [["a", "1.5 M", "2.5"], ["base", "1.5 M", "2.5"]]
    assert table.label == "tab:lab-costs"


@pytest.mark.parametrize("of_baseline", [True, False])
def test_a_rule_sets_the_costs_of_the_baseline_apart_and_of_no_other(lab: Lab, of_baseline: bool) -> None:
    result = result_of(lab, variants("a", "b") | {"baseline": "a"}, {})
    for row in result.rows:
        for found in row.results:
            found.stored["costs"] = {"cost/parameters": 1.5e6} if of_baseline or not row.is_baseline else {}
    costs = latex(result).rpartition(r"\begin{table*}")[2]
    below = costs.partition(r"\midrule")[2]
    assert below.count(r"\midrule") == of_baseline
    assert below.partition(r"\midrule")[0].count(r"\\") == (1 if of_baseline else 2)


PUBLISHED = """
dataset: Toys
split: test
protocol: one caption is a query
sources:
  own: {publication: Toy paper, known: from the abstract, note: 100 % chosen on test}
  later_one: {publication: Later & last paper, known: quoted by a later paper}
rows:
  - {system: Toy, backbone: ViT-B/32, post_processing: none, source: own, values: {t2v/R1: 48, t2v/MnR: 9}}
  - {system: Late_Toy, backbone: not stated, post_processing: QB-Norm, source: later_one,
     values: {t2v/R1: 50.0, v2t/R1: 33.3}, uncertain: [t2v/R1], note: misread}
"""


def test_published_rows_have_a_table_for_each_direction_with_the_sources_that_it_uses(lab: Lab) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    source = latex(result_of(lab, variants("a") | {"references": ["toys.yaml"]}, {}))
    *measured, forth, back = tables(source)
    assert not any("Toy" in cell for table in measured for row in table.rows for cell in row)
    assert forth.head == ["System", "Backbone", "Post-processing", R1, MNR, "Source"]
    assert forth.rows == [
        ["Toy", "ViT-B/32", "none", "48.0", "9.0", "own"],
        [r"Late\_Toy", "not stated", "QB-Norm", "50.0?", "", r"later\_one"],
    ]
    assert (forth.columns, back.columns) == ("lllrrl", "lllrl")
    assert back.head == ["System", "Backbone", "Post-processing", R1, "Source"]
    assert back.rows == [[r"Late\_Toy", "not stated", "QB-Norm", "33.3", r"later\_one"]]
    assert "Published, not measured here: Toys, test. Text-to-video" in forth.caption
    assert "one caption is a query" in forth.caption
    below = re.findall(r"\\parbox{\\linewidth}{\\footnotesize (.*)}", source)
    assert len(below) == 2
    for said in ("own: Toy paper (from the abstract).", r"100 \% chosen on test", "A question mark", "misread"):
        assert said in below[0]
    assert r"later\_one: Later \& last paper (quoted by a later paper)." in below[1]
    assert "Toy paper" not in below[1]


def test_labels_are_each_its_own_and_of_plain_letters(lab: Lab) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    changes = variants("a") | {"name": "naïve_α & 100%", "references": ["toys.yaml", "toys.yaml"]}
    labels = [table.label for table in tables(latex(result_of(lab, changes, {})))]
    assert len(set(labels)) == len(labels) == 6
    assert all(re.fullmatch("tab:[A-Za-z0-9-]+", label) for label in labels)


# ------------------------------------------------------------------------------------------------ compiled

NAMES = (
    "[first] 50% of_it", "*starred* & α=½ ± 2 µ", "a\\b {c} $d$ #e ~f ^g", "▲ ▼ → ≥ é ü ß ł", "x" * 90,
    "long_name=5 " * 9, "中文 ''q'' \"r\" `s` a--b ,,x <<y>> | !`", "\n\n tabs\t\x00\x07",
)  # fmt: skip


def has_tex() -> bool:
    if not shutil.which("pdflatex"):
        return False
    return all(
        subprocess.run(["kpsewhich", f"{name}.sty"], capture_output=True, check=False).stdout
        for name in ("booktabs", "adjustbox")
    )


@pytest.mark.skipif(not has_tex(), reason="needs pdflatex with booktabs and adjustbox")
def test_tables_compile_and_fit_where_they_stand(lab: Lab, tmp_path: Path) -> None:
    (lab.folder / "toys.yaml").write_text(PUBLISHED)
    metrics = {"evaluate": {"metrics": ["R1", "R5", "R10", "MdR", "MnR", "MRR"]}, "references": ["toys.yaml"]}
    nasty = result_of(lab, variants(*"abcdefgh") | metrics | {"name": "naïve_α & 100% ▲ \\frac{1}"}, {})
    for row, name in zip(nasty.rows[1:], NAMES, strict=True):
        row.variant = replace(row.variant, name=name)
        for found in row.results:
            found.stored["costs"] = dict.fromkeys(COSTS, 1.5e6)
    many = result_of(lab, variants(*(f"v{number}" for number in range(60))) | metrics, {})
    alone = result_of(lab, variants(), {})
    parts = "\\clearpage\n".join(map(latex, (nasty, many, alone)))
    page = "\\setlength{\\textwidth}{6.3in}\\setlength{\\textheight}{8.9in}\\usepackage{times,booktabs,adjustbox}"
    document = f"\\documentclass[twocolumn]{{article}}{page}\\begin{{document}}\n{parts}\\end{{document}}\n"
    (tmp_path / "paper.tex").write_text(document)
    call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:].decode(errors="replace")
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert not re.findall("Overfull.*|.*too large.*|Missing character.*", log)
