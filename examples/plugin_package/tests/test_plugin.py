"""Each component keeps the contract of its kind, and computes what its docstring says."""

import pytest
import torch
from retrieval_top_frames.hinge import Hinge
from retrieval_top_frames.top_frames import TopFrames

from core import LossInputs, TextFeatures, VideoFeatures, create, score
from core.testing import check_component


@pytest.mark.parametrize("k", [1, 3, 99])
def test_top_frames_keeps_its_contract(k):
    check_component(TopFrames, k=k)


def test_hinge_keeps_its_contract():
    check_component(Hinge)


@pytest.mark.parametrize(("k", "wanted"), [(1, 1.0), (2, 0.8), (3, 0.8)])
def test_the_best_frames_are_averaged_as_far_as_there_are_valid_ones(k, wanted):
    frames = torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]])
    video = VideoFeatures(frames=frames, frame_mask=torch.tensor([[True, True, False]]))
    text = TextFeatures(sentence=torch.tensor([[2.0, 0.0]]))
    made = score(create("interaction", "top_frames", k=k), text, video)
    torch.testing.assert_close(made, torch.tensor([[wanted]]))


def test_the_hardest_wrong_answer_counts_and_a_relevant_one_is_none():
    scores = torch.tensor([[0.5, 0.4, 0.6], [0.1, 0.9, 0.0], [0.9, 0.0, 0.7]])
    relevance = torch.eye(3, dtype=torch.bool)
    relevance[2, 0] = True
    inputs = LossInputs({"best": scores}, relevance, {}, torch.tensor(1.0), paired=torch.arange(3))
    by_text = [0.2 + 0.6 - 0.5, 0, 0]
    by_video = [0, 0, 0.2 + 0.6 - 0.7]
    made = create("loss", "hinge", of="best", margin=0.2)(inputs)
    torch.testing.assert_close(made, torch.tensor((sum(by_text) + sum(by_video)) / 3))
