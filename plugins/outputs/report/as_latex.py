"""The tables of a report as LaTeX, for a paper."""

from __future__ import annotations

import math
import re
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace

from core.outputs import Comparison, Published, Result, Row, metric

from ..axes import compared_with
from ..numbers import p_value
from ..tables import PUBLISHED_TEXTS, cost_table, published_notes, published_table, published_title

NEEDS = r"""% Needs \usepackage{booktabs} and \usepackage{adjustbox}.
% A table shrinks to the width that it is given; for a single column write table for table*.
"""
DIRECTIONS = {"t2v": "Text-to-video retrieval", "v2t": "Video-to-text retrieval"}
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
TRANSDUCTIVE, ON_TEST, FAILED = r"$^\ddagger$", r"$^\dagger$", r"$^\S$"
NAME_LETTERS, HEAD_LETTERS = 40, 16
"""The longest line of a name in the first column, and of a heading that is wrapped."""

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\textquotedblright}",
    "`": r"{\textquoteleft}",
    "[": "{[}",  # bare, it would be an argument of the \\ or \midrule before it, and so would *
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "½": r"$^1\!/_2$",
    "¼": r"$^1\!/_4$",
    "¾": r"$^3\!/_4$",
    "²": r"$^2$",
    "·": r"$\cdot$",
    "−": "$-$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "≠": r"$\ne$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "→": r"$\to$",
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
    "–": r"{\textendash}",
    "—": r"{\textemdash}",
    "‘": r"{\textquoteleft}",
    "’": r"{\textquoteright}",
    "“": r"{\textquotedblleft}",
    "”": r"{\textquotedblright}",
    "…": r"\ldots{}",
    "µ": r"$\mu$",
}
NAMES = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho varsigma sigma tau upsilon "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
)
GREEK = dict(zip("αβγδεζηθικλμνξπρςστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", NAMES.split(), strict=True))
LACKED = "ÐÞðþĄąĐđĘęĦħĮįĸŉŊŋŦŧŲų"
"""Letters from À to ž that LaTeX's default fonts do not have."""


def escaped(text: str) -> str:
    """Text on one line that LaTeX prints as it stands; a letter that its default fonts lack as `[U+4E2D]`."""
    line = unicodedata.normalize("NFC", " ".join(text.split()))
    return re.sub(r"([-,'])(?=\1)", r"\1{}", "".join(map(_printed, line)))


def _printed(letter: str) -> str:
    if letter in SPECIAL:
        return SPECIAL[letter]
    if letter in GREEK:
        return rf"$\{GREEK[letter]}$"
    plain = letter.isascii() and letter.isprintable()
    return letter if plain or ("À" <= letter <= "ž" and letter not in LACKED) else f"{{[}}U+{ord(letter):04X}]"


def latex(result: Result) -> str:
    """A table for each direction, one of costs, one for each direction of each file of published numbers.

    The baseline stands in the first row; where there are several, each above what is compared with it.
    """
    order = [row.name for row in result.baselines]
    place = {row.name: (order.index(result.baseline_of(row).name), not row.is_baseline) for row in result.rows}
    ordered = replace(result, rows=sorted(result.rows, key=lambda row: place[row.name]))
    parts = [_direction(ordered, direction) for direction in _directions(result.metrics)]
    parts += [_costs(ordered)] if any(row.costs for row in result.rows) else []
    for number, published in enumerate(result.published, 1):
        label = f"{_label(result)}-published-{number}"
        parts += [_published(published, direction, label) for direction in _directions(published.metrics)]
    return "\n".join([NEEDS, *parts])


def _directions(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in names))


