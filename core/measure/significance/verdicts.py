"""Hypotheses stated before the run: evidence for each, then a verdict on all of them as one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from ...errors import DataError
from .comparison import Comparison, paired_test
from .corrections import holm
from .guards import rare_loss, unseen_collapse
from .inversion import LEVEL
from .resampling import Alternative, cluster_labels, paired_arms


@dataclass(frozen=True)
class Evidence:
    """What the data say on one hypothesis, before the family is corrected for.

    kind        better, no_worse, equivalent, larger_gain or cheaper
    bound       `by`, `margin`, `within` or `ratio`
    p           of the test of the claim; nan for `cheaper`, which is counted or timed and not tested
    as_claimed  the estimate lies where the claim puts it
    p_opposed   of the two-sided test that would refute the claim, where the estimate lies on the other side of the
                bound; 1 where it does not
    observed    the difference turned so that larger is better; for `cheaper` the ratio
    comparison  difference and interval; None for `cheaper` and where there are none
    unseen      how often a loss of `bound` stays unseen where few queries pay it, as `rare_loss` says
    collapse    how often a collapse of training that breaks `bound` stays unseen in so many seeds; 0 for one seed,
                which says nothing of others, and where the claim is about the seeds as seen
    as_seen     the claim is about the seeds as seen
    lacking     why there is none; "" where there is
    """

    kind: Literal["better", "no_worse", "equivalent", "larger_gain", "cheaper"]
    bound: float
    p: float
    as_claimed: bool
    p_opposed: float
    observed: float
    comparison: Comparison | None = None
    unseen: float = 0.0
    collapse: float = 0.0
    as_seen: bool = False
    lacking: str = ""

    @property
    def member(self) -> float:
        """The p that enters the family: of the one verdict that the estimate allows; 1 where evidence is lacking, so
        that what failed does not make the others' p smaller."""
        if self.lacking:
            return np.nan if self.kind == "cheaper" else 1.0
        return self.p if self.as_claimed else self.p_opposed


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
    comparison = paired_test(differences, clusters, null=sign * by, **options)
    gain = comparison.gain[0]
    return Evidence(kind, by, comparison.p, gain > by, comparison.p if gain < by else 1.0, gain, comparison)


def no_worse(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    margin: float,
    span: float | None = None,
    seeds_as_seen: bool = False,
    **options: Any,
) -> Evidence:
    """The variant is worse by less than `margin`: one-sided test, half of a TOST. Arguments as in `better`.

    span: the most that one query can lose, as 100 points; p is then not below that of `rare_loss`. None: not known.
    seeds_as_seen: the claim is about these seeds; else p is not below `unseen_collapse`.
    """
    higher = options.get("higher_is_better", True)
    alternative: Alternative = "greater" if higher else "less"
    null = -margin if higher else margin
    comparison = paired_test(differences, clusters, null=null, alternative=alternative, **options)
    gain = comparison.gain[0]
    opposed = paired_test(differences, clusters, null=null, **options).p if gain < -margin else 1.0
    evidence = Evidence(
        "no_worse", margin, comparison.p, gain > -margin, opposed, gain, comparison, as_seen=seeds_as_seen
    )
    return _guarded(evidence, gain, clusters, span)


def equivalent(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    within: float,
    span: float | None = None,
    seeds_as_seen: bool = False,
    **options: Any,
) -> Evidence:
    """The arms differ by less than `within` either way: two one-sided tests, p the larger (TOST, Schuirmann 1987).

    span and seeds_as_seen as in `no_worse`. `detectable` of its comparison is the smallest `within` that arms without
    any difference would keep with 80 % power.
    """
    comparison = paired_test(differences, clusters, null=-within, alternative="greater", aim="both", **options)
    above = paired_test(differences, clusters, null=within, alternative="less", **options)
    gain, difference = comparison.gain[0], comparison.difference
    nearest = within if difference > 0 else -within
    opposed = paired_test(differences, clusters, null=nearest, **options).p if abs(gain) > within else 1.0
    p = max(comparison.p, above.p)
    evidence = Evidence("equivalent", within, p, abs(gain) < within, opposed, gain, comparison, as_seen=seeds_as_seen)
    return _guarded(evidence, -abs(gain), clusters, span)


