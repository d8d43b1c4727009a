"""Files of `clip`: exported, read back, told apart, and refused with what they lack."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import ConfigError, DataError, create

from .tiny import ARCHITECTURE, WORDS, assert_same_features, edit, opened, untrained

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
