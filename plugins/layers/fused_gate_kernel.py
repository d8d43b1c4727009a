"""The Triton kernel of `fused_gate`, which alone imports this module, where Triton is there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERIES, WARPS = 128, 4
"""Queries of one program, one a thread: what is summed over the tokens then stays in a thread's registers."""


def cosines(
    gate_dots: Tensor, dots: Tensor | None, mask: Tensor, gram: Tensor, temperatures: Sequence[float]
) -> Tensor:
    """Scores [S, B, Q], one [B, Q] a temperature; see `fused_gate.fused_cosines`. dots None: they are the gate's."""
    videos, tokens, queries = gate_dots.shape
    scores = gate_dots.new_empty(len(temperatures), videos, queries)
    inverse = torch.tensor([1 / t for t in temperatures], dtype=torch.float32, device=scores.device)
    with torch.cuda.device_of(scores):
        _score[(videos * triton.cdiv(queries, QUERIES),)](
            scores,
            gate_dots.contiguous(),
            None if dots is None else dots.contiguous(),
            mask.contiguous(),
            gram.contiguous(),
            inverse,
            len(temperatures),
            videos,
            queries,
            torch.finfo(scores.dtype).eps,
            TOKENS=tokens,
            ROWS=triton.next_power_of_2(tokens),
            QUERIES=QUERIES,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
    return scores


@triton.jit
def _score(
    scores: tl.tensor,
    gate_dots: tl.tensor,
    dots: tl.tensor,
    mask: tl.tensor,
    gram: tl.tensor,
    inverse_temperatures: tl.tensor,
    temperatures: tl.tensor,
    videos: tl.tensor,
    queries: tl.tensor,
    eps: tl.tensor,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    QUERIES: tl.constexpr,
) -> None:
    """One video with QUERIES queries. Dot products are read once and kept, [ROWS, QUERIES]; for w^T G w they are read
    again row by row, from the cache: registers cannot be addressed by a row's number."""
    tiles = tl.cdiv(queries, QUERIES)
    video = (tl.program_id(0) // tiles).to(tl.int64)
    query = tl.program_id(0) % tiles * QUERIES + tl.arange(0, QUERIES)
    asked = query < queries
    token = tl.arange(0, ROWS)
    there = token < TOKENS
    cells = (video * TOKENS + token)[:, None] * queries + query[None, :]
    inside = there[:, None] & asked[None, :]
    gate = tl.load(gate_dots + cells, inside, other=0).to(tl.float32)
    along_query = gate if dots is None else tl.load(dots + cells, inside, other=0).to(tl.float32)
    valid = (tl.load(mask + video * TOKENS + token, there, other=0) != 0)[:, None]
    largest = tl.max(tl.where(valid, gate, -float("inf")), 0)
    for setting in range(temperatures):
        sharpness = tl.load(inverse_temperatures + setting)
        weights = tl.exp(tl.where(valid, (gate - largest[None, :]) * sharpness, -float("inf")))
        square = tl.zeros_like(largest)
        for row in range(TOKENS):
            start = video * TOKENS + row
            dot = tl.load(gate_dots + start * queries + query, asked, other=0).to(tl.float32)
            weight = tl.exp(tl.where(tl.load(mask + start) != 0, (dot - largest) * sharpness, -float("inf")))
            products = tl.load(gram + start * TOKENS + token, there, other=0).to(tl.float32)
            square += weight * tl.sum(products[:, None] * weights, 0)
        # The weights have 1 as their largest, not as their sum: eps is scaled with them. No valid token: 0 / eps.
        least = eps * tl.maximum(tl.sum(weights, 0), 1)
        score = tl.sum(weights * along_query, 0) / tl.sqrt(tl.maximum(square, least * least))
        place = scores + (setting * videos + video) * queries + query
        tl.store(place, score.to(scores.dtype.element_ty), asked)
