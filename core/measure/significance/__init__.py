"""Is a difference real? Paired tests on per-query values, corrections for families, verdicts on hypotheses.

Everything takes differences, variant minus baseline, one for each seed and query, and treats a cluster of queries (the
captions of one video) as one unit: it is flipped, resampled and counted as a whole. The estimate is the mean over all
queries; a cluster enters with the sum of its differences, so that with clusters of equal size this is the test on
cluster means.

One seed, or no training: sign-flip randomisation (Smucker et al. 2007) and a t corrected for skewness (Hall 1992) must
both reject, and the interval holds all differences that they do not. They cover the sampling of queries. Two seeds or
more: clusters and seeds are crossed random effects, and test and interval carry both variances.
"""

from .comparison import Comparison, paired_medians, paired_test, paired_tests
from .corrections import CORRECTIONS, benjamini_hochberg, correct, holm, outcome
from .guards import effective_number, rare_loss, unseen_collapse, unseen_loss
from .inversion import sign_flip
from .needed import MOST_SEEDS, Needed, needed
from .planning import detectable_difference, mcnemar, published_difference, smallest_margin
from .resampling import DRAWS
from .scores import compare_scores
from .verdicts import Evidence, Verdict, better, cheaper, decide, equivalent, larger_gain, no_evidence, no_worse

__all__ = [
    "CORRECTIONS",
    "DRAWS",
    "MOST_SEEDS",
    "Comparison",
    "Evidence",
    "Needed",
    "Verdict",
    "benjamini_hochberg",
    "better",
    "cheaper",
    "compare_scores",
    "correct",
    "decide",
    "detectable_difference",
    "effective_number",
    "equivalent",
    "holm",
    "larger_gain",
    "mcnemar",
    "needed",
    "no_evidence",
    "no_worse",
    "outcome",
    "paired_medians",
    "paired_test",
    "paired_tests",
    "published_difference",
    "rare_loss",
    "sign_flip",
    "smallest_margin",
    "unseen_collapse",
    "unseen_loss",
]
