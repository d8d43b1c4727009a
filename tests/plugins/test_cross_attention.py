"""Decoder blocks that read tokens of another sequence, and the inputs of what reads text and video together."""

import pytest
import torch

from core import LevelShape, TextFeatures, Tokens, VideoFeatures
from plugins.layers.cross_attention import Attention, Decoder, EncoderBlock
from plugins.layers.joint_inputs import frame_tokens, input_maps, masked_mean, used, word_tokens

from . import decoder_by_hand as by_hand

WIDTH, HEADS = 8, 2


def drawn(module, seed=0):
    """The module in float64 with every parameter drawn at random, so that no zero hides a fault."""
    torch.manual_seed(seed)
    module = module.double().eval().requires_grad_(False)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def masked(rows, tokens, seed=0):
    """Each row has its first token at least."""
    mask = torch.rand(rows, tokens, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[:, 0] = True
    return mask


def test_attention_is_the_weighted_sum_of_the_valid_tokens_head_by_head():
    layer, x, tokens, mask = (
        drawn(Attention(WIDTH, HEADS)),
        random(3, 4, WIDTH),
        random(3, 5, WIDTH, seed=1),
        masked(3, 5),
    )
    made = layer(x, tokens, mask)
    for row in range(3):
        torch.testing.assert_close(made[row], by_hand.attended(layer, x[row], tokens[row][mask[row]]))


def test_a_decoder_is_self_attention_then_cross_attention_then_feed_forward():
    stack, x, tokens = drawn(Decoder(WIDTH, HEADS, 2, 0.1)), random(1, 4, WIDTH), random(1, 5, WIDTH, seed=1)
    every, all_tokens = torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 5, dtype=torch.bool)
    made = stack(x, every, tokens, all_tokens, keep=4)[0]
    torch.testing.assert_close(made, by_hand.decoder(stack, x[0], tokens[0]))


def test_an_encoder_block_is_a_decoder_block_without_cross_attention():
    block, x = drawn(EncoderBlock(WIDTH, HEADS, 0.1)), random(1, 4, WIDTH)
    made = block(x, torch.ones(1, 4, dtype=torch.bool))[0]
    torch.testing.assert_close(made, by_hand.block(block, x[0]))


@pytest.mark.parametrize("layers", [1, 2])
def test_positions_that_are_not_kept_need_not_be_computed(layers):
    stack, x, tokens = drawn(Decoder(WIDTH, HEADS, layers, 0.1)), random(3, 4, WIDTH), random(3, 5, WIDTH, seed=1)
    given = x, masked(3, 4), tokens, masked(3, 5, seed=1)
    torch.testing.assert_close(stack(*given, keep=2), stack(*given, keep=4)[:, :2])


def test_what_is_masked_makes_no_difference():
    stack, x, tokens = drawn(Decoder(WIDTH, HEADS, 2, 0.1)), random(3, 4, WIDTH), random(3, 5, WIDTH, seed=1)
    mask, token_mask = masked(3, 4), masked(3, 5, seed=1)
    made = stack(x, mask, tokens, token_mask, keep=1)
    other = stack(
        x.masked_fill(~mask[..., None], 9), mask, tokens.masked_fill(~token_mask[..., None], 9), token_mask, 1
    )
    torch.testing.assert_close(made, other)


def test_where_nothing_can_be_read_attention_adds_nothing_and_gradients_are_finite():
    stack, x, tokens = drawn(Decoder(WIDTH, HEADS, 2, 0.1)), random(2, 4, WIDTH), random(2, 5, WIDTH, seed=1)
    nothing = torch.zeros(2, 5, dtype=torch.bool)
    tokens.requires_grad_()
    made = stack(x, torch.ones(2, 4, dtype=torch.bool), tokens, nothing, keep=4)
    made.sum().backward()
    assert made.isfinite().all()
    assert tokens.grad.abs().max() == 0
    layer = stack.blocks[0].cross_attention
    assert layer(x, tokens, nothing).abs().max() == 0


