"""intra_diversity: the concepts of one side differ from each other."""

import pytest
import torch
from torch.nn.functional import normalize

from core import LossInputs
from plugins.losses.intra_diversity import IntraDiversity


def inputs(**interactions):
    sides = {name: {"text_concepts": text, "video_concepts": video} for name, (text, video) in interactions.items()}
    return LossInputs({}, torch.eye(1, dtype=torch.bool), sides, torch.tensor(1.0))


def loss(text, video, **fields):
    return IntraDiversity(IntraDiversity.Config(of={"local": 1.0}, **fields))(inputs(local=(text, video)))


def concepts(items=4, queries=3, width=5, seed=0, apart=0.3):
    """Concepts of one direction an item, with so much noise that some pairs exceed the margin and others do not."""
    draw = torch.Generator().manual_seed(seed)

    def one():
        common = torch.randn(items, 1, width, dtype=torch.float64, generator=draw)
        noise = torch.randn(items, queries, width, dtype=torch.float64, generator=draw)
        return normalize(common + apart * noise, dim=-1)

    return one(), one()


def by_loops(concepts, margin):
    items, queries, width = concepts.shape
    rows = concepts.tolist()

    def likeness(q, p):
        return sum(rows[i][q][d] * rows[i][p][d] for i in range(items) for d in range(width)) / items

    total = 0.0
    for q in range(queries):
        for p in range(queries):
            if p != q:
                total += max(0.0, margin + likeness(q, p) - likeness(q, q))
                total += max(0.0, margin + likeness(q, p) - likeness(p, p))
    return total / (queries * (queries - 1))


@pytest.mark.parametrize("margin", [0.1, 0.2, 1.5])
def test_it_is_the_excess_of_likeness_over_the_margin(margin):
    text, video = concepts()
    of_video, of_text = by_loops(video, margin), by_loops(text, margin)
    assert of_video > 0
    assert loss(text, video, margin=margin, sides="video").item() == pytest.approx(of_video, rel=1e-12)
    assert loss(text, video, margin=margin).item() == pytest.approx(of_text + of_video, rel=1e-12)


def test_concepts_of_other_lengths_are_compared_with_their_own():
    text, video = concepts()
    video = video * torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None]
    assert loss(text, video, sides="video").item() == pytest.approx(by_loops(video, 0.1), rel=1e-12)


def test_concepts_less_alike_than_the_margin_cost_nothing():
    apart = torch.eye(3, dtype=torch.float64).expand(4, 3, 3).clone().requires_grad_()
    made = loss(apart, apart)
    made.backward()
    assert made == 0
    assert apart.grad.abs().max() == 0


def test_collapsed_concepts_cost_twice_the_margin_a_side():
    same = torch.tensor([1.0, 0.0]).expand(4, 3, 2)
    assert loss(same, same, sides="video").item() == pytest.approx(0.2)
    assert loss(same, same).item() == pytest.approx(0.4)


def test_it_pushes_concepts_apart():
    _, video = concepts(apart=0.1)
    video = video.clone().requires_grad_()
    before = loss(video, video, sides="video")
    before.backward()
    after = normalize((video - 0.1 * video.grad).detach(), dim=-1)
    assert loss(after, after, sides="video") < before


def test_interactions_are_summed_with_their_weights():
    first, second = concepts(), concepts(seed=1)
    both = IntraDiversity(IntraDiversity.Config(of={"a": 0.5, "b": 2.0}))(inputs(a=first, b=second))
    torch.testing.assert_close(both, 0.5 * loss(*first) + 2.0 * loss(*second))


@pytest.mark.parametrize("sides", ["video", "both"])
def test_a_single_concept_has_none_to_differ_from(sides):
    text, video = (side.clone().requires_grad_() for side in concepts(queries=1))
    made = loss(text, video, sides=sides)
    made.backward()
    assert made == 0
    assert video.grad.abs().max() == 0


def test_one_item_is_enough():
    text, video = concepts(items=1)
    assert loss(text, video, sides="video").item() == pytest.approx(by_loops(video, 0.1), rel=1e-12)


def test_gradients_agree_with_finite_differences():
    sides = [side.requires_grad_() for side in concepts(3, 3, 4)]
    assert torch.autograd.gradcheck(lambda text, video: loss(text, video, margin=0.33), sides)


@pytest.mark.parametrize(
    ("sides", "needed"), [("video", {"video_concepts"}), ("both", {"text_concepts", "video_concepts"})]
)
def test_it_declares_the_concepts_that_it_needs(sides, needed):
    assert IntraDiversity.needs(IntraDiversity.Config(of={"local": 1.0}, sides=sides)) == needed
