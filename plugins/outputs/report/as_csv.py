"""The numbers of a run as CSV: every variant and metric, every hypothesis, every published row."""

from __future__ import annotations

import csv as csv_module
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields

from core.outputs import Comparison, Published, Result, csv_cell

COMPARED = (*(field.name for field in fields(Comparison)), "odds")
"""Columns of a comparison, as `Comparison` describes them."""


def csv(result: Result) -> str:
    """One line a variant and metric, costs among them, with everything that the comparison holds.

    `values` are the metric of each seed in the order of `seeds`, with spaces between.
    """
    head = ["variant", "baseline", "transductive", "selected_on_test", "metric", "mean", "sd_over_seeds", "seeds"]
    rows: list[Sequence[object]] = []
    for row in result.rows:
        kind = [row.name, row.is_baseline, row.transductive, row.selected_on_test]
        for name in result.metrics:
            comparison = row.comparisons.get(name)
            outcome = row.outcome if name == result.primary else ""
            measured = [name, row.mean(name), row.spread(name), len(row.seeds)]
            each = " ".join(map(repr, row.values(name)))
            facts = [getattr(comparison, column) if comparison else "" for column in COMPARED]
            rows.append([*kind, *measured, outcome, each, *facts])
        blank = [""] * (len(COMPARED) + 2)
        rows += [[*kind, name, mean, "", len(row.seeds), *blank] for name, mean in row.costs.items()]
    return _written([*head, "outcome", "values", *(_seeds_told(column) for column in COMPARED)], rows)


def _seeds_told(column: str) -> str:
    """A comparison's own count of seeds stands beside that of the row."""
    return "seeds_compared" if column == "seeds" else column


def hypotheses_csv(result: Result) -> str:
    """One line a hypothesis with its verdict and what that rests on; gains are turned so that more is better."""
    head = ["name", "kind", "claim", "arms", "metric", "bound", "verdict", "reason", "observed", "low", "high", "p"]
    head += ["p_corrected", "family", "detectable", "post_hoc", "times_scored", "earlier_tries", "registration"]
    rows: list[Sequence[object]] = []
    for decision in result.decisions:
        hypothesis, verdict = decision.hypothesis, decision.verdict
        evidence, comparison = verdict.evidence, verdict.evidence.comparison
        _, low, high = comparison.gain if comparison else ("", "", "")
        arms = "; ".join(variant.name for variant in hypothesis.arms)
        cells: list[object] = [hypothesis.name, hypothesis.kind, str(hypothesis), arms]
        cells += [hypothesis.metric, hypothesis.bound]
        cells += [verdict.verdict, verdict.reason, evidence.observed, low, high, evidence.p, verdict.p_corrected]
        cells += [verdict.family, comparison.detectable if comparison else "", decision.post_hoc, decision.times_scored]
        rows.append([*cells, "; ".join(decision.earlier), result.registration])
    return _written(head, rows)


def published_csv(published: Published) -> str:
    """One line a published row and metric."""
    head = ["system", "variation", "backbone", "post_processing", "metric", "value", "uncertain", "source", "known"]
    rows: list[Sequence[object]] = []
    for row in published.rows:
        kind, source = [row.system, row.variation, row.backbone, row.post_processing], published.sources[row.source]
        for name, value in row.values.items():
            rows.append([*kind, name, value, name in row.uncertain, source.publication, source.known])
    return _written(head, rows)


def _written(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV; what is not a number is left blank, and no cell is a formula."""
    out = io.StringIO()
    writer = csv_module.writer(out)
    writer.writerow(head)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return out.getvalue()


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else csv_cell(value)
