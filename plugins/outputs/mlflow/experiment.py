"""What MLflow is to hold of an experiment as a whole: tags, note, files. Knows no MLflow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.outputs import Result, code, markdown, markdown_sentence

from ..report import grouped, markdown_table
from ..tables import header, table
from .trial import allowed, as_yaml

LONGEST_NOTE = 8000
ORDER = ("supported", "refuted", "not decided", "better", "worse", "n.s.")
"""Of verdicts and outcomes where they are counted."""
ROWS_IN_NOTE, COLUMNS_IN_NOTE = 20, 6
"""MLflow's page sets tables tight: the primary metric and its test are what it has room for."""


def experiment_tags(result: Result) -> dict[str, str]:
    """Tags of the parent that follow from the results."""
    verdicts = {}
    for decision in result.decisions:
        late = " (post hoc)" if decision.post_hoc else ""
        verdicts[f"verdict/{allowed(decision.hypothesis.name)}"] = decision.verdict.verdict + late
    return verdicts | {
        "outcome": result.in_short,
        "registration": result.registration,
        "mlflow.loggedArtifacts": json.dumps([{"path": "ablation_table.json", "type": "table"}]),
    }


def note(result: Result, table_link: str, figures: Sequence[str]) -> str:
    """Markdown on top of the parent's page, which shows its first lines: what was found, then what that rests on.

    table_link: address of the saved view; figures: addresses of pictures. At most LONGEST_NOTE characters.
    """
    asked = result.question
    rows = [cells[:COLUMNS_IN_NOTE] for cells in table(grouped(result))]
    table_lines = markdown_table(header(result)[:COLUMNS_IN_NOTE], rows[:ROWS_IN_NOTE])
    more = [f"\n{len(rows) - ROWS_IN_NOTE} more variants: [table]({table_link})"] if len(rows) > ROWS_IN_NOTE else []
    parts = [
        [f"**{headline(result) or 'One variant: nothing is compared.'}** [Table of the trials]({table_link})"],
        [_in_short(result)] if result.in_short else [],
        [f"- {markdown_sentence(str(decision))}" for decision in result.decisions],
        [f"Question: {markdown(asked)}"] if asked else [],
        [*table_lines, *more],
        [f"![]({address})" for address in figures],
        ["**How to repeat it**", "", code(result.command)],
        [
            "**On what**",
            "",
            *(f"- {markdown(name)}: {markdown_sentence(fact)}" for name, fact in result.facts.items() if fact),
        ],
        ["**How sure**", "", *(f"- {markdown_sentence(line.strip())}" for line in result.notes)],
    ]
    return _cut("\n\n".join("\n".join(part) for part in parts if part))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_NOTE:
        return text
    whole_lines = text[: LONGEST_NOTE - 100].rpartition("\n")[0]
    return f"{whole_lines}\n\nThe rest is in the artifact report/report.html."


def experiment_note(result: Result, links: dict[str, str]) -> str:
    """Markdown on top of the experiment's page: what was found, links to what shows it, the file's own opening."""
    addresses = " · ".join(f"[{name}]({address})" for name, address in links.items())
    found = f"**{headline(result)}**" if result.in_short else ""
    return "\n\n".join(filter(None, [found, addresses, _in_short(result), "\n".join(_opening(result))]))


def headline(result: Result) -> str:
    """`Hypotheses: 1 supported, 5 not decided. Variants: 6 better, 8 n.s.`

    Short: of a note that is folded, MLflow's page shows the first line.
    """
    verdicts = Counter(decision.verdict.verdict for decision in result.decisions)
    outcomes = Counter("failed" if row.failed else row.outcome for row in result.rows if not row.is_baseline)
    parts = [
        f"{what}: {', '.join(f'{counts[name]} {name}' for name in dict.fromkeys([*ORDER, *counts]) if counts[name])}"
        for what, counts in (("Hypotheses", verdicts), ("Variants", outcomes))
        if counts
    ]
    return markdown_sentence(". ".join(part.removesuffix(".") for part in parts) + ".") if parts else ""


def _in_short(result: Result) -> str:
    return markdown_sentence(result.in_short)


def _opening(result: Result) -> list[str]:
    """The comment that an experiment file begins with: its question, command, what to expect."""
    lines = next(iter(result.sources.values()), "").splitlines()
    until = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [markdown(line.lstrip("# ").rstrip()) + "  " for line in lines[:until]]


def experiment_files(result: Result) -> dict[str, str]:
    """Artifacts of the parent by path, beside its report."""
    rows = {"columns": header(result), "data": table(result)}
    return {
        "ablation_table.json": json.dumps(rows),
        "hypotheses.json": json.dumps(_hypotheses(result), indent=1),
        "experiment/baseline_resolved.yaml": as_yaml(result.repeating(result.baseline.variant)),
        **{f"experiment/{name}": text for name, text in result.sources.items()},
    }


def _hypotheses(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "name": decision.hypothesis.name,
            "claim": str(decision.hypothesis),
            "verdict": decision.verdict.verdict,
            "reason": decision.verdict.reason,
            "post_hoc": decision.post_hoc,
            "times_scored": decision.times_scored,
            "registration": result.registration,
        }
        for decision in result.decisions
    ]
