"""Top-K as an indicator: hard, averaged over noise, and straight through."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.stats import norm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from plugins.layers import perturbed_topk as layer
from plugins.layers.perturbed_topk import hard_topk, perturbed_topk, straight_through_topk


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "ts2net.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def everything(scores):
    return torch.ones(scores.shape, dtype=torch.bool)


def drawn(rows=3, tokens=7, seed=0):
    """Scores and mask [rows, tokens], the first row without a mask, the last without a valid token."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, tokens, generator=draw, dtype=torch.float64)
    valid = torch.rand(rows, tokens, generator=draw) < 0.6
    valid[0], valid[-1] = True, False
    return scores, valid


def one_by_one(scores, valid, keep):
    """[keep, N] for one row [N]: repeatedly the highest valid score, then in order of position."""
    left, taken = {j for j in range(len(scores)) if valid[j]}, []
    while left and len(taken) < keep:
        best = min(left, key=lambda j: (-float(scores[j]), j))
        left.remove(best)
        taken.append(best)
    indicator = torch.zeros(keep, len(scores), dtype=torch.float64)
    for slot, j in enumerate(sorted(taken)):
        indicator[slot, j] = 1
    return indicator


# -------------------------------------------------------------------------------------------------------- hard


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), tokens=st.integers(1, 9), keep=st.integers(1, 11), levels=st.integers(1, 20))
def test_hard_takes_the_highest_valid_scores_in_order_of_position(seed, tokens, keep, levels):
    scores, valid = drawn(tokens=tokens, seed=seed)
    scores = (scores * levels).round()  # equal scores among them
    indicator, filled = hard_topk(scores, valid, keep)
    for row in range(3):
        assert torch.equal(indicator[row], one_by_one(scores[row], valid[row], keep))
        assert filled[row].tolist() == [slot < int(valid[row].sum()) for slot in range(keep)]


def test_equal_scores_go_to_the_earlier_token():
    indicator, _ = hard_topk(torch.zeros(300), torch.arange(300) > 4, 3)
    assert indicator.argmax(-1).tolist() == [5, 6, 7]


@pytest.mark.parametrize("content", [1e9, float("inf"), float("nan")])
def test_what_masked_tokens_score_is_never_looked_at(content):
    scores, valid = drawn()
    noise = torch.randn(3, 20, 7, dtype=torch.float64)
    filled = scores.masked_fill(~valid, content)
    for function in (
        lambda s: hard_topk(s, valid, 4),
        lambda s: straight_through_topk(s, valid, 4, 0.1),
        lambda s: perturbed_topk(s, valid, 4, 0.3, 20, noise),
    ):
        results = []
        for given_scores in (scores.clone().requires_grad_(), filled.clone().requires_grad_()):
            indicator, slots = function(given_scores)
            if indicator.requires_grad:
                (indicator * torch.arange(7)).square().sum().backward()
            results.append((indicator.detach(), slots, given_scores.grad))
        torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
        if results[0][2] is not None:
            assert results[0][2][~valid].abs().max() == 0


# --------------------------------------------------------------------------------------------------- perturbed


def test_forward_and_gradient_are_those_of_the_released_operator(golden):
    scores = golden["op_x"].clone().requires_grad_()
    draws, noise = golden["op_noise"].shape[1], golden["op_noise"]
    sigma, keep = golden["op_sigma"].item(), golden["op_k"].item()
    indicator, filled = perturbed_topk(scores, everything(scores), keep, sigma, draws, noise)
    indicator.backward(golden["op_grad_out"])
    torch.testing.assert_close(indicator, golden["op_indicator"], rtol=0, atol=1e-6)
    torch.testing.assert_close(scores.grad, golden["op_grad_x"], rtol=0, atol=1e-5 * golden["op_grad_x"].abs().max())
    assert filled.all()


