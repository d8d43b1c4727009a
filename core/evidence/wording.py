"""What a report says of a run, in sentences: claims, how the numbers were made, what to beware of."""

from __future__ import annotations

import math

from ..engine.overlap import shared_files
from ..engine.plan import Plan
from ..errors import counted
from ..measure.significance import Comparison
from .departures import changed_settings, dropped_claims, dropped_variants
from .epochs import untold_epochs
from .ledger import pairs_compared, scored_by_others, splits_alike
from .naming import named
from .results import Refusal, Result, Row

MEDIAN, P95, NOISY = "cost/latency_ms", "cost/latency_p95_ms", 3
TRANSDUCTIVE = "transductive against inductive"
"""Begins a warning that has a line of its own."""
MOST_NAMES = 3
"""Rows that a warning names."""
CORRECTIONS = {
    "holm": "Holm over {}",
    "benjamini_hochberg": "Benjamini-Hochberg over {} (controls the share of false findings, for exploration)",
}


def _circumstances(plan: Plan) -> list[str]:
    """What else was scored on this split, and what the experiment had registered and no longer says."""
    others = [f"{name} ({counted(trials, 'trial')})" for name, trials in scored_by_others(plan).items()]
    lines = [f"Other experiments of this store scored this split: {', '.join(others)}."] if others else []
    if pairs := pairs_compared(plan):
        lines.append(f"Trials on this split were compared by themselves too: {counted(pairs, 'comparison')}.")
    lines += [
        f"{counted(trials, 'trial')} among those scored on it saw a split that shares {100 * share:.0f} % of its texts "
        "or videos."
        for share, trials in splits_alike(plan).items()
    ]
    if dropped := dropped_variants(plan):
        lines.append(f"Beware: dropped after they were scored, and corrected for as n.s.: {'; '.join(dropped)}.")
    lines += [f"Beware: post hoc: {change}, since the split was scored." for change in changed_settings(plan)]
    if claims := dropped_claims(plan):
        lines.append(f"{counted(len(claims), 'withdrawn hypothesis', 'withdrawn hypotheses')} counted in the family.")
    return lines


def notes(plan: Plan, result: Result) -> list[str]:
    """How the numbers were made, what they cover, what to beware of."""
    settings = result.experiment
    tested = [row.comparisons[result.primary] for row in result.rows if result.primary in row.comparisons]
    lines = _failed(result)
    lines.append(
        f"{settings.evaluate.split} split: {result.size}; ties: {settings.evaluate.ties}; "
        f"data set `{named(settings.data.dataset)}`."
    )
    if max(len(row.seeds) for row in result.rows) > 1:
        lines.append("± is the standard deviation over seeds.")
    if tested:
        to = " or ".join(f"`{row.name}`" for row in result.baselines)
        same_data = ", whichever has the same data" if len(result.baselines) > 1 else ""
        lines.append(f"Differences are to {to}{same_data}, on {result.primary}, in the metric's unit.")
        methods = "; ".join(dict.fromkeys(comparison.method for comparison in tested))
        family = f"; {_corrected(tested[0])}; the baseline is not among them" if tested[0].family else ""
        sizes = " or ".join(dict.fromkeys(comparison.size(result.primary) for comparison in tested))
        lines.append(f"n = {sizes}. Test: {methods}{family}.")
        lines += _warnings(result)
        lines += _power(result)
    transductive = [row.name for row in result.rows if row.transductive]
    if transductive:
        lines.append(
            f"Transductive: {'; '.join(transductive)}. Their scores look at the other test queries, which one query "
            "by itself does not have."
        )
    lines += _refused(result)
    if settings.evaluate.split == "val" and any(row.selected_on == "val" for row in result.rows):
        lines.append("Beware: weights were chosen by their results on the val split, which is scored here.")
    lines += [f"Beware: {sentence}." for sentence in untold_epochs(result.rows, result.primary)]
    if result.decisions:
        scored = max(decision.times_scored for decision in result.decisions)
        lines.append(
            f"{counted(len(result.decisions), 'hypothesis', 'hypotheses')} in one Holm family, registered as "
            f"{result.registration}; this store saw {counted(scored, 'trial')} scored on this split."
        )
    lines += _circumstances(plan)
    lines += _ceiling(result)
    lines += _timing(plan, result)
    lines += [f"Withdrawn after it was registered: {claim}" for claim in result.withdrawn]
    lines += [f"Not decided, because {reason}: {claim.name}: {claim}" for claim, reason in result.incomparable]
    lines += [f"Beware: {sentence}." for sentence in shared_files(plan)]
    if result.skipped:
        lines.append(f"{len(result.skipped)} unreadable videos were left out:")
        lines += [f"  {path}: {reason}" for path, reason in sorted(result.skipped.items())]
    return lines


def _power(result: Result) -> list[str]:
    """What difference the comparisons that show none would have shown."""
    missed = [row.comparisons[result.primary] for row in _tested_rows(result) if row.outcome == "n.s."]
    sizes = [comparison.detectable for comparison in missed if not math.isnan(comparison.detectable)]
    if not sizes:
        return []
    smallest, largest = f"{min(sizes):.1f}", f"{max(sizes):.1f}"
    size = smallest if smallest == largest else f"{smallest} to {largest}"
    return [
        f"Where it says n.s., a true difference of {size} would have been seen with 80 % power; a smaller one is not "
        "excluded."
    ]


