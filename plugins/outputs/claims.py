"""Published claims beside what was measured: one page over the experiments that state one.

Each experiment keeps its part beside its report (`claim.json`); the page is put together from all parts that lie in the
same folder of reports, so it may be made of many runs. The same parts give the same page, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import Output, UserError, setting
from core.outputs import Claim, Decision, Result, Row, code, markdown, markdown_sentence, write_atomically

from .numbers import interval, with_spread
from .report.as_markdown import markdown_table

PART = "claim.json"


class Claims(Output):
    """A page of published claims, each with the paper's figure, what was measured, and the verdict."""

    name = "claims"

    @dataclass(frozen=True)
    class Config:
        page: str | None = setting(None, "file that the page is written to; null: claims.md in the folder of reports")

    def finished(self, result: Result, folder: Path) -> list[str]:
        claim = result.experiment.claim
        if claim is None:
            return [f"{result.name} is not on the page of claims: its file states no `claim`"]
        folder.mkdir(parents=True, exist_ok=True)
        part: dict[str, Any] = {"name": result.name, "ground": result.data_and_encoders}
        part |= {"overview": _overview(result, claim), "section": _section(result, claim)}
        write_atomically(folder / PART, json.dumps(part, ensure_ascii=False))
        file = Path(self.config.page or folder.parent / "claims.md")
        file.parent.mkdir(parents=True, exist_ok=True)
        parts = [_read(path) for path in sorted(folder.parent.glob(f"*/{PART}"))]
        write_atomically(file, page(sorted(parts, key=lambda part: str(part["name"]))))
        return [f"Claims: {file}"]


def _read(file: Path) -> dict[str, Any]:
    """A part of the page. Raises UserError for a file that is not one, which would leave a claim out in silence."""
    try:
        part = json.loads(file.read_text(encoding="utf-8"))
        return {name: part[name] for name in ("name", "ground", "overview", "section")}
    except (ValueError, KeyError, TypeError):
        told = f"{file}: is no part of the page of claims, or a damaged one; remove it and run its experiment again"
        raise UserError(told) from None


# ------------------------------------------------------------------------------------------------ the page


def page(parts: Sequence[dict[str, Any]]) -> str:
    """The page in Markdown: what it rests on, a table of all claims, a section for each."""
    lines = ["# Published claims, put to the test", ""]
    lines += ["Written by the output `claims` from stored results. Not to be edited: the next run replaces it.", ""]
    lines += ["Everything under *measured* was measured on:", ""]
    lines += [f"- {line}" for line in dict.fromkeys(_line(line) for part in parts for line in part["ground"])]
    lines += [
        "",
        "The papers' figures are of other data, encoders and training. A verdict holds for what is listed here.",
    ]
    head = ["claim", "the paper's figure", "measured gain, 95 % interval", "verdict"]
    lines += ["", *markdown_table(head, [row for part in parts for row in part["overview"]], texts=head, cell=str)]
    for part in parts:
        lines += ["", f"## {markdown(part['name'])}", "", *part["section"]]
    return "\n".join([*lines, ""])


def _overview(result: Result, claim: Claim) -> list[list[str]]:
    """Rows of the first table, in Markdown: one a hypothesis; the claim stands in the first."""
    anchor = re.sub(r"[^\w\- ]", "", result.name.lower()).replace(" ", "-")
    told = [f"[{markdown(result.name)}](#{anchor}): {_cell(claim.text)}", _cell(claim.reported)]
    return [[*(told if index == 0 else ["", ""]), *map(_cell, cells)] for index, cells in enumerate(_verdicts(result))]


def _verdicts(result: Result) -> list[list[str]]:
    """[measured, verdict] of every hypothesis, in the order of the file."""
    verdicts = {}
    for decision in result.decisions:
        late = " (post hoc)" if decision.post_hoc else ""
        verdicts[decision.hypothesis.name] = [_gain(decision), decision.verdict.verdict + late]
    for hypothesis, reason in result.incomparable:
        verdicts[hypothesis.name] = [f"{hypothesis.name}: {reason}", "not decided"]
    return [verdicts[hypothesis.name] for hypothesis in result.hypotheses] or [["", "no hypothesis"]]


def _gain(decision: Decision) -> str:
    """`rerank_helps: +1.20 (+0.40 to +2.00) on t2v/R1`"""
    comparison = decision.verdict.evidence.comparison
    if comparison is None:
        return f"{decision.hypothesis.name}: {decision.verdict.reason}"
    gain, low, high = comparison.gain
    return f"{decision.hypothesis.name}: {gain:+.2f} ({low:+.2f} to {high:+.2f}) on {decision.hypothesis.metric}"


def _line(text: str) -> str:
    return markdown_sentence(" ".join(text.split()))


def _cell(text: str) -> str:
    return markdown_sentence(" ".join(text.split()), in_table=True)


# ------------------------------------------------------------------------------------------------ one claim


def _section(result: Result, claim: Claim) -> list[str]:
    told = {"Claim": claim.text, "Source": claim.source, "Reported": claim.reported, "Fairness": claim.fairness}
    lines = [f"- {name}: {_line(text)}" for name, text in told.items() if text]
    lines += [f"- File: {code(result.file)}, run by {code(result.command)}", ""]
    head = ["variant", result.primary, "seeds", "difference", "95 % interval"]
    lines += [*markdown_table(head, [_variant(result, row) for row in result.rows], cell=markdown), ""]
    said = [f"{decision}; {_basis(result, decision)}" for decision in result.decisions]
    said += [f"NOT DECIDED: {h.name}: {h} ({reason})" for h, reason in result.incomparable]
    said += [f"Withdrawn after it was registered: {text}" for text in result.withdrawn]
    lines += [f"- {_line(text)}" for text in said]
    return lines if result.hypotheses else [*lines, "- No hypothesis."]


def _variant(result: Result, row: Row) -> list[str]:
    """A row of the table: mean and spread of the primary metric, and the difference to the baseline or why none."""
    tested = row.comparisons.get(result.primary)
    cells = [f"{tested.difference:+.2f}", interval(tested)] if tested else [row.outcome, ""]
    return [row.name, with_spread(row, result.primary), str(len(row.seeds) or "none"), *cells]


def _basis(result: Result, decision: Decision) -> str:
    """How many videos, queries and seeds a verdict rests on, how often its split was scored, what to beware of."""
    arms = [variant.name for variant in decision.hypothesis.arms]
    seeds = max(len(row.seeds) for row in result.rows if row.name in arms)
    facts = [f"seeds: {seeds or 'none'}", f"trials scored on this split: {decision.times_scored}"]
    comparison = decision.verdict.evidence.comparison
    if comparison is not None:
        facts = [f"n = {comparison.n_clusters:,} videos, {comparison.n_queries:,} queries", *facts]
        if comparison.warning:
            facts.append(f"beware: {comparison.warning}")
    return "; ".join(facts)
