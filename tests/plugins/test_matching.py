"""matching: binary cross-entropy of pairs, whatever the batch."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from core import LossInputs
from plugins.losses.matching import Matching


def inputs(scores, relevance, scale=20.0):
    return LossInputs(scores, relevance, {}, torch.tensor(scale, dtype=torch.float64))


def loss(made, of=None):
    return Matching(Matching.Config(of=of or {"rerank": 1.0}))(made)


def random(*shape, seed=0):
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def first_column(rows, columns):
    relevance = torch.zeros(rows, columns, dtype=torch.bool)
    relevance[:, 0] = True
    return relevance


def by_the_formula(scores, relevance):
    total = 0.0
    for row, answers in zip(scores.tolist(), relevance.tolist(), strict=True):
        for score, answer in zip(row, answers, strict=True):
            share = 1 / (1 + math.exp(-score))
            total -= math.log(share if answer else 1 - share)
    return torch.tensor(total / scores.numel(), dtype=torch.float64)


def test_it_is_the_mean_over_all_pairs_of_a_row_with_its_negatives():
    scores, relevance = random(5, 4), first_column(5, 4)
    torch.testing.assert_close(loss(inputs({"rerank": scores}, relevance)), by_the_formula(scores, relevance))


def test_it_is_the_cross_entropy_of_two_outputs_whose_difference_is_the_score():
    logits, relevance = random(5, 4, 2), first_column(5, 4)
    wanted = cross_entropy(logits.flatten(0, 1), relevance.flatten().long())
    torch.testing.assert_close(loss(inputs({"rerank": logits[..., 1] - logits[..., 0]}, relevance)), wanted)


def test_every_relevant_pair_of_a_batch_of_pairs_is_one_and_the_logit_scale_does_not_enter():
    scores, relevance = random(4, 4), torch.eye(4, dtype=torch.bool)
    relevance[0, 1] = relevance[1, 0] = True  # two captions of one video
    wanted = by_the_formula(scores, relevance)
    for scale in (1.0, 50.0):
        torch.testing.assert_close(loss(inputs({"video": scores}, relevance, scale), of={"video": 1.0}), wanted)


def test_scores_are_mixed_before_the_sigmoid():
    matching, first, relevance = random(5, 4), random(5, 4, seed=1), first_column(5, 4)
    made = loss(inputs({"rerank": matching, "first_stage": first}, relevance), of={"rerank": 1.0, "first_stage": 0.5})
    torch.testing.assert_close(made, by_the_formula(matching + 0.5 * first, relevance))


def test_a_score_that_knows_nothing_settles_at_the_odds_of_a_relevant_pair():
    bias = torch.tensor(-math.log(3), dtype=torch.float64, requires_grad=True)
    loss(inputs({"rerank": bias.expand(6, 4)}, first_column(6, 4))).backward()
    assert abs(bias.grad) < 1e-12


@pytest.mark.parametrize("size", [1e3, 1e30])
def test_large_scores_stay_finite(size):
    scores = (size * random(3, 4).sign()).requires_grad_()
    made = loss(inputs({"rerank": scores}, first_column(3, 4)))
    made.backward()
    assert made.isfinite()
    assert scores.grad.isfinite().all()


def test_gradients_agree_with_finite_differences():
    relevance = first_column(3, 4)
    assert torch.autograd.gradcheck(
        lambda scores: loss(inputs({"rerank": scores}, relevance)), random(3, 4).requires_grad_()
    )


def test_it_is_not_followed_as_a_ranking_loss():
    assert not Matching.contrastive
