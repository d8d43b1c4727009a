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

LAYERS, PAIRS, TOP_K = 4, 12, 4
NAMES = ["video", "frame_weak", "frame_strong", "patch_weak", "patch_strong"]
WEAK = {"video": 0.5, "frame_weak": 0.5, "patch_weak": 0.05}
STRONG = {"frame_strong": 1.0}
FUSION = {"frame_weak": 0.8, "frame_strong": 0.2, "patch_weak": 0.2, "video": 0.5}
DEAD = {"eval.rerank_cli"}
"""What their program computes and overwrites."""


class Golden(dict):
    """Arrays by name; remembers which were read."""

    def __init__(self, file):
        with np.load(file) as arrays:
            super().__init__({name: torch.from_numpy(arrays[name]) for name in arrays.files})
        self.read = set()

    def __getitem__(self, name):
        self.read.add(name)
        return super().__getitem__(name)


@pytest.fixture(scope="module")
def golden():
    return Golden(Path(__file__).parents[1] / "golden" / "eercf.npz")


def offered(golden, layers=LAYERS):
    """CLIP4Clip's temporal encoder, which is EERCF's, under the names that an encoder offers."""
    weights = {"text_positions": golden["w.frame_position_embeddings.weight"]}
    renamed = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    renamed |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for layer in range(layers):
        theirs, ours = f"w.transformerClip.resblocks.{layer}.", f"text_blocks.{layer}."
        for of in ("weight", "bias"):
            for old, new in renamed.items():
                weights[f"{ours}{new}.{of}"] = golden[f"{theirs}{old}.{of}"]
            for part, values in zip("qkv", golden[f"{theirs}attn.in_proj_{of}"].chunk(3), strict=True):
                weights[f"{ours}self_attn.{part}_proj.{of}"] = values
    return weights


class Eercf:
    """The released model: temporal encoder, five interactions, logit scale."""

    def __init__(self, golden, dtype=torch.float32):
        self.text, self.frames, self.patches = (
            golden[f"in.{name}"].to(dtype, copy=True).requires_grad_() for name in ("text", "frames", "patches")
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
        for part in (self.temporal, *self.interactions.values()):
            part.to(dtype)
        self.log_scale = golden["w.clip.logit_scale"].to(dtype, copy=True).requires_grad_()

    def after_temporal(self):
        """Frames after the temporal encoder."""
        video = self.temporal.video(VideoFeatures(frames=self.frames, frame_mask=self.mask))
        return video.structured("temporal").values

    def sides(self, name, texts=None, videos=None):
        interaction = self.interactions[name]
        video = self.temporal.video(VideoFeatures(frames=self.frames, frame_mask=self.mask, patches=self.patches))
        text = TextFeatures(sentence=self.text[:, 0])
        return interaction, interaction.text_side(text[:texts]), interaction.video_side(video[:videos])

    def scores(self, name, texts=None, videos=None):
        interaction, text, video = self.sides(name, texts, videos)
        return self.log_scale.exp() * interaction.score(text, video)

    def matched(self, name):
        """Scores of the training batch, scaled, and auxiliary tensors."""
        interaction, text, video = self.sides(name)
        scores, auxiliary = interaction.match(text, video)
        return self.log_scale.exp() * scores, auxiliary

    def loss(self, kind, of, weight=1.0):
        matched = {name: self.matched(name) for name in of}
        scale = self.log_scale.exp()
        inputs = LossInputs(
            scores={name: scores / scale for name, (scores, _) in matched.items()},
            relevance=torch.eye(PAIRS, dtype=torch.bool),
            auxiliary={name: auxiliary for name, (_, auxiliary) in matched.items()},
            logit_scale=scale,
            paired=torch.arange(PAIRS),
        )
        made = kind(kind.Config(of=of, weight=weight))
        return made.config.weight * made(inputs)

    def total(self):
        """L_inter + 0.001 · L_intra."""
        contrast = self.loss(InfoNCE, WEAK, 0.8) + self.loss(InfoNCE, STRONG, 0.2)
        return contrast + self.loss(Pearson, {"video": 1.0, "frame_strong": 1.0}, 0.001 * 0.14)

    def gradient(self, name):
        """Of the total loss."""
        tensor = {
            "text": self.text,
            "frames": self.frames,
            "patches": self.patches,
            "global_mat": self.interactions["video"].text_projection,
            "frame_logit": self.interactions["frame_weak"].mix,
            "logit_scale": self.log_scale,
        }[name]
        return torch.autograd.grad(self.total(), tensor)[0]

    def fused(self):
        """Scaled coarse scores; 100 and the weighted sum in place of the best four of each text."""
        scores = {name: self.scores(name) for name in FUSION}
        fusion = ScoreFusion(ScoreFusion.Config(weights=FUSION, top_k=TOP_K), {})
        best = scores["video"].topk(TOP_K).indices
        pairs = {name: matrix.gather(1, best).flatten() for name, matrix in scores.items()}
        new = 100 + fusion(TextFeatures(ids=()), VideoFeatures(ids=()), pairs)
        return scores["video"].scatter(1, best, new.view(PAIRS, TOP_K))


GRADIENTS = ["text", "frames", "patches", "global_mat", "frame_logit", "logit_scale"]
PEARSON = ["video", "frame_strong", "patch_strong"]
MADE = {
    "mid.te_out": Eercf.after_temporal,
    **{f"all.{name}": lambda model, name=name: model.scores(name) for name in NAMES},
    **{f"rect.{name}": lambda model, name=name: model.scores(name, 5, 7) for name in NAMES},
    **{f"train.{name}": lambda model, name=name: model.matched(name)[0] for name in NAMES},
    "train.pearson": lambda model: torch.stack([model.loss(Pearson, {name: 1.0}, 0.14) for name in PEARSON]),
    "train.loss_weak": lambda model: model.loss(InfoNCE, WEAK),
    "train.loss_strong": lambda model: model.loss(InfoNCE, STRONG),
    "train.loss_total": Eercf.total,
    **{f"train.grad.{name}": lambda model, name=name: model.gradient(name) for name in GRADIENTS},
    "eval.coarse": lambda model: model.scores("video"),
    "eval.fused": Eercf.fused,
}
"""How each array of the file is made here."""


def largest_error(made, wanted):
    assert made.shape == wanted.shape
    return ((made.detach() - wanted).abs().max() / wanted.abs().max()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", MADE)
def test_it_equals_what_the_authors_program_gave(golden, name, dtype):
    made = MADE[name](Eercf(golden, dtype))
    assert made.dtype == dtype
    assert largest_error(made, golden[name]) < 1e-5


def test_every_live_array_of_the_file_is_compared_or_put_in(golden):
    golden.read.clear()
    Eercf(golden)
    assert set(golden) == golden.read | set(MADE) | DEAD
    assert golden.read.isdisjoint(MADE)
