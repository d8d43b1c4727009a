"""What a run found: results of trials, variants against the baseline, verdicts on hypotheses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hypotheses import Hypothesis
from .metrics import metric
from .plan import Plan, Trial
from .plugins import registry
from .published import Published, read_published
from .registration import post_hoc, registration_digest, split_scored, times_scored, withdrawn
from .significance import (
    Comparison,
    Evidence,
    Verdict,
    better,
    cheaper,
    correct,
    decide,
    equivalent,
    larger_gain,
    no_worse,
    outcome,
    paired_medians,
    paired_tests,
)
from .store import Entry

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrialResult:
    """The stored result of one trial."""

    trial: Trial
    entry: Entry

    @cached_property
    def stored(self) -> dict[str, Any]:
        """`result.json`: metrics, ceilings, and how many videos and texts were ranked."""
        return self.entry.json()

    @property
    def metrics(self) -> dict[str, float]:
        """{"t2v/R1": 44.8, …}: percent, or ranks."""
        return self.stored["metrics"]

    @property
    def ceilings(self) -> dict[str, float]:
        """{direction: percent of queries with an answer among the candidates}; empty where nothing is re-ranked."""
        return self.stored["ceilings"]

    @property
    def costs(self) -> dict[str, float]:
        """{"cost/latency_ms": 1.2, …}, some of `COSTS`; empty where they were not measured."""
        return self.stored.get("costs", {})

    @property
    def index_recalls(self) -> dict[str, float]:
        """{direction: percent of the exact candidates that the index found}; empty where there is none."""
        return self.stored["index_recalls"]

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """Per-query values `<direction>/<metric>` and `<direction>/clusters`."""
        return {name: tensor.numpy() for name, tensor in self.entry.tensors().items()}

    @cached_property
    def items(self) -> dict[str, Any]:
        """Ids of texts and videos in the order of the per-query values, and the videos that were skipped."""
        return self.entry.json("items.json")


@dataclass
class Row:
    """One variant of the table: means over seeds, their spread, and comparisons with the baseline by metric."""

    name: str
    is_baseline: bool
    results: list[TrialResult]
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    outcome: str = ""

    @property
    def seeds(self) -> list[int]:
        return [result.trial.seed for result in self.results if result.trial.seed is not None]

    @property
    def selected_on_test(self) -> bool:
        """Whether its weights were chosen by their results on the test split, as a recipe that repeats a paper may."""
        trial = self.results[0].trial
        train = trial.variant.experiment.train
        chosen = train.keep == "best" and train.select_on == "test"
        return chosen and any(step.name == "fit" for step in trial.last.walk())

    @property
    def transductive(self) -> bool:
        """Whether a score transform lets a query's scores depend on the other test queries."""
        transforms = self.results[0].trial.variant.experiment.retrieve.transforms
        return any(registry().component("score_transform", spec).transductive for spec in transforms.values())

    @property
    def costs(self) -> dict[str, float]:
        """Mean over seeds of every cost that was measured of each."""
        shared = [name for name in self.results[0].costs if all(name in result.costs for result in self.results)]
        return {name: float(np.mean([result.costs[name] for result in self.results])) for name in shared}

    def values(self, name: str) -> list[float]:
        """The metric of each seed."""
        return [result.metrics[name] for result in self.results]

    def mean(self, name: str) -> float:
        return float(np.mean(self.values(name)))

    def spread(self, name: str) -> float:
        """Standard deviation over seeds; nan for one."""
        return float(np.std(self.values(name), ddof=1)) if len(self.results) > 1 else math.nan

    def per_query(self, name: str) -> Floats:
        """[seeds, queries]"""
        return np.stack([np.asarray(result.tensors[name], dtype=np.float64) for result in self.results])


@dataclass(frozen=True)
class Claim:
    """A hypothesis with its verdict; `times_scored`: how often its split was scored in this store."""

    hypothesis: Hypothesis
    verdict: Verdict
    post_hoc: bool
    times_scored: int


