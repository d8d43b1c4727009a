"""Built-in losses: scores and auxiliary tensors of a batch -> a scalar."""

from collections.abc import Callable

from core import hookimpl

from .candidate_softmax import CandidateSoftmax
from .info_nce import InfoNCE
from .inter_consistency import InterConsistency
from .intra_diversity import IntraDiversity
from .matching import Matching
from .pearson import Pearson


@hookimpl
def register_losses(register: Callable[[type], None]) -> None:
    for loss in (CandidateSoftmax, InfoNCE, InterConsistency, IntraDiversity, Matching, Pearson):
        register(loss)