def _guarded(evidence: Evidence, gain: float, clusters: ArrayLike | None, span: float | None) -> Evidence:
    """With a p not below that of what would not have been seen: losses that few queries pay, or few seeds."""
    comparison, margin = evidence.comparison, evidence.bound
    if comparison is None:
        return evidence
    seen = unseen = collapse = 0.0
    if span is not None and margin > 0:
        sizes = np.bincount(cluster_labels(clusters, comparison.n_queries))
        seen, unseen = rare_loss([gain, 0.0], margin, sizes, span).tolist()
    if comparison.seeds > 1 and not evidence.as_seen:
        collapse = unseen_collapse(comparison.seeds, margin, span)
    return replace(evidence, p=max(evidence.p, seen, collapse), unseen=unseen, collapse=collapse)


def cheaper(cost: float, than: float, ratio: float = 1.0) -> Evidence:
    """The variant costs at most 1 / `ratio` of what it is compared with: counts or times, compared without a test.

    Raises DataError for costs that are not positive numbers.
    """
    if not (np.isfinite([cost, than]).all() and cost > 0 and than > 0):
        raise DataError(f"costs {cost} and {than} have no ratio: both must be positive numbers")
    held = than / cost >= ratio
    return Evidence("cheaper", ratio, np.nan, held, np.nan, than / cost)


def no_evidence(kind: str, bound: float, why: str) -> Evidence:
    """Of a hypothesis that cannot be tested, though it was to be, because of `why`: it will not be decided."""
    return Evidence("cheaper" if kind == "cheaper" else "better", bound, np.nan, False, np.nan, np.nan, lacking=why)


def decide(evidence: Mapping[str, Evidence], level: float = LEVEL) -> dict[str, Verdict]:
    """Verdicts on all hypotheses of an experiment, one Holm family of both verdicts.

    *Supported*: the estimate lies where claimed, and the corrected p of the claim is below `level`. *Refuted*: it lies
    on the other side of the bound, and the corrected p of the two-sided test of the bound is. Else *not decided*. A
    claim is one member: of its two verdicts only one can be wrong. `cheaper` is decided by its ratio and no member.
    """
    corrected = holm([claim.member for claim in evidence.values()])
    family = int((~np.isnan(corrected)).sum())
    return {
        name: _verdict(claim, float(p), family, level)
        for (name, claim), p in zip(evidence.items(), corrected, strict=True)
    }


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _verdict(evidence: Evidence, p_corrected: float, family: int, level: float) -> Verdict:
    comparison = evidence.comparison
    if evidence.lacking:
        return Verdict("not decided", np.nan, family, evidence.lacking, evidence)
    if comparison is None:
        reason = f"{evidence.observed:.3g} times cheaper, claimed {evidence.bound:g}"
        return Verdict("supported" if evidence.as_claimed else "refuted", np.nan, family, reason, evidence)
    gain, low, high = comparison.gain
    reason = f"gain {gain:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}, corrected p {_p(p_corrected)} of {family}"
    if comparison.seeds > 1 and evidence.as_seen:
        reason += f"; of the {comparison.seeds} seeds as seen: a collapse in others is not excluded"
    if p_corrected < level:
        return Verdict("supported" if evidence.as_claimed else "refuted", p_corrected, family, reason, evidence)
    return Verdict("not decided", p_corrected, family, reason + _could_have_shown(evidence, comparison), evidence)


def _could_have_shown(evidence: Evidence, comparison: Comparison) -> str:
    bound = evidence.bound
    if evidence.unseen > LEVEL:
        return (
            f"; a loss of {bound:g} that few pay in full stays unseen in {evidence.unseen:.0%} of samples of "
            f"{comparison.n_clusters:,}: more are needed, or a wider bound"
        )
    if evidence.collapse > LEVEL and evidence.as_claimed:
        return (
            f"; runs that collapse, one in ten, and break {bound:g} on average stay unseen in {evidence.collapse:.0%} "
            f"of sets of {comparison.seeds} seeds: more are needed, or the claim says `seeds: as seen`"
        )
    if not np.isfinite(comparison.detectable):
        return ""
    if evidence.kind == "equivalent":
        return f"; equal arms would have been shown equivalent within {comparison.detectable:.2f} with 80 % power"
    null = -bound if evidence.kind == "no_worse" else bound
    return f"; a true gain of {null + comparison.detectable:+.2f} would have been seen with 80 % power"
