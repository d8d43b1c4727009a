"""The best of a gallery for each query, exactly, without a score matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Interaction, Side
from ...contract.features import Features, TextFeatures, VideoFeatures
from ..model import Model
from .all_pairs import score_blocks
from .blocks import blocks, items_a_block
from .memory import block_floats
from .sides import Sides

CACHED = {"cpu": 2**19, "cuda": 2**26}
"""Floats of vectors that are multiplied at a time: on a CPU what its inner caches hold after widening."""
RUN = 2**16
"""Rows whose products are looked through at a time, at most."""
SCREENED = 2
"""Queries up to which rough products, each of which reads the vectors, are faster than widening them once."""


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
def nearest(
    queries: Tensor, vectors: Tensor, top_k: int, device: Any = None, longest: float | None = None
) -> tuple[Tensor, Tensor]:
    """(dot products [Q, K] float32, rows [Q, K]) of the `top_k` vectors [N, D] with the largest dot products.

    Exact, best first, equal ones in order of row; K is at most N. Vectors may be memory-mapped and of any precision:
    each is read once, and multiplied in float32. Beside them no more than a block of products is alive.
    longest: no vector is longer. Where that is known, few queries on a CPU go through float16 vectors at the speed of
    memory: rough products, whose error it bounds, leave a small number of vectors to be multiplied exactly.
    """
    queries = queries.to(device, torch.float32)
    here = torch.device(device or "cpu").type == "cpu"
    if longest is not None and here and vectors.dtype == torch.float16 and 0 < len(queries) <= SCREENED:
        scores, rows = zip(*(_screened(query, vectors, top_k, longest) for query in queries), strict=True)
        return torch.cat(scores), torch.cat(rows)
    return _best(_products(queries, vectors, device), len(queries), top_k)


def _screened(query: Tensor, vectors: Tensor, top_k: int, longest: float) -> tuple[Tensor, Tensor]:
    """(products, rows) [1, K]: the best of float16 vectors [N, D] for one query [D].

    torch sums products of float16 in float32 and rounds the sum. So a rough product is off by what the query lost in
    rounding, by the sum's own error and by the last rounding. Below the K-th best so far by more than that, none can be
    among the K best.
    """
    narrow, size = query.half(), longest * query.norm()
    doubt = 1.01 * longest * (query - narrow.float()).norm() + (2.0**-11 + 2.0**-24 * len(query)) * size
    scores, rows = torch.empty(1, 0), torch.empty(1, 0, dtype=torch.int64)
    for run in blocks(len(vectors), 4 * RUN):
        rough = torch.mv(vectors[run], narrow).float()
        least = scores[0, -1] if scores.shape[1] == top_k else rough.topk(min(top_k, len(rough))).values[-1] - doubt
        left = run.start + (~(rough < least - doubt)).nonzero().flatten()
        exact = query[None] @ vectors[left].float().T
        runs = [(rows[0], scores), (left, exact)]
        scores, rows = _best(runs, 1, top_k)
    return scores, rows


def _products(queries: Tensor, vectors: Tensor, device: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """(rows, products [Q, rows]) of one run of vectors after another."""
    kind = torch.device(device or "cpu").type
    width = vectors.shape[1]
    rows = max(1, CACHED.get(kind, CACHED["cuda"]) // max(1, width))
    run = max(rows, min(RUN, block_floats(device) // max(1, 2 * len(queries))))
    wide = torch.empty(min(rows, len(vectors)), width, device=device)
    for part in blocks(len(vectors), run):
        products = torch.empty(len(queries), part.stop - part.start, device=device)
        for few in blocks(part.stop - part.start, rows):
            chunk = vectors[part.start + few.start : part.start + few.stop]
            widened = wide[: len(chunk)].copy_(chunk, non_blocking=True)
            products[:, few] = queries @ widened.T
        yield torch.arange(part.start, part.stop), products


@torch.inference_mode()
def vectors_of(sides: Sides[Interaction]) -> tuple[Tensor, Tensor]:
    """The vectors [B_t, D] and [B_v, D] whose dot products an `inner_product` interaction scores by, on the CPU."""

    def vectors(side_of: Callable[[slice], Side], features: Features) -> Tensor:
        parts = blocks(len(features), items_a_block(features, sides.device))
        return torch.cat([side_of(rows)["vector"].float().cpu() for rows in parts])

    return vectors(sides.texts, sides.text), vectors(sides.videos, sides.video)


@torch.inference_mode()
def best_videos(
    interaction: Interaction,
    text: TextFeatures,
    video: VideoFeatures,
    top_k: int,
    *,
    model: Model | None = None,
    device: Any = None,
) -> tuple[Tensor, Tensor]:
    """(scores [B_t, K], video rows [B_t, K]) of the `top_k` videos that an interaction scores best for each text.

    Best first, equal ones in order of row; K is at most B_v. The score matrix is never whole. model: its feature
    transforms come first. device: where scores are computed; None: the CPU. Raises RunError where not even one pair
    fits on the GPU.

    >>> import core, torch
    >>> text, video = core.TextFeatures(sentence=torch.eye(3)[:2]), core.VideoFeatures(frames=torch.eye(3)[:, None])
    >>> scores, rows = core.best_videos(core.create("interaction", "mean_pooling"), text, video, top_k=1)
    >>> rows.tolist()
    [[0], [1]]
    """
    sides = Sides(interaction, text, video, model, device, "best videos")
    scored = score_blocks(sides, [interaction.config])
    runs = ((torch.arange(columns.start, columns.stop), scores[0]) for columns, scores in scored)
    return _best(runs, len(text), top_k)


def _best(runs: Iterable[tuple[Tensor, Tensor]], queries: int, top_k: int) -> tuple[Tensor, Tensor]:
    """The best (scores, columns) [Q, K] over runs of (columns, scores [Q, columns]), columns in rising order."""
    scores, columns = torch.empty(queries, 0), torch.empty(queries, 0, dtype=torch.int64)
    for at, block in runs:
        places = top(block, top_k)
        scores = torch.cat([scores, block.gather(1, places).float().cpu()], dim=1)
        columns = torch.cat([columns, at[places.cpu()]], dim=1)
        rising = columns.argsort(dim=1)
        scores, columns = scores.gather(1, rising), columns.gather(1, rising)
        kept = top(scores, top_k)
        scores, columns = scores.gather(1, kept), columns.gather(1, kept)
    return scores, columns
