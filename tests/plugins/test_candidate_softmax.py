"""candidate_softmax: the relevant candidates' share of each row's softmax."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from core import LossInputs
from plugins.losses.candidate_softmax import CandidateSoftmax


def inputs(scores, relevance):
    return LossInputs(scores, relevance, {}, torch.tensor(20.0, dtype=torch.float64))


def loss(made, of=None, **fields):
    return CandidateSoftmax(CandidateSoftmax.Config(of=of or {"rerank": 1.0}, **fields))(made)


def random(*shape, seed=0):
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def first_column(rows, columns):
    relevance = torch.zeros(rows, columns, dtype=torch.bool)
    relevance[:, 0] = True
    return relevance


def by_the_formula(scores, relevance, temperature=1.0):
    """The mean over rows that have a relevant candidate."""
    rows = []
    for row, answers in zip(scores.tolist(), relevance.tolist(), strict=True):
        shares = [math.exp(score / temperature) for score in row]
        if any(answers):
            right = sum(share for share, answer in zip(shares, answers, strict=True) if answer)
            rows.append(-math.log(right / sum(shares)))
    return torch.tensor(sum(rows) / max(1, len(rows)), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_one_relevant_candidate_a_row_gives_the_cross_entropy(temperature):
    scores = random(5, 4)
    made = loss(inputs({"rerank": scores}, first_column(5, 4)), temperature=temperature)
    torch.testing.assert_close(made, cross_entropy(scores / temperature, torch.zeros(5, dtype=torch.int64)))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_several_relevant_candidates_share_and_rows_without_any_say_nothing(temperature):
    scores = random(4, 4)
    relevance = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    made = loss(inputs({"rerank": scores}, relevance), temperature=temperature)
    torch.testing.assert_close(made, by_the_formula(scores, relevance, temperature))


def test_a_batch_of_pairs_works_as_well():
    scores, relevance = random(4, 4), torch.eye(4, dtype=torch.bool)
    relevance[0, 1] = relevance[1, 0] = True
    made = loss(inputs({"video": scores}, relevance), of={"video": 1.0})
    torch.testing.assert_close(made, by_the_formula(scores, relevance))


def test_scores_are_mixed_before_the_softmax():
    matching, first, relevance = random(5, 4), random(5, 4, seed=1), first_column(5, 4)
    made = loss(inputs({"rerank": matching, "first_stage": first}, relevance), of={"rerank": 1.0, "first_stage": 0.5})
    torch.testing.assert_close(made, by_the_formula(matching + 0.5 * first, relevance))


def test_what_is_the_same_for_a_row_does_not_count():
    scores, relevance = random(5, 4), first_column(5, 4)
    moved = scores + random(5, 1, seed=1)
    torch.testing.assert_close(loss(inputs({"rerank": moved}, relevance)), loss(inputs({"rerank": scores}, relevance)))


def test_no_relevant_candidate_at_all_gives_zero_and_finite_gradients():
    scores = random(3, 4).requires_grad_()
    made = loss(inputs({"rerank": scores}, torch.zeros(3, 4, dtype=torch.bool)))
    made.backward()
    assert made == 0
    assert scores.grad.abs().max() == 0


def test_large_scores_stay_finite():
    scores = (1e30 * random(3, 4)).requires_grad_()
    made = loss(inputs({"rerank": scores}, first_column(3, 4)))
    made.backward()
    assert made.isfinite()
    assert scores.grad.isfinite().all()


def test_gradients_agree_with_finite_differences():
    relevance = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.autograd.gradcheck(
        lambda scores: loss(inputs({"rerank": scores}, relevance), temperature=0.7), random(3, 4).requires_grad_()
    )


def test_it_can_be_followed_as_a_ranking_loss():
    assert CandidateSoftmax.contrastive
