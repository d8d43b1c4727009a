"""score_fusion: a weighted sum of scores."""

import pytest
import torch

from core import TextFeatures, VideoFeatures
from plugins.rerankers.score_fusion import ScoreFusion

NOTHING = TextFeatures(ids=()), VideoFeatures(ids=())


def make(**weights):
    return ScoreFusion(ScoreFusion.Config(weights=weights), {})


def test_scores_are_summed_with_their_weights():
    scores = {name: torch.randn(5, dtype=torch.float64) for name in ("frame", "patch", "first_stage", "unused")}
    made = make(frame=0.5, patch=-0.2, first_stage=1.0)(*NOTHING, scores)
    torch.testing.assert_close(made, 0.5 * scores["frame"] - 0.2 * scores["patch"] + scores["first_stage"])


def test_no_candidates():
    assert make(frame=1.0)(*NOTHING, {"frame": torch.zeros(0)}).shape == (0,)


def test_the_first_stage_is_not_an_interaction_to_be_computed():
    config = ScoreFusion.Config(weights={"first_stage": 1.0, "frame": 0.5})
    assert ScoreFusion.interactions(config) == ("frame",)


def test_it_has_no_parameters_and_may_be_changed_after_training():
    assert not list(make(frame=1.0).parameters())
    assert ScoreFusion.after_training == {"top_k", "weights"}


def test_a_score_that_was_not_given_is_named():
    with pytest.raises(KeyError, match="frame"):
        make(frame=1.0)(*NOTHING, {"patch": torch.zeros(2)})
