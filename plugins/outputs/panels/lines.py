"""Panels of lines: the metric over a swept number, training curves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.outputs import Comparison, Fit, Result, Row, Variant, metric, paired_medians, paired_test, short_key

from .axes import Axis, axis, held, keys_of, own, told, varying

TOP_K = "retrieve.rerank.top_k"
MOST_LINES = 7

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]


@dataclass(frozen=True)
class Curves:
    """The primary metric over a swept number, a line for each value of one further axis.

    key: what is swept, by its shortest name. held: what the lines have in common of what the experiment varies.
    mean, low, high: [lines, at], the metric and its 95 % interval over clusters of queries; nan where there is no
    variant. baseline: (metric, low, high) of the variant that every point is compared with, where there is one.
    """

    key: str
    held: str
    metric: str
    lines: Axis
    at: tuple[float, ...]
    mean: Floats
    low: Floats
    high: Floats
    baseline_name: str = ""
    baseline: Interval | None = None

    @property
    def caption(self) -> str:
        fixed = f", at {self.held}" if self.held else ""
        return f"{self.metric} over {self.key}{fixed}"

    @property
    def best(self) -> NDArray[np.intp]:
        """The index of the best value of each line, the smallest of equals, [lines]."""
        return np.nanargmax(self.mean if metric(self.metric).higher_is_better else -self.mean, axis=1)


def sweeps(result: Result) -> dict[str, Curves]:
    """{short key: curves} of each number that variants sweep, in the order of the file."""
    keys = keys_of(result)
    found = {short_key(key, keys): curves(result, key) for key in keys}
    return {name: panel for name, panel in found.items() if panel is not None}


def curves(result: Result, key: str = TOP_K) -> Curves | None:
    """Variants that differ in one number alone make a line, without those whose trials failed; None without such, where
    lines differ in more than one further axis, and where there are more lines than can be told apart."""
    keys = keys_of(result)
    lines: dict[str, dict[float, tuple[Variant, Row]]] = {}
    for variant, row in zip(result.variants, result.rows, strict=True):
        value = variant.value(key)
        if row.whole and isinstance(value, int | float) and not isinstance(value, bool):
            alike = [own(variant, other, keys) for other in keys if other != key]
            lines.setdefault(json.dumps(alike, default=str), {})[value] = variant, row
    found = [line for line in lines.values() if len(line) > 1]
    firsts = [variant for line in found for variant, _ in list(line.values())[:1]]
    axes = varying(firsts, [other for other in keys if other != key], keys)
    if not found or len(axes) > 1 or len(found) > MOST_LINES:
        return None
    at = sorted({value for line in found for value in line})
    cells = np.full((3, len(found), len(at)), np.nan)
    for number, line in enumerate(found):
        for value, (_, row) in line.items():
            cells[:, number, at.index(value)] = interval(row, result.primary)
    line_axis = axis(axes[0], [own(first, axes[0], keys) for first in firsts], keys) if axes else Axis("", ("",))
    fixed, baseline = held(result, firsts, [key, *axes]), result.baseline
    rows = [row for line in found for _, row in line.values()]
    drawn = all(result.primary in row.comparisons for row in rows if row is not baseline)
    level = (baseline.name, interval(baseline, result.primary)) if drawn else ("", None)
    return Curves(short_key(key, keys), fixed, result.primary, line_axis, tuple(at), *cells, *level)


def interval(row: Row, name: str) -> Interval:
    """(metric, low, high): those of the difference to an arm that has 0 everywhere."""
    values, clusters = row.per_query(name), row.results[0].tensors[f"{name.partition('/')[0]}/clusters"]
    if metric(name).summary == "median":
        found = paired_medians(values, np.zeros_like(values), clusters)
    else:
        found = paired_test(values, clusters, trained=bool(row.seeds))
    return drawn_interval(found)


def drawn_interval(found: Comparison) -> Interval:
    """(difference, low, high); nan for ends that too few units leave open, which nothing can be drawn to."""
    low, high = (end if math.isfinite(end) else math.nan for end in (found.low, found.high))
    return found.difference, low, high


# ------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class Training:
    """Loss and validation metric by epoch, of every distinct training, a line for each variant that has one.

    part: what is trained, `model` or `reranker`. metric: what validation measures.
    loss, validation: [lines, seeds, epochs], nan where there is none. best: [lines, seeds], the epoch that was kept.
    """

    part: str
    metric: str
    lines: tuple[str, ...]
    loss: Floats
    validation: Floats
    best: NDArray[np.int64]

    @property
    def caption(self) -> str:
        return f"Training of the {self.part}: loss and {self.metric} on the validation split, by epoch"


PARTS = {"model": "train", "reranker": "rerank"}
"""What is trained, and what `Trial.fits` calls it."""


def trainings(result: Result) -> dict[str, Training]:
    """{part: training} of the model and of rerankers; left out where there are more lines than can be told apart."""
    drawn = {part: _training(result, fit, part) for part, fit in PARTS.items()}
    return {part: panel for part, panel in drawn.items() if panel is not None}


def _training(result: Result, fit: str, part: str) -> Training | None:
    by_fits: dict[tuple[str, ...], tuple[list[Variant], list[Fit]]] = {}
    for row in sorted(result.rows, key=lambda row: not row.whole):
        stored = [trial.fits[fit] for trial in row.results if fit in trial.fits]
        fits = [found for found in stored if found is not None]
        if len(fits) < len(stored):
            return None
        keys = tuple(found.key for found in fits)
        if row.failed:  # what is left of its fits may be some of another's
            keys = next((others for others in by_fits if {*keys} <= {*others}), keys)
        if fits:
            by_fits.setdefault(keys, ([], fits))[0].append(row.variant)
    if not by_fits or len(by_fits) > MOST_LINES:
        return None
    lines = [fits for _, fits in by_fits.values()]
    seeds, epochs = max(map(len, lines)), max(len(found.history) for fits in lines for found in fits)
    loss, validation = np.full((2, len(lines), seeds, epochs), np.nan)
    best = np.zeros((len(lines), seeds), dtype=np.int64)
    for number, fits in enumerate(lines):
        for seed, found in enumerate(fits):
            loss[number, seed, : len(found.history)] = [record["loss"] for record in found.history]
            validation[number, seed, : len(found.history)] = [r.get("validation", np.nan) for r in found.history]
            best[number, seed] = found.best_epoch
    names = _lines(result, [variants for variants, _ in by_fits.values()])
    return Training(part, result.primary, names, loss, validation, best)


def _lines(result: Result, groups: list[list[Variant]]) -> tuple[str, ...]:
    """What the variants of each training have in common and those of the others have not; else their first name."""
    keys, firsts = keys_of(result), [variants[0] for variants in groups]
    shared = [key for key in varying(firsts, keys, keys) if not any(varying(group, [key], keys) for group in groups)]
    names = tuple(told(first, shared, keys) for first in firsts)
    return names if len({*names}) == len(groups) else tuple(first.name for first in firsts)
