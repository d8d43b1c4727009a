"""A diagnostic of score transforms: what they do as other sets of queries arrive together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core import Relevance, ScoreTransform, evaluate

CHUNKS = (1, 16, 100)
"""Queries that arrive together."""


def query_set_effects(
    transform: ScoreTransform, scores: Tensor, relevance: Relevance, bank: Tensor | None = None, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """{set of queries: (R1 without the transform, R1 with it)}, in percent.

    scores, relevance [Q, G]; bank [N, G] where the transform needs one. The sets: `all`, and `1 at a time`,
    `16 at a time`, `100 at a time`, the same queries in a random order; `uneven`: Q queries drawn with repetition, so
    that the item of rank r in popularity is asked for 1 / r as often as the first (which items are popular is drawn
    too). One that is not transductive has the same effect in the first four.
    """
    given = (bank,) if transform.needs_bank else ()
    found = {}
    for name, parts in _sets(relevance, np.random.default_rng(seed)):
        rows = np.concatenate(parts)
        with torch.inference_mode():
            together = parts if transform.transductive(transform.config) else [rows]
            changed = torch.cat([transform(scores[torch.from_numpy(part)], *given) for part in together])
        asked = _of(relevance, rows)
        found[name] = (_recall(scores[torch.from_numpy(rows)], asked), _recall(changed, asked))
    return found


def _sets(relevance: Relevance, draw: np.random.Generator) -> Iterator[tuple[str, list[NDArray[np.int64]]]]:
    """(name, rows of the queries that arrive together) of each set."""
    queries = relevance.shape[0]
    order = draw.permutation(queries)
    yield "all", [order]
    for size in CHUNKS:
        yield f"{size} at a time", [order[at : at + size] for at in range(0, queries, size)]
    wanted = relevance.indices[relevance.indptr[:-1]]  # of several relevant items the first
    _, place, counts = np.unique(wanted, return_inverse=True, return_counts=True)
    chance = (1 / (1 + draw.permutation(len(counts))) / counts)[place]
    yield "uneven", [draw.choice(queries, queries, p=chance / chance.sum())]


def _of(relevance: Relevance, rows: NDArray[np.int64]) -> Relevance:
    """What is relevant to some queries, in this order."""
    items = [relevance.indices[relevance.indptr[row] : relevance.indptr[row + 1]] for row in rows]
    asking = np.repeat(np.arange(len(rows)), [len(some) for some in items])
    return Relevance.from_pairs(asking, np.concatenate(items), (len(rows), relevance.shape[1]))


def _recall(scores: Tensor, relevance: Relevance) -> float:
    return evaluate(scores.numpy(), relevance, ["R1"], ["t2v"]).metrics["t2v/R1"]


def table(effects: Mapping[str, tuple[float, float]]) -> str:
    """The effects as a Markdown table."""
    lines = [f"| {name} | {before:.1f} | {after:.1f} |" for name, (before, after) in effects.items()]
    return "\n".join(["| queries | R1 | R1 with the transform |", "|---|---|---|", *lines])
