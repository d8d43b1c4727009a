"""Tiny models of `clip`, made here."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from core import create

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
