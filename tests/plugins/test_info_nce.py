"""info_nce: symmetric cross entropy of mixed scores, other relevant entries left out."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from core import LossInputs
from plugins.losses.info_nce import InfoNCE

SCALE = torch.tensor(20.0, dtype=torch.float64)


def inputs(scores, relevance=None, paired=None):
    rows, columns = next(iter(scores.values())).shape
    return LossInputs(
        scores=scores,
        relevance=torch.eye(rows, columns, dtype=torch.bool) if relevance is None else relevance,
        auxiliary={},
        logit_scale=SCALE,
        paired=torch.arange(rows) if paired is None else paired,
    )


def loss(made, of=None, **fields):
    return InfoNCE(InfoNCE.Config(of=of or {"video": 1.0}, **fields))(made)


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("relevance", ["sets", "diagonal"])
def test_pairs_alone_give_the_symmetric_cross_entropy(relevance):
    scores = random(6, 6)
    target = torch.arange(6)
    wanted = (cross_entropy(SCALE * scores, target) + cross_entropy(SCALE * scores.T, target)) / 2
    torch.testing.assert_close(loss(inputs({"video": scores}), relevance=relevance), wanted, rtol=1e-12, atol=0)


def test_scores_are_mixed_before_the_softmax():
    first, second = random(5, 5), random(5, 5, seed=1)
    mixed = loss(inputs({"a": first, "b": second}), of={"a": 0.5, "b": 0.2})
    torch.testing.assert_close(mixed, loss(inputs({"video": 0.5 * first + 0.2 * second})))


def test_other_relevant_entries_are_neither_target_nor_negative():
    scores = random(3, 3)
    relevance = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)  # rows 0 and 1 share their video
    e = (SCALE * scores).exp()
    by_text = [e[0, 0] / (e[0, 0] + e[0, 2]), e[1, 1] / (e[1, 1] + e[1, 2]), e[2, 2] / e[2].sum()]
    by_video = [e[0, 0] / (e[0, 0] + e[2, 0]), e[1, 1] / (e[1, 1] + e[2, 1]), e[2, 2] / e[:, 2].sum()]
    wanted = -(torch.stack(by_text).log().mean() + torch.stack(by_video).log().mean()) / 2
    torch.testing.assert_close(loss(inputs({"video": scores}, relevance)), wanted)
    diagonal = loss(inputs({"video": scores}, relevance), relevance="diagonal")
    torch.testing.assert_close(diagonal, loss(inputs({"video": scores})))


def test_what_answers_one_way_only_is_a_negative_the_other_way():
    """Video 1 also answers text 0; text 1 is answered by its own video alone."""
    scores = random(3, 3)
    relevance = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)
    e = (SCALE * scores).exp()
    by_text = [e[0, 0] / (e[0, 0] + e[0, 2]), e[1, 1] / e[1].sum(), e[2, 2] / e[2].sum()]
    by_video = [e[0, 0] / e[:, 0].sum(), e[1, 1] / (e[1, 1] + e[2, 1]), e[2, 2] / e[:, 2].sum()]
    wanted = -(torch.stack(by_text).log().mean() + torch.stack(by_video).log().mean()) / 2
    torch.testing.assert_close(loss(inputs({"video": scores}, relevance)), wanted)


def test_the_order_of_rows_and_columns_does_not_matter():
    scores, relevance = random(4, 4), torch.eye(4, dtype=torch.bool)
    relevance[0, 3] = relevance[1, 0] = True
    columns = torch.tensor([2, 0, 3, 1])
    shuffled = inputs({"video": scores[:, columns]}, relevance[:, columns], paired=columns.argsort())
    torch.testing.assert_close(loss(shuffled), loss(inputs({"video": scores}, relevance)))


def test_rows_that_share_a_column_are_each_a_pair_and_not_negatives_of_each_other():
    scores = random(3, 2)
    paired = torch.tensor([0, 0, 1])
    relevance = torch.tensor([[1, 0], [1, 0], [0, 1]], dtype=torch.bool)
    e = (SCALE * scores).exp()
    by_text = e[torch.arange(3), paired] / e.sum(1)
    by_video = torch.stack([e[0, 0] / (e[0, 0] + e[2, 0]), e[1, 0] / (e[1, 0] + e[2, 0]), e[2, 1] / e[:, 1].sum()])
    made = loss(inputs({"video": scores}, relevance, paired))
    torch.testing.assert_close(made, -(by_text.log().mean() + by_video.log().mean()) / 2)


def test_a_row_with_no_negative_left_gives_zero_and_finite_gradients():
    scores = random(3, 3).requires_grad_()
    made = loss(inputs({"video": scores}, torch.ones(3, 3, dtype=torch.bool)))
    made.backward()
    assert made == 0
    assert scores.grad.abs().max() == 0


def test_gradients_agree_with_finite_differences():
    relevance = torch.eye(4, dtype=torch.bool)
    relevance[1, 2] = True
    assert torch.autograd.gradcheck(
        lambda scores: loss(inputs({"video": scores}, relevance)), random(4, 4).requires_grad_()
    )


def test_a_batch_that_is_not_pairs_is_refused():
    made = LossInputs({"video": random(2, 5)}, torch.zeros(2, 5, dtype=torch.bool), {}, SCALE)
    with pytest.raises(ValueError, match="batch of pairs"):
        loss(made)
