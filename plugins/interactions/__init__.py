"""Built-in interactions: (text features, video features) -> scores [B_t, B_v]."""

from collections.abc import Callable

from core import hookimpl

from .given_scores import GivenScores
from .learnable_queries import LearnableQueries
from .mean_pooling import MeanPooling
from .tib import TextGatedBlock
from .weighted_similarity import WeightedSimilarity


@hookimpl
def register_interactions(register: Callable[[type], None]) -> None:
    for interaction in (GivenScores, LearnableQueries, MeanPooling, TextGatedBlock, WeightedSimilarity):
        register(interaction)
