"""Controls: what must come out on `shapes` with the shipped encoder, whatever else is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import core
from core.evidence.findings import Result
from core.evidence.results import Row
from tests.engine import plan_of

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
VIDEOS = 100

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run mean pooling and text-gated frames, nothing trained, on a small `shapes` with some knobs."""
    folder = tmp_path_factory.mktemp("controls")

    def run(knobs: dict[str, Any], device: str = "cpu", **changes: Any) -> Result:
        dataset = {"name": "shapes", "train_videos": 0, "val_videos": 0, "test_videos": VIDEOS, **knobs}
        values = {
            "name": "controls",
            "data": {"dataset": dataset, "num_frames": 6},
            "encoder": {"name": "clip", "model": str(ROOT / "checkpoints/shapes-clip")},
            "model": {
                "interactions": {
                    "mean": {"name": "mean_pooling"},
                    "mean again": {"name": "mean_pooling"},
                    "gated": {"name": "tib", "temperature": 0.1},
                }
            },
            "retrieve": {"first_stage": "mean"},
            "evaluate": {"metrics": ["R1", "R10", "MnR"]},
            "outputs": {"mlflow": None},
            **changes,
        }
        file = folder / "controls.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        return core.run_experiment(
            str(file), store=str(folder / device), runs=str(folder / "runs"), device=device, workers=2
        )

    return run


def named(result: Result, name: str) -> Row:
    return next(row for row in result.rows if row.name == name)


def test_a_variant_against_itself_shows_no_difference(run: Run) -> None:
    result = run({}, variants={"a": {}, "b": {"retrieve.first_stage": "mean again"}})
    comparison = named(result, "b").comparisons["t2v/R1"]
    assert (comparison.difference, comparison.low, comparison.high, comparison.p) == (0, 0, 0, 1)


def test_the_encoder_finds_videos_of_one_scene_far_above_chance(run: Run) -> None:
    row = run({"preset": "control"}).rows[0]
    assert row.mean("t2v/R1") > 40
    assert row.mean("t2v/R10") > 85


def test_with_one_scene_gating_and_mean_pooling_are_close(run: Run) -> None:
    result = run({"preset": "control"}, variants={"mean": {}, "gated": {"retrieve.first_stage": "gated"}})
    comparison = named(result, "gated").comparisons["t2v/R1"]
    assert abs(comparison.difference) < 10


def test_the_order_of_frames_means_nothing_to_mean_pooling(run: Run) -> None:
    orders = ["normal", "shuffled", "reversed"]
    result = run({}, ablate={"data.frame_order": orders})
    values = [row.per_query("t2v/MnR") for row in result.rows]
    assert len(values) == 3
    for other in values[1:]:
        np.testing.assert_array_equal(other, values[0])


def test_captions_of_other_videos_are_at_chance(run: Run) -> None:
    result = run({})
    scores, own = scores_of(result)
    wrong = (own + VIDEOS // 2) % VIDEOS
    relevance = core.Relevance.from_pairs(np.arange(len(wrong)), wrong, scores.shape)
    assert core.evaluate(scores, relevance, ["R10"]).metrics["t2v/R10"] < 10 + 3 * 2.2


def test_a_model_blind_to_order_cannot_tell_twins_that_differ_in_it(run: Run) -> None:
    result = run({"preset": "temporal", "twin_kind": {"order": 1.0}, "twins": 0.5})
    scores, own = scores_of(result)
    split = next(iter(plan_of(result).workspace._splits.values()))["test"]
    rows = {video.id: row for row, video in enumerate(split.videos)}
    folder = Path(split.videos[0].path).parents[1]
    told = [json.loads(line) for line in (folder / "attributes-test.jsonl").read_text().splitlines()]
    twin = {rows[one["id"]]: rows[one["twin_of"]] for one in told if one["twin_of"]}
    twin |= {original: copy for copy, original in twin.items()}
    asked = [text for text, video in enumerate(own) if video in twin and text % 2 == 0]
    right = [scores[text, own[text]] > scores[text, twin[own[text]]] for text in asked]
    assert len(asked) >= 60
    assert abs(np.mean(right) - 0.5) < 3 * 0.5 / np.sqrt(len(asked))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_finds_what_the_cpu_finds(run: Run) -> None:
    """Within what bfloat16 features may move: a few near-ties among 200 captions."""
    changes = {
        "model": {
            "transforms": {"temporal": {"name": "temporal_transformer", "into": "temporal"}},
            "interactions": {
                "mean": {"name": "mean_pooling", "level": "temporal"},
                "gated": {"name": "tib", "level": "temporal", "gate": "frames"},
            },
            "losses": {"contrast": {"name": "info_nce", "of": ["mean", "gated"]}},
        },
        "train": {"epochs": 2, "batch_size": 32},
        "retrieve": {"first_stage": "mean", "rerank": {"name": "score_fusion", "weights": {"gated": 1.0}, "top_k": 20}},
    }
    knobs = {"train_videos": 60, "val_videos": 20}
    rows = [run(knobs, device=device, **changes).rows[0] for device in ("cpu", "cuda")]
    for name in ("t2v/R1", "t2v/R10"):
        assert abs(rows[0].mean(name) - rows[1].mean(name)) <= 5


def scores_of(result: Result) -> tuple[np.ndarray, np.ndarray]:
    """The first stage's scores [B_t, B_v], and the row of each text's own video."""
    plan = plan_of(result)
    step = next(step for step in plan.trials[0].last.walk() if step.name == "score")
    scores = plan.workspace.read(step).tensors()["scores"]
    assert torch.isfinite(scores).all()
    split = step.payload.split
    return scores.numpy(), np.array([text.video for text in split.texts])
