"""Hypotheses stated before the run: evidence for each, then a verdict on all of them as one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ..errors import DataError
from .comparison import Z_POWER, Comparison, paired_test
from .families import holm
from .resampling import Alternative, Floats, paired_arms

LEVEL = 0.05
Z_POWER_OF_BOTH = 1.281552
"""As Z_POWER, where two one-sided tests must both succeed and neither truth lies nearer to one of them."""


@dataclass(frozen=True)
class Evidence:
    """What the data say on one hypothesis, before the family is corrected for.

    kind        better, no_worse, equivalent, larger_gain or cheaper
    bound       `by`, `margin`, `within` or `ratio`
    p           of the test of the claim; nan for `cheaper`, which is counted or timed and not tested
    as_claimed  the estimate lies where the claim puts it
    opposed     the 95 % interval lies wholly where the claim cannot be true
    observed    the difference turned so that larger is better; for `cheaper` the ratio
    comparison  difference and interval; None for `cheaper` and where there are none
    unseen      how often a loss of `bound` stays unseen where few queries pay it, as `rare_loss` says
    lacking     why there is none; "" where there is
    """

    kind: Literal["better", "no_worse", "equivalent", "larger_gain", "cheaper"]
    bound: float
    p: float
    as_claimed: bool
    opposed: bool
    observed: float
    comparison: Comparison | None = None
    unseen: float = 0.0
    lacking: str = ""


@dataclass(frozen=True)
class Verdict:
    """`supported`, `refuted` or `not decided`, with the p corrected for `family` hypotheses and the reason in words."""

    verdict: Literal["supported", "refuted", "not decided"]
    p_corrected: float
    family: int
    reason: str
    evidence: Evidence


def better(differences: ArrayLike, clusters: ArrayLike | None = None, by: float = 0.0, **options: Any) -> Evidence:
    """The variant is better by more than `by` (points or ranks): two-sided test of difference - by, and the sign.

    differences [S, Q] or [Q] and `options` as in `paired_test`; with `higher_is_better=False` better means lower.
    """
    return _gain("better", differences, clusters, by, options)


def larger_gain(
    gain: ArrayLike, than: ArrayLike, clusters: ArrayLike | None = None, by: float = 0.0, **options: Any
) -> Evidence:
    """One gain exceeds another by more than `by`: a test of the difference of two differences, each [S, Q] or [Q]."""
    first, second = paired_arms(gain, than)
    return _gain("larger_gain", first - second, clusters, by, options)


def _gain(
    kind: Literal["better", "larger_gain"],
    differences: ArrayLike,
    clusters: ArrayLike | None,
    by: float,
    options: dict[str, Any],
) -> Evidence:
    sign = 1 if options.get("higher_is_better", True) else -1
    found = paired_test(differences, clusters, null=sign * by, **options)
    gain, _, high = found.gain
    return Evidence(kind, by, found.p, gain > by, high < by, gain, found)


def rare_loss(gain: ArrayLike, margin: float, clusters: int, span: float) -> Floats:
    """How often a mean loss of `margin` would show as a mean gain of `gain` or more, if few clusters pay it in full.

    The exact test of the null that no test on the differences themselves can refute: each of the clusters loses `span`,
    the most that one can lose, with probability margin / span, and the others nothing. Seeing no loss at all then has
    probability (1 - margin / span) ** clusters, 0.55 for a margin of 1 point of 100 and 60 clusters.
    """
    from scipy.stats import binom

    lost = np.ceil(np.maximum(0, -np.asarray(gain, dtype=np.float64)) * clusters / span - 1e-9)
    return np.asarray(binom.cdf(lost, clusters, min(1.0, margin / span)), dtype=np.float64)


def no_worse(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    margin: float,
    span: float | None = None,
    **options: Any,
) -> Evidence:
    """The variant is worse by less than `margin`: one-sided test, half of a TOST. Arguments as in `better`.

    span: the most that one query can lose, as 100 points; p is then not below that of `rare_loss`. None: not known.
    """
    higher = options.get("higher_is_better", True)
    alternative: Alternative = "greater" if higher else "less"
    found = paired_test(differences, clusters, null=-margin if higher else margin, alternative=alternative, **options)
    gain, _, high = found.gain
    p, unseen = _with_rare(found.p, gain, margin, found.n_clusters, span)
    return Evidence("no_worse", margin, p, gain > -margin, high < -margin, gain, found, unseen)


def equivalent(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    within: float,
    span: float | None = None,
    **options: Any,
) -> Evidence:
    """The arms differ by less than `within` either way: two one-sided tests, p the larger (TOST, Schuirmann 1987).

    span as in `no_worse`. `detectable` of its comparison is the smallest `within` that arms without any difference
    would keep with 80 % power.
    """
    found = paired_test(differences, clusters, null=-within, alternative="greater", **options)
    above = paired_test(differences, clusters, null=within, alternative="less", **options)
    gain, low, high = found.gain
    opposed = low > within or high < -within
    reach = found.detectable + (Z_POWER_OF_BOTH - Z_POWER) * found.standard_error
    shown = replace(found, detectable=reach)
    p, unseen = _with_rare(max(found.p, above.p), -abs(gain), within, found.n_clusters, span)
    return Evidence("equivalent", within, p, abs(gain) < within, opposed, gain, shown, unseen)


def _with_rare(p: float, gain: float, margin: float, clusters: int, span: float | None) -> tuple[float, float]:
    """The larger of p and that of `rare_loss`, and the latter where nothing is lost."""
    if span is None or not margin > 0:
        return p, 0.0
    seen, unseen = rare_loss([gain, 0.0], margin, clusters, span)
    return max(p, float(seen)), float(unseen)


def cheaper(cost: float, than: float, ratio: float = 1.0) -> Evidence:
    """The variant costs at most 1 / `ratio` of what it is compared with: counts or times, compared without a test.

    Raises DataError for costs that are not positive numbers.
    """
    if not (np.isfinite([cost, than]).all() and cost > 0 and than > 0):
        raise DataError(f"costs {cost} and {than} have no ratio: both must be positive numbers")
    held = than / cost >= ratio
    return Evidence("cheaper", ratio, np.nan, held, not held, than / cost)


def no_evidence(kind: str, bound: float, why: str) -> Evidence:
    """Of a hypothesis that cannot be tested, though it was to be, because of `why`: it will not be decided."""
    return Evidence("cheaper" if kind == "cheaper" else "better", bound, np.nan, False, False, np.nan, lacking=why)


def decide(evidence: Mapping[str, Evidence], level: float = LEVEL) -> dict[str, Verdict]:
    """Verdicts on all hypotheses of an experiment, one Holm family.

    *Supported*: the corrected p is below `level` and the estimate lies where claimed. *Refuted*: the 95 % interval lies
    wholly on the other side of the bound. Else *not decided*. `cheaper` is decided by its ratio and no member. One that
    lacks evidence counts as p = 1: what failed must not make the others' p smaller.
    """
    corrected = holm([1.0 if one.lacking and one.kind != "cheaper" else one.p for one in evidence.values()])
    family = int((~np.isnan(corrected)).sum())
    return {
        name: _verdict(one, float(p), family, level) for (name, one), p in zip(evidence.items(), corrected, strict=True)
    }


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _verdict(evidence: Evidence, p_corrected: float, family: int, level: float) -> Verdict:
    found = evidence.comparison
    if evidence.lacking:
        return Verdict("not decided", np.nan, family, evidence.lacking, evidence)
    if found is None:
        reason = f"{evidence.observed:.3g} times cheaper, claimed {evidence.bound:g}"
        return Verdict("supported" if evidence.as_claimed else "refuted", np.nan, family, reason, evidence)
    gain, low, high = found.gain
    reason = f"gain {gain:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, corrected p {_p(p_corrected)} of {family}"
    if evidence.opposed:
        return Verdict("refuted", p_corrected, family, reason, evidence)
    if evidence.as_claimed and p_corrected < level:
        return Verdict("supported", p_corrected, family, reason, evidence)
    return Verdict("not decided", p_corrected, family, reason + _could_have_shown(evidence, found), evidence)


def _could_have_shown(evidence: Evidence, found: Comparison) -> str:
    if evidence.unseen > LEVEL:
        return (
            f"; a loss of {evidence.bound:g} that few pay in full stays unseen in {evidence.unseen:.0%} of samples of "
            f"{found.n_clusters:,}: more are needed, or a wider bound"
        )
    if not np.isfinite(found.detectable):
        return ""
    if evidence.kind == "equivalent":
        return f"; equal arms would have been shown equivalent within {found.detectable:.2f} with 80 % power"
    null = -evidence.bound if evidence.kind == "no_worse" else evidence.bound
    return f"; a true gain of {null + found.detectable:+.2f} would have been seen with 80 % power"
