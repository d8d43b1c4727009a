"""learnable_queries: concepts that learned queries read from either side."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from core import LevelShape, TextFeatures, VideoFeatures
from plugins.interactions.learnable_queries import LearnableQueries

WIDTH, WORDS, FRAMES = 16, 6, 4
SHAPES = {"words": LevelShape(WORDS, WIDTH), "frames": LevelShape(FRAMES, WIDTH)}


def make(shapes=SHAPES, seed=0, **fields):
    """In evaluation form, drawn from a seed; biases and layer norms, which start plain, are drawn too."""
    torch.manual_seed(seed)
    made = LearnableQueries(LearnableQueries.Config(**{"queries": 3, "layers": 2, **fields}), shapes)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return made.double().eval()


def features(texts=5, videos=4, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def level(count, tokens):
        mask = torch.rand(count, tokens, generator=draw) < 0.6
        mask[:, 0] = True
        return 2 * torch.randn(count, tokens, WIDTH, generator=draw, dtype=torch.float64), mask

    words, frames = level(texts, WORDS), level(videos, FRAMES)
    return TextFeatures(words=words[0], word_mask=words[1]), VideoFeatures(frames=frames[0], frame_mask=frames[1])


def sides(interaction, text, video):
    return interaction.text_side(text), interaction.video_side(video)


def score(interaction, text, video):
    return interaction.score(*sides(interaction, text, video))


# --------------------------------------------------------------------------------------------------- the formula


def attention(weights, prefix, heads, asking, asked):
    """Rows [Q, D] asking rows [N, D], head by head."""
    projections = weights[f"{prefix}.in_proj_weight"].chunk(3)
    shifts = weights[f"{prefix}.in_proj_bias"].chunk(3)
    query, key, value = (
        rows @ matrix.T + shift for rows, matrix, shift in zip((asking, asked, asked), projections, shifts, strict=True)
    )
    size, mixed = WIDTH // heads, []
    for start in range(0, WIDTH, size):
        part = slice(start, start + size)
        mixed.append((query[:, part] @ key[:, part].T / math.sqrt(size)).softmax(-1) @ value[:, part])
    return torch.cat(mixed, -1) @ weights[f"{prefix}.out_proj.weight"].T + weights[f"{prefix}.out_proj.bias"]


def normed(weights, prefix, x):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + 1e-5).sqrt() * weights[f"{prefix}.weight"] + weights[f"{prefix}.bias"]


def decoded(weights, layers, heads, tokens):
    """Post-norm decoder, layer by layer, of one item's tokens [N, D]: unit concepts [Q, D]."""
    x = weights["queries"]
    for layer in range(layers):
        at = f"transformer.layers.{layer}"
        x = normed(weights, f"{at}.norm1", x + attention(weights, f"{at}.self_attn", heads, x, x))
        x = normed(weights, f"{at}.norm2", x + attention(weights, f"{at}.multihead_attn", heads, x, tokens))
        inside = (x @ weights[f"{at}.linear1.weight"].T + weights[f"{at}.linear1.bias"]).clamp_min(0)
        x = normed(
            weights, f"{at}.norm3", x + inside @ weights[f"{at}.linear2.weight"].T + weights[f"{at}.linear2.bias"]
        )
    return normalize(x, dim=-1)


def concepts(interaction, side, tokens, heads):
    """[B, Q, D] by the steps above, of the valid tokens."""
    decoder = interaction.decoders["both" if interaction.config.share else side]
    weights = {name: tensor.detach() for name, tensor in decoder.named_parameters()}
    rows = zip(tokens.values, tokens.mask, strict=True)
    return torch.stack([decoded(weights, interaction.config.layers, heads, row[valid]) for row, valid in rows])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(("given", "heads"), [(None, 8), (2, 2)])
