"""The recipes of papers say what was meant: EERCF's release is its authors' program, and its paper departs from it
where listed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core import LevelShape, LossInputs, TextFeatures, VideoFeatures
from core.contract.settings import plain
from core.engine.model import Model
from core.experiment.config import Experiment, read_document
from core.experiment.hypotheses import read_hypotheses
from core.experiment.variants import read_variants
from core.plugins import registry
from tests.plugins.test_eercf_golden import NAMES, PAIRS, TOP_K, Golden, largest_error, offered

PAPERS = Path(__file__).parents[2] / "experiments" / "papers"
RELEASED, PAPER = PAPERS / "eercf_released.yaml", PAPERS / "eercf.yaml"


def variants(file: Path, *overrides: str) -> dict[str, Experiment]:
    return {variant.name: variant.experiment for variant in read_variants(read_document(str(file), overrides))}


@pytest.mark.parametrize("file", [RELEASED, PAPER], ids=lambda path: path.stem)
def test_a_recipe_opens_with_what_a_reader_needs_and_is_understood(file: Path) -> None:
    head = file.read_text().partition("\nname:")[0]
    assert all(line.startswith("# ") for line in head.splitlines())
    for word in ("# Question:", "# Command:", "# Time:", "# Expect:", f"experiments/papers/{file.name}"):
        assert word in head
    document = read_document(str(file))
    found = read_variants(document)
    read_hypotheses(document, found)
    assert [variant.name for variant in found if variant.is_baseline] == ["one stage"]


# --------------------------------------------------------------------------------------------- EERCF, as released


class Composed:
    """The recipe's model with the weights and features of tests/golden/eercf.npz."""

    def __init__(self, golden: Golden):
        self.experiment = variants(RELEASED, "model.transforms.temporal.layers=4")["two stages"]
        shapes = {"sentence": LevelShape(None, 128), "frames": LevelShape(6, 128), "patches": LevelShape(54, 128)}
        self.model = Model.of(self.experiment, NAMES, shapes)
        self.model.start_from(offered(golden))
        with torch.no_grad():
            self.model.interaction("video").text_projection.copy_(golden["w.global_mat_weight"])  # type: ignore[operator]
            self.model.interaction("frame_weak").mix.copy_(golden["w.frame_logit_weight"])  # type: ignore[operator]
            self.model.log_scale.copy_(golden["w.clip.logit_scale"])
        frames, mask, patches = (golden[f"in.{name}"] for name in ("frames", "mask", "patches"))
        video = self.model.video(VideoFeatures(frames=frames, frame_mask=mask.bool(), patches=patches))
        text = self.model.text(TextFeatures(sentence=golden["in.text"][:, 0]))
        parts = {name: self.model.interaction(name) for name in NAMES}
        self.sides = {name: (part.text_side(text), part.video_side(video)) for name, part in parts.items()}

    def scores(self, name: str) -> Tensor:
        return self.model.logit_scale * self.model.interaction(name).score(*self.sides[name])

    def loss(self) -> Tensor:
        matched = {name: self.model.interaction(name).match(*sides) for name, sides in self.sides.items()}
        inputs = LossInputs(
            scores={name: scores for name, (scores, _) in matched.items()},
            relevance=torch.eye(PAIRS, dtype=torch.bool),
            auxiliary={name: auxiliary for name, (_, auxiliary) in matched.items()},
            logit_scale=self.model.logit_scale,
            paired=torch.arange(PAIRS),
        )
        specs = self.experiment.model.losses.values()
        return torch.stack([spec.fields.weight * registry().make("loss", spec)(inputs) for spec in specs]).sum()

    def fused(self) -> Tensor:
        """The first stage's scores, with 100 and the reranker's in place of the best four of each text."""
        spec, first = self.experiment.retrieve.rerank, self.experiment.retrieve.first_stage
        assert spec is not None
        reranker = registry().make("reranker", spec, {})
        coarse = torch.stack([weight * self.scores(name) for name, weight in first.items()]).sum(0)
        best = coarse.topk(TOP_K).indices
        pairs = {name: self.scores(name).gather(1, best).flatten() for name in reranker.interactions(spec.fields)}
        new = 100 + reranker(TextFeatures(ids=()), VideoFeatures(ids=()), pairs)
        return coarse.scatter(1, best, new.view(PAIRS, TOP_K))


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden(Path(__file__).parents[1] / "golden" / "eercf.npz")


