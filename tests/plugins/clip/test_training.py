"""Random weights of `clip`, and gradients."""

import torch

from .tiny import TEXTS, VIDEO_LEVELS, opened, untrained


def test_the_same_seed_draws_the_same_bits_and_leaves_the_global_generator_alone(made):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = untrained(1), untrained(1), untrained(2)
    opened(made)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [encoder.state_dict() for encoder in (one, same, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["clip.visual_projection.weight"], weights[2]["clip.visual_projection.weight"])


def test_a_folder_can_lend_its_architecture_and_words_to_random_weights(made, reference):
    encoder = opened(made, init="random")
    assert encoder.prepare_texts(["a"])["input_ids"][0, 1] == 2
    assert encoder.clip.visual_projection.weight.shape == reference.visual_projection.weight.shape
    assert not torch.equal(encoder.clip.visual_projection.weight, reference.visual_projection.weight)


def test_gradients_reach_every_trainable_parameter(made, video):
    encoder = opened(made, trainable=True)
    text = encoder.forward_text(encoder.prepare_texts(TEXTS), ["sentence", "words"])
    clips = encoder.forward_video(*video, VIDEO_LEVELS)
    levels = [features.structured(level).values for features in (text, clips) for level in features.names]
    sum(values.square().sum() for values in levels).backward()
    trained = {name: weight.grad for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert "clip.logit_scale" not in trained
    assert len(trained) == len(list(encoder.parameters())) - 1
    assert all(gradient is not None and gradient.any() for gradient in trained.values())


def test_a_frozen_encoder_has_no_gradients(made, video):
    encoder = opened(made)
    assert not any(weight.requires_grad for weight in encoder.parameters())
    assert not encoder.forward_video(*video, ["frames"]).structured("frames").values.requires_grad


def test_start_weights_are_copies_of_the_text_tower(made, reference):
    encoder = opened(made)
    weights = encoder.start_weights()
    assert torch.equal(weights["text_positions"], reference.text_model.embeddings.position_embedding.weight)
    block = reference.text_model.encoder.layers[1]
    assert torch.equal(weights["text_blocks.1.self_attn.q_proj.weight"], block.self_attn.q_proj.weight)
    names = {name.split(".", 2)[2] for name in weights if name != "text_positions"}
    assert names == set(block.state_dict())
    weights["text_positions"].zero_()
    assert encoder.clip.text_model.embeddings.position_embedding.weight.any()