def test_a_new_attention_looks_for_what_is_similar_and_gives_it_back():
    torch.manual_seed(0)
    layer = Attention(16, 1).double()
    directions = 40 * torch.eye(16, dtype=torch.float64)[:5]
    made = layer(directions[None], directions[None], torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(made[0], directions, rtol=0, atol=1e-4)


def test_dropout_is_for_training_alone():
    stack = drawn(Decoder(WIDTH, HEADS, 1, 0.5))
    given = random(2, 4, WIDTH), masked(2, 4), random(2, 5, WIDTH, seed=1), masked(2, 5)
    torch.testing.assert_close(stack(*given, keep=4), stack(*given, keep=4), rtol=0, atol=0)
    stack.train()
    assert (stack(*given, keep=4) - stack(*given, keep=4)).abs().max() > 0


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="8 cannot be divided among 3 heads"):
        Attention(8, 3)


# ---------------------------------------------------------------------------------------------------- inputs


def shapes(words=6, patches=6, frames=6):
    return {"words": LevelShape(5, words), "patches": LevelShape(6, patches), "frames": LevelShape(3, frames)}


def test_levels_of_one_width_start_in_one_space():
    text, video = input_maps(shapes(), "words", "patches", "frames", WIDTH)
    tokens = torch.randn(4, 6)
    torch.testing.assert_close(text(tokens), video(tokens))
    assert text[0].weight is not video[0].weight
    text, video = input_maps(shapes(words=4), "words", "patches", None, WIDTH)
    assert (text[0].in_features, video[0].in_features) == (4, 6)


def test_a_class_token_of_another_width_is_refused():
    with pytest.raises(ValueError, match="`patches` has width 6 and `frames` 4"):
        input_maps(shapes(frames=4), "words", "patches", "frames", WIDTH)


def test_the_class_token_comes_first_in_its_frame():
    frames, patches = random(2, 3, 6), random(2, 3, 2, 6, seed=1)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    values, valid = frame_tokens(VideoFeatures(frames=frames, patches=patches, frame_mask=mask), "patches", "frames")
    assert values.shape == (2, 3, 3, 6)
    assert torch.equal(valid, mask[..., None].expand(2, 3, 3))
    assert torch.equal(values[0, 1, 0], frames[0, 1])
    assert torch.equal(values[0, 1, 1:], patches[0, 1])
    assert values[~valid].abs().max() == 0


def test_a_level_with_one_token_a_frame_and_a_mask_of_its_own_are_read():
    frames, own = random(2, 3, 6), torch.rand(2, 3, 2) < 0.5
    values, valid = frame_tokens(VideoFeatures(frames=frames), "frames", None)
    assert torch.equal(values[:, :, 0], frames)
    assert valid.all()
    video = VideoFeatures(more={"patches": Tokens(random(2, 3, 2, 6), own)})
    assert torch.equal(frame_tokens(video, "patches", None)[1], own)


def test_levels_without_frames_or_with_other_frames_are_refused():
    video = VideoFeatures(video=random(2, 6), frames=random(2, 3, 6), more={"patches": Tokens(random(2, 4, 2, 6))})
    with pytest.raises(ValueError, match="`video` has no axis of frames"):
        frame_tokens(video, "video", None)
    with pytest.raises(ValueError, match="`frames` has 3 frames and `patches` 4"):
        frame_tokens(video, "patches", "frames")


def test_words_are_zero_where_masked():
    words, mask = random(2, 5, 6), masked(2, 5)
    values, valid = word_tokens(TextFeatures(words=words, word_mask=mask), "words")
    assert torch.equal(valid, mask)
    assert torch.equal(values[mask], words[mask])
    assert values[~mask].abs().max() == 0


def test_used_positions_end_with_the_last_valid_one():
    assert used(torch.tensor([[True, False, False, False], [True, False, True, False]])) == 3
    assert used(torch.zeros(2, 3, dtype=torch.bool)) == 0


def test_the_mean_leaves_out_what_is_masked_and_is_zero_of_nothing():
    values, mask = random(2, 3, 4, 5), torch.tensor([[True, False, True], [False, False, False]])
    made = masked_mean(values, mask)
    torch.testing.assert_close(made[0], (values[0, 0] + values[0, 2]) / 2)
    assert made[1].abs().max() == 0
