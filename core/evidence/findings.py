"""What a run found: results of trials, variants against the baseline, verdicts on hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.repository import git_state
from ..engine.failures import known_failure
from ..engine.plan import Plan
from ..errors import StoreError
from ..experiment.config import Experiment
from ..experiment.hypotheses import Hypothesis
from ..experiment.published import read_published
from ..experiment.selection import Variant
from ..measure.metrics import metric
from ..measure.significance import (
    DRAWS,
    Comparison,
    Evidence,
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
from ..plugins import registry
from .comparability import refusal
from .departures import dropped_claims, dropped_variants
from .ground import (
    data_and_encoders,
    facts,
    file_version,
    overrides,
    question,
    rewrite_command,
    run_command,
    source_files,
)
from .ledger import times_scored
from .recognition import split_scored
from .registration import earlier_tries, post_hoc, registration_digest, withdrawn
from .results import Decision, Refusal, Result, Row
from .trials import FailedTrial, Trial, failed_trial, trial_of
from .wording import TRANSDUCTIVE, basis, notes

Floats = NDArray[np.float64]


def findings(plan: Plan) -> Result:
    """Read every trial's result from the store and compare.

    Trials that failed leave holes. Raises StoreError where a trial has neither result nor failure, and where none has a
    result.
    """
    rows = [_row(plan, variant) for variant in plan.variants]
    if not any(row.results for row in rows):
        raise StoreError(f"{plan.workspace.store.root}: every trial of {plan.experiment.name} failed")
    result = not_compared(plan, rows)
    result.refusals = _refusals(plan, result)
    _compare_with_baseline(plan, result)
    result.decisions = _decisions(plan, result)
    decided = {decision.hypothesis.name for decision in result.decisions}
    result.incomparable = [
        (h, undecidable(plan, result.rows, h) or "") for h in plan.hypotheses if h.name not in decided
    ]
    result.facts, result.notes, result.basis = facts(plan, result), notes(plan, result), basis(result)
    return result


def not_compared(plan: Plan, rows: list[Row]) -> Result:
    """The result of a plan with these rows, none of which is compared or decided yet."""
    return Result(
        name=plan.experiment.name,
        file=plan.document.file,
        experiment=plan.experiment,
        hypotheses=plan.hypotheses,
        rows=rows,
        registration=registration_digest(plan),
        version=file_version(plan),
        command=run_command(plan),
        rewrite=rewrite_command(plan),
        question=question(plan.document.file),
        sources=source_files(plan.document),
        overrides=overrides(plan),
        code=None if plan.experiment.anonymous else git_state(Path.cwd()),
        packages=sorted({f"{item.package} {item.version}".strip() for item in registry().found.values()}),
        published=read_published(plan.document, plan.experiment.references),
        withdrawn=withdrawn(plan),
        data_and_encoders=data_and_encoders(plan),
        _plan=plan,
    )


def _row(plan: Plan, variant: Variant) -> Row:
    results, failed = [], []
    for planned in plan.trials_of(variant):
        if failure := known_failure(plan.workspace.store, planned):
            failed.append(failed_trial(plan, planned, failure))
        else:
            results.append(trial_of(plan, planned))
    return row_of(plan, variant, results, failed)


def row_of(plan: Plan, variant: Variant, results: list[Trial], failed: list[FailedTrial]) -> Row:
    """The row of a variant with its trials; nothing is compared yet."""
    train, last = variant.experiment.train, plan.trials_of(variant)[0].last
    chosen = train.keep == "best" and any(step.name == "fit" for step in last.walk())
    selected_on, split = train.select_on if chosen else None, split_scored(plan, variant.name)
    return Row(variant, results, failed, selected_on, _is_transductive(variant.experiment), split)


def _is_transductive(experiment: Experiment) -> bool:
    """By a score transform, or as given scores show."""
    transforms = experiment.retrieve.transforms.values()
    if any(registry().component("score_transform", spec).transductive(spec.fields) for spec in transforms):
        return True
    direction = experiment.evaluate.primary.partition("/")[0]
    specs = [spec for name, spec in experiment.model.interactions.items() if name in _scoring(experiment)]
    return any(registry().component("interaction", s).transductive(s.fields, direction) for s in specs)


def _scoring(experiment: Experiment) -> set[str]:
    """Names of the interactions whose scores rank."""
    rerank = experiment.retrieve.rerank
    candidates = registry().component("reranker", rerank).interactions(rerank.fields) if rerank else ()
    return {*experiment.retrieve.first_stage, *candidates}


def _refusals(plan: Plan, result: Result) -> dict[str, Refusal]:
    others = [row for row in result.rows if not row.is_baseline]
    reasons = {row.name: refusal(plan, row, result.baseline_of(row), result.primary) for row in others}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _compare_with_baseline(plan: Plan, result: Result) -> None:
    """Fill each row's comparisons; the primary metric's are one family, the others are left uncorrected."""
    others = [row for row in result.rows if not row.is_baseline]
    comparable = [row for row in others if row.name not in result.refusals]
    lost = sum(refused.failed for refused in result.refusals.values()) + len(dropped_variants(plan))
    for baseline in result.baselines:
        rows = [row for row in comparable if result.baseline_of(row) is baseline]
        for name in result.metrics:
            comparisons = _comparisons(rows, baseline, name, lost + len(comparable) - len(rows))
            for row, comparison in zip(rows, comparisons, strict=True):
                row.comparisons[name] = comparison
    tested = {row.name: row.comparisons[result.primary] for row in comparable}
    is_tested = metric(result.primary).summary != "median"
    corrected = correct(tested, result.correction, failed=lost if is_tested else 0)
    for row, comparison in zip(comparable, corrected.values(), strict=True):
        row.outcome = outcome(comparison)
        row.comparisons[result.primary] = comparison
        for name, comparison in row.comparisons.items():
            row.comparisons[name] = _labelled(comparison.on(name), label([row, result.baseline_of(row)]))
    for row in others:
        if row.name in result.refusals:
            row.outcome = f"{result.refusals[row.name].label}: not compared" if row.results else "failed"
    for baseline in result.baselines:
        baseline.outcome = _baseline_outcome(baseline)


def _baseline_outcome(baseline: Row) -> str:
    """`baseline, selected on test, seed 1 failed`"""
    parts = ["baseline"]
    if baseline.selected_on_test:
        parts.append("selected on test")
    if baseline.failed:
        parts.append(f"{baseline.failed_seeds} failed".strip())  # `failed` where nothing is trained: there is no seed
    return ", ".join(parts)


def label(rows: Sequence[Row]) -> str:
    """What must stand beside a comparison of transductive rows with others; "" where they are of one kind."""
    mixed = len({row.transductive for row in rows}) > 1
    names = " and ".join(dict.fromkeys(row.name for row in rows if row.transductive))
    return f"{TRANSDUCTIVE}: {names} looks at the other test queries" if mixed else ""


def _labelled(comparison: Comparison, words: str) -> Comparison:
    return replace(comparison, warning="; ".join(text for text in (comparison.warning, words) if text))


def _rows_of(rows: Sequence[Row], hypothesis: Hypothesis) -> list[Row]:
    """The rows of its arms."""
    by_name = {row.name: row for row in rows}
    return [by_name[variant.name] for variant in hypothesis.arms]


def undecidable(plan: Plan, rows: Sequence[Row], hypothesis: Hypothesis) -> str | None:
    """Why a hypothesis can get no verdict; None where it gets one, or would but for trials that failed."""
    row, *others = rows = _rows_of(rows, hypothesis)
    if hypothesis.kind == "cheaper" and all(arm.whole for arm in rows):
        missing = [arm.name for arm in rows if not arm.costs.get(hypothesis.metric)]
        if missing:
            return f"{hypothesis.metric} of {', '.join(missing)} is 0 or was not measured"
    for other in others:
        why = refusal(plan, row, other, hypothesis.metric)
        if why and not why.failed:
            return why.between(row.name, other.name)
    return None


def _lacking(rows: Sequence[Row], hypothesis: Hypothesis) -> str | None:
    """The first failed trial that a hypothesis needs, and how many more there are; None for none."""
    failed = [trial for row in _rows_of(rows, hypothesis) for trial in row.failed]
    if not failed:
        return None
    more = f"; so did {len(failed) - 1} more" if len(failed) > 1 else ""
    return f"trial failed ({failed[0].name}: {failed[0].failure}){more}"


def _comparisons(rows: list[Row], baseline: Row, name: str, lost: int) -> list[Comparison]:
    """lost: members of the family that cannot be compared."""
    if not rows:
        return []
    clusters = _clusters(baseline, name)
    higher = metric(name).higher_is_better
    if metric(name).summary == "median":
        arms = [_arms([row, baseline], name) for row in rows]
        return [paired_medians(a, b, clusters, higher_is_better=higher) for a, b in arms]
    by_row: dict[int, Comparison] = {}
    differences = [np.subtract(*_arms([row, baseline], name)) for row in rows]
    draws = max(DRAWS, 40 * (len(rows) + lost))  # of 1 / draws, the smallest p, the correction must leave less than .05
    kinds = [(len(block), bool(row.seeds or baseline.seeds)) for row, block in zip(rows, differences, strict=True)]
    for kind in sorted(set(kinds)):
        group = [i for i, own in enumerate(kinds) if own == kind]
        block = np.stack([differences[i] for i in group])
        comparisons = paired_tests(block, clusters, higher_is_better=higher, trained=kind[1], draws=draws)
        by_row |= dict(zip(group, comparisons, strict=True))
    return [by_row[i] for i in range(len(rows))]


def _clusters(row: Row, name: str) -> NDArray[np.int64]:
    return row.results[0].tensors[f"{name.partition('/')[0]}/clusters"]


def _arms(rows: Sequence[Row], name: str) -> list[Floats]:
    """Per-query values [S, Q] of each row: an untrained one is repeated for each seed of the others."""
    arms = [row.per_query(name) for row in rows]
    seeds = max(len(values) for values in arms)
    return [np.broadcast_to(values, (seeds, values.shape[1])) for values in arms]


def _decisions(plan: Plan, result: Result) -> list[Decision]:
    decided = [h for h in plan.hypotheses if undecidable(plan, result.rows, h) is None]
    lacking = {h.name: _lacking(result.rows, h) for h in decided}
    evidence = {
        h.name: _evidence(h, _rows_of(result.rows, h)) if why is None else no_evidence(h.kind, h.bound, why)
        for h in decided
        for why in [lacking[h.name]]
    }
    dropped = {f"dropped: {claim}": no_evidence("better", 0, "dropped") for claim in dropped_claims(plan)}
    verdicts = decide(dropped | evidence) if evidence else {}
    late = post_hoc(plan)
    decisions = []
    for h in decided:
        verdict, words = verdicts[h.name], label(_rows_of(result.rows, h))
        if words and h.kind != "cheaper" and not lacking[h.name]:
            verdict = replace(verdict, reason=f"{verdict.reason}; {words}")
        tries = tuple(earlier_tries(plan, h))
        decisions.append(Decision(h, verdict, h.name in late, times_scored(plan, h.variant.name), tries))
    return decisions


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
        stored = rows[0].results[0].stored
        span = hypothesis.span(stored["texts"], stored["videos"])
        options |= {"span": span, "seeds_as_seen": hypothesis.seeds_as_seen}
    if hypothesis.kind == "no_worse":
        return no_worse(difference, margin=hypothesis.bound, **options)
    if hypothesis.kind == "equivalent":
        return equivalent(difference, within=hypothesis.bound, **options)
    if hypothesis.kind in ("better", "higher", "lower"):
        return better(difference, by=hypothesis.bound, **options)
    raise NotImplementedError(f"there is no test for a hypothesis of kind `{hypothesis.kind}`")
