"""pearson: correlation of text and video vectors, feature by feature."""

import numpy as np
import pytest
import torch

from core import LossInputs
from plugins.losses.pearson import Pearson


def inputs(**auxiliary):
    sides = {name: {"text_vector": text, "video_vector": video} for name, (text, video) in auxiliary.items()}
    return LossInputs({}, torch.eye(1, dtype=torch.bool), sides, torch.tensor(1.0))


def loss(text, video, **fields):
    return Pearson(Pearson.Config(of={"video": 1.0}, **fields))(inputs(video=(text, video)))


def vectors(pairs=7, width=4, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(pairs, width, dtype=torch.float64, generator=draw) for _ in range(2)]


def correlations(text, video):
    """Pearson's r between every text and video feature [D, D], by NumPy."""
    width = text.shape[1]
    return np.corrcoef(text.numpy(), video.numpy(), rowvar=False)[:width, width:]


def test_it_is_the_squared_distance_of_correlations_from_one():
    text, video = vectors()
    c = 6 / 7 * correlations(text, video).diagonal()
    assert loss(text, video).item() == pytest.approx(((c - 1) ** 2).sum(), rel=1e-12)


def test_off_diagonal_adds_the_squared_correlations_between_different_features():
    text, video = vectors()
    c = 6 / 7 * correlations(text, video)
    wanted = ((c.diagonal() - 1) ** 2).sum() + 0.3 * ((c**2).sum() - (c.diagonal() ** 2).sum())
    assert loss(text, video, off_diagonal=0.3).item() == pytest.approx(wanted, rel=1e-12)


def test_interactions_are_summed_with_their_weights():
    first, second = vectors(), vectors(seed=1)
    both = Pearson(Pearson.Config(of={"a": 0.5, "b": 2.0}))(inputs(a=first, b=second))
    torch.testing.assert_close(both, 0.5 * loss(*first) + 2.0 * loss(*second))


def test_scale_and_offset_of_a_feature_do_not_matter():
    text, video = vectors()
    torch.testing.assert_close(loss(text * 3 + 1, video), loss(text, video))


@pytest.mark.parametrize("pairs", [1, 5])
def test_what_does_not_vary_counts_as_uncorrelated_without_gradient(pairs):
    text, video = (tensor[:1].expand(pairs, -1).clone().requires_grad_() for tensor in vectors())
    made = loss(text, video)
    made.backward()
    assert made == 4
    assert text.grad.abs().max() == 0
    assert video.grad.abs().max() == 0


def test_one_constant_column_leaves_the_others_alone():
    text, video = vectors()
    rest = loss(text[:, 1:], video[:, 1:])
    text[:, 0] = 0.3
    text.requires_grad_()
    made = loss(text, video)
    made.backward()
    torch.testing.assert_close(made.detach(), rest + 1)
    assert text.grad.isfinite().all()


def test_gradients_agree_with_finite_differences():
    inputs = [tensor.requires_grad_() for tensor in vectors()]
    assert torch.autograd.gradcheck(lambda text, video: loss(text, video, off_diagonal=0.5), inputs)


def test_it_declares_the_vectors_that_it_needs():
    assert Pearson.needs(Pearson.Config(of={"video": 1.0})) == {"text_vector", "video_vector"}