@pytest.fixture(scope="module")
def composed(golden: Golden) -> Composed:
    return Composed(golden)


@pytest.mark.parametrize("name", NAMES)
def test_the_released_recipes_scores_are_those_of_the_authors_program(
    composed: Composed, golden: Golden, name: str
) -> None:
    assert largest_error(composed.scores(name), golden[f"all.{name}"]) < 1e-5


def test_the_released_recipes_loss_is_that_of_the_authors_program(composed: Composed, golden: Golden) -> None:
    assert largest_error(composed.loss(), golden["train.loss_total"]) < 1e-5


def test_the_released_recipe_ranks_as_the_authors_program_does(composed: Composed, golden: Golden) -> None:
    assert largest_error(composed.fused(), golden["eval.fused"]) < 1e-5


def test_the_released_recipe_says_the_rest_of_the_release() -> None:
    experiment = variants(RELEASED)["two stages"]
    retrieve, train, scale = experiment.retrieve, experiment.train, experiment.model.logit_scale
    assert retrieve.rerank is not None
    assert (retrieve.first_stage, retrieve.rerank.fields.top_k) == ({"video": 1.0}, 50)
    assert (retrieve.candidates_from, retrieve.transforms, retrieve.settings) == ("text_side", {}, {})
    assert (train.select_on, train.keep, experiment.evaluate.split) == ("test", "best", "test")
    assert (train.learning_rate, train.weight_decay, train.warmup, train.clip_norm) == (1e-4, 0.2, 0.1, 1.0)
    assert (experiment.data.num_frames, experiment.data.sampler, experiment.data.short_videos) == (12, "spread", "pad")
    assert (scale.init, scale.max, experiment.encoder[""].fields.max_words) == (100, 100, 32)
    losses = experiment.model.losses
    assert {losses[name].fields.relevance for name in ("weak", "strong")} == {"diagonal"}


# --------------------------------------------------------------------------------------------- EERCF, the paper's

DEPARTURES = {
    **{f"model.interactions.{name}.ignore_mask": (True, False) for name in NAMES if name != "video"},
    "model.losses.weak.relevance": ("diagonal", "sets"),
    "model.losses.strong.relevance": ("diagonal", "sets"),
    "model.losses.strong.of.frame_strong": (1.0, 0.5),
    "model.losses.strong.of.patch_strong": (None, 0.5),
    "model.losses.pearson.of.patch_strong": (None, 1.0),
    "train.select_on": ("test", "val"),
    "retrieve.rerank.weights.patch_strong": (None, 0.2),
    "retrieve.candidates_from": ("text_side", "each_side"),
}


def leaves(values: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(values, Mapping):
        yield key, values
        return
    for name, item in values.items():
        yield from leaves(item, f"{key}.{name}" if key else name)


def compared(experiment: Experiment) -> dict[str, Any]:
    kept = ("data", "encoder", "model", "train", "retrieve", "evaluate")
    return dict(leaves({name: plain(getattr(experiment, name)) for name in kept}))


def test_the_papers_recipe_departs_from_the_release_in_these_values_alone() -> None:
    released, paper = (compared(variants(file)["two stages"]) for file in (RELEASED, PAPER))
    changed = {key for key in released.keys() | paper.keys() if released.get(key) != paper.get(key)}
    assert {key: (released.get(key), paper.get(key)) for key in changed} == DEPARTURES


def test_one_stage_ranks_by_the_coarse_score_of_the_same_model() -> None:
    for file in (RELEASED, PAPER):
        found = {name: compared(experiment) for name, experiment in variants(file).items()}
        one, two = found["one stage"], found["two stages"]
        changed = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
        assert one["retrieve.rerank"] is None
        assert all(key.startswith("retrieve.rerank") for key in changed)


def test_frames_alone_leave_the_patches_out_of_the_second_stage() -> None:
    found = {name: compared(experiment) for name, experiment in variants(PAPER).items()}
    dropped = {f"retrieve.rerank.weights.{name}" for name in ("patch_weak", "patch_strong")}
    assert found["frames alone"] == {key: value for key, value in found["two stages"].items() if key not in dropped}
