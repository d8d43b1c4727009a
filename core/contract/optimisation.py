"""How something is trained: the fields that every fit shares, and those of a reranker's own fit."""

from __future__ import annotations

from dataclasses import dataclass

from .settings import Spec, setting


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW with a warm-up and a cosine to zero."""

    epochs: int = setting(10, "passes over the training pairs", ge=1, le=100_000)
    batch_size: int = setting(128, "pairs a step", ge=2, le=1_000_000)
    learning_rate: float = setting(1e-4, "peak of AdamW's rate", gt=0)
    weight_decay: float = setting(0.2, "of matrices; vectors and scalars have none", ge=0)
    warmup: float = setting(0.1, "share of the steps with a rising rate; then a cosine to zero", ge=0, le=1)
    clip_norm: float = setting(1.0, "limit of the gradient's norm", gt=0)
    keep: str = setting("best", "the weights kept: best on the validation split, or last", choices=("best", "last"))


@dataclass(frozen=True, kw_only=True)
class RerankerTraining(Optimisation):
    """A reranker's own fit, everything else frozen. A batch is pairs, each with wrong answers for who asks.

    >>> import core
    >>> core.RerankerTraining(losses={"match": core.Spec("matching", None)}, negatives=3).negatives
    3
    >>> core.RerankerTraining(losses={}, directions=())
    Traceback (most recent call last):
    ValueError: directions: is empty: no query would be trained on; leave it out, or name one
    """

    losses: dict[str, Spec] = setting(doc="what it minimises; `of: rerank` is the reranker's score", kind="loss")
    negatives: int = setting(1, "wrong answers drawn for each query of a batch", ge=1, le=10_000)
    negatives_from: str = setting(
        "first_stage", "how: the first stage's best wrong answers, or any", choices=("first_stage", "random")
    )
    pool: int = setting(100, "wrong answers kept for each query, of which they are drawn", ge=1, le=1_000_000)
    temperature: float = setting(
        0.05, "first_stage: drawn in proportion to exp(first stage's score / temperature)", gt=0
    )
    directions: tuple[str, ...] = setting(
        ("t2v", "v2t"), "who asks: texts get wrong videos, videos get wrong texts", choices=("t2v", "v2t")
    )
    validate_on: int = setting(20, "candidates a query that validation re-ranks", ge=1, le=1_000_000)

    def __post_init__(self) -> None:
        if not self.directions:
            raise ValueError("directions: is empty: no query would be trained on; leave it out, or name one")