def _failed(result: Result) -> list[str]:
    """How many trials failed and of what, those with the same failure together."""
    names: dict[str, list[str]] = {}
    for trial in result.failed:
        names.setdefault(str(trial.failure), []).append(trial.name)
    if not names:
        return []
    tried = sum(len(row.results) for row in result.rows) + len(result.failed)
    done = f"{tried - len(result.failed)} of {counted(tried, 'trial')} done, {len(result.failed)} failed"
    return [
        f"Beware: {done}. The same command tries them again.",
        *(f"  {'; '.join(n)}: {w}" for w, n in names.items()),
    ]


def basis(result: Result) -> list[str]:
    """Test, correction, n, seeds and protocol, in sentences."""
    settings = result.experiment
    tested = [row.comparisons[result.primary] for row in _tested_rows(result)]
    seeds = max(len(row.seeds) for row in result.rows)
    lines = [f"{settings.evaluate.split.capitalize()} split of {named(settings.data.dataset)}: {result.size}."]
    if tested:
        methods = "; ".join(dict.fromkeys(comparison.method for comparison in tested))
        family = f"; {_corrected(tested[0])}" if tested[0].family else ""
        sizes = " or ".join(dict.fromkeys(comparison.size(result.primary) for comparison in tested))
        against = " or ".join(row.name for row in result.baselines)
        lines.append(f"n = {sizes}. Test against {against}: {methods}{family}.")
    lines.append(f"{counted(seeds, 'seed')}, ± their standard deviation." if seeds > 1 else f"{_one_seed(seeds)}.")
    chosen = "the last epoch"
    if settings.train.keep == "best":
        chosen = f"the best epoch on {settings.train.select_on}"
    protocol = f"Weights of {chosen}; " if seeds else ""
    return [*lines, f"{protocol}ties {settings.evaluate.ties}.".capitalize()]


def _one_seed(seeds: int) -> str:
    return "One seed: only query sampling is covered" if seeds else "Nothing is trained: no seeds"


def _corrected(tested: Comparison) -> str:
    return CORRECTIONS[tested.correction].format(counted(tested.family, "variant"))


def _warnings(result: Result) -> list[str]:
    """What to beware of in the comparisons; the rows are named where it does not hold for all.

    Transduction has a line of its own.
    """
    rows = _tested_rows(result)
    names_by_text: dict[str, list[str]] = {}
    for row in rows:
        for text in filter(None, row.comparisons[result.primary].warning.split("; ")):
            names_by_text.setdefault(text, []).append(row.name)
    lines = []
    for text, names in names_by_text.items():
        if not text.startswith(TRANSDUCTIVE):
            more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            where = "" if len(names) == len(rows) else f", {', '.join(names[:MOST_NAMES])}{more}"
            lines.append(f"Beware{where}: {text}.")
    return lines


def _refused(result: Result) -> list[str]:
    """Why rows are not compared with the baseline, those with the same reason together."""
    names: dict[tuple[Refusal, str], list[str]] = {}
    for row in (row for row in result.rows if row.name in result.refusals):
        names.setdefault((result.refusals[row.name], result.baseline_of(row).name), []).append(row.name)
    lines = [
        f"Not compared, because {why.between(', '.join(some), baseline)}: {', '.join(some)}."
        for (why, baseline), some in names.items()
    ]
    if any(row.selected_on_test for row in result.rows):
        lines.append("Selected on test: of each training those weights were kept that did best on the test split.")
    return lines


def _ceiling(result: Result) -> list[str]:
    """How far re-ranking could go, in the primary direction, and what an approximate index lost before."""
    direction = result.primary.partition("/")[0]
    trials = [trial for row in result.rows for trial in row.results]
    limits = _span([trial.ceilings[direction] for trial in trials if direction in trial.ceilings])
    recalls = _span([trial.index_recalls[direction] for trial in trials if direction in trial.index_recalls])
    lines = []
    if limits:
        lines += [
            f"Re-ranking could reach a {direction}/R1 of {limits}: queries with an answer among their candidates."
        ]
    if recalls:
        lines += [f"The index found {recalls} % of the candidates that an exact search finds ({direction})."]
    return lines


def _timing(plan: Plan, result: Result) -> list[str]:
    """What costs were measured on, and whether the machine was too busy for its times to say much."""
    trials = [trial for row in result.rows if row.costs for trial in plan.trials_of(row.variant)]
    measured = [step.fields for trial in trials if (step := trial.last.inputs.efficiency)]
    if not measured:
        return []
    places = dict.fromkeys(f"{fields['device']}, {counted(fields['threads'], 'thread')}" for fields in measured)
    lines = [f"Costs were measured on {' and '.join(places)}; times and throughput hold for that machine."]
    noisy = [row.name for row in result.rows if row.costs.get(P95, 0) > NOISY * row.costs.get(MEDIAN, math.inf)]
    if noisy:
        lines.append(
            f"Beware: timing was noisy, the 95th percentile more than {NOISY} times the median ({'; '.join(noisy)}): "
            "small differences of latency and throughput mean nothing."
        )
    return lines


def _tested_rows(result: Result) -> list[Row]:
    return [row for row in result.rows if result.primary in row.comparisons]


def _span(values: list[float]) -> str:
    """`90.1`, `90.1 to 93.0`; empty where there is none."""
    if not values:
        return ""
    return f"{min(values):.1f}" + (f" to {max(values):.1f}" if max(values) - min(values) >= 0.05 else "")
