"""Loss and validation metric of every training, by epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.outputs import Fit, Result, Variant

from ..axes import keys_of, settings_in_words, varying
from .intervals import Floats
from .style import COLOURS, MARKERS, MOST_LINES, entitle, stacked

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

    size = (5.6, 3.6)

    @property
    def caption(self) -> str:
        return f"Training of the {self.part}: loss and {self.metric} on the validation split, by epoch"

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
        epochs = np.arange(1, self.loss.shape[2] + 1)
        validated = not np.isnan(self.validation).all()
        below = axes.twinx() if validated else axes
        for number, name in enumerate(self.lines):
            colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
            style = {"linestyle": ":", "linewidth": 1.0} if validated else {"linewidth": 1.4}
            for seed, (loss, measured) in enumerate(zip(self.loss[number], self.validation[number], strict=True)):
                label = stacked(name, 36) if seed == 0 else None
                below.plot(epochs, loss, color=colour, alpha=0.8, label=None if validated else label, **style)
                if validated:
                    axes.plot(epochs, measured, color=colour, alpha=0.8, linewidth=1.4, label=label)
                    best = self.best[number, seed]
                    value = measured[best - 1]
                    axes.plot(best, value, color=colour, marker=marker, markersize=7, markeredgecolor="black")
        axes.spines["top"].set_visible(False)
        axes.grid(axis="y", color="0.9")
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{self.metric} on the validation split" if validated else "loss")
        key = "a line for each seed"
        if validated:
            below.spines["top"].set_visible(False)
            below.set_ylabel("loss (dotted)")
            key += "; mark: the epoch whose weights were kept"
        entitle(axes, f"training of the {self.part}", "", key)
        if len(self.lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), fontsize=8, frameon=False, ncols=2)


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
