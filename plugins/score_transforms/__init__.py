"""Built-in score transforms: scores of the first stage -> other scores, before candidates are taken."""

from collections.abc import Callable

from core import hookimpl

from .dual_softmax import DualSoftmax
from .inverted_softmax import InvertedSoftmax
from .qb_norm import QueryBankNorm
from .z_score import ZScore


@hookimpl
def register_score_transforms(register: Callable[[type], None]) -> None:
    for transform in (DualSoftmax, InvertedSoftmax, QueryBankNorm, ZScore):
        register(transform)
