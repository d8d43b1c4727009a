"""Texts and frames as `clip` prepares them, against transformers' own tokenizer and image processor."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from core import DataError, create
from plugins.encoders.clip.files import SIZES, read_config, read_sizes

from .tiny import TEXTS, WORDS, edit, opened, untrained


def test_texts_are_padded_to_one_length_and_cut_before_the_end_token():
    encoder = untrained(max_words=6)
    tokens = encoder.prepare_texts(["a red square moves left slowly", "A zebra"])
    start, end = len(WORDS) + 2, len(WORDS) + 3
    assert tokens["input_ids"].tolist() == [[start, 2, 3, 5, 7, end], [start, 2, 1, end, 0, 0]]
    assert tokens["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]
    assert {tensor.dtype for tensor in tokens.values()} == {torch.int64}


def test_texts_are_filled_up_with_the_pad_token_asked_for():
    start, end = len(WORDS) + 2, len(WORDS) + 3
    tokens = untrained(max_words=6, pad_token=7).prepare_texts(["a red square moves left slowly", "A zebra"])
    assert tokens["input_ids"].tolist() == [[start, 2, 3, 5, 7, end], [start, 2, 1, end, 7, 7]]
    assert tokens["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0]]


@pytest.mark.parametrize("pad_token", [0, 7, len(WORDS) + 3], ids=["padding", "a word", "the end token"])
def test_sentence_and_valid_words_do_not_depend_on_the_pad_token_and_words_at_padding_do(made, pad_token):
    exact, other = opened(made, pad_token=1), opened(made, pad_token=pad_token)
    for levels in (["sentence"], ["sentence", "words"]):
        one, same = (encoder.forward_text(encoder.prepare_texts(TEXTS), levels) for encoder in (exact, other))
        assert torch.equal(one.structured("sentence").values, same.structured("sentence").values)
    words, others = one.structured("words"), same.structured("words")
    assert torch.equal(words.mask, others.mask)
    assert torch.equal(words.values[words.mask], others.values[words.mask])
    assert not torch.isclose(words.values, others.values, atol=1e-3).all(-1)[~words.mask].any()


def test_words_at_padding_see_all_tokens_before_them_padding_too(made, reference):
    encoder = opened(made, pad_token=7)
    tokens = encoder.prepare_texts(TEXTS)
    words = encoder.forward_text(tokens, ["words"]).structured("words")
    with torch.no_grad():
        causal, masked = (
            reference.text_model(tokens["input_ids"], attention_mask=mask).last_hidden_state
            @ reference.text_projection.weight.T
            for mask in (None, tokens["attention_mask"])
        )
    torch.testing.assert_close(words.values, causal, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(words.values[words.mask], masked[words.mask], atol=1e-5, rtol=1e-5)
    second = (~words.mask).cumsum(1) == 2
    assert not torch.isclose(words.values, masked, atol=1e-3).all(-1)[second].any()


def test_max_words_is_capped_by_the_positions_of_the_model():
    assert untrained(max_words=32).prepare_texts(["a"])["input_ids"].shape == (1, 12)


@pytest.mark.parametrize("shape", [(32, 32), (32, 57), (61, 47), (45, 80), (20, 31), (33, 100)])
def test_frames_are_prepared_as_by_transformers(made, shape):
    from transformers import CLIPImageProcessorPil

    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    image = np.asarray(coarse.resize(shape[::-1], Image.Resampling.BILINEAR))
    processor = CLIPImageProcessorPil.from_pretrained(made, do_rescale=False, do_normalize=False)
    expected = np.asarray(processor(image)["pixel_values"][0]).astype(int)
    prepared = opened(made).prepare_frames(torch.from_numpy(image.copy()))
    assert prepared.shape == (3, 32, 32)
    assert prepared.dtype == torch.uint8
    assert np.abs(prepared.numpy() - expected).max() <= 1, "at most one grey level of rounding"


def test_frames_keep_their_leading_axes(made):
    frames = torch.zeros(2, 5, 40, 50, 3, dtype=torch.uint8)
    assert opened(made).prepare_frames(frames).shape == (2, 5, 3, 32, 32)


@pytest.mark.parametrize("shape", [(32, 32), (32, 45), (51, 32)])
def test_frames_of_the_right_size_are_cut_from_their_middle_and_nothing_else(made, shape):
    frames = torch.randint(0, 256, (3, *shape, 3), dtype=torch.uint8)
    top, left = (shape[0] - 32) // 2, (shape[1] - 32) // 2
    prepared = opened(made).prepare_frames(frames)
    assert prepared.is_contiguous()
    for row, column in ((0, 0), (31, 5), (17, 31)):
        assert prepared[:, :, row, column].tolist() == frames[:, top + row, left + column].tolist()


@pytest.mark.parametrize("left_out", [None, "projection_dim", "vision_config", ("text_config", "vocab_size")])
def test_sizes_are_those_of_the_config_whatever_its_file_leaves_to_defaults(copied, left_out):
    file = copied / "config.json"
    given = json.loads(file.read_text())
    if isinstance(left_out, tuple):
        del given[left_out[0]][left_out[1]]
    elif left_out == "vision_config":
        given[left_out] = None
    elif left_out:
        del given[left_out]
    file.write_text(json.dumps(given))
    sizes, config = read_sizes(copied), read_config(copied)
    assert sizes.projection_dim == config.projection_dim
    for part, names in SIZES.items():
        for name in names:
            assert getattr(getattr(sizes, part), name) == getattr(getattr(config, part), name)


def test_preprocessing_is_read_from_either_file_of_transformers(copied):
    given = json.loads((copied / "preprocessor_config.json").read_text())
    given.update(size=40, resample=2, image_mean=[0.5, 0.5, 0.5])
    (copied / "preprocessor_config.json").unlink()
    (copied / "processor_config.json").write_text(json.dumps({"image_processor": given}))
    pixels = opened(copied).pixels
    assert (pixels.short_side, pixels.crop_size, pixels.resample, pixels.mean) == (40, 32, "bilinear", (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    "fields",
    [
        *({"crop_size": 16}, {"size": {"height": 32, "width": 32}}, {"do_normalize": False}),
        *({"crop_size": "wide"}, {"size": {"shortest_edge": "long"}}, {"size": [32]}, {"resample": [3]}),
        *({"image_mean": 0}, {"image_mean": [0.5, None, 0.5]}, {"image_mean": [0.5]}, {"image_std": [1, 0, 1]}),
        *({"image_std": "abc"}, {"rescale_factor": None}, {"rescale_factor": 0}, {"rescale_factor": float("inf")}),
    ],
)
def test_preprocessing_that_is_not_known_is_refused(copied, fields):
    edit(copied / "preprocessor_config.json", **fields)
    with pytest.raises(DataError, match="preprocessor"):
        create("encoder", "clip", model=str(copied))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "content", ["[]", "null", "0", '"x"', '{"weight_map": 3}', '{"image_processor": 3, "size": "x"}']
)
def test_a_file_of_a_clip_that_holds_something_else_is_told_by_name(copied, name, content):
    (copied / "model.safetensors").unlink()
    (copied / name).write_text(content)
    with pytest.raises(DataError, match=re.escape(str(copied))):
        create("encoder", "clip", model=str(copied)).fingerprint()
