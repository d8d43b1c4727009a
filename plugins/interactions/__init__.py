"""Built-in interactions: (text features, video features) -> scores [B_t, B_v]."""

from collections.abc import Callable

from core import hookimpl

from .mean_pooling import MeanPooling
from .tib import TextGatedBlock
from .weighted_similarity import WeightedSimilarity


@hookimpl
def register_interactions(register: Callable[[type], None]) -> None:
    for interaction in (MeanPooling, TextGatedBlock, WeightedSimilarity):
        register(interaction)
