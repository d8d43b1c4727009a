"""What a run found: results of trials, variants against the baseline, verdicts on hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .departures import dropped_claims, dropped_variants
from .errors import StoreError
from .failures import known_failure
from .hypotheses import Hypothesis
from .ledger import times_scored
from .metrics import metric
from .plan import Plan, Trial
from .published import Published, read_published
from .refusals import Refusal, refusal
from .registration import earlier_tries, post_hoc, registration_digest, withdrawn
from .results import FailedTrial, Row, TrialResult
from .significance import (
    DRAWS,
    Comparison,
    Evidence,
    Verdict,
    better,
    cheaper,
    correct,
    decide,
    equivalent,
    larger_gain,
    no_evidence,
    no_worse,
    outcome,
    paired_medians,
    paired_tests,
)

Floats = NDArray[np.float64]
TRANSDUCTIVE = "transductive against inductive"


@dataclass(frozen=True)
class Claim:
    """A hypothesis with its verdict.

    times_scored: how often its split was scored in this store. earlier: tries of the same claim before, `name (seed 0)`
    """

    hypothesis: Hypothesis
    verdict: Verdict
    post_hoc: bool
    times_scored: int
    earlier: tuple[str, ...] = ()


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
        found = next(result for row in [self.baseline, *self.rows] for result in row.results).stored
        return f"{found['videos']:,} videos, {found['texts']:,} texts"

    @cached_property
    def refusals(self) -> dict[str, Refusal]:
        """Why rows are not compared with the baseline, by name; the others are."""
        others = [row for row in self.rows if not row.is_baseline]
        found = {row.name: refusal(self.plan, row, self.baseline, self.primary) for row in others}
        return {name: why for name, why in found.items() if why is not None}

    @property
    def failed(self) -> list[FailedTrial]:
        """The trials that have no result."""
        return [failed for row in self.rows for failed in row.failed]

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
    """Read every trial's result from the store and compare.

    Trials that failed leave holes. Raises StoreError where a trial has neither result nor failure, and where none has a
    result.
    """
    rows = []
    for variant in plan.variants:
        found = [_result_of(plan, trial) for trial in plan.trials_of(variant)]
        done = [one for one in found if isinstance(one, TrialResult)]
        failed = [one for one in found if isinstance(one, FailedTrial)]
        rows.append(Row(variant.name, variant.is_baseline, done, failed=failed))
    if not any(row.results for row in rows):
        raise StoreError(f"{plan.workspace.store.root}: every trial of {plan.experiment.name} failed")
    result = Result(plan, rows, [], registration_digest(plan))
    _compare_with_baseline(result)
    result.claims = _claims(result)
    return result


def _result_of(plan: Plan, trial: Trial) -> TrialResult | FailedTrial:
    store = plan.workspace.store
    failure = known_failure(store, trial)
    return FailedTrial(trial, failure) if failure else TrialResult(trial, store.read("evaluate", trial.last.key))


def _compare_with_baseline(result: Result) -> None:
    """Fill each row's comparisons; the primary metric's are one family, the others are left uncorrected."""
    baseline = result.baseline
    others = [row for row in result.rows if not row.is_baseline]
    comparable = [row for row in others if row.name not in result.refusals]
    lost = sum(refused.failed for refused in result.refusals.values()) + len(dropped_variants(result.plan))
    for name in result.metrics:
        for row, comparison in zip(comparable, _comparisons(comparable, baseline, name, lost), strict=True):
            row.comparisons[name] = comparison
    tested = {row.name: row.comparisons[result.primary] for row in comparable}
    is_tested = metric(result.primary).summary != "median"
    corrected = correct(tested, result.correction, failed=lost if is_tested else 0)
    for row, comparison in zip(comparable, corrected.values(), strict=True):
        row.outcome = outcome(comparison)
        row.comparisons[result.primary] = comparison
        for name, found in row.comparisons.items():
            row.comparisons[name] = _labelled(found.on(name), label([row, baseline]))
    for row in others:
        if row.name in result.refusals:
            row.outcome = f"{result.refusals[row.name].label}: not compared" if row.results else "failed"
    parts = ["baseline", "selected on test" * baseline.selected_on_test, f"{baseline.failed_seeds} failed".strip()]
    baseline.outcome = ", ".join(part for part in (parts if baseline.failed else parts[:2]) if part)


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
    """Why a hypothesis can get no verdict; "" where it gets one, or would but for trials that failed."""
    row, *others = rows = _rows_of(result, hypothesis)
    if hypothesis.kind == "cheaper" and all(one.whole for one in rows):
        missing = [one.name for one in rows if not one.costs.get(hypothesis.metric)]
        if missing:
            return f"{hypothesis.metric} of {', '.join(missing)} is 0 or was not measured"
    for other in others:
        why = refusal(result.plan, row, other, hypothesis.metric)
        if why and not why.failed:
            return why.between(row.name, other.name)
    return ""


def _lacking(result: Result, hypothesis: Hypothesis) -> str:
    """The first failed trial that a hypothesis needs, and how many more there are; "" for none."""
    failed = [one for row in _rows_of(result, hypothesis) for one in row.failed]
    if not failed:
        return ""
    more = f"; so did {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"trial failed ({failed[0].trial.name}: {failed[0].failure}){more}"


def _comparisons(rows: list[Row], baseline: Row, name: str, lost: int) -> list[Comparison]:
    """lost: members of the family that cannot be compared."""
    if not rows:
        return []
    clusters = _clusters(baseline, name)
    higher = metric(name).higher_is_better
    if metric(name).summary == "median":
        arms = [_arms([row, baseline], name) for row in rows]
        return [paired_medians(a, b, clusters, higher_is_better=higher) for a, b in arms]
    made: dict[int, Comparison] = {}
    differences = [np.subtract(*_arms([row, baseline], name)) for row in rows]
    draws = max(DRAWS, 40 * (len(rows) + lost))  # of 1 / draws, the smallest p, the correction must leave less than .05
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
    lacking = {h.name: _lacking(result, h) for h in decided}
    evidence = {
        h.name: no_evidence(h.kind, h.bound, why) if (why := lacking[h.name]) else _evidence(h, _rows_of(result, h))
        for h in decided
    }
    dropped = {f"dropped: {claim}": no_evidence("better", 0, "dropped") for claim in dropped_claims(result.plan)}
    verdicts = decide(dropped | evidence) if evidence else {}
    late = post_hoc(result.plan)
    claims = []
    for h in decided:
        verdict, words = verdicts[h.name], label(_rows_of(result, h))
        if words and h.kind != "cheaper" and not lacking[h.name]:
            verdict = replace(verdict, reason=f"{verdict.reason}; {words}")
        tries = tuple(earlier_tries(result.plan, h))
        claims.append(Claim(h, verdict, h.name in late, times_scored(result.plan, h.variant.name), tries))
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