def test_scores_are_mean_cosines_of_what_a_post_norm_decoder_reads(share, given, heads):
    text, video = features()
    interaction = make(share=share, heads=given)
    texts = concepts(interaction, "text", text.structured("words"), heads)
    videos = concepts(interaction, "video", video.structured("frames"), heads)
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for a in range(5):
        for b in range(4):
            wanted[a, b] = sum(torch.dot(texts[a, q], videos[b, q]) for q in range(3)) / 3
    with torch.no_grad():
        torch.testing.assert_close(score(interaction, text, video), wanted, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(score(interaction, text, video), wanted, rtol=1e-9, atol=1e-12)


def test_a_score_is_one_inner_product_of_unit_vectors():
    text, video = features(texts=4)
    interaction = make()
    a, b = sides(interaction, text, video)
    assert interaction.inner_product
    for side in (a, b):
        assert list(side) == ["vector"]
        torch.testing.assert_close(side["vector"].norm(dim=-1), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(a["vector"] @ b["vector"].T, interaction.score(a, b), rtol=0, atol=0)
    torch.testing.assert_close(interaction.score_pairs(a, b), interaction.score(a, b).diagonal())


def test_matching_gives_the_concepts_that_it_declares():
    text, video = features(texts=4)
    interaction = make()
    scores, auxiliary = interaction.match(*sides(interaction, text, video))
    assert set(auxiliary) == interaction.provides(interaction.config) == {"text_concepts", "video_concepts"}
    torch.testing.assert_close(auxiliary["text_concepts"], concepts(interaction, "text", text.structured("words"), 8))
    wanted = concepts(interaction, "video", video.structured("frames"), 8)
    torch.testing.assert_close(auxiliary["video_concepts"], wanted)
    torch.testing.assert_close(scores, score(interaction, text, video))


# ---------------------------------------------------------------------------------------------------- parameters


def test_the_layers_start_as_copies_and_the_queries_between_zero_and_one():
    torch.manual_seed(0)
    interaction = LearnableQueries(LearnableQueries.Config(queries=64), SHAPES)
    decoder = interaction.decoders["both"]
    first, *further = decoder.transformer.layers
    assert len(further) == 2
    for layer in further:
        for name, tensor in first.state_dict().items():
            assert torch.equal(layer.state_dict()[name], tensor)
            assert layer.state_dict()[name].data_ptr() != tensor.data_ptr()
    queries = decoder.queries.detach()
    assert queries.min() >= 0
    assert queries.max() < 1
    assert queries.mean().item() == pytest.approx(0.5, abs=0.05)
    assert queries.std().item() == pytest.approx(12**-0.5, abs=0.03)


@pytest.mark.parametrize(("share", "factor"), [(True, 1), (False, 2)])
def test_the_number_of_parameters_is_that_of_the_paper(share, factor):
    """3 layers at 512: 4 D² + 4 D of either attention, 8 D² + 5 D of the feed-forward, 6 D of the norms; 8 queries."""
    config = LearnableQueries.Config(share=share)
    with torch.device("meta"):
        made = LearnableQueries(config, {"frames": LevelShape(12, 512)})
    width = 512
    wanted = 3 * (2 * (4 * width**2 + 4 * width) + 8 * width**2 + 5 * width + 6 * width) + 8 * width
    assert sum(parameter.numel() for parameter in made.parameters()) == factor * wanted


def test_expansion_is_the_width_of_the_feed_forward():
    assert make(expansion=3).decoders["both"].transformer.layers[0].linear1.out_features == 3 * WIDTH


def test_a_width_that_eight_heads_do_not_divide_gets_one():
    interaction = LearnableQueries(LearnableQueries.Config(), {"frames": LevelShape(4, 12)})
    assert interaction.decoders["both"].transformer.layers[0].self_attn.num_heads == 1


# --------------------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("content", [0.0, 1e6, float("nan")])
def test_masked_tokens_and_padding_change_neither_scores_nor_gradients(content):
    text, video = features()
    interaction = make()

    def filled(tokens, more):
        values = tokens.values.masked_fill(~tokens.mask[:, :, None], content) if more else tokens.values
        padding = torch.full((len(values), more, WIDTH), content, dtype=torch.float64)
        mask = torch.cat([tokens.mask, torch.zeros(len(values), more, dtype=torch.bool)], 1)
        return torch.cat([values, padding], 1).requires_grad_(), mask

    results = []
    for more in (0, 3):
        words, frames = filled(text.structured("words"), more), filled(video.structured("frames"), more)
        sides = TextFeatures(words=words[0], word_mask=words[1]), VideoFeatures(frames=frames[0], frame_mask=frames[1])
        scores = score(interaction, *sides)
        scores.square().sum().backward()
        results.append((scores.detach(), words[0].grad[:, :WORDS], frames[0].grad[:, :FRAMES]))
    torch.testing.assert_close(results[0], results[1])


def test_ignore_mask_takes_padding_as_words_and_frames():
    text, video = features()
    words, frames = text.structured("words").values, video.structured("frames").values
    bare = TextFeatures(words=words), VideoFeatures(frames=frames)
    made = score(make(ignore_mask=True), text, video)
    torch.testing.assert_close(made, score(make(), *bare))
    assert (made - score(make(), text, video)).abs().max() > 1e-3


def test_an_item_without_valid_tokens_scores_zero_and_gets_no_gradient():
    text, video = features()
    words, frames = text.structured("words"), video.structured("frames")
    word_mask, frame_mask = words.mask.clone(), frames.mask.clone()
    word_mask[1] = frame_mask[2] = False
    interaction = make()
    w, f = words.values.clone().requires_grad_(), frames.values.clone().requires_grad_()
    scores = score(
        interaction, TextFeatures(words=w, word_mask=word_mask), VideoFeatures(frames=f, frame_mask=frame_mask)
    )
    scores.sum().backward()
    assert scores[1].abs().max() == scores[:, 2].abs().max() == 0
    whole = score(interaction, text, video)
    torch.testing.assert_close(scores[0, [0, 1, 3]], whole[0, [0, 1, 3]])
    assert w.grad[1].abs().max() == f.grad[2].abs().max() == 0
    for tensor in (w, f, *interaction.parameters()):
        assert tensor.grad.isfinite().all()


def test_the_order_of_tokens_does_not_matter():
    text, video = features()
    turned = TextFeatures(more={"words": text.structured("words").map(lambda x: x.flip(1))})
    torch.testing.assert_close(score(make(), turned, video), score(make(), text, video))


# -------------------------------------------------------------------------------------------------- in training


def test_dropout_is_on_in_training_only_and_evaluation_repeats_itself():
    text, video = features()
    interaction = make(dropout=0.3)
    assert torch.equal(score(interaction, text, video), score(interaction, text, video))
    interaction.train()
    assert (score(interaction, text, video) - score(interaction, text, video)).abs().max() > 1e-3
    without = make(dropout=0.0)
    torch.testing.assert_close(score(without.train(), text, video), score(without.eval(), text, video))


def test_every_parameter_is_trained():
    text, video = features()
    for share in (True, False):
        interaction = make(share=share).train()
        score(interaction, text, video).square().sum().backward()
        for name, parameter in interaction.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


# ------------------------------------------------------------------------------------------------------ refusals


def test_levels_of_different_width_are_refused_by_name():
    with pytest.raises(ValueError, match="`words` 8, `frames` 16"):
        make({"words": LevelShape(6, 8), "frames": LevelShape(4, 16)})


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 16 cannot be divided among 3 heads"):
        make(heads=3)


def test_a_level_of_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="needs the shape of level `temporal`"):
        make(level="temporal")