@dataclass
class Result:
    """Everything that a report says. `rows` in the order of the file; `claims` one Holm family."""

    plan: Plan
    rows: list[Row]
    claims: list[Claim]
    registration: str

    @property
    def name(self) -> str:
        return self.plan.experiment.name

    @property
    def primary(self) -> str:
        return self.plan.experiment.evaluate.primary

    @property
    def metrics(self) -> list[str]:
        """Columns, the primary first."""
        settings = self.plan.experiment.evaluate
        columns = [f"{direction}/{name}" for direction in settings.directions for name in settings.metrics]
        columns += [f"t2v/{diagnostic}" for diagnostic in settings.diagnostics]
        return list(dict.fromkeys([self.primary, *columns]))

    @cached_property
    def baseline(self) -> Row:
        return next(row for row in self.rows if row.is_baseline)

    @property
    def size(self) -> str:
        """`700 videos, 1,400 texts`."""
        found = self.baseline.results[0].stored
        return f"{found['videos']:,} videos, {found['texts']:,} texts"

    @property
    def withdrawn(self) -> list[str]:
        """Claims that this experiment registered before scoring and no longer makes."""
        return withdrawn(self.plan)

    @property
    def incomparable(self) -> list[tuple[Hypothesis, str]]:
        """Hypotheses without a verdict, each with the reason."""
        decided = {claim.hypothesis.name for claim in self.claims}
        return [(h, undecidable(self, h)) for h in self.plan.hypotheses if h.name not in decided]

    @cached_property
    def published(self) -> list[Published]:
        """The published numbers that the experiment names. They enter no test and no rank."""
        return read_published(self.plan.document, self.plan.experiment.references)

    @property
    def skipped(self) -> dict[str, str]:
        """{path: reason} of every video that was left out of a scored split."""
        faults = [fault for row in self.rows for r in row.results for fault in r.items["skipped"].values()]
        return {path: reason for path, reason, _ in faults}


def findings(plan: Plan) -> Result:
    """Read every trial's result from the store and compare."""
    store = plan.workspace.store
    rows = [
        Row(
            variant.name,
            variant.is_baseline,
            [TrialResult(trial, store.read("evaluate", trial.last.key)) for trial in plan.trials_of(variant)],
        )
        for variant in plan.variants
    ]
    result = Result(plan, rows, [], registration_digest(plan))
    _compare_with_baseline(result)
    result.claims = _claims(result)
    return result


def _compare_with_baseline(result: Result) -> None:
    """Fill each row's comparisons; the primary metric's are one Holm family, the others are left uncorrected."""
    baseline = result.baseline
    others = [row for row in result.rows if not row.is_baseline]
    obstacles = {row.name: _obstacle(result, row) for row in others}
    comparable = [row for row in others if not obstacles[row.name]]
    for name in result.metrics:
        for row, comparison in zip(comparable, _comparisons(comparable, baseline, name), strict=True):
            row.comparisons[name] = comparison
    tested = {row.name: row.comparisons[result.primary] for row in comparable}
    for row, comparison in zip(comparable, correct(tested).values(), strict=True):
        row.outcome = outcome(comparison)
        row.comparisons[result.primary] = comparison
        for name, found in row.comparisons.items():
            row.comparisons[name] = _labelled(found, label([row, baseline]))
    for row in others:
        row.outcome = row.outcome or f"{obstacles[row.name]}: not compared"
    baseline.outcome = "baseline, selected on test" if baseline.selected_on_test else "baseline"


def _obstacle(result: Result, row: Row) -> str:
    """Why a row is not compared with the baseline; "" where it is."""
    if row.selected_on_test:
        return "selected on test"
    if result.baseline.selected_on_test:
        return "baseline selected on test"
    return "" if same_queries(result, row, result.baseline) else "other queries"


def label(rows: Sequence[Row]) -> str:
    """What must stand beside a comparison of transductive rows with others; "" where they are of one kind."""
    mixed = len({row.transductive for row in rows}) > 1
    names = ", ".join(dict.fromkeys(row.name for row in rows if row.transductive))
    return f"transductive against inductive: {names} looks at the other test queries" if mixed else ""


def _labelled(comparison: Comparison, words: str) -> Comparison:
    return replace(comparison, warning="; ".join(text for text in (comparison.warning, words) if text))


def _rows_of(result: Result, hypothesis: Hypothesis) -> list[Row]:
    """The rows of its arms."""
    rows = {row.name: row for row in result.rows}
    return [rows[variant.name] for variant in hypothesis.arms]


