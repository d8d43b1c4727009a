"""The features of `clip` against transformers' own model."""

import pytest
import torch

from .tiny import TEXTS, VIDEO_LEVELS, all_features, opened


def test_sentence_and_frames_equal_the_features_of_transformers(made, reference, video):
    from transformers import AutoTokenizer, CLIPImageProcessorPil

    encoder, (frames, mask) = opened(made), video
    tokens = AutoTokenizer.from_pretrained(made)(TEXTS, padding=True, return_tensors="pt")
    images = [frame.permute(1, 2, 0).numpy() for frame in frames.flatten(0, 1)]
    pixels = CLIPImageProcessorPil.from_pretrained(made)(images, return_tensors="pt")
    text, clips = all_features(encoder, frames, mask)
    with torch.no_grad():
        sentence = reference.get_text_features(**tokens).pooler_output
        whole = reference.get_image_features(**pixels).pooler_output
    torch.testing.assert_close(text.structured("sentence").values, sentence, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(clips.structured("frames").values.flatten(0, 1), whole, atol=1e-5, rtol=1e-5)


def test_patches_and_words_are_every_token_through_last_norm_and_projection(made, reference, video):
    encoder, (frames, mask) = opened(made), video
    tokens = encoder.prepare_texts(TEXTS)
    text, clips = all_features(encoder, frames, mask)
    with torch.no_grad():
        hidden = reference.vision_model(normalised(frames[1, 0])).last_hidden_state[:, 1:]
        patches = reference.vision_model.post_layernorm(hidden) @ reference.visual_projection.weight.T
        words = reference.text_model(**tokens).last_hidden_state @ reference.text_projection.weight.T
    torch.testing.assert_close(clips.structured("patches").values[1, 0], patches[0], atol=1e-5, rtol=1e-5)
    valid = tokens["attention_mask"].bool()
    torch.testing.assert_close(text.structured("words").values[valid], words[valid], atol=1e-5, rtol=1e-5)


def normalised(frame):
    """uint8 [3, h, w] -> [1, 3, h, w] with CLIP's mean and deviation."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    return ((frame / 255 - mean) / std)[None]


def test_states_are_the_tokens_of_the_last_layer_after_its_norm_and_before_the_projection(made, reference, video):
    frames, mask = video
    tower = reference.vision_model
    _, clips = all_features(opened(made), frames, mask)
    with torch.no_grad():
        tokens = tower.pre_layrnorm(tower.embeddings(normalised(frames[0, 2])))
        for layer in tower.encoder.layers:
            tokens = layer(tokens, attention_mask=None)
        states = torch.nn.functional.layer_norm(
            tokens[0], (24,), tower.post_layernorm.weight, tower.post_layernorm.bias, tower.post_layernorm.eps
        )
    for level, wanted in (("frame_states", states[0]), ("patch_states", states[1:])):
        torch.testing.assert_close(clips.structured(level).values[0, 2], wanted, atol=1e-5, rtol=1e-5)


def test_levels_have_the_declared_shapes_and_masks(made, video):
    encoder, (frames, mask) = opened(made, max_words=9), video
    text, clips = all_features(encoder, frames, mask)
    text_shapes = {"sentence": (None, 20), "words": (9, 20)}
    video_shapes = {"frames": (None, 20), "patches": (16, 20), "frame_states": (None, 24), "patch_states": (16, 24)}
    assert encoder.shapes == text_shapes | video_shapes
    assert encoder.frame_size == 32
    assert encoder.levels == (tuple(text_shapes), tuple(video_shapes))
    assert text.structured("words").values.shape == (3, 9, 20)
    assert text.structured("words").mask.sum(1).tolist() == [7, 5, 2], "start and end tokens count"
    for level, (tokens, width) in video_shapes.items():
        assert clips.structured(level).values.shape == ((2, 3, width) if tokens is None else (2, 3, tokens, width))
        assert torch.equal(clips.structured(level).mask, mask)
    assert all(clips.structured(level).values.dtype == torch.float32 for level in clips.names)


def test_only_the_levels_asked_for_are_computed(made, video):
    encoder, (frames, mask) = opened(made), video
    tokens = encoder.prepare_texts(TEXTS)
    both = encoder.forward_text(tokens, ["sentence", "words"]).structured("sentence").values
    alone = encoder.forward_text(tokens, iter(["sentence"]))
    assert alone.names == ("sentence",)
    torch.testing.assert_close(alone.structured("sentence").values, both, atol=1e-5, rtol=1e-5)
    projected, whole = [], all_features(encoder, frames, mask)[1]
    encoder.clip.visual_projection.register_forward_hook(lambda *_: projected.append(1))
    for level in VIDEO_LEVELS:
        projected.clear()
        alone = encoder.forward_video(frames, mask, iter([level]))
        assert alone.names == (level,)
        assert len(projected) == (not level.endswith("states"))
        assert torch.equal(alone.structured(level).values, whole.structured(level).values)


def test_no_texts_are_no_rows_of_tokens(made):
    assert opened(made).prepare_texts([])["input_ids"].shape == (0, 12)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_reduced_precision_gives_float32_features_close_to_the_exact_ones(made, video, precision):
    exact, rough = all_features(opened(made), *video)[1], all_features(opened(made, precision=precision), *video)[1]
    one, other = exact.structured("frames").values, rough.structured("frames").values
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert torch.nn.functional.cosine_similarity(one, other, dim=-1).min() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_features_on_cuda_are_close_to_those_on_the_cpu(made, video):
    here = all_features(opened(made), *video)[1]
    encoder = opened(made).to("cuda")
    frames, mask = (tensor.to("cuda") for tensor in video)
    there = encoder.forward_video(frames, mask, ["frames"]).to("cpu")
    one, other = here.structured("frames").values, there.structured("frames").values
    assert torch.nn.functional.cosine_similarity(one, other, dim=-1).min() > 0.999
