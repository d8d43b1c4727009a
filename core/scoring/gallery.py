"""The best of a gallery for each query, exactly, without a score matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..components import Interaction
from ..features import TextFeatures, VideoFeatures
from .all_pairs import score_blocks
from .blocks import blocks
from .memory import block_floats

CACHED = {"cpu": 2**19, "cuda": 2**26}
"""Floats of vectors that are multiplied at a time: on a CPU what its inner caches hold after widening."""
RUN = 2**16
"""Rows whose products are looked through at a time, at most."""


def top(scores: Tensor, top_k: int) -> Tensor:
    """Columns [Q, K] of the largest scores of each row, best first, equal ones in order of column; K is at most N."""
    top_k = min(top_k, scores.shape[1])
    best, places = scores.topk(top_k, dim=1, sorted=False)
    if top_k:
        at_edge = (scores >= best.amin(1, keepdim=True)).sum(1) > top_k  # equal scores, of which topk takes any
        places[at_edge] = scores[at_edge].sort(dim=1, descending=True, stable=True).indices[:, :top_k]
    places = places.sort(dim=1).values
    return places.gather(1, scores.gather(1, places).sort(dim=1, descending=True, stable=True).indices)


@torch.inference_mode()
def nearest(queries: Tensor, vectors: Tensor, top_k: int, device: Any = None) -> tuple[Tensor, Tensor]:
    """(dot products [Q, K] float32, rows [Q, K]) of the `top_k` vectors [N, D] with the largest dot products.

    Exact, best first, equal ones in order of row; K is at most N. Vectors may be memory-mapped and of any precision:
    each is read once, and multiplied in float32. Beside them no more than a block of products is alive.
    """
    return _best(_products(queries.to(device, torch.float32), vectors, device), len(queries), top_k)


def _products(queries: Tensor, vectors: Tensor, device: Any) -> Iterator[tuple[int, Tensor]]:
    """(first row, products [Q, rows]) of one run of vectors after another."""
    kind = torch.device(device or "cpu").type
    width = vectors.shape[1]
    rows = max(1, CACHED.get(kind, CACHED["cuda"]) // max(1, width))
    run = max(rows, min(RUN, block_floats(device) // max(1, 2 * len(queries))))
    wide = torch.empty(min(rows, len(vectors)), width, device=device)
    for part in blocks(len(vectors), run):
        found = torch.empty(len(queries), part.stop - part.start, device=device)
        for few in blocks(part.stop - part.start, rows):
            given = vectors[part.start + few.start : part.start + few.stop]
            widened = wide[: len(given)].copy_(given, non_blocking=True)
            found[:, few] = queries @ widened.T
        yield part.start, found


@torch.inference_mode()
def search(
    interaction: Interaction, text: TextFeatures, video: VideoFeatures, top_k: int, **options: Any
) -> tuple[Tensor, Tensor]:
    """(scores [B_t, K], video rows [B_t, K]) of the `top_k` videos that an interaction scores best for each text.

    Best first, equal ones in order of row; K is at most B_v. The score matrix is never whole. Options as of
    `score_blocks`.
    """
    found = score_blocks(interaction, [interaction.config], text, video, **options)
    return _best(((columns.start, made[0]) for columns, made in found), len(text), top_k)


def _best(runs: Iterable[tuple[int, Tensor]], queries: int, top_k: int) -> tuple[Tensor, Tensor]:
    """The best (scores, columns) [Q, K] over runs of columns (first column, scores [Q, columns]), in rising order."""
    scores, columns = torch.empty(queries, 0), torch.empty(queries, 0, dtype=torch.int64)
    for start, found in runs:
        places = top(found, top_k)
        scores = torch.cat([scores, found.gather(1, places).float().cpu()], dim=1)
        columns = torch.cat([columns, places.cpu() + start], dim=1)
        rising = columns.argsort(dim=1)
        scores, columns = scores.gather(1, rising), columns.gather(1, rising)
        kept = top(scores, top_k)
        scores, columns = scores.gather(1, kept), columns.gather(1, kept)
    return scores, columns
