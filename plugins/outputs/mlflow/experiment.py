"""What MLflow is to hold of an experiment as a whole: tags, note, files. Knows no MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.addresses import safe_address
from core.escaping import code, markdown, markdown_sentence
from core.findings import Result
from core.plan import Plan
from core.settings import plain
from core.store import digest
from core.stored import run_command

from .. import report
from ..panels import facts, question
from .trial import allowed, as_yaml, runnable

LONGEST_NOTE = 8000
ROWS_IN_NOTE, COLUMNS_IN_NOTE = 20, 6
"""MLflow's page sets tables tight: the primary metric and its test are what it has room for."""


def file_version(plan: Plan) -> str:
    """Digest of what an experiment file resolves to, wherever it is tracked or exported."""
    left_out = {"outputs", "references", "claim"}
    return digest(
        [
            [variant.name, {key: value for key, value in plain(variant.experiment).items() if key not in left_out}]
            for variant in plan.variants
        ]
    )


def experiment_tags(result: Result) -> dict[str, str]:
    """Tags of the parent that follow from the results."""
    verdicts = {
        f"verdict/{allowed(claim.hypothesis.name)}": claim.verdict.verdict + (" (post hoc)" if claim.post_hoc else "")
        for claim in result.claims
    }
    return verdicts | {
        "outcome": report.in_short(result),
        "registration": result.registration,
        "mlflow.loggedArtifacts": json.dumps([{"path": "ablation_table.json", "type": "table"}]),
    }


def note(result: Result, table: str, figures: Sequence[str]) -> str:
    """Markdown on top of the parent's page, which shows its first lines: what was found, then what that rests on.

    table: link to the saved view; figures: addresses of pictures. At most LONGEST_NOTE characters.
    """
    asked = question(result.plan.document.file)
    rows = [cells[:COLUMNS_IN_NOTE] for cells in report.table(result)]
    shown = report.markdown_table(report.header(result)[:COLUMNS_IN_NOTE], rows[:ROWS_IN_NOTE])
    more = [f"\n{len(rows) - ROWS_IN_NOTE} more variants: [table]({table})"] if len(rows) > ROWS_IN_NOTE else []
    parts = [
        [f"**{_in_short(result) or 'One variant: nothing is compared.'}** [Table of the trials]({table})"],
        [f"- {markdown_sentence(report.claim_line(claim))}" for claim in result.claims],
        [f"Question: {markdown(asked)}"] if asked else [],
        [*shown, *more],
        [f"![]({address})" for address in figures],
        ["**How to repeat it**", "", code(run_command(result.plan))],
        [
            "**On what**",
            "",
            *(f"- {markdown(name)}: {markdown_sentence(fact)}" for name, fact in facts(result).items() if fact),
        ],
        ["**How sure**", "", *(f"- {markdown_sentence(line.strip())}" for line in report.notes(result))],
    ]
    return _cut("\n\n".join("\n".join(part) for part in parts if part))


def _cut(text: str) -> str:
    if len(text) <= LONGEST_NOTE:
        return text
    whole_lines = text[: LONGEST_NOTE - 100].rpartition("\n")[0]
    return f"{whole_lines}\n\nThe rest is in the artifact report/report.html."


def experiment_note(result: Result, links: dict[str, str]) -> str:
    """Markdown on top of the experiment's page: what was found, links to what shows it, the file's own opening."""
    shown = " · ".join(f"[{name}]({address})" for name, address in links.items())
    return "\n\n".join(filter(None, [f"**{_in_short(result)}**", shown, "\n".join(_opening(result))]))


def _in_short(result: Result) -> str:
    return markdown_sentence(report.in_short(result))


def _opening(result: Result) -> list[str]:
    """The comment that an experiment file begins with: its question, command, what to expect."""
    path = Path(result.plan.document.file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    until = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [markdown(line.lstrip("# ").rstrip()) + "  " for line in lines[:until]]


def experiment_files(result: Result) -> dict[str, str]:
    """Artifacts of the parent by path, beside its report."""
    rows = {"columns": report.header(result), "data": report.table(result)}
    baseline = runnable(result.name, result.plan.baseline, None) | {"seeds": list(result.plan.experiment.seeds)}
    return {
        "ablation_table.json": json.dumps(rows),
        "hypotheses.json": json.dumps(_hypotheses(result), indent=1),
        "experiment/baseline_resolved.yaml": as_yaml(baseline),
        **_as_written(result.plan),
    }


def _as_written(plan: Plan) -> dict[str, str]:
    """The experiment file and those that it extends, their tracking addresses without what opens them."""
    paths = [Path(file) for file in dict.fromkeys([plan.document.file, *plan.document.origins.values()])]
    return {
        f"experiment/{path.name}": closed_yaml(path.read_text(encoding="utf-8")) for path in paths if path.is_file()
    }


def closed_yaml(text: str) -> str:
    """An experiment file with the addresses of its outputs safe to show, however YAML spells them; the rest stays."""
    import yaml

    places = {node.start_mark.index: node for node in _addresses(yaml.compose(text, yaml.SafeLoader), "")}
    for start, node in sorted(places.items(), reverse=True):
        if (safe := safe_address(node.value)) != node.value:
            written = text[start : node.end_mark.index].rstrip()
            text = text[:start] + json.dumps(safe) + text[start + len(written) :]
    return text


def _addresses(node: Any, key: str) -> Iterator[Any]:
    """The addresses in a YAML tree below `outputs`."""
    is_text = hasattr(node, "value") and isinstance(node.value, str)
    if "outputs" in key.split(".") and is_text and "://" in node.value:
        yield node
    kind = getattr(node, "id", "")
    if kind == "mapping":
        for name, item in node.value:
            yield from _addresses(item, f"{key}.{name.value}".lstrip("."))
    elif kind == "sequence":
        for item in node.value:
            yield from _addresses(item, key)


def _hypotheses(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "name": claim.hypothesis.name,
            "claim": str(claim.hypothesis),
            "verdict": claim.verdict.verdict,
            "reason": claim.verdict.reason,
            "post_hoc": claim.post_hoc,
            "times_scored": claim.times_scored,
            "registration": result.registration,
        }
        for claim in result.claims
    ]
