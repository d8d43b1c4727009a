"""What a run found: results of trials, variants against the baseline, verdicts on hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hypotheses import Hypothesis
from .metrics import metric
from .plan import Plan
from .published import Published, read_published
from .refusals import Refusal, refusal
from .registration import post_hoc, registration_digest, times_scored, withdrawn
from .results import Row, TrialResult
from .significance import (
    DRAWS,
    HANGS_ON,
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

Floats = NDArray[np.float64]
TRANSDUCTIVE = "transductive against inductive"


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
    def correction(self) -> str:
        """That of the family of variants on `primary`, one of `CORRECTIONS`; hypotheses are a Holm family always."""
        return self.plan.experiment.evaluate.correction

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

    @cached_property
    def refusals(self) -> dict[str, Refusal]:
        """Why rows are not compared with the baseline, by name; the others are."""
        others = [row for row in self.rows if not row.is_baseline]
        found = {row.name: refusal(self.plan, row, self.baseline, self.primary) for row in others}
        return {name: why for name, why in found.items() if why is not None}

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
    """Fill each row's comparisons; the primary metric's are one family, the others are left uncorrected."""
    baseline = result.baseline
    others = [row for row in result.rows if not row.is_baseline]
    comparable = [row for row in others if row.name not in result.refusals]
    for name in result.metrics:
        for row, comparison in zip(comparable, _comparisons(comparable, baseline, name), strict=True):
            row.comparisons[name] = comparison
    tested = {row.name: row.comparisons[result.primary] for row in comparable}
    corrected = correct(tested, result.correction)
    for row, comparison in zip(comparable, corrected.values(), strict=True):
        row.outcome = outcome(comparison)
        row.comparisons[result.primary] = comparison
        for name, found in row.comparisons.items():
            smoother = metric(name).unit == "rank" and HANGS_ON in found.warning
            found = _labelled(found, "MRR is the smoother metric" if smoother else "")
            row.comparisons[name] = _labelled(found, label([row, baseline]))
    for row in others:
        if row.name in result.refusals:
            row.outcome = f"{result.refusals[row.name].label}: not compared"
    baseline.outcome = "baseline, selected on test" if baseline.selected_on_test else "baseline"


def label(rows: Sequence[Row]) -> str:
    """What must stand beside a comparison of transductive rows with others; "" where they are of one kind."""
    mixed = len({row.transductive for row in rows}) > 1
    names = " and ".join(dict.fromkeys(row.name for row in rows if row.transductive))
    return f"{TRANSDUCTIVE}: {names} looks at the other test queries" if mixed else ""


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
        if missing:
            return f"{hypothesis.metric} of {', '.join(missing)} is 0 or was not measured"
    for other in others:
        if why := refusal(result.plan, row, other, hypothesis.metric):
            return why.between(row.name, other.name)
    return ""


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
    draws = max(DRAWS, 40 * len(rows))  # of 1 / draws, the smallest p, the correction must leave less than .05
    kinds = [(len(block), bool(row.seeds or baseline.seeds)) for row, block in zip(rows, differences, strict=True)]
    for kind in sorted(set(kinds)):
        group = [i for i, own in enumerate(kinds) if own == kind]
        block = np.stack([differences[i] for i in group])
        found = paired_tests(block, clusters, higher_is_better=higher, trained=kind[1], draws=draws)
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
    if hypothesis.kind in ("no_worse", "equivalent"):
        found = rows[0].results[0].stored
        span = hypothesis.span(found["texts"], found["videos"])
        options |= {"span": span, "seeds_as_seen": hypothesis.seeds_as_seen}
    if hypothesis.kind == "no_worse":
        return no_worse(difference, margin=hypothesis.bound, **options)
    if hypothesis.kind == "equivalent":
        return equivalent(difference, within=hypothesis.bound, **options)
    return better(difference, by=hypothesis.bound, **options)
