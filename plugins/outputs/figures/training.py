"""Loss and validation metric of every training, by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from core.outputs import Fit, Result, Variant

from ..axes import keys_of, settings_in_words, varying
from .intervals import Floats
from .style import COLOURS, MARKERS, MOST_LINES, entitle, height, stacked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"model": "train", "reranker": "rerank"}
"""What is trained, and what `Trial.fits` calls it."""


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
    def size(self) -> tuple[float, float]:
        """Higher where the legend is."""
        return 5.6, 4.3 + sum(height(stacked(name, 31)) for name in self.lines[::2])

    @property
    def caption(self) -> str:
        validated = f" and {self.metric} on the validation split" if self._validated else ""
        told = ": solid with filled marks the metric, dotted with hollow marks the loss" if self._validated else ""
        return f"Training of the {self.part}: loss{validated}, by epoch{told}"

    @property
    def _validated(self) -> bool:
        return not bool(np.isnan(self.validation).all())

    @classmethod
    def of(cls, result: Result, part: str) -> Training | None:
        """None where nothing of the part is trained, where a record is missing, and where there are more lines than can
        be told apart."""
        by_fits = _variants_by_fits(result, PARTS[part])
        if not by_fits or len(by_fits) > MOST_LINES:
            return None
        lines = [fits for _, fits in by_fits]
        seeds, epochs = max(map(len, lines)), max(len(fit.history) for fits in lines for fit in fits)
        loss, validation = np.full((2, len(lines), seeds, epochs), np.nan)
        best = np.zeros((len(lines), seeds), dtype=np.int64)
        for number, fits in enumerate(lines):
            for seed, fit in enumerate(fits):
                loss[number, seed, : len(fit.history)] = [record["loss"] for record in fit.history]
                validation[number, seed, : len(fit.history)] = [r.get("validation", np.nan) for r in fit.history]
                best[number, seed] = fit.best_epoch
        names = _names(result, [variants for variants, _ in by_fits])
        return cls(part, result.primary, names, loss, validation, best)

    def draw(self, axes: Axes) -> None:
        """Validation, where there is one, by epoch, the kept epochs marked; the loss dotted, with its own axis."""
        below = axes.twinx() if self._validated else axes
        for number, name in enumerate(self.lines):
            for seed in range(self.loss.shape[1]):
                self._draw_seed(axes, below, number, seed, stacked(name, 31) if seed == 0 else None)
        axes.spines["top"].set_visible(False)
        axes.grid(axis="y", color="0.9")
        epochs = self.loss.shape[2]
        axes.set_xlim(0.7, epochs + 0.3)
        axes.set_xticks(np.unique(np.linspace(1, epochs, min(epochs, 10)).round()))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{self.metric} on the validation split (solid)" if self._validated else "loss")
        key = "a line for each seed"
        if self._validated:
            _keep_to(axes, 1.0, 0.0)
            _keep_to(below, 0.0, 1.0)
            below.spines["top"].set_visible(False)
            below.set_ylabel("loss (dotted, hollow marks)")
            key = (
                f"solid: {self.metric} (above, left axis), dotted with hollow marks: loss (below, right axis); {key}; "
            )
            key += "large mark: the epoch whose weights were kept"
        entitle(axes, f"training of the {self.part}", "", key)
        if len(self.lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=8, frameon=False, ncols=2)

    def _draw_seed(self, axes: Axes, below: Axes, number: int, seed: int, label: str | None) -> None:
        """The loss of one training into one pair of axes, its validation into the other."""
        epochs = np.arange(1, self.loss.shape[2] + 1)
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        shared: dict[str, Any] = {"color": colour, "alpha": 0.8, "marker": marker, "markersize": 3.5}
        loss, measured = self.loss[number, seed], self.validation[number, seed]
        if not self._validated:
            below.plot(epochs, loss, linewidth=1.4, label=label, **shared)
            return
        below.plot(epochs, loss, linestyle=":", linewidth=1.2, markerfacecolor="white", **shared)
        there = ~np.isnan(measured)
        axes.plot(epochs[there], measured[there], linewidth=1.4, label=label, **shared)
        best = self.best[number, seed]
        axes.plot(best, measured[best - 1], color=colour, marker=marker, markersize=8, markeredgecolor="black")


def _keep_to(axes: Axes, below: float, above: float) -> None:
    """Leave room below and above what is drawn, as shares of its height, without ticks."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    axes.set_yticks(ticks)
    axes.set_ylim(low - below * (high - low), high + above * (high - low))


def trainings(result: Result) -> dict[str, Training]:
    """{part: training} of the model and of rerankers."""
    figures = {part: Training.of(result, part) for part in PARTS}
    return {part: figure for part, figure in figures.items() if figure is not None}


def _variants_by_fits(result: Result, part: str) -> list[tuple[list[Variant], list[Fit]]]:
    """[(variants, their fits, one a seed)] of each distinct training; none where the record of a fit is missing."""
    by_fits: dict[tuple[str, ...], tuple[list[Variant], list[Fit]]] = {}
    for row in sorted(result.rows, key=lambda row: not row.whole):
        stored = [trial.fits[part] for trial in row.results if part in trial.fits]
        fits = [fit for fit in stored if fit is not None]
        if len(fits) < len(stored):
            return []
        keys = tuple(fit.key for fit in fits)
        if row.failed:  # what is left of its fits may be some of another's
            keys = next((others for others in by_fits if {*keys} <= {*others}), keys)
        if fits:
            by_fits.setdefault(keys, ([], fits))[0].append(row.variant)
    return list(by_fits.values())


def _names(result: Result, groups: list[list[Variant]]) -> tuple[str, ...]:
    """What the variants of each training have in common and those of the others have not; else their first name."""
    keys, firsts = keys_of(result), [variants[0] for variants in groups]
    shared = [key for key in varying(firsts, keys, keys) if not any(varying(group, [key], keys) for group in groups)]
    names = tuple(settings_in_words(first, shared, keys) for first in firsts)
    return names if len({*names}) == len(groups) else tuple(first.name for first in firsts)
