"""Built-in rerankers: new scores for the candidates of the first stage."""

from collections.abc import Callable

from core import hookimpl

from .crosstvr import CrossTVR
from .score_fusion import ScoreFusion
from .vedje import Vedje


@hookimpl
def register_rerankers(register: Callable[[type], None]) -> None:
    for reranker in (CrossTVR, ScoreFusion, Vedje):
        register(reranker)
