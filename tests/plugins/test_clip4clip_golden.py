"""CLIP4Clip's meanP and seqTransf heads put together from plugins give what its program gave (clip4clip.npz)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core import LevelShape, TextFeatures, VideoFeatures
from plugins.feature_transforms.temporal_transformer import TemporalTransformer
from plugins.interactions.mean_pooling import MeanPooling
from tests.plugins.test_eercf_golden import offered

LAYERS = 2


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "clip4clip.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def features(golden, dtype):
    video = VideoFeatures(frames=golden["video"].to(dtype), frame_mask=golden["video_mask"].bool())
    return TextFeatures(sentence=golden["text"][:, 0].to(dtype)), video


def temporal(golden, dtype):
    positions, width = golden["w.frame_position_embeddings.weight"].shape
    config = TemporalTransformer.Config(
        layers=LAYERS, heads=int(golden["n_heads"]), max_frames=positions, init="encoder"
    )
    transform = TemporalTransformer(config, {"frames": LevelShape(None, width)})
    transform.start_from(offered(golden, LAYERS))
    return transform.to(dtype)


def mean_pooled(golden, text, video):
    interaction = MeanPooling(MeanPooling.Config(), {})
    return golden["logit_scale"] * interaction.score(interaction.text_side(text), interaction.video_side(video))


def assert_as_theirs(golden, name, made):
    wanted, tolerance = {torch.float64: (golden[name], 1e-9), torch.float32: (golden[f"{name}_f32"], 1e-5)}[made.dtype]
    assert made.shape == wanted.shape
    assert ((made.detach() - wanted).abs().max() / wanted.abs().max()).item() < tolerance


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def test_mean_pooling_of_frames_is_mean_p(golden, dtype):
    text, video = features(golden, dtype)
    assert_as_theirs(golden, "sim_meanP", mean_pooled(golden, text, video))


def test_mean_pooling_after_the_temporal_transformer_is_seq_transf(golden, dtype):
    text, video = features(golden, dtype)
    assert_as_theirs(golden, "sim_seqTransf", mean_pooled(golden, text, temporal(golden, dtype).video(video)))


@pytest.mark.parametrize("head", ["sim_meanP", "sim_seqTransf"])
def test_their_scores_do_not_depend_on_padding_frames_either(golden, head):
    text, video = features(golden, torch.float64)
    frames = video.structured("frames")
    assert not frames.mask.all()
    filled = VideoFeatures(frames=frames.values.masked_fill(~frames.mask[..., None], 5.0), frame_mask=frames.mask)
    after = temporal(golden, torch.float64).video(filled) if head == "sim_seqTransf" else filled
    assert_as_theirs(golden, head, mean_pooled(golden, text, after))
