"""fused_gate: the kernel in Triton's interpreter and compiled, without a GPU; on a GPU where there is one."""

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core import TextFeatures, Tokens, VideoFeatures
from plugins.interactions.tib import TextGatedBlock
from plugins.layers import fused_gate
from plugins.layers.fused_gate import MAX_TOKENS, fused_cosines

ROOT = Path(__file__).parents[2]
KERNEL = "plugins.layers.fused_gate_kernel"
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

# tokens, queries, temperatures, separate gate, dtype; a program has 128 queries, and rows of tokens by powers of two
CASES = {
    "frames": (12, 130, (0.01, 0.1, 1.0), False, torch.float32),
    "separate gate": (12, 3, (0.1,), True, torch.float32),
    "one token": (1, 5, (0.1,), False, torch.float32),
    "power of two": (8, 128, (0.1, 5.0), True, torch.float32),
    "most tokens": (MAX_TOKENS, 7, (0.05,), True, torch.float32),
    "float16": (12, 9, (0.1,), True, torch.float16),
    "bfloat16": (5, 9, (0.1, 1.0), False, torch.bfloat16),
}
CANCELLED = torch.ones(1, 4, 1), torch.ones(1, 4, 1), torch.ones(1, 4) > 0, torch.zeros(1, 4, 4), (0.1,)
"""Tokens whose sum is nothing, though each has the dot product 1: only rounding makes such."""

TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def tokens_of(case, videos=4, width=24):
    """Values, gates [B, N, D], mask [B, N], queries [D, Q]: lengths differ; the last video has no valid token."""
    tokens, queries, _, other, dtype = CASES[case]
    draw = torch.Generator().manual_seed(tokens)
    values, gates = torch.randn(2, videos, tokens, width, generator=draw) / width**0.5
    query = torch.nn.functional.normalize(torch.randn(width, queries, generator=draw), dim=0)
    mask = torch.rand(videos, tokens, generator=draw) < 0.6
    mask[:, 0], mask[-1] = True, False
    values, gates, query = (x.to(dtype) for x in (values, gates if other else values, query))
    return values, gates, mask, query


def inputs(case):
    """What `fused_cosines` gets: gate_dots, dots, mask, gram, temperatures."""
    values, gates, mask, query = tokens_of(case)
    dots = values @ query
    return gates @ query if CASES[case][3] else dots, dots, mask, values @ values.mT, CASES[case][2]


def by_the_definition(case):
    """[S, B, Q] in float64, pair by pair: the cosine of the query with the weighted sum of the valid tokens."""
    values, gates, mask, query = (x.double() if x.is_floating_point() else x for x in tokens_of(case))
    wanted = torch.zeros(len(CASES[case][2]), len(values), query.shape[1], dtype=torch.float64)
    for s, temperature in enumerate(CASES[case][2]):
        for b, valid in enumerate(mask[:-1]):  # the last has none, and scores 0
            for q, asked in enumerate(query.T):
                weights = (gates[b][valid] @ asked / temperature).softmax(0)
                pooled = weights @ values[b][valid]
                wanted[s, b, q] = pooled @ asked / pooled.norm()
    return wanted


def of_the_dtype(case, found):
    found = torch.stack(list(found))
    assert found.dtype == CASES[case][4]
    torch.testing.assert_close(found.double().cpu(), by_the_definition(case), rtol=0, atol=TOLERANCE[found.dtype])
    assert found[:, -1].abs().max() == 0


# --------------------------------------------------------------------------------------------------- without a GPU

INTERPRET = """
import sys, torch
from plugins.layers.fused_gate_kernel import cosines
given = torch.load(sys.argv[1] + "/given.pt")
torch.save({case: cosines(g, d, *rest) for case, (g, d, *rest) in given.items()}, sys.argv[1] + "/made.pt")
"""

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from plugins.layers.fused_gate_kernel import QUERIES, WARPS, _score
for dtype, tokens, capability in (("fp32", 12, 90), ("bf16", 64, 80)):
    constants = {"TOKENS": tokens, "ROWS": triton.next_power_of_2(tokens), "QUERIES": QUERIES}
    types = dict.fromkeys(constants, "constexpr") | {"mask": "*i1", "inverse_temperatures": "*fp32", "eps": "fp32"}
    types |= {name: "*" + dtype for name in ("scores", "gate_dots", "dots", "gram")}
    source = ASTSource(_score, {name: types.get(name, "i32") for name in _score.arg_names}, constants)
    options = {"num_warps": WARPS, "enable_fp_fusion": True}
    print(len(triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm["cubin"]))
