"""weighted_similarity: a soft maximum of cosines over tokens."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch.nn.functional import normalize

from core import LevelShape, TextFeatures, VideoFeatures
from plugins.interactions.weighted_similarity import WeightedSimilarity
from plugins.layers import gating

TOKENS, WIDTH = 5, 8
SHAPES = {"sentence": LevelShape(None, WIDTH), "frames": LevelShape(TOKENS, WIDTH)}


def make(shapes=SHAPES, **fields):
    return WeightedSimilarity(WeightedSimilarity.Config(**fields), shapes).double()


def features(texts=4, videos=6):
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(videos, TOKENS, WIDTH, generator=draw, dtype=torch.float64)
    mask = torch.rand(videos, TOKENS, generator=draw) < 0.7
    mask[:, 0] = True
    sentence = torch.randn(texts, WIDTH, generator=draw, dtype=torch.float64)
    return TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=mask)


def score(interaction, text, video):
    return interaction.score(interaction.text_side(text), interaction.video_side(video))


def with_random_mix(interaction):
    with torch.no_grad():
        interaction.mix.copy_(
            torch.randn(TOKENS, TOKENS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        )
    return interaction


def cosines(text, video):
    """[B_t, B_v, N]."""
    sides = text.structured("sentence").values, video.structured("frames").values
    return torch.einsum("td,vnd->tvn", *(normalize(side, dim=-1) for side in sides))


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_scores_follow_the_definition(temperature):
    text, video = features()
    s = cosines(text, video)
    weights = (s / temperature).masked_fill(~video.structured("frames").mask, -torch.inf).softmax(-1)
    made = score(make(temperature=temperature), text, video)
    torch.testing.assert_close(made, (s * weights).sum(-1), rtol=1e-9, atol=1e-12)


def test_the_weights_that_pictures_show_are_those_of_the_score():
    text, video = features(texts=6)
    made = make(temperature=0.3)
    weights = made.token_weights(made.text_side(text), made.video_side(video))
    own = cosines(text, video)[torch.arange(6), torch.arange(6)]
    wanted = (own / 0.3).masked_fill(~video.structured("frames").mask, -torch.inf).softmax(-1)
    assert weights.keys() == {"frames"}
    torch.testing.assert_close(weights["frames"], wanted, rtol=1e-9, atol=1e-12)


def test_mixing_multiplies_the_weights_from_the_right():
    text, video = features()
    interaction = with_random_mix(make(mix=True, ignore_mask=True))
    s = cosines(text, video)
    wanted = (s * ((s / 0.01).softmax(-1) @ interaction.mix)).sum(-1)
    torch.testing.assert_close(score(interaction, text, video), wanted, rtol=1e-9, atol=1e-12)


def test_mixing_starts_as_the_identity():
    text, video = features()
    torch.testing.assert_close(score(make(mix=True), text, video), score(make(), text, video))


@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("content", [1e6, float("nan")])
def test_masked_tokens_change_neither_scores_nor_gradients(mix, content):
    text, video = features()
    interaction = with_random_mix(make(mix=True)) if mix else make()
    frames = video.structured("frames")
    results = []
    for filled in (frames.values, frames.values.masked_fill(~frames.mask[:, :, None], content)):
        filled = filled.clone().requires_grad_()
        scores = score(interaction, text, VideoFeatures(frames=filled, frame_mask=frames.mask))
        scores.square().sum().backward()
        results.append((scores.detach(), filled.grad))
    torch.testing.assert_close(results[0], results[1])


def test_a_video_without_valid_tokens_scores_zero():
    text, video = features()
    nothing = VideoFeatures(
        frames=video.structured("frames").values, frame_mask=torch.zeros(6, TOKENS, dtype=torch.bool)
    )
    assert score(make(), text, nothing).abs().max() == 0


@pytest.mark.parametrize("lists", [False, True])
def test_several_temperatures_at_once_equal_one_at_a_time(lists):
    text, video = features(texts=6)
    configs = [WeightedSimilarity.Config(temperature=temperature) for temperature in (0.01, 0.1, 1.0)]
    sides = make().text_side(text), make().video_side(video)
    if lists:
        sides = {name: tensor[torch.arange(18).view(6, 3) % 6] for name, tensor in sides[0].items()}, sides[1]
    together = make().score_settings(*sides, configs, lists=lists)
    for config, made in zip(configs, together, strict=True):
        alone = WeightedSimilarity(config, SHAPES)
        torch.testing.assert_close(made, (alone.score_lists if lists else alone.score)(*sides), rtol=0, atol=0)


def test_blocks_equal_the_whole(monkeypatch):
    text, video = features()
    whole = score(make(), text, video)
    monkeypatch.setattr(gating, "BLOCK_FLOATS", 1)
    torch.testing.assert_close(score(make(), text, video), whole)
    torch.testing.assert_close(score(make(), text, video[[3, 1, 0]]), whole[:, [3, 1, 0]])


def test_gradients_agree_with_finite_differences():
    text, video = features(texts=2, videos=3)
    interaction, mask = with_random_mix(make(mix=True, temperature=0.3)), video.structured("frames").mask

    def scores(sentence, frames):
        return score(interaction, TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=mask))

    levels = text.structured("sentence"), video.structured("frames")
    assert torch.autograd.gradcheck(scores, [level.values.clone().requires_grad_() for level in levels])


@pytest.mark.parametrize("shapes", [{}, {"frames": LevelShape(None, WIDTH)}])
def test_mixing_an_unknown_number_of_tokens_is_refused(shapes):
    with pytest.raises(ValueError, match="fixed number of tokens"):
        make(shapes, mix=True)


@pytest.mark.parametrize("mix", [False, True])
def test_the_entropy_of_its_weights_is_that_of_scipy_over_the_log_of_the_valid_tokens(mix):
    text, video = features(texts=6)
    interaction = with_random_mix(make(mix=True, temperature=0.3)) if mix else make(temperature=0.3)
    made = interaction.diagnose(interaction.text_side(text), interaction.video_side(video))
    assert tuple(made) == interaction.diagnostics == ("gate_entropy",)
    for row, s in enumerate(cosines(text, video).diagonal().T):
        powers = np.exp(s[video.structured("frames").mask[row]].numpy() / 0.3)
        wanted = entropy(powers) / np.log(len(powers)) if len(powers) > 1 else 0
        assert made["gate_entropy"][row].item() == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_the_entropy_without_a_choice_is_zero():
    text, video = features(texts=6)
    for valid in (1, 0):
        mask = (torch.arange(TOKENS) < valid).expand(6, TOKENS)
        few = VideoFeatures(frames=video.structured("frames").values, frame_mask=mask)
        assert make().gate_entropy(make().text_side(text), make().video_side(few)).tolist() == [0] * 6
