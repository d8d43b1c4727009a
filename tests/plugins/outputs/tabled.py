"""Results with rows of any names, values and outcomes, of which nothing was computed, and what a terminal shows.

The numbers of each row are its own, so that what stands in a text can be told to be whole, and whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from core.contract.escaping import plain_line
from core.engine.failures import Failure
from core.engine.plan import Plan
from core.evidence.findings import Result, not_compared
from core.evidence.results import Row
from core.evidence.trials import FailedTrial, Trial
from core.measure.significance import Comparison
from plugins.outputs.numbers import interval, mean_with_spread, p_value
from plugins.outputs.terminal import report_text
from tests.engine import Lab, registered_toys

CHANGES: dict[str, Any] = {
    "name": "lab",
    "retrieve.rerank": None,
    "retrieve.first_stage": "linear",
    "seeds": [0, 1],
    "evaluate": {"metrics": ["R1", "R5", "R10", "MdR", "MnR", "MRR"]},
}
PRIMARY = "t2v/R1"


@dataclass(frozen=True)
class Made:
    """A row to be: its name or what it assigns, and its outcome; `failed`: of its two seeds."""

    name: str = ""
    assignments: dict[str, Any] = field(default_factory=dict)
    outcome: str = "n.s."
    failed: int = 0
    dataset: str | None = None
    baseline: bool = False


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plan]:
    with registered_toys():
        yield Lab(tmp_path_factory.mktemp("tabled")).plan(CHANGES)


def result_of(plan: Plan, rows: Sequence[Made]) -> Result:
    """The first row is the baseline, and those that say so."""
    result = not_compared(plan, [_row(plan, number, row) for number, row in enumerate(rows)])
    result.rows[0].variant = replace(result.rows[0].variant, is_baseline=True)
    for number, (row, made) in enumerate(zip(result.rows, rows, strict=True)):
        if row.is_baseline:
            row.outcome = "baseline"
        elif made.failed or "not compared" in made.outcome:
            row.outcome = "failed" if made.failed == 2 else made.outcome
        else:
            row.outcome, row.comparisons = made.outcome, {PRIMARY: _comparison(number, made.outcome)}
    result.notes = ["test split: 1,200 videos, 2,400 texts."]
    return result


def _row(plan: Plan, number: int, made: Made) -> Row:
    base = plan.variants[0]
    experiment = base.experiment
    if made.dataset is not None:
        dataset = experiment.data.dataset
        moved = replace(dataset, fields=replace(dataset.fields, root=made.dataset))
        experiment = replace(experiment, data=replace(experiment.data, dataset=moved))
    name = made.name or " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in made.assignments.items())
    variant = replace(
        base, name=name, assignments=made.assignments, experiment=experiment, is_baseline=made.baseline or number == 0
    )
    trials = [(name, name, seed, "key", plan, plan.trials[0]) for seed in (0, 1)]
    results = [Trial(*facts, None) for facts in trials[made.failed :]]  # type: ignore[arg-type]
    failed = [FailedTrial(*facts, Failure("fit", "no memory")) for facts in trials[: made.failed]]
    for trial in results:
        value = 20 + number / 10 + (trial.seed or 0) / 5
        metrics = {f"{way}/{metric}": value for way in ("t2v", "v2t") for metric in CHANGES["evaluate"]["metrics"]}
        trial.__dict__["stored"] = {"metrics": metrics, "videos": 1200, "texts": 2400, "costs": {}}
    return Row(variant, results, failed)


def _comparison(number: int, outcome: str) -> Comparison:
    p = {"n.s.": 0.5, "better": 0.0004, "worse": 0.012}[outcome]
    difference = 0.1 + number / 100
    return Comparison(
        difference=difference, low=difference - 1.7, high=difference + 12.3, p=p / 3, p_corrected=p, correction="holm",
        standard_error=0.4, p_t=float("nan"), seed_sd=0.1, d_z=0.2, detectable=2.5 + number / 10, n_clusters=1200,
        n_queries=2400, seeds=2, wins=1, ties=2, losses=3, family=3, method="coin flips",
    )  # fmt: skip


def shown(result: Result, width: int | None) -> list[str]:
    """The lines on a terminal of this width, without the marks that make letters bold; None: in a file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", str(width or 37))
        if width is not None:
            patch.setenv("FORCE_COLOR", "1")
        return re.sub("\x1b\\[[01]m", "", report_text(result)).splitlines()


def tables_in(lines: list[str]) -> str:
    """What stands above the notes."""
    return "\n".join(lines[: next(place for place, line in enumerate(lines) if line.startswith("test split: "))])


def numbers_of(row: Row) -> list[str]:
    """Those that may never be cut, with the outcome that stands beside them."""
    tested = row.comparisons.get(PRIMARY)
    if tested is None:
        return [mean_with_spread(row, PRIMARY)]
    told = [f"{tested.difference:+.2f}", interval(tested), p_value(tested.p_corrected)]
    size = f"n.s. (detectable: {tested.detectable:.1f})" if row.outcome == "n.s." else row.outcome
    return [mean_with_spread(row, PRIMARY), *told, size]


def bare(text: str) -> str:
    """Without what lines are broken at."""
    return "".join(map(plain_line, text.split()))
