"""EERCF put together from plugins gives what the authors' program gave (tests/golden/eercf.npz)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core import LevelShape, LossInputs, TextFeatures, VideoFeatures
from plugins.feature_transforms.temporal_transformer import TemporalTransformer
from plugins.interactions.mean_pooling import MeanPooling
from plugins.interactions.tib import TextGatedBlock
from plugins.interactions.weighted_similarity import WeightedSimilarity
from plugins.losses.info_nce import InfoNCE
from plugins.losses.pearson import Pearson
from plugins.rerankers.score_fusion import ScoreFusion

LAYERS = 4


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parents[1] / "golden" / "eercf.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def offered(golden):
    """The authors' temporal encoder under the names that an encoder offers."""
    weights = {"text_positions": golden["w.frame_position_embeddings.weight"]}
    renamed = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    renamed |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for layer in range(LAYERS):
        theirs, ours = f"w.transformerClip.resblocks.{layer}.", f"text_blocks.{layer}."
        for of in ("weight", "bias"):
            for old, new in renamed.items():
                weights[f"{ours}{new}.{of}"] = golden[f"{theirs}{old}.{of}"]
            for part, values in zip("qkv", golden[f"{theirs}attn.in_proj_{of}"].chunk(3), strict=True):
                weights[f"{ours}self_attn.{part}_proj.{of}"] = values
    return weights


class Eercf:
    """The released model: temporal encoder, five interactions, logit scale."""

    def __init__(self, golden):
        self.text, self.frames, self.patches = (
            golden[f"in.{name}"].clone().requires_grad_() for name in ("text", "frames", "patches")
        )
        self.mask = golden["in.mask"].bool()
        shapes = {"frames": LevelShape(6, 128), "temporal": LevelShape(6, 128), "sentence": LevelShape(None, 128)}
        config = TemporalTransformer.Config(into="temporal", layers=LAYERS, max_frames=77, init="encoder")
        self.temporal = TemporalTransformer(config, shapes)
        self.temporal.start_from(offered(golden))
        weak, strong = WeightedSimilarity.Config, TextGatedBlock.Config
        own = {"gate_by": "own_caption", "ignore_mask": True}
        self.interactions = {
            "video": MeanPooling(MeanPooling.Config(level="temporal", text_projection=True), shapes),
            "frame_weak": WeightedSimilarity(weak(mix=True, ignore_mask=True), shapes),
            "frame_strong": TextGatedBlock(strong(level="temporal", gate="frames", temperature=0.1, **own), shapes),
            "patch_weak": WeightedSimilarity(weak(level="patches", ignore_mask=True), shapes),
            "patch_strong": TextGatedBlock(strong(level="patches", temperature=0.01, **own), shapes),
        }
        with torch.no_grad():
            self.interactions["video"].text_projection.copy_(golden["w.global_mat_weight"])
            self.interactions["frame_weak"].mix.copy_(golden["w.frame_logit_weight"])
        self.log_scale = golden["w.clip.logit_scale"].clone().requires_grad_()

    def sides(self, name, texts=None, videos=None):
        interaction = self.interactions[name]
        video = self.temporal.video(VideoFeatures(frames=self.frames, frame_mask=self.mask, patches=self.patches))
        text = TextFeatures(sentence=self.text[:, 0])
        return interaction, interaction.text_side(text[:texts]), interaction.video_side(video[:videos])

    def scores(self, name, texts=None, videos=None):
        interaction, text, video = self.sides(name, texts, videos)
        return self.log_scale.exp() * interaction.score(text, video)

    def matched(self):
        """Scores and auxiliary tensors of the training batch, by interaction."""
        made = {name: self.sides(name) for name in self.interactions}
        return {name: interaction.match(text, video) for name, (interaction, text, video) in made.items()}

    def loss_inputs(self):
        matched = self.matched()
        return LossInputs(
            scores={name: scores for name, (scores, _) in matched.items()},
            relevance=torch.eye(12, dtype=torch.bool),
            auxiliary={name: auxiliary for name, (_, auxiliary) in matched.items()},
            logit_scale=self.log_scale.exp(),
            paired=torch.arange(12),
        )


def assert_close(made, wanted, tolerance=1e-5):
    assert made.shape == wanted.shape
    assert ((made.detach() - wanted).abs().max() / wanted.abs().max()).item() < tolerance


NAMES = ["video", "frame_weak", "frame_strong", "patch_weak", "patch_strong"]


def test_temporal_encoder(golden):
    model = Eercf(golden)
    video = VideoFeatures(frames=model.frames, frame_mask=model.mask)
    assert_close(model.temporal.video(video).structured("temporal").values, golden["mid.te_out"])


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_all_pairs(golden, name):
    assert_close(Eercf(golden).scores(name), golden[f"all.{name}"])


@pytest.mark.parametrize("name", NAMES)
def test_scores_of_more_videos_than_texts(golden, name):
    assert_close(Eercf(golden).scores(name, 5, 7), golden[f"rect.{name}"])


@pytest.mark.parametrize("name", NAMES)
def test_scores_in_training(golden, name):
    model = Eercf(golden)
    scores, _ = model.matched()[name]
    assert_close(model.log_scale.exp() * scores, golden[f"train.{name}"])


WEAK = {"video": 0.5, "frame_weak": 0.5, "patch_weak": 0.05}
PEARSON = ("video", "frame_strong", "patch_strong")


def test_losses(golden):
    inputs = Eercf(golden).loss_inputs()
    assert_close(InfoNCE(InfoNCE.Config(of=WEAK))(inputs), golden["train.loss_weak"])
    assert_close(InfoNCE(InfoNCE.Config(of={"frame_strong": 1.0}))(inputs), golden["train.loss_strong"])
    pearson = [0.14 * Pearson(Pearson.Config(of={name: 1.0}))(inputs) for name in PEARSON]
    assert_close(torch.stack(pearson), golden["train.pearson"])


def test_total_loss_and_its_gradients(golden):
    model = Eercf(golden)
    inputs = model.loss_inputs()
    weak = InfoNCE(InfoNCE.Config(of=WEAK))(inputs)
    strong = InfoNCE(InfoNCE.Config(of={"frame_strong": 1.0}))(inputs)
    pearson = Pearson(Pearson.Config(of={"video": 1.0, "frame_strong": 1.0}))(inputs)
    total = 0.8 * weak + 0.2 * strong + 0.001 * 0.14 * pearson
    assert_close(total, golden["train.loss_total"])
    total.backward()
    for name, tensor in {
        "text": model.text,
        "frames": model.frames,
        "patches": model.patches,
        "global_mat": model.interactions["video"].text_projection,
        "frame_logit": model.interactions["frame_weak"].mix,
        "logit_scale": model.log_scale,
    }.items():
        assert_close(tensor.grad, golden[f"train.grad.{name}"])


def test_fused_scores_of_the_best_four(golden):
    model = Eercf(golden)
    scores = {name: model.scores(name).detach() for name in NAMES[:4]}
    weights = {"frame_weak": 0.8, "frame_strong": 0.2, "patch_weak": 0.2, "video": 0.5}
    fusion = ScoreFusion(ScoreFusion.Config(weights=weights, top_k=4), {})
    best = scores["video"].topk(4).indices
    pairs = {name: matrix.gather(1, best).flatten() for name, matrix in scores.items()}
    new = 100 + fusion(TextFeatures(ids=()), VideoFeatures(ids=()), pairs)
    assert_close(scores["video"].scatter(1, best, new.view(12, 4)), golden["eval.fused"])
