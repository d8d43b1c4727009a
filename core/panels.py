"""What a figure of an experiment shows: arrays and words, taken from its findings. Nothing is drawn here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .findings import Result, Row
from .hypotheses import Hypothesis, configuration
from .keys import lookup, split_key
from .metrics import metric
from .references import Variant, short_key, short_value
from .significance import paired_medians, paired_test

TOP_K = "retrieve.rerank.top_k"
SHARES = {0.25: "¼", 0.5: "½", 0.75: "¾"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """An axis of the comparison by its shortest name, and its values in words. That of a lone curve has no name."""

    name: str
    values: tuple[str, ...]


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
    def clear(self) -> NDArray[np.bool_]:
        """Where the interval excludes 0, [rows, columns]."""
        return (self.low > 0) | (self.high < 0)


@dataclass(frozen=True)
class Curves:
    """The primary metric over the number of re-ranked candidates, a line for each value of an axis.

    held: what the lines have in common of what the experiment varies.
    mean, low, high: [lines, ks], the metric and its 95 % interval over clusters of queries; nan where there is no
    variant.
    """

    held: str
    metric: str
    lines: Axis
    ks: tuple[int, ...]
    mean: Floats
    low: Floats
    high: Floats

    @property
    def best(self) -> NDArray[np.intp]:
        """The index of the best k of each line, the smallest of equals, [lines]."""
        return np.nanargmax(self.mean if metric(self.metric).higher_is_better else -self.mean, axis=1)


def gain_maps(result: Result) -> list[GainMap]:
    """A map for each hypothesis with two open axes, in the order of the file."""
    keys = _keys(result)
    groups: dict[str, list[Hypothesis]] = {}
    for hypothesis in result.plan.hypotheses:
        groups.setdefault(hypothesis.name.partition(" [")[0], []).append(hypothesis)
    made = []
    for name, group in groups.items():
        shared = [key for key in keys if all(h.variant.value(key) == h.other.value(key) for h in group)]
        axes = _varying([h.variant for h in group], shared, keys)
        if len(axes) == 2:
            made.append(_gain_map(result, name, group, axes, keys))
    return made


def _gain_map(result: Result, name: str, group: list[Hypothesis], axes: list[str], keys: list[str]) -> GainMap:
    settings = [[_own(h.variant, axis, keys) for axis in axes] for h in group]
    values = [_distinct(column) for column in zip(*settings, strict=True)]
    claims = {claim.hypothesis.name: claim for claim in result.claims}
    cells = np.full((3, len(values[0]), len(values[1])), np.nan)
    for hypothesis, (row, column) in zip(group, settings, strict=True):
        found = claims[hypothesis.name].verdict.evidence.comparison if hypothesis.name in claims else None
        if found is not None:
            cells[:, values[0].index(row), values[1].index(column)] = found.gain
    arms = (group[0].variant, group[0].other)
    told = _varying(arms, keys, keys)
    claim = f"{name}: {' over '.join(_told(arm, told, keys) for arm in arms)}"
    claim += " (post hoc)" if any(claims[h.name].post_hoc for h in group if h.name in claims) else ""
    held = _held(result, [arm for h in group for arm in (h.variant, h.other)], [*axes, *told])
    rows, columns = (_axis(axis, taken, keys) for axis, taken in zip(axes, values, strict=True))
    return GainMap(claim, held, group[0].metric, rows, columns, *cells)


def curves(result: Result) -> Curves | None:
    """Variants that differ in k alone make a line; None without such, and where lines differ in more than one axis."""
    keys = _keys(result)
    lines: dict[str, dict[int, tuple[Variant, Row]]] = {}
    for variant, row in zip(result.plan.variants, result.rows, strict=True):
        k = variant.value(TOP_K)
        if k is not None:
            alike = configuration(variant)
            del alike["retrieve"]["rerank"]["top_k"]
            lines.setdefault(json.dumps(alike, default=str), {})[k] = variant, row
    found = [line for line in lines.values() if len(line) > 1]
    firsts = [variant for line in found for variant, _ in list(line.values())[:1]]
    axes = _varying(firsts, [key for key in keys if key != TOP_K], keys)
    if not found or len(axes) > 1:
        return None
    ks = sorted({k for line in found for k in line})
    cells = np.full((3, len(found), len(ks)), np.nan)
    for number, line in enumerate(found):
        for k, (_, row) in line.items():
            cells[:, number, ks.index(k)] = _interval(row, result.primary)
    axis = _axis(axes[0], [_own(first, axes[0], keys) for first in firsts], keys) if axes else Axis("", ("",))
    held = _held(result, firsts, [TOP_K, *axes])
    return Curves(held, result.primary, axis, tuple(ks), *cells)


def _interval(row: Row, name: str) -> tuple[float, float, float]:
    """(metric, low, high): those of the difference to an arm that has 0 everywhere."""
    values, clusters = row.per_query(name), row.results[0].tensors[f"{name.partition('/')[0]}/clusters"]
    if metric(name).summary == "median":
        found = paired_medians(values, np.zeros_like(values), clusters)
    else:
        found = paired_test(values, clusters, trained=bool(row.seeds))
    return found.difference, found.low, found.high


def _keys(result: Result) -> list[str]:
    return list(dict.fromkeys(key for variant in result.plan.variants for key in variant.assignments))


def _held(result: Result, variants: Sequence[Variant], drawn: Iterable[str]) -> str:
    """What some variants have in common, of the keys that the experiment varies and a panel does not draw."""
    keys = _keys(result)
    varied = _varying(result.plan.variants, [key for key in keys if key not in drawn], keys)
    return _told(variants[0], [key for key in varied if variants[0].value(key) is not None], keys)


def _told(variant: Variant, among: Iterable[str], keys: list[str]) -> str:
    """`first_stage frame, rerank none`"""
    return ", ".join(f"{short_key(key, keys)} {words(_own(variant, key, keys))}" for key in among)


def _varying(variants: Sequence[Variant], among: Iterable[str], keys: list[str]) -> list[str]:
    return [key for key in among if len(_distinct(_own(variant, key, keys) for variant in variants)) > 1]


def _own(variant: Variant, key: str, keys: Iterable[str]) -> Any:
    """What a variant holds under a key, without what stands under longer ones among the keys."""
    value, parts = variant.value(key), split_key(key)
    for other in map(split_key, keys):
        if len(other) > len(parts) and other[: len(parts)] == parts:
            *way, last = other[len(parts) :]
            place = lookup(value, way)
            if isinstance(place, dict):
                place.pop(last, None)
    return value


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        found += [] if value in found else [value]
    return found


def _axis(key: str, values: Iterable[Any], keys: Iterable[str]) -> Axis:
    return Axis(short_key(key, keys), tuple(words(value) for value in values))


def words(value: Any) -> str:
    """A value as a reader says it: `½ brief, ½ dominant` for a mixture, `brief` where it is all of it."""
    mixture = isinstance(value, Mapping) and value and all(isinstance(part, int | float) for part in value.values())
    if not mixture:
        return short_value(value)
    if len(value) == 1:
        return str(next(iter(value)))
    return ", ".join(f"{SHARES.get(share, f'{share:g}')} {name}" for name, share in value.items())