def _direction(result: Result, direction: str) -> str:
    """Every metric of a direction; the primary with its differences to the baseline."""
    names = [name for name in result.metrics if name.startswith(f"{direction}/")]
    tested = result.primary in names and any(row.comparisons for row in result.rows)
    head = ["Variant", *(_called(name) + _arrow(name) for name in names)]
    lines = [[_wrapped(row.name, NAME_LETTERS) + _marks(row)] for row in result.rows]
    for name in names:
        for line, cell in zip(lines, _means(result.rows, name), strict=True):
            line.append(cell)
    if tested:  # the test's columns go between the primary metric, which is the first, and the others
        head[2:2] = [r"$\Delta\phantom{^{***}}$", r"95\,\% interval", "$p$"]
        for line, row in zip(lines, result.rows, strict=True):
            line[2:2] = _tested(row, result.primary)
    bold = any(r"\textbf" in cell for line in lines for cell in line)
    caption = _caption(result, direction, tested, bold)
    return _table(caption, f"{_label(result)}-{direction}", head, lines, first_apart=True)


def _called(name: str) -> str:
    """`t2v/R1` as `R@1`."""
    return escaped(re.sub(r"^(R|nDCG)(\d+)$", r"\1@\2", name.partition("/")[2]))


def _arrow(name: str) -> str:
    """Towards what is better; nothing where neither is."""
    measure = metric(name)
    if measure.family == "diagnostic":
        return ""
    return r" $\uparrow$" if measure.higher_is_better else r" $\downarrow$"


def _marks(row: Row) -> str:
    """The marks after a variant's name; the caption explains them. A marked variant is never in bold."""
    marks = {TRANSDUCTIVE: row.transductive, ON_TEST: row.selected_on_test, FAILED: bool(row.failed)}
    return "".join(mark for mark, applies in marks.items() if applies)


def _means(rows: Sequence[Row], name: str) -> list[str]:
    """The column of a metric with its spread; the best as printed of the compared rows in bold, unless all tie."""
    texts = [f"{row.mean(name):.1f}" for row in rows]
    spreads = ["" if math.isnan(row.spread(name)) else rf"\,{{\scriptsize$\pm${row.spread(name):.1f}}}" for row in rows]
    blank = rf"\phantom{{{max(spreads, key=len)}}}" if any(spreads) else ""
    compared = [(row.is_baseline or bool(row.comparisons)) and not _marks(row) for row in rows]
    values = {float(text) for text, among in zip(texts, compared, strict=True) if among and text != "nan"}
    best = math.nan
    if len(values) > 1 and metric(name).family != "diagnostic":
        best = max(values) if metric(name).higher_is_better else min(values)
    cells = []
    for text, spread, among in zip(texts, spreads, compared, strict=True):
        value = rf"\textbf{{{text}}}" if among and float(text) == best else text.replace("nan", "--")
        cells.append(value + (spread or blank))
    return cells


def _tested(row: Row, primary: str) -> list[str]:
    """Difference with its marks, interval, corrected p; a row that is not compared says why."""
    comparison = row.comparisons.get(primary)
    if comparison is None:
        return [rf"\multicolumn{{3}}{{c}}{{{escaped(row.outcome)}}}"]
    low, high = _signed(comparison.low), _signed(comparison.high)
    difference = _signed(comparison.difference) + _stars(comparison)
    return [difference, f"[{low}, {high}]", escaped(p_value(comparison.p_corrected)) or "--"]


def _signed(value: float) -> str:
    return "--" if math.isnan(value) else f"{value:+.2f}".replace("-", "$-$")


def _stars(comparison: Comparison) -> str:
    """As wide for one star as for three, so that differences stand below each other."""
    stars = next((mark for limit, mark in STARS if comparison.p_corrected < limit), "")
    return rf"$^{{{stars}\phantom{{{'*' * (3 - len(stars))}}}}}$"


