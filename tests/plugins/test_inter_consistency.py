"""inter_consistency: concepts of a text and of its video agree."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from core import LossInputs
from plugins.losses.inter_consistency import InterConsistency


def inputs(**interactions):
    sides = {name: {"text_concepts": text, "video_concepts": video} for name, (text, video) in interactions.items()}
    return LossInputs({}, torch.eye(1, dtype=torch.bool), sides, torch.tensor(1.0))


def loss(text, video, **fields):
    return InterConsistency(InterConsistency.Config(of={"local": 1.0}, **fields))(inputs(local=(text, video)))


def concepts(pairs=7, queries=3, width=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(pairs, queries, width, dtype=torch.float64, generator=draw), dim=-1) for _ in "tv"]


def by_loops(text, video, target, beta, divisor):
    text, video = text.tolist(), video.tolist()
    pairs, queries, width = len(text), len(text[0]), len(text[0][0])
    squares, away = [], 0.0
    for q in range(queries):
        for d in range(width):
            means = [math.fsum(side[i][q][d] for i in range(pairs)) / pairs for side in (video, text)]
            squares.append((means[0] - means[1]) ** 2)
        agreement = math.fsum(video[i][q][d] * text[i][q][d] for i in range(pairs) for d in range(width)) / divisor
        away += (agreement - target) ** 2
    return math.fsum(squares) / (queries * width) + beta * away


@pytest.mark.parametrize(("normaliser", "divisor"), [("batch", 7), ("queries", 3)])
@pytest.mark.parametrize(("target", "beta"), [(0.75, 0.005), (-0.2, 3.0), (0.5, 0.0)])
def test_it_is_the_distance_of_the_means_and_of_the_cosines_from_their_target(normaliser, divisor, target, beta):
    text, video = concepts()
    made = loss(text, video, target=target, beta=beta, normaliser=normaliser)
    assert made.item() == pytest.approx(by_loops(text, video, target, beta, divisor), rel=1e-12)


def test_it_defaults_to_the_paper_and_a_mean_over_the_batch():
    text, video = concepts()
    assert loss(text, video).item() == pytest.approx(by_loops(text, video, 0.75, 0.005, 7), rel=1e-12)


@pytest.mark.parametrize("normaliser", ["batch", "queries"])
def test_only_the_mean_over_the_batch_does_not_depend_on_the_batch_size(normaliser):
    once = concepts()
    twice = [torch.cat([side, side]) for side in once]
    same = loss(*once, beta=1.0, normaliser=normaliser).item() == pytest.approx(
        loss(*twice, beta=1.0, normaliser=normaliser).item(), rel=1e-9
    )
    assert same is (normaliser == "batch")


def test_over_the_queries_the_least_is_at_a_far_smaller_cosine():
    """128 pairs, 8 concepts: at a cosine of 0.75 · 8 / 128 for each pair."""
    text = torch.zeros(128, 8, 2, dtype=torch.float64)
    text[..., 0] = 1
    cosine = 0.75 * 8 / 128
    video = torch.tensor([cosine, math.sqrt(1 - cosine**2)], dtype=torch.float64).expand_as(text)
    apart = loss(text, video, beta=0.0)
    torch.testing.assert_close(loss(text, video, beta=1.0, normaliser="queries"), apart)
    assert (loss(text, video, beta=1.0) - apart).item() == pytest.approx(8 * (cosine - 0.75) ** 2)


def test_pairs_that_agree_as_wanted_cost_nothing():
    text, _ = concepts()
    assert loss(text, text, target=1.0, beta=10.0).item() == pytest.approx(0, abs=1e-24)


def test_interactions_are_summed_with_their_weights():
    first, second = concepts(), concepts(seed=1)
    both = InterConsistency(InterConsistency.Config(of={"a": 0.5, "b": 2.0}))(inputs(a=first, b=second))
    torch.testing.assert_close(both, 0.5 * loss(*first) + 2.0 * loss(*second))


@pytest.mark.parametrize(("pairs", "queries"), [(1, 3), (4, 1), (1, 1)])
@pytest.mark.parametrize("normaliser", ["batch", "queries"])
def test_one_pair_or_one_concept_gives_finite_numbers_and_gradients(pairs, queries, normaliser):
    text, video = (side.requires_grad_() for side in concepts(pairs, queries))
    made = loss(text, video, normaliser=normaliser)
    made.backward()
    divisor = pairs if normaliser == "batch" else queries
    assert made.item() == pytest.approx(by_loops(text.detach(), video.detach(), 0.75, 0.005, divisor), rel=1e-9)
    assert text.grad.isfinite().all()
    assert video.grad.isfinite().all()


def test_gradients_agree_with_finite_differences():
    sides = [side.requires_grad_() for side in concepts(3, 2, 4)]
    assert torch.autograd.gradcheck(lambda text, video: loss(text, video, beta=0.7), sides)


def test_it_declares_the_concepts_that_it_needs():
    assert InterConsistency.needs(InterConsistency.Config(of={"local": 1.0})) == {"text_concepts", "video_concepts"}
