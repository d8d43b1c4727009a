"""What is concluded beside a trial that failed: no family shrinks, and no claim is decided without it."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from plugins.outputs.report.as_csv import hypotheses_csv
from plugins.outputs.tables import header
from plugins.outputs.tables import table as rows_of_table
from tests.engine import Lab

from .odd import CLAIMS, FAULT, HOLE, ONE_SEED, SEED, command, report, table, variants


def test_a_variant_with_a_failed_seed_shows_what_is_done_and_is_not_compared(wide: Lab) -> None:
    result = wide.result(ONE_SEED)
    odd = next(row for row in result.rows if row.name == "odd")
    assert (odd.seeds, odd.outcome, odd.comparisons) == ([0, 2], "seed 1 failed: not compared", {})
    stored = [
        entry.json()["metrics"]["t2v/R1"] for entry in wide.entries("evaluate") if "[odd ·" in entry.info["label"]
    ]
    assert odd.mean("t2v/R1") == pytest.approx(sum(stored) / 2)
    cells = dict(zip(header(result), next(row for row in rows_of_table(result) if row[0] == "odd"), strict=True))
    assert cells["t2v/R1"].endswith("(2 of 3 seeds)")
    assert cells["outcome"] == "seed 1 failed: not compared"


def holm_with(p: list[float], lost: int) -> list[float]:
    """Holm's correction by hand, of p and of so many members with p = 1."""
    members = [*p, *[1.0] * lost]
    order = sorted(range(len(members)), key=lambda at: members[at])
    found, running = [0.0] * len(members), 0.0
    for place, at in enumerate(order):
        running = max(running, min(1.0, (len(members) - place) * members[at]))
        found[at] = running
    return found[: len(p)]


@pytest.mark.parametrize("changes", [ONE_SEED, HOLE], ids=["one seed", "every seed"])
def test_failures_shrink_no_family(wide: Lab, changes: dict[str, Any]) -> None:
    clear = changes | {"variants": changes["variants"] | {"light": {"retrieve.first_stage": "dot"}}}
    result = wide.result(clear)
    tested = [row.comparisons["t2v/R1"] for row in result.rows if row.comparisons]
    assert len(tested) == 2
    assert min(one.p for one in tested) < 0.2
    assert [one.p_corrected for one in tested] == pytest.approx(holm_with([one.p for one in tested], 1))
    assert {one.family for one in tested} == {3}
    decided = next(claim for claim in result.decisions if claim.hypothesis.name == "light_helps")
    assert decided.verdict.family == 3
    assert [decided.verdict.p_corrected] == pytest.approx(holm_with([decided.verdict.evidence.p], 2))


def test_a_hypothesis_that_needs_a_failed_trial_is_not_decided_and_says_which(wide: Lab) -> None:
    result = wide.result(ONE_SEED)
    for claim in result.decisions[1:]:
        assert claim.verdict.verdict == "not decided"
        assert claim.verdict.reason.startswith("trial failed (odd · seed 1: train: the loss is not finite")
    assert result.incomparable == []
    lines = list(csv.DictReader(io.StringIO(hypotheses_csv(result))))
    assert [line["verdict"] == "not decided" for line in lines[1:]] == [True, True]
    assert [(line["p"], line["p_corrected"], line["observed"]) for line in lines[1:]] == [("", "", "")] * 2


@pytest.mark.parametrize("seed", [1, -1], ids=["one seed", "every seed"])
def test_nothing_is_compared_with_a_baseline_that_failed(wide: Lab, seed: int) -> None:
    changes = variants(odd={FAULT: "raise", SEED: seed}) | {"baseline": "odd", "hypotheses": CLAIMS}
    changes["hypotheses"] = {"light": {"better": "light", "than": "heavy"}, "odd": {"better": "light", "than": "odd"}}
    assert command(wide, changes) == 1
    found = table(wide)
    outcomes = {name: line["outcome"] for (name, metric), line in found.items() if metric == "t2v/R1"}
    sound = dict.fromkeys(("base", "light", "heavy"), "baseline failed: not compared")
    assert outcomes == {**sound, "odd": "baseline, seed 1 failed" if seed == 1 else "baseline, seeds 0, 1, 2 failed"}
    assert not any(line["p"] for line in found.values())
    text = report(wide, "report.md")
    told = "seed 1 of odd failed" if seed == 1 else "seeds 0, 1, 2 of odd failed"
    assert f"Not compared, because {told} (train: loss `odd_loss`" in text
    assert "NOT DECIDED: odd: light is better than odd on t2v/R1 (trial failed (odd · seed " in text
