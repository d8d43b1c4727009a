"""An approximate index of a gallery, from FAISS: an optional extra."""

from __future__ import annotations

import math
from importlib.util import find_spec

import torch
from torch import Tensor

from .scoring import blocks, top


def is_installed() -> bool:
    return find_spec("faiss") is not None


@torch.inference_mode()
def approximate(queries: Tensor, vectors: Tensor, top_k: int) -> Tensor:
    """Rows [Q, K] of vectors [N, D] that should have the largest dot products with queries [Q, D], best first.

    An inverted file: √N cells by k-means, of which the eighth nearest to a query is looked through, dot by dot; -1
    where these hold fewer than K vectors. Fewer candidates are the first columns of more. Takes 4 · N · D bytes.
    """
    import faiss

    cells = max(1, round(math.sqrt(len(vectors))))
    width = vectors.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = math.ceil(cells / 8)
    index.cp.min_points_per_centroid = 1  # small galleries are no reason for a warning
    sample = slice(None, None, max(1, len(vectors) // (256 * cells)))
    index.train(vectors[sample].float().numpy())
    for part in blocks(len(vectors), 1 << 16):
        index.add(vectors[part].float().numpy())
    return torch.from_numpy(index.search(queries.float().numpy(), min(top_k, len(vectors)))[1])


def completed(candidates: Tensor, scores: Tensor) -> Tensor:
    """Candidates [Q, K] where an index found fewer, which it marks by -1: the best others by their scores [Q, N]."""
    candidates = candidates.clone()
    for row in (candidates < 0).any(1).nonzero().flatten().tolist():
        have = candidates[row][candidates[row] >= 0]
        rest = scores[row].index_fill(0, have, -torch.inf)
        candidates[row, len(have) :] = top(rest[None], candidates.shape[1] - len(have))[0]
    return candidates


def recall(candidates: Tensor, exact: Tensor) -> float:
    """Percent of the exact candidates [Q, K] that are among those found [Q, K]."""
    # Rows are moved apart, so that one `isin` compares each with its own; the + 2 leaves room for -1, which is no row.
    offsets = (max(int(candidates.max()), int(exact.max())) + 2) * torch.arange(len(exact))[:, None]
    return 100 * torch.isin(exact + offsets, candidates + offsets).float().mean().item()
