"""Is a difference real? Paired tests on per-query values, corrections for families, verdicts on hypotheses.

Everything takes differences, variant minus baseline, one for each seed and query, and treats a cluster of queries (the
captions of one video) as one unit: it is flipped, resampled and counted as a whole. The estimate is the mean over all
queries; a cluster enters with the sum of its differences, so that with clusters of equal size this is the test on
cluster means.

One seed, or no training: sign-flip randomisation and a BCa bootstrap interval over clusters (Smucker et al. 2007, Efron
1987). They cover the sampling of queries. Two seeds or more: clusters and seeds are crossed random effects, and test
and interval carry both variances.
"""

from .comparison import Comparison, paired_medians, paired_test, paired_tests
from .families import CORRECTIONS, benjamini_hochberg, correct, holm, outcome
from .planning import detectable_difference, mcnemar, published_difference
from .resampling import DRAWS, sign_flip
from .scores import compare_scores
from .verdicts import (
    Evidence,
    Verdict,
    better,
    cheaper,
    decide,
    equivalent,
    larger_gain,
    no_evidence,
    no_worse,
    rare_loss,
)

__all__ = [
    "CORRECTIONS",
    "DRAWS",
    "Comparison",
    "Evidence",
    "Verdict",
    "benjamini_hochberg",
    "better",
    "cheaper",
    "compare_scores",
    "correct",
    "decide",
    "detectable_difference",
    "equivalent",
    "holm",
    "larger_gain",
    "mcnemar",
    "no_evidence",
    "no_worse",
    "outcome",
    "paired_medians",
    "paired_test",
    "paired_tests",
    "published_difference",
    "rare_loss",
    "sign_flip",
]
