"""Panels with two axes: gains of a hypothesis at each setting, the metric at each setting of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.outputs import Hypothesis, Result, Row, Variant

from .axes import Axis, axis, distinct, held, keys_of, own, told, varying

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GainMap:
    """The gain of one arm over the other, turned so that more is better, at each setting of two axes.

    claim: what the hypothesis compares. held: what it holds fixed of what the experiment varies.
    gain, low, high: [rows, columns], in the unit of the metric; nan where the hypothesis was not decided or not made.
    """

    claim: str
    held: str
    metric: str
    rows: Axis
    columns: Axis
    gain: Floats
    low: Floats
    high: Floats

    @property
    def caption(self) -> str:
        fixed = f", at {self.held}" if self.held else ""
        return f"{self.claim}: gain in {self.metric} at each {self.rows.name} and {self.columns.name}{fixed}"

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Where the interval excludes 0, [rows, columns]."""
        return (self.low > 0) | (self.high < 0)


@dataclass(frozen=True)
class Grid:
    """The primary metric at each setting of two axes, and how it stands to the baseline.

    mean, difference, low, high: [rows, columns], the difference with its 95 % interval; nan where there is no variant,
    or none that is compared; the mean where its trials failed too.
    outcomes: [rows][columns], as the table has them; "" where there is no variant.
    """

    baseline: str
    held: str
    metric: str
    rows: Axis
    columns: Axis
    mean: Floats
    difference: Floats
    low: Floats
    high: Floats
    outcomes: tuple[tuple[str, ...], ...]

    @property
    def caption(self) -> str:
        fixed = f", at {self.held}" if self.held else ""
        return f"{self.metric} at each {self.rows.name} and {self.columns.name}{fixed}"


def gain_maps(result: Result) -> dict[str, GainMap]:
    """{hypothesis: map} of each hypothesis with two open axes, in the order of the file."""
    keys = keys_of(result)
    groups: dict[str, list[Hypothesis]] = {}
    for hypothesis in result.hypotheses:
        if hypothesis.kind in ("cheaper", "larger_gain"):  # no gain, or one of four arms
            continue
        groups.setdefault(hypothesis.name.partition(" [")[0], []).append(hypothesis)
    made = {}
    for name, group in groups.items():
        shared = [key for key in keys if all(h.variant.value(key) == h.other.value(key) for h in group)]
        axes = varying([h.variant for h in group], shared, keys)
        if len(axes) == 2:
            made[name] = _gain_map(result, name, group, axes, keys)
    return made


def _gain_map(result: Result, name: str, group: list[Hypothesis], axes: list[str], keys: list[str]) -> GainMap:
    settings = [[own(h.variant, key, keys) for key in axes] for h in group]
    values = [distinct(column) for column in zip(*settings, strict=True)]
    claims = {claim.hypothesis.name: claim for claim in result.decisions}
    cells = np.full((3, len(values[0]), len(values[1])), np.nan)
    for hypothesis, (row, column) in zip(group, settings, strict=True):
        found = claims[hypothesis.name].verdict.evidence.comparison if hypothesis.name in claims else None
        if found is not None:
            cells[:, values[0].index(row), values[1].index(column)] = found.gain
    arms = (group[0].variant, group[0].other)
    differing = varying(arms, keys, keys)
    claim = f"{name}: {' over '.join(told(arm, differing, keys) for arm in arms)}"
    claim += " (post hoc)" if any(claims[h.name].post_hoc for h in group if h.name in claims) else ""
    fixed = held(result, [arm for h in group for arm in (h.variant, h.other)], [*axes, *differing])
    rows, columns = (axis(key, taken, keys) for key, taken in zip(axes, values, strict=True))
    return GainMap(claim, fixed, group[0].metric, rows, columns, *cells)


def grid(result: Result) -> Grid | None:
    """The variants as a grid of two axes, the baseline left out where it alone differs in more; None for others."""
    keys = keys_of(result)
    both = list(zip(result.variants, result.rows, strict=True))
    for chosen in (both, [(variant, row) for variant, row in both if not row.is_baseline]):
        axes = varying([variant for variant, _ in chosen], keys, keys)
        if len(axes) == 2:
            return _grid(result, chosen, axes, keys)
    return None


def _grid(result: Result, chosen: list[tuple[Variant, Row]], axes: list[str], keys: list[str]) -> Grid | None:
    settings = [[own(variant, key, keys) for key in axes] for variant, _ in chosen]
    values = [distinct(column) for column in zip(*settings, strict=True)]
    shape = len(values[0]), len(values[1])
    if len(chosen) < sum(shape):  # axes that were varied one at a time make a cross
        return None
    cells = np.full((4, *shape), np.nan)
    outcomes = [[""] * shape[1] for _ in range(shape[0])]
    for (_, found), (row, column) in zip(chosen, settings, strict=True):
        place = values[0].index(row), values[1].index(column)
        compared = found.comparisons.get(result.primary)
        cells[0, *place] = found.mean(result.primary)
        if compared:
            cells[1:, *place] = compared.difference, compared.low, compared.high
        outcomes[place[0]][place[1]] = found.outcome
    fixed = held(result, [variant for variant, _ in chosen], axes)
    rows, columns = (axis(key, taken, keys) for key, taken in zip(axes, values, strict=True))
    told_outcomes = tuple(map(tuple, outcomes))
    who = result.baseline.name, fixed, result.primary
    return Grid(*who, rows, columns, cells[0], cells[1], cells[2], cells[3], told_outcomes)