def test_scores_that_are_all_equal_leave_the_choice_to_the_noise_as_in_the_release_s_softmax(golden):
    frames = golden["tokens"].view(12, 10, 16)
    scores = torch.ones(12, 9)
    indicator, _ = perturbed_topk(scores, everything(scores), 3, golden["sigma"].item(), 50, golden["noise"])
    selected = torch.cat([frames[:, :1], indicator @ frames[:, 1:]], 1).view(3, 16, 16)
    torch.testing.assert_close(selected, golden["selected_stsoftmax_f32"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("keep", [1, 3, 9])
def test_with_given_noise_it_is_the_mean_over_draws(keep, monkeypatch):
    monkeypatch.setattr(layer, "BLOCK_FLOATS", 1)  # row by row
    (scores, valid), sigma, draws = drawn(rows=4), 0.4, 12
    noise = torch.randn(4, draws, 7, dtype=torch.float64)
    upstream = torch.randn(4, keep, 7, dtype=torch.float64)
    scores.requires_grad_()
    indicator, _ = perturbed_topk(scores, valid, keep, sigma, draws, noise)
    indicator.backward(upstream)
    for row in range(4):
        each = [one_by_one(scores[row].detach() + sigma * z, valid[row], keep) for z in noise[row]]
        torch.testing.assert_close(indicator[row], sum(each) / draws)
        own = sum((upstream[row] * one * z).sum(0) for one, z in zip(each, noise[row], strict=True))
        torch.testing.assert_close(scores.grad[row], own / draws / sigma)


def expected(scores, sigma):
    """E[indicator] [2, N] of the two highest of N perturbed scores, by numerical integration.

    {i, j} are the two highest if, at the lower one's value x, the other of them lies above x and all others below.
    """
    x = np.linspace(min(scores) - 8 * sigma, max(scores) + 8 * sigma, 4001)
    density, below = zip(*((norm.pdf(x, score, sigma), norm.cdf(x, score, sigma)) for score in scores), strict=True)
    both = np.zeros((2, len(scores)))
    for i, j in combinations(range(len(scores)), 2):
        others = np.prod([below[other] for other in range(len(scores)) if other not in (i, j)], axis=0)
        chance = trapezoid((density[i] * (1 - below[j]) + density[j] * (1 - below[i])) * others, x)
        both[0, i] += chance
        both[1, j] += chance
    return torch.from_numpy(both)


def test_it_converges_to_the_expectation_and_its_slope_to_the_diagonal_of_the_derivative():
    values, sigma, draws = [0.3, 0.0, 0.5, 0.1], 0.4, 200_000
    torch.manual_seed(0)
    scores = torch.tensor([values], dtype=torch.float64, requires_grad=True)
    indicator, _ = perturbed_topk(scores, everything(scores), 2, sigma, draws)
    torch.testing.assert_close(indicator[0], expected(values, sigma), rtol=0, atol=0.004)
    upstream = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.7, 1.5, -1.0, 2.0]], dtype=torch.float64)
    indicator.backward(upstream[None])
    slopes = []
    for j in range(4):
        up, down = ([v + step * (i == j) for i, v in enumerate(values)] for step in (1e-3, -1e-3))
        change = (expected(up, sigma) - expected(down, sigma)) / 2e-3
        slopes.append((upstream[:, j] * change[:, j]).sum())
    torch.testing.assert_close(scores.grad[0], torch.stack(slopes), rtol=0, atol=0.03)


def test_each_filled_slot_is_a_mixture_and_the_rest_is_empty():
    scores, valid = drawn(rows=5)
    indicator, filled = perturbed_topk(scores, valid, 4, 0.5, 50)
    torch.testing.assert_close(indicator.sum(-1), filled.double())
    assert indicator.min() >= 0
    assert (indicator.transpose(1, 2)[~valid] == 0).all()
    places = (indicator * torch.arange(7)).sum(-1)
    for row, slots in zip(places, filled, strict=True):
        assert all(a < b for a, b in pairwise(row[slots].tolist()))


def test_with_hardly_any_noise_it_is_hard():
    scores, valid = drawn(rows=5)
    torch.testing.assert_close(perturbed_topk(scores, valid, 3, 1e-9, 4)[0], hard_topk(scores, valid, 3)[0])


