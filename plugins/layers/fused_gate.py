"""What follows the dot products of a text-gated block, in one pass over them on a GPU. B videos, N tokens, Q queries.

Written with torch's operations it reads and writes tensors of [B, N, Q] about ten times, which at the size of frames
takes as long as the dot products themselves. These stay torch's: its float32 product is faster than one in Triton.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from plugins.layers.gating import token_weights

MAX_TOKENS = 64
"""More are not kept in registers."""


def fused_cosines(
    gate_dots: Tensor, dots: Tensor, mask: Tensor, gram: Tensor, temperatures: Sequence[float]
) -> list[Tensor] | None:
    """For each temperature the cosines [B, Q] of queries with what they pool, or None where torch must do it.

    With w = softmax(gate_dots / temperature) over the valid tokens of mask [B, N] it is sum(w * dots) over
    sqrt(w^T gram w): gate_dots and dots [B, N, Q], gram [B, N, N]. 0 where a video has no valid token. Sums are made
    in float32 whatever the dtype.

    None unless the tensors lie on a GPU in float32, float16 or bfloat16, have at most MAX_TOKENS tokens, want no
    gradient, and Triton is there and agrees with torch on a small case, tried once for each kind of input.
    """
    tokens = gate_dots.shape[1]
    wants_gradient = torch.is_grad_enabled() and any(x.requires_grad for x in (gate_dots, dots, gram))
    fits = gate_dots.is_cuda and tokens <= MAX_TOKENS and gate_dots.numel() > 0 and gate_dots.dtype != torch.float64
    if wants_gradient or not fits or not _agrees(gate_dots.device, gate_dots.dtype, tokens, dots is not gate_dots):
        return None
    from plugins.layers.fused_gate_kernel import cosines

    return list(cosines(gate_dots, None if dots is gate_dots else dots, mask, gram, temperatures))


@cache
def _agrees(device: torch.device, dtype: torch.dtype, tokens: int, other_gate: bool) -> bool:
    """Whether the kernel can be built for such input and gives what torch gives; warns where it cannot or does not."""
    try:
        from plugins.layers.fused_gate_kernel import cosines
    except ImportError:
        return False
    draw = torch.Generator().manual_seed(0)
    values, gates, queries = (F.normalize(torch.randn(3, tokens, 16, generator=draw), dim=-1) for _ in range(3))
    mask = torch.rand(3, tokens, generator=draw) < 0.7
    mask[:, 0] = True
    query = queries[0].T
    gram, dots, gate_dots = (x.to(device, dtype) for x in (values @ values.mT, values @ query, gates @ query))
    if not other_gate:
        gate_dots = dots
    mask = mask.to(device)
    weights = token_weights(gate_dots.double(), mask, 0.1)
    wanted = (weights * dots).sum(1) / (weights * (gram.double() @ weights)).sum(1).sqrt()
    try:
        found = cosines(gate_dots, dots if other_gate else None, mask, gram, [1.0, 0.1])[1].double()
        fault = None if torch.allclose(found, wanted, rtol=0, atol=1e-5 + torch.finfo(dtype).eps) else "it disagrees"
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
    if fault:
        warnings.warn(f"the fused text gate is not used, torch does its work: {fault}", RuntimeWarning, stacklevel=3)
    return fault is None