"""


def run(code, folder, *, interpret):
    """In a process of its own: whether Triton interprets is decided when it is imported. The folder is its argument."""
    environment = {**os.environ, "TRITON_INTERPRET": str(int(interpret)), "TRITON_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """{case: scores [S, B, Q]} of the kernel, interpreted."""
    folder = tmp_path_factory.mktemp("interpreted")
    given = {case: inputs(case) for case in CASES} | {"cancelled": CANCELLED}
    torch.save({case: (g, None if d is g else d, *rest) for case, (g, d, *rest) in given.items()}, folder / "given.pt")
    run(INTERPRET, folder, interpret=True)
    return torch.load(folder / "made.pt")


@needs_triton
@pytest.mark.parametrize("case", CASES)
def test_interpreted_it_gives_the_cosine_with_what_each_query_pools(case, interpreted):
    of_the_dtype(case, interpreted[case])


@needs_triton
def test_interpreted_a_pooled_vector_shorter_than_eps_counts_as_that_long(interpreted):
    assert interpreted["cancelled"].tolist() == [[[1 / torch.finfo(torch.float32).eps]]]


@needs_triton
def test_it_compiles_to_machine_code_of_gpus(tmp_path):
    sizes = run(COMPILE, tmp_path, interpret=False).split()
    assert len(sizes) == 2
    assert all(int(size) > 1000 for size in sizes)


def test_tensors_on_the_cpu_are_left_to_torch():
    assert fused_cosines(*inputs("frames")) is None


# ------------------------------------------------------------------------------------------------- the small case


def exact(gate_dots, dots, mask, gram, temperatures):
    """What a kernel that works gives, from plain numbers."""
    dots, gram = (gate_dots if dots is None else dots).double(), gram.double()
    scores = torch.zeros(len(temperatures), len(mask), dots.shape[2], dtype=torch.float64)
    for s, temperature in enumerate(temperatures):
        for b, valid in enumerate(mask):
            for q in range(dots.shape[2]):
                w = (gate_dots[b, valid, q].double() / temperature).exp()
                scores[s, b, q] = w @ dots[b, valid, q] / (w @ gram[b][valid][:, valid] @ w).sqrt()
    return scores.to(gate_dots.dtype)


def broken(*_):
    raise RuntimeError("no compiler")


@pytest.fixture
def agrees(monkeypatch):
    """Whether a kernel passes for (dtype, tokens, other_gate), with what was warned of."""

    def ask(kernel, dtype=torch.float32, tokens=5, other_gate=True):
        fused_gate._agrees.cache_clear()
        monkeypatch.setitem(sys.modules, KERNEL, kernel and SimpleNamespace(cosines=kernel))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            answers = [fused_gate._agrees(torch.device("cpu"), dtype, tokens, other_gate) for _ in range(2)]
        assert answers[0] is answers[1]
        return answers[0], [str(warning.message) for warning in caught]

    yield ask
    fused_gate._agrees.cache_clear()


@pytest.mark.parametrize("other_gate", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("tokens", [1, 12, MAX_TOKENS])
def test_a_kernel_that_gives_what_torch_gives_is_used(agrees, dtype, tokens, other_gate):
    assert agrees(exact, dtype, tokens, other_gate) == (True, [])


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        (lambda g, d, mask, gram, t: exact(g, d, mask, gram, t) + 1e-3, "it disagrees"),
        (lambda g, d, mask, gram, t: exact(g, d, torch.ones_like(mask), gram, t), "it disagrees"),
        (lambda g, d, mask, gram, t: exact(d, d, mask, gram, t), "it disagrees"),
        (lambda g, d, mask, gram, t: exact(g, d, mask, gram, t[::-1]), "it disagrees"),
        (lambda g, d, mask, gram, t: exact(g, d, mask, gram, t) * torch.nan, "it disagrees"),
        (broken, "RuntimeError: no compiler"),
    ],
    ids=["rough", "mask", "gate", "temperatures", "nan", "broken"],
)
def test_one_that_fails_or_gives_something_else_is_left_out_with_one_warning(agrees, kernel, reason):
    assert agrees(kernel) == (False, [f"the fused text gate is not used, torch does its work: {reason}"])


def test_without_triton_torch_does_it_and_nothing_is_said(agrees):
    assert agrees(None) == (False, [])


# -------------------------------------------------------------------------------------------------------- on a GPU


def to_cuda(case):
    """With axes swapped in memory: the kernel reads rows."""
    gate_dots, dots, mask, gram, temperatures = inputs(case)
    there, other, gram = (x.cuda().mT.contiguous().mT for x in (gate_dots, dots, gram))
    return there, there if dots is gate_dots else other, mask.cuda().T.contiguous().T, gram, temperatures


@pytest.mark.gpu
@needs_cuda
@needs_triton
@pytest.mark.parametrize("case", CASES)
def test_on_cuda_it_gives_the_cosine_with_what_each_query_pools(case):
    of_the_dtype(case, fused_cosines(*to_cuda(case)))


@pytest.mark.gpu
@needs_cuda
@needs_triton
def test_on_cuda_it_leaves_gradients_many_tokens_float64_and_nothing_to_torch():
    gate_dots, dots, mask, gram, temperatures = to_cuda("frames")
    assert fused_cosines(gate_dots, dots, mask, gram, temperatures) is not None
    assert fused_cosines(gate_dots, dots, mask, gram.requires_grad_(), temperatures) is None
    with torch.no_grad():
        assert fused_cosines(gate_dots, dots, mask, gram, temperatures) is not None
    assert fused_cosines(gate_dots.double(), dots, mask, gram.detach(), temperatures) is None
    assert fused_cosines(gate_dots[:0], dots[:0], mask[:0], gram.detach()[:0], temperatures) is None
    many = torch.zeros(1, MAX_TOKENS + 1, 2, device="cuda")
    assert fused_cosines(many, many, many[:, :, 0] == 0, many @ many.mT, temperatures) is None


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("gate", [None, "before"])
@pytest.mark.parametrize("unit_vectors", [True, False])
def test_on_cuda_tib_scores_as_on_the_cpu(unit_vectors, gate):
    draw = torch.Generator().manual_seed(0)
    frames, before = torch.randn(2, 50, 12, 64, generator=draw)
    mask = torch.rand(50, 12, generator=draw) < 0.7
    text = TextFeatures(sentence=torch.randn(40, 64, generator=draw))
    video = VideoFeatures(frames=frames, frame_mask=mask, more={"before": Tokens(before, mask)})
    interaction = TextGatedBlock(TextGatedBlock.Config(gate=gate, unit_vectors=unit_vectors), {})
    here, there = (
        interaction.score(interaction.text_side(text.to(device)), interaction.video_side(video.to(device))).cpu()
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(there, here, rtol=0, atol=1e-5)
