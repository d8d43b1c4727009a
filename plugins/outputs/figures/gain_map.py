"""The gain that a hypothesis claims, at each setting of two axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.outputs import Decision, Hypothesis, Result

from ..axes import Axis, axis, distinct, keys_of, own, settings_in_words, shared_settings, varying
from .intervals import Floats
from .style import entitle, fixed_at, label_cells, size_of_cells, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    def size(self) -> tuple[float, float]:
        return size_of_cells(self.rows, self.columns, 0.85)

    @property
    def caption(self) -> str:
        settings = f"each {self.rows.name} and {self.columns.name}{fixed_at(self.held)}"
        return f"{self.claim}: gain in {self.metric} at {settings}"

    @property
    def clear(self) -> NDArray[np.bool_]:
        """Where the interval excludes 0, [rows, columns]."""
        return (self.low > 0) | (self.high < 0)

    @classmethod
    def of(cls, result: Result, name: str, group: list[Hypothesis]) -> GainMap | None:
        """That of the hypotheses that one name stands for; None where they leave other than two axes open."""
        keys = keys_of(result)
        shared = [key for key in keys if all(h.variant.value(key) == h.other.value(key) for h in group)]
        axes = varying([h.variant for h in group], shared, keys)
        if len(axes) != 2:
            return None
        settings = [[own(h.variant, key, keys) for key in axes] for h in group]
        values = [distinct(column) for column in zip(*settings, strict=True)]
        decisions = {decision.hypothesis.name: decision for decision in result.decisions}
        cells = np.full((3, len(values[0]), len(values[1])), np.nan)
        for hypothesis, (row, column) in zip(group, settings, strict=True):
            decision = decisions.get(hypothesis.name)
            comparison = decision.verdict.evidence.comparison if decision else None
            if comparison is not None:
                cells[:, values[0].index(row), values[1].index(column)] = comparison.gain
        differing = varying((group[0].variant, group[0].other), keys, keys)
        arms = [arm for h in group for arm in (h.variant, h.other)]
        held = shared_settings(result, arms, [*axes, *differing])
        rows, columns = (axis(key, taken, keys) for key, taken in zip(axes, values, strict=True))
        claim = _claim(name, group, differing, keys, decisions)
        return cls(claim, held, group[0].metric, rows, columns, *cells)

    def draw(self, axes: Axes) -> None:
        """Cells coloured by the gain, blue for more; each with gain and interval."""
        limit = np.nanmax(np.abs(self.gain), initial=1e-9)
        colours = np.ma.masked_invalid(self.gain)
        axes.pcolormesh(colours, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=1.5)
        for row, column in np.ndindex(self.gain.shape):
            x, y = column + 0.5, row + 0.5
            gain, low, high = (float(values[row, column]) for values in (self.gain, self.low, self.high))
            if np.isnan(gain):
                axes.text(x, y, "not decided", va="center", ha="center", color="0.4")
                continue
            colour = "white" if abs(gain) > 0.6 * limit else "black"
            weight = "bold" if self.clear[row, column] else "normal"
            ends = f"{low:+.1f} to {high:+.1f}"
            axes.text(x, row + 0.47, f"{gain:+.1f}", va="bottom", ha="center", color=colour, weight=weight)
            axes.text(x, row + 0.53, ends, va="top", ha="center", color=colour, fontsize=7.5)
        label_cells(axes, self.rows, self.columns)
        key = f"gain in {self.metric}, {unit(self.metric)}; bold: the 95 % interval excludes 0"
        entitle(axes, self.claim, self.held, key)


def gain_maps(result: Result) -> dict[str, GainMap]:
    """{hypothesis: map} of each hypothesis with two open axes, in the order of the file."""
    groups: dict[str, list[Hypothesis]] = {}
    for hypothesis in result.hypotheses:
        if hypothesis.kind in ("cheaper", "larger_gain"):  # no gain, or one of four arms
            continue
        groups.setdefault(hypothesis.name.partition(" [")[0], []).append(hypothesis)
    maps = {name: GainMap.of(result, name, group) for name, group in groups.items()}
    return {name: gain_map for name, gain_map in maps.items() if gain_map is not None}


def _claim(
    name: str, group: list[Hypothesis], differing: list[str], keys: list[str], decisions: dict[str, Decision]
) -> str:
    """`name: first_stage frame over first_stage video`, with a mark where some of it was claimed after the fact."""
    arms = (group[0].variant, group[0].other)
    claim = f"{name}: {' over '.join(settings_in_words(arm, differing, keys) for arm in arms)}"
    late = any(decisions[h.name].post_hoc for h in group if h.name in decisions)
    return claim + (" (post hoc)" if late else "")
