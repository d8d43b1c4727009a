"""Built-in rerankers: new scores for the candidates of the first stage."""

from collections.abc import Callable

from core import hookimpl

from .score_fusion import ScoreFusion


@hookimpl
def register_rerankers(register: Callable[[type], None]) -> None:
    register(ScoreFusion)
