"""Correction for multiple comparisons, and the outcome of a variant after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .comparison import Comparison
from .resampling import Floats

Outcome = Literal["better", "worse", "n.s.", "not tested"]


def holm(p: ArrayLike) -> Floats:
    """p corrected for the family that they form (Holm 1979), which bounds the chance of any false positive.

    nan (not tested) stays nan and does not count as a member.
    """
    raw = np.asarray(p, dtype=np.float64)
    corrected, tested = np.full(raw.shape, np.nan), np.flatnonzero(~np.isnan(raw))
    order = tested[np.argsort(raw[tested], kind="stable")]
    # the smallest p times the number of tests, the next times one less, …; never smaller than the one before
    steps = raw[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def benjamini_hochberg(p: ArrayLike) -> Floats:
    """p corrected for the share of false positives among the findings (Benjamini & Hochberg 1995); nan as in `holm`."""
    from scipy.stats import false_discovery_control

    raw = np.asarray(p, dtype=np.float64)
    corrected, tested = np.full(raw.shape, np.nan), ~np.isnan(raw)
    if tested.any():
        corrected[tested] = false_discovery_control(raw[tested])
    return corrected


CORRECTIONS = {"holm": holm, "benjamini_hochberg": benjamini_hochberg}


def correct(comparisons: Mapping[str, Comparison], method: str = "holm", failed: int = 0) -> dict[str, Comparison]:
    """The comparisons, one family, with `p_corrected` by one of `CORRECTIONS` and the size of the family, which the
    baseline is no member of.

    failed: members without a comparison. They count as p = 1: a failure must not make the others' p smaller.
    """
    corrected = CORRECTIONS[method]([*(comparison.p for comparison in comparisons.values()), *[1.0] * failed])
    size = int((~np.isnan(corrected)).sum())
    corrected = corrected[: len(comparisons)]
    return {
        name: replace(comparison, p_corrected=float(p), correction=method, family=size)
        for (name, comparison), p in zip(comparisons.items(), corrected, strict=True)
    }


def outcome(comparison: Comparison, level: float = 0.05) -> Outcome:
    """Of a variant against the baseline, by the corrected p and the sign; `not tested` outside a family or for MdR."""
    if np.isnan(comparison.p_corrected):
        return "not tested"
    if comparison.p_corrected >= level:
        return "n.s."
    return "better" if comparison.gain[0] > 0 else "worse"
