"""The tables of a report as LaTeX, for a paper: `\\usepackage{booktabs}` is all that they need."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from ..findings import Result, Row
from ..metrics import metric
from ..published import Published
from .tables import PUBLISHED_TEXTS, cost_table, published_notes, published_table
from .wording import in_short, rests_on

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
    "±": r"$\pm$",
    "×": r"$\times$",
    "½": r"$\tfrac12$",
    "¼": r"$\tfrac14$",
    "¾": r"$\tfrac34$",
    "·": r"$\cdot$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
    "→": r"$\to$",
    "α": r"$\alpha$",
}
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return re.sub("|".join(map(re.escape, SPECIAL)), lambda found: SPECIAL[found[0]], text)


def latex(result: Result) -> str:
    """A table for each direction, one of costs, and each file of published numbers in a table of its own."""
    names = dict.fromkeys(name.partition("/")[0] for name in result.metrics)
    parts = [_direction(result, direction) for direction in names]
    head, rows = cost_table(result)
    if rows:
        cells = [[escaped(cell) for cell in row] for row in rows]
        caption = f"Costs of the variants of {escaped(result.name)}."
        parts.append(_table(caption, f"{_label(result)}-costs", ["l", *["r"] * (len(head) - 1)], head, cells))
    parts += [_published(result, published, number) for number, published in enumerate(result.published, 1)]
    return "% Needs \\usepackage{booktabs}.\n\n" + "\n".join(parts)


def _direction(result: Result, direction: str) -> str:
    names = [name for name in result.metrics if name.startswith(f"{direction}/")]
    tested = result.primary in names and any(result.primary in row.comparisons for row in result.rows)
    first, others = (names[:1], names[1:]) if tested else ([], names)
    best = {name: _best(result, name) for name in names}
    head = ["Variant", *map(_heading, first), *(["$\\Delta$", "95\\,\\% interval", "$p$"] if tested else [])]
    head += map(_heading, others)
    rows = []
    for row in result.rows:
        cells = [escaped(row.name) + ("$^\\ddagger$" if row.transductive else "")]
        for name in first:
            cells += [_mean(row, name, best[name]), *_tested(row, name)]
        rows.append(cells + [_mean(row, name, best[name]) for name in others])
    baseline = next(number for number, row in enumerate(result.rows) if row.is_baseline)
    columns = ["l", *["r"] * (len(head) - 1)]
    label = f"{_label(result)}-{direction}"
    return _table(_caption(result, tested), label, columns, head, rows, baseline, escape_head=False)


def _heading(name: str) -> str:
    arrow = r"$\uparrow$" if metric(name).higher_is_better else r"$\downarrow$"
    return f"{escaped(name)} {'' if metric(name).family == 'diagnostic' else arrow}".strip()


def _best(result: Result, name: str) -> str:
    """The best value as printed, of what may be compared; "" where neither more nor less is better."""
    rows = [row for row in result.rows if not row.selected_on_test and not row.transductive]
    if not rows or metric(name).family == "diagnostic":
        return ""
    means = [row.mean(name) for row in rows]
    return f"{max(means) if metric(name).higher_is_better else min(means):.1f}"


def _mean(row: Row, name: str, best: str) -> str:
    shown, spread = f"{row.mean(name):.1f}", row.spread(name)
    set_apart = row.selected_on_test or row.transductive
    value = rf"\textbf{{{shown}}}" if shown == best and not set_apart else shown
    return value if math.isnan(spread) else rf"{value}\,{{\scriptsize$\pm${spread:.1f}}}"


def _tested(row: Row, name: str) -> list[str]:
    """Difference with its marks, interval, corrected p; a row that is not compared says why."""
    found = row.comparisons.get(name)
    if found is None:
        return [rf"\multicolumn{{3}}{{c}}{{{escaped(row.outcome)}}}"]
    stars = next((mark for limit, mark in STARS if found.p_corrected < limit), "")
    marks = rf"$^{{{stars}}}$" if stars else ""
    p = "$<$\\,0.001" if found.p_corrected < 0.001 else f"{found.p_corrected:.3f}"
    low, high = (f"{value:+.2f}".replace("-", "$-$") for value in (found.low, found.high))
    difference = f"{found.difference:+.2f}".replace("-", "$-$")
    return [f"{difference}{marks}", f"[{low}, {high}]", "" if math.isnan(found.p_corrected) else p]


def _caption(result: Result, tested: bool) -> str:
    size, *how = rests_on(result)
    if tested:
        lines = [f"{result.name}. {size}", *how, in_short(result)]
        lines.append("Best in bold. After correction: * p < 0.05, ** p < 0.01, *** p < 0.001.")
    else:
        lines = [f"{result.name}. {size}", how[-1], "Best in bold. No difference is tested here."]
    shown = [escaped(line.replace("`", "")) for line in lines]
    if any(row.transductive for row in result.rows):
        shown.append(r"$^\ddagger$ transductive: its scores look at the other test queries; not in bold.")
    return " ".join(shown)


def _published(result: Result, published: Published, number: int) -> str:
    head, rows = published_table(published, published.metrics)
    columns = ["l" if index == 0 or name in PUBLISHED_TEXTS else "r" for index, name in enumerate(head)]
    caption = escaped(" ".join([f"Published, not measured here: {published.title}.", *published_notes(published)]))
    cells = [[escaped(cell) for cell in row] for row in rows]
    return _table(caption, f"{_label(result)}-published-{number}", columns, head, cells)


def _label(result: Result) -> str:
    return "tab:" + re.sub(r"[^A-Za-z0-9]+", "-", result.name).strip("-")


def _table(
    caption: str,
    label: str,
    columns: Sequence[str],
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    ruled: int | None = None,
    *,
    escape_head: bool = True,
) -> str:
    """A booktabs table; `ruled`: the row that stands between rules of its own."""
    shown = [escaped(name) for name in head] if escape_head else list(head)
    lines = [r"\begin{table}[t]", r"\centering", r"\small", rf"\caption{{{caption}}}", rf"\label{{{label}}}"]
    lines += [
        rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
        r"\toprule",
        " & ".join(shown) + r" \\",
        r"\midrule",
    ]
    rows = list(rows)
    for number, cells in enumerate(rows):
        lines += [r"\midrule"] * (number == ruled and number > 0)
        lines.append(" & ".join(cells) + r" \\")
        lines += [r"\midrule"] * (number == ruled and number < len(rows) - 1)
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)