def _caption(result: Result, direction: str, tested: bool, bold: bool) -> str:
    """What was measured on what, the test, its correction, n, seeds and protocol, and what the marks mean."""
    size, *how = result.basis
    said = [f"{DIRECTIONS[direction]}, {result.name}. {size}", *(how if tested else how[-2:])]
    sentences = [escaped(line.replace("`", "")) for line in said]
    if tested:
        baseline, called = escaped(compared_with(result)), _called(result.primary)
        sentences.append(rf"$\Delta$: {called} less that of {baseline}, with its 95\,\% interval.")
        compared = [row.comparisons[result.primary] for row in result.rows if row.comparisons]
        if not all(math.isnan(comparison.p_corrected) for comparison in compared):
            marks = ", ".join(rf"$^{{{mark}}}$\,$p$\,$<$\,{limit}" for limit, mark in reversed(STARS))
            sentences.append(f"$p$ and marks are after correction, intervals before: {marks}.")
    else:
        sentences.append("No difference is tested here.")
    if bold:
        sentences.append("Best in bold.")
    if any(row.transductive for row in result.rows):
        sentences.append(f"{TRANSDUCTIVE}\\,Transductive: its scores look at the other test queries; never in bold.")
    if any(row.selected_on_test for row in result.rows):
        sentences.append(f"{ON_TEST}\\,Weights selected on test; never in bold.")
    if any(row.failed for row in result.rows):
        sentences.append(f"{FAILED}\\,Trials failed: the mean of those that did not, or none; never in bold.")
    return " ".join(sentences)


def _costs(result: Result) -> str:
    head, cells = cost_table(result)
    heads = ["Variant", *(_wrapped(name, HEAD_LETTERS, "b", "r") for name in head[1:])]
    lines = [[_wrapped(name, NAME_LETTERS), *map(escaped, costs)] for name, *costs in cells]
    caption = escaped(f"Costs of the variants of {result.name}, means over seeds.")
    return _table(caption, f"{_label(result)}-costs", heads, lines, first_apart=bool(result.baseline.costs))


def _published(published: Published, direction: str, label: str) -> str:
    """The published rows of one direction; sources by their names, which the lines below the table explain."""
    names = [name for name in published.metrics if name.startswith(f"{direction}/")]
    rows = tuple(row for row in published.rows if row.values.keys() & set(names))
    used = {row.source for row in rows}
    sources = {name: source for name, source in published.sources.items() if name in used}
    used_part = replace(published, rows=rows, sources=sources)
    head, cells = published_table(used_part, names)
    texts = [index for index, name in enumerate(head) if name in PUBLISHED_TEXTS]
    heads = [_called(name) + _arrow(name) if name in names else name.capitalize() for name in head]
    lines = [
        [_wrapped(line[0], NAME_LETTERS), *map(escaped, [*line[1:-1], row.source])]
        for line, row in zip(cells, rows, strict=True)
    ]
    protocol, *beware = published_notes(used_part)
    caption = escaped(f"{published_title(published)}. {DIRECTIONS[direction]}. {protocol}")
    below = " ".join(escaped(line) for line in [*(f"{name}: {source}." for name, source in sources.items()), *beware])
    return _table(caption, f"{label}-{direction}", heads, lines, left=(0, *texts), below=below)


def _label(result: Result) -> str:
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", result.name).strip("-")


def _wrapped(text: str, letters: int, at: str = "t", side: str = "l") -> str:
    """A cell of lines with at most so many letters, their first line (`at` "b": last) beside the rest of the row."""
    lines = [escaped(line) for line in textwrap.wrap(text, letters, break_on_hyphens=False)]
    if len(lines) < 2:
        return "".join(lines)
    return rf"\begin{{tabular}}[{at}]{{@{{}}{side}@{{}}}}" + r"\\".join(lines) + r"\end{tabular}"


def _table(
    caption: str,
    label: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: Sequence[int] = (0,),
    first_apart: bool = False,
    below: str = "",
) -> str:
    """A booktabs table, no wider than its place and lower than a page.

    left: the columns that are not set right. first_apart: a rule after the first row. below: small print.
    """
    columns = "".join("l" if index in left else "r" for index in range(len(head)))
    body = [" & ".join(cells) + r" \\" for cells in rows]
    if first_apart and len(body) > 1:
        body.insert(1, r"\midrule")
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        r"\small",
        r"\setlength{\tabcolsep}{4pt}",
        r"\begin{adjustbox}{max width=\linewidth, max totalheight=0.6\textheight}",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(head) + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        *([rf"\par\smallskip\parbox{{\linewidth}}{{\footnotesize {below}}}"] if below else []),
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines)