def undecidable(result: Result, hypothesis: Hypothesis) -> str:
    """Why a hypothesis gets no verdict; "" where it does."""
    row, *others = rows = _rows_of(result, hypothesis)
    if hypothesis.kind == "cheaper":
        missing = [one.name for one in rows if not one.costs.get(hypothesis.metric)]
        return f"{hypothesis.metric} of {', '.join(missing)} is 0 or was not measured" if missing else ""
    if any(one.selected_on_test for one in rows):
        return "an arm was selected on test"
    return "" if all(same_queries(result, row, other) for other in others) else "its arms rank other queries"


def same_queries(result: Result, one: Row, other: Row) -> bool:
    """Whether both rank the same texts and videos, by id and by content: nothing else may be compared."""
    first, second = one.results[0].items, other.results[0].items
    if any(first[side] != second[side] for side in ("texts", "videos")):
        return False
    return split_scored(result.plan, one.name) == split_scored(result.plan, other.name)


def _comparisons(rows: list[Row], baseline: Row, name: str) -> list[Comparison]:
    if not rows:
        return []
    clusters = _clusters(baseline, name)
    higher = metric(name).higher_is_better
    if metric(name).summary == "median":
        arms = [_arms([row, baseline], name) for row in rows]
        return [paired_medians(a, b, clusters, higher_is_better=higher) for a, b in arms]
    made: dict[int, Comparison] = {}
    differences = [np.subtract(*_arms([row, baseline], name)) for row in rows]
    for seeds in sorted({len(block) for block in differences}):
        group = [i for i, block in enumerate(differences) if len(block) == seeds]
        trained = any(row.seeds for row in [rows[i] for i in group]) or bool(baseline.seeds)
        found = paired_tests(
            np.stack([differences[i] for i in group]), clusters, higher_is_better=higher, trained=trained
        )
        made |= dict(zip(group, found, strict=True))
    return [made[i] for i in range(len(rows))]


def _clusters(row: Row, name: str) -> NDArray[np.int64]:
    return row.results[0].tensors[f"{name.partition('/')[0]}/clusters"]


def _arms(rows: Sequence[Row], name: str) -> list[Floats]:
    """Per-query values [S, Q] of each row: an untrained one is repeated for each seed of the others."""
    found = [row.per_query(name) for row in rows]
    seeds = max(len(values) for values in found)
    return [np.broadcast_to(values, (seeds, values.shape[1])) for values in found]


def _claims(result: Result) -> list[Claim]:
    decided = [hypothesis for hypothesis in result.plan.hypotheses if not undecidable(result, hypothesis)]
    verdicts = decide({h.name: _evidence(h, _rows_of(result, h)) for h in decided})
    late = post_hoc(result.plan)
    claims = []
    for h in decided:
        verdict, words = verdicts[h.name], label(_rows_of(result, h))
        if words and h.kind != "cheaper":
            verdict = replace(verdict, reason=f"{verdict.reason}; {words}")
        claims.append(Claim(h, verdict, h.name in late, times_scored(result.plan, h.variant.name)))
    return claims


def _evidence(hypothesis: Hypothesis, rows: Sequence[Row]) -> Evidence:
    name = hypothesis.metric
    more_is_better = metric(name).higher_is_better
    if hypothesis.kind == "cheaper":
        cost, other = (row.costs[name] for row in rows)
        return cheaper(*((other, cost) if more_is_better else (cost, other)), ratio=hypothesis.bound)
    arms = _arms(rows, name)
    difference = arms[0] - arms[1]
    options: dict[str, Any] = {
        "clusters": _clusters(rows[0], name),
        "higher_is_better": hypothesis.kind != "lower" and more_is_better,
        "trained": any(row.seeds for row in rows),
    }
    if hypothesis.kind == "larger_gain":
        return larger_gain(difference, arms[2] - arms[3], by=hypothesis.bound, **options)
    if hypothesis.kind == "no_worse":
        return no_worse(difference, margin=hypothesis.bound, **options)
    if hypothesis.kind == "equivalent":
        return equivalent(difference, within=hypothesis.bound, **options)
    return better(difference, by=hypothesis.bound, **options)
