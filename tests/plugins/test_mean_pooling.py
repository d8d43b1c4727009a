"""mean_pooling: cosines with masked means, one vector a side."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from core import LevelShape, TextFeatures, VideoFeatures
from plugins.interactions.mean_pooling import MeanPooling

TEXTS, VIDEOS, TOKENS, WIDTH = 5, 4, 3, 8
SHAPES = {"sentence": LevelShape(None, WIDTH), "frames": LevelShape(TOKENS, WIDTH)}


def make(**fields):
    return MeanPooling(MeanPooling.Config(**fields), SHAPES).double()


def features(mask=True, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    frames = torch.randn(VIDEOS, TOKENS, WIDTH, generator=draw, dtype=dtype)
    valid = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [0, 1, 1]], dtype=torch.bool) if mask else None
    sentence = torch.randn(TEXTS, WIDTH, generator=draw, dtype=dtype)
    return TextFeatures(sentence=sentence), VideoFeatures(frames=frames, frame_mask=valid)


def score(interaction, text, video):
    return interaction.score(interaction.text_side(text), interaction.video_side(video))


def test_scores_are_cosines_with_the_mean_of_the_valid_unit_tokens():
    text, video = features()
    frames = video.structured("frames")
    for v, (tokens, valid) in enumerate(zip(frames.values, frames.mask, strict=True)):
        mean = torch.stack([token / token.norm() for token in tokens[valid]]).mean(0)
        wanted = cosine_similarity(text.structured("sentence").values, mean[None])
        torch.testing.assert_close(score(make(), text, video)[:, v], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("content", [1e6, float("nan")])
def test_masked_tokens_change_neither_scores_nor_gradients(content):
    text, video = features()
    frames = video.structured("frames")
    results = []
    for filled in (frames.values, frames.values.masked_fill(~frames.mask[:, :, None], content)):
        filled = filled.clone().requires_grad_()
        scores = score(make(), text, VideoFeatures(frames=filled, frame_mask=frames.mask))
        scores.square().sum().backward()
        results.append((scores.detach(), filled.grad))
    torch.testing.assert_close(results[0], results[1])


def test_ignore_mask_takes_padding_as_frames():
    text, video = features()
    unmasked = VideoFeatures(frames=video.structured("frames").values)
    torch.testing.assert_close(score(make(ignore_mask=True), text, video), score(make(), text, unmasked))


def test_a_video_without_valid_tokens_scores_zero_with_finite_gradient():
    text, video = features()
    frames = video.structured("frames").values.clone().requires_grad_()
    nothing = VideoFeatures(frames=frames, frame_mask=torch.zeros(VIDEOS, TOKENS, dtype=torch.bool))
    scores = score(make(), text, nothing)
    scores.sum().backward()
    assert scores.abs().max() == 0
    assert frames.grad.abs().max() == 0


def test_projection_starts_as_the_identity_and_multiplies_the_text_alone():
    text, video = features()
    interaction = make(text_projection=True)
    torch.testing.assert_close(score(interaction, text, video), score(make(), text, video))
    matrix = torch.randn(WIDTH, WIDTH, dtype=torch.float64)
    with torch.no_grad():
        interaction.text_projection.copy_(matrix)
    wanted = normalize(text.structured("sentence").values, dim=-1) @ matrix @ make().video_side(video)["vector"].T
    torch.testing.assert_close(score(interaction, text, video), wanted)


def test_match_gives_unit_vectors_taken_before_the_projection():
    text, video = features()
    interaction = make(text_projection=True)
    with torch.no_grad():
        interaction.text_projection.mul_(3)
    _, auxiliary = interaction.match(interaction.text_side(text[:VIDEOS]), interaction.video_side(video))
    assert set(auxiliary) == interaction.provides(interaction.config)
    for vectors in auxiliary.values():
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(VIDEOS, dtype=torch.float64))


def test_a_level_without_token_axis_is_one_token():
    text, _ = features()
    video = VideoFeatures(video=torch.randn(VIDEOS, WIDTH, dtype=torch.float64))
    wanted = normalize(text.structured("sentence").values) @ normalize(video.structured("video").values).T
    torch.testing.assert_close(score(make(level="video"), text, video), wanted)


def test_gradients_agree_with_finite_differences():
    text, video = features()
    frames = video.structured("frames")
    interaction = make(text_projection=True)

    def scores(sentence, values):
        return score(interaction, TextFeatures(sentence=sentence), VideoFeatures(frames=values, frame_mask=frames.mask))

    inputs = text.structured("sentence").values, frames.values
    assert torch.autograd.gradcheck(scores, [tensor.clone().requires_grad_() for tensor in inputs])


def test_levels_of_different_width_are_refused_by_name():
    shapes = {"sentence": LevelShape(None, 8), "frames": LevelShape(3, 16)}
    with pytest.raises(ValueError, match="`sentence` 8, `frames` 16"):
        MeanPooling(MeanPooling.Config(), shapes)