def test_noise_follows_the_seed_and_nothing_else():
    scores, valid = drawn()
    torch.manual_seed(3)
    first, other = (perturbed_topk(scores, valid, 3, 0.5, 20)[0] for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(perturbed_topk(scores, valid, 3, 0.5, 20)[0], first)
    assert not torch.equal(other, first)


def test_bfloat16_scores_are_counted_in_full():
    scores, valid = drawn(rows=5)
    half = scores.bfloat16().requires_grad_()
    noise = torch.randn(5, 1000, 7)
    indicator, filled = perturbed_topk(half, valid, 3, 0.5, 1000, noise)
    wanted, _ = perturbed_topk(half.detach().double(), valid, 3, 0.5, 1000, noise.double())
    torch.testing.assert_close(indicator.double(), wanted, rtol=0, atol=4e-3)
    torch.testing.assert_close(indicator.double().sum(-1), filled.double(), rtol=0, atol=2e-2)
    indicator.sum().backward()
    assert (indicator.dtype, half.grad.dtype) == (torch.bfloat16, torch.bfloat16)


def test_any_leading_axes_and_no_rows():
    scores = torch.randn(2, 3, 6, requires_grad=True)
    noise = torch.randn(2, 3, 10, 6)
    indicator, filled = perturbed_topk(scores, everything(scores), 2, 0.1, 10, noise)
    assert (indicator.shape, filled.shape) == ((2, 3, 2, 6), (2, 3, 2))
    flat, _ = perturbed_topk(scores[1], everything(scores[1]), 2, 0.1, 10, noise[1])
    torch.testing.assert_close(indicator[1], flat)
    for function, rest in ((hard_topk, ()), (straight_through_topk, (1.0,)), (perturbed_topk, (0.1, 10))):
        assert function(scores[:0], everything(scores[:0]), 2, *rest)[0].shape == (0, 3, 2, 6)


class Largest(TorchDispatchMode):
    """Remembers the most elements that any tensor made within it has."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self.elements = max(self.elements, leaf.numel())
        return made


def test_no_indicator_of_each_draw_is_formed(monkeypatch):
    scores, keep, draws = torch.randn(40, 30, requires_grad=True), 8, 100
    with Largest() as whole:
        perturbed_topk(scores, everything(scores), keep, 0.1, draws)[0].sum().backward()
    assert whole.elements <= 40 * (draws + 1) * 31
    monkeypatch.setattr(layer, "BLOCK_FLOATS", 3 * draws * 30)
    with Largest() as blocks:
        perturbed_topk(scores, everything(scores), keep, 0.1, draws)[0].sum().backward()
    assert blocks.elements <= 40 * keep * 31


def test_noise_of_another_shape_is_refused():
    scores, valid = drawn()
    with pytest.raises(ValueError, match=r"noise \(3, 5, 7\) does not fit 6 draws for scores \(3, 7\)"):
        perturbed_topk(scores, valid, 2, 0.1, 6, torch.randn(3, 5, 7))


# -------------------------------------------------------------------------------------------- straight through


@pytest.mark.parametrize("keep", [1, 3, 9])
def test_straight_through_is_hard_forward_and_a_softmax_backward(keep):
    (scores, valid), temperature = drawn(rows=4), 0.7
    scores.requires_grad_()
    upstream = torch.randn(4, keep, 7, dtype=torch.float64)
    indicator, filled = straight_through_topk(scores, valid, keep, temperature)
    assert torch.equal(indicator, hard_topk(scores, valid, keep)[0])
    indicator.backward(upstream)
    for row in range(4):
        weights = [
            float(np.exp(s / temperature)) * bool(v) for s, v in zip(scores[row].tolist(), valid[row], strict=True)
        ]
        p = [weight / max(sum(weights), 1e-300) for weight in weights]
        for j in range(7):
            wanted = 0.0
            for slot in range(keep):
                if filled[row, slot]:
                    gradient = upstream[row, slot].tolist()
                    mean = sum(a * b for a, b in zip(p, gradient, strict=True))
                    wanted += p[j] * (gradient[j] - mean) / temperature
            assert scores.grad[row, j].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)
