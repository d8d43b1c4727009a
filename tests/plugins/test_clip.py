"""The encoder `clip` against transformers' own model, tokenizer and image processor, on tiny models made here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core import ConfigError, DataError, create
from plugins.encoders.clip.files import SIZES, read_config, read_sizes

WORDS = ["a", "red", "blue", "square", "circle", "moves", "left", "right", "slowly"]
ARCHITECTURE = {
    "vision": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "text": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
    },
    "projection_dim": 20,
}
TEXTS = ["a red square moves left", "Blue circle!", ""]
VIDEO_LEVELS = ["frames", "patches", "frame_states", "patch_states"]


def untrained(seed=0, **fields):
    encoder = create("encoder", "clip", init="random", architecture=ARCHITECTURE, vocabulary=WORDS, **fields)
    encoder.load(seed)
    return encoder


def opened(folder, **fields):
    encoder = create("encoder", "clip", model=str(folder), **fields)
    encoder.load(0)
    return encoder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an exported model."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    untrained(seed=3).export(folder)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture(scope="module")
def reference(made):
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(made, dtype=torch.float32)


@pytest.fixture(scope="module")
def video():
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return frames, torch.tensor([[True, True, True], [True, False, False]])


def edit(file, **fields):
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def all_features(encoder, frames, mask):
    with torch.no_grad():
        text = encoder.forward_text(encoder.prepare_texts(TEXTS), ["sentence", "words"])
        return text, encoder.forward_video(frames, mask, VIDEO_LEVELS)


def assert_same_features(left, right, frames, mask):
    for one, other in zip(all_features(left, frames, mask), all_features(right, frames, mask), strict=True):
        for level in one.names:
            assert torch.equal(one.structured(level).values, other.structured(level).values), level


# ------------------------------------------------------------------------------------------------------- features


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


# -------------------------------------------------------------------------------------------- texts and frames


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


# ---------------------------------------------------------------------------------------- random ones, training


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


# ------------------------------------------------------------------------------------------------ files and export


def test_an_exported_encoder_reads_back_the_same(made, video, tmp_path):
    encoder = opened(made)
    encoder.export(tmp_path / "deep" / "er")
    again = opened(tmp_path / "deep" / "er")
    assert_same_features(encoder, again, *video)
    kept = [name for name in encoder.fingerprint()["files"] if name != "config.json"]
    assert len(kept) == 4
    assert all(again.fingerprint()["files"][name] == encoder.fingerprint()["files"][name] for name in kept)


def test_export_replaces_the_files_it_writes_and_no_others(copied, video):
    (copied / "README.md").write_text("mine")
    (copied / "vocab.json").write_text("of a tokenizer that was there before")
    other = untrained(seed=9)
    other.export(copied)
    assert (copied / "README.md").read_text() == "mine"
    assert_same_features(other, opened(copied), *video)
    assert not (copied / "vocab.json").exists()
    assert [path.name for path in copied.parent.iterdir()] == ["copy"], "no temporary folder stays"


def test_transformers_reads_an_export_by_its_own_auto_classes(made):
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPModel

    assert isinstance(AutoModel.from_pretrained(made), CLIPModel)
    assert AutoTokenizer.from_pretrained(made)("a red zebra")["input_ids"] == [11, 2, 3, 1, 12]
    assert AutoImageProcessor.from_pretrained(made).crop_size["height"] == 32


def test_a_byte_pair_tokenizer_of_clip_is_read_and_exported(copied, video, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied / name).unlink()
    pieces = [
        "a",
        "r",
        "e",
        "d",
        "a</w>",
        "r</w>",
        "e</w>",
        "d</w>",
        "re",
        "red</w>",
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    (copied / "vocab.json").write_text(json.dumps({piece: row for row, piece in enumerate(pieces)}))
    (copied / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")
    edit(copied / "config.json", text_config=text_config(copied, bos_token_id=10, eos_token_id=11))
    encoder = opened(copied)
    tokens = encoder.prepare_texts(["A red"])
    assert tokens["input_ids"][0, :5].tolist() == [10, 4, 9, 11, 11], "padded with the end token, as CLIP does"
    assert tokens["attention_mask"][0].sum() == 4
    first_release = opened(copied, pad_token=0).prepare_texts(["A red"])
    assert first_release["input_ids"][0, :5].tolist() == [10, 4, 9, 11, 0]
    sentences = [encoder.forward_text(made, ["sentence"]).structured("sentence") for made in (tokens, first_release)]
    assert torch.equal(sentences[0].values, sentences[1].values)
    encoder.export(tmp_path / "again")
    assert_same_features(encoder, opened(tmp_path / "again"), *video)


def text_config(folder, **fields):
    return {**json.loads((folder / "config.json").read_text())["text_config"], **fields}


def test_weights_in_several_files_are_read_and_fingerprinted(made, copied, video):
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for shard, inside in shards.items():
        save_file({name: weights[name] for name in inside}, copied / shard, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: shard for shard, inside in shards.items() for name in inside}}
    (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    assert_same_features(opened(made), opened(copied), *video)
    assert shards.keys() <= opened(copied).fingerprint()["files"].keys()


def test_the_fingerprint_follows_content_not_place(made, copied, tmp_path):
    fingerprint = opened(made).fingerprint()
    assert opened(copied).fingerprint() == fingerprint
    assert str(tmp_path) not in json.dumps(opened(copied).fingerprint())
    (copied / "README.md").write_text("words about the model")
    assert opened(copied).fingerprint() == fingerprint
    weights = load_file(copied / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert opened(copied).fingerprint() != fingerprint


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"])
def test_the_fingerprint_follows_every_file_that_is_read(made, copied, name):
    (copied / name).write_text((copied / name).read_text() + " ")
    assert opened(copied).fingerprint() != opened(made).fingerprint()


def test_the_fingerprint_of_random_weights_follows_architecture_and_words(made):
    first = untrained().fingerprint()
    assert untrained(seed=4).fingerprint() == first, "the seed is the experiment's"
    other = create("encoder", "clip", init="random", architecture=ARCHITECTURE, vocabulary=WORDS[::-1])
    deeper = {**ARCHITECTURE, "projection_dim": 24}
    wider = create("encoder", "clip", init="random", architecture=deeper, vocabulary=WORDS)
    assert first not in (other.fingerprint(), wider.fingerprint())
    assert opened(made, init="random").fingerprint() != opened(made).fingerprint()


def test_the_fingerprint_follows_the_pad_token(made):
    assert opened(made, pad_token=0).fingerprint() != opened(made).fingerprint()


def test_loading_is_silent_and_restores_what_was_set(made, capfd):
    from transformers.utils import logging

    logging.set_verbosity_info()
    try:
        opened(made)
        assert logging.get_verbosity() == logging.INFO
        assert logging.is_progress_bar_enabled()
    finally:
        logging.set_verbosity_warning()
    assert capfd.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------------------------- errors


def refused(match, **fields):
    with pytest.raises(DataError, match=match) as fault:
        create("encoder", "clip", **fields).load(0)
    assert "encoder.model" in str(fault.value)


def test_pickled_weights_are_refused_with_the_way_to_convert(copied):
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    refused(r"from_pretrained\(model\)\.save_pretrained\(folder\)", model=str(copied))


def test_another_architecture_is_refused_by_its_type(copied):
    edit(copied / "config.json", model_type="siglip")
    refused("'siglip'; only CLIP", model=str(copied))


@pytest.mark.parametrize("model", ["./nowhere", "~/nowhere/at/all", "/nowhere", "a/b/c", "here/nowhere"])
def test_a_missing_folder_is_refused_without_asking_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    refused("no folder", model=model)


def test_a_hub_id_out_of_reach_says_what_it_needs(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    refused("network or a filled cache", model="openai/clip-vit-base-patch32")


def test_a_hub_id_is_read_from_its_snapshot(made, monkeypatch):
    asked = []

    def snapshot(model, revision, allow_patterns):
        asked.append((model, revision, "model.safetensors" in allow_patterns))
        return str(made)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    encoder = create("encoder", "clip", model="some/clip", revision="main")
    assert asked == [("some/clip", "main", False)], "the configuration alone, before load"
    encoder.load(0)
    assert asked[1:] == [("some/clip", "main", True)]
    assert encoder.fingerprint() == opened(made).fingerprint()


def test_damaged_and_incomplete_weights_are_refused(copied):
    weights = load_file(copied / "model.safetensors")
    weights.pop("visual_projection.weight")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    refused("1 weights are missing.*visual_projection", model=str(copied))
    (copied / "model.safetensors").write_bytes(b"not safetensors at all")
    refused("cannot read its weights", model=str(copied))


def test_a_folder_without_configuration_or_tokenizer_is_refused(copied):
    (copied / "tokenizer.json").unlink()
    encoder = opened(copied)
    with pytest.raises(DataError, match="cannot read its tokenizer"):
        encoder.prepare_texts(["a"])
    (copied / "config.json").write_text("{")
    refused("cannot read .*config.json", model=str(copied))
    (copied / "config.json").unlink()
    refused("no config.json", model=str(copied))


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({}, "`model` is needed"),
        ({"model": "x", "vocabulary": ["a"]}, "`architecture` and `vocabulary`"),
        ({"init": "random"}, "`vocabulary` is needed"),
        ({"init": "random", "vocabulary": ["a"], "architecture": {"vison": {}}}, "architecture.vison"),
        ({"init": "random", "vocabulary": ["a"], "architecture": {"text": {"layers": 2}}}, "architecture.text.layers"),
        ({"init": "random", "vocabulary": ["a"], "architecture": {"text": {"vocab_size": 9}}}, "text.vocab_size"),
        (
            {"init": "random", "vocabulary": ["a"], "architecture": {"vision": {"hidden_size": 25}}},
            "architecture.vision",
        ),
        ({"init": "random", "vocabulary": ["a"], "architecture": {"text": {"hidden_size": "8"}}}, "hidden_size"),
        ({"init": "random", "vocabulary": ["a"], "architecture": {"projection_dim": 0}}, "projection_dim"),
        ({"init": "random", "vocabulary": ["a", "b", "a"]}, "twice.*a"),
        ({"init": "random", "vocabulary": ["A"]}, "lower case"),
        ({"init": "random", "vocabulary": ["t-shirt"]}, "'t-shirt' is read as"),
        ({"model": "x", "trainable": True, "precision": "float16"}, "float16"),
    ],
)
def test_wrong_settings_are_named(fields, match):
    with pytest.raises(ConfigError, match=match):
        create("encoder", "clip", **fields)


def test_a_pad_token_outside_the_vocabulary_is_refused(made):
    with pytest.raises(DataError, match=r"encoder\.pad_token: 13, but token ids end at 12"):
        opened(made, pad_token=13)
    with pytest.raises(ConfigError, match="at least 0"):
        opened(made, pad_token=-1)


def test_importing_the_plugin_does_not_import_transformers():
    code = "import sys, plugins.encoders; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
