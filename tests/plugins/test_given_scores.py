"""given_scores: other people's scores, looked up by id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import ConfigError, RunError, TextFeatures, VideoFeatures, create
from core.evidence.findings import findings
from core.measure.metrics import Relevance, evaluate
from core.testing import check_component
from plugins.interactions.given_scores import GivenScores
from tests.engine import Lab, registered_toys

TEXTS, VIDEOS = [f"v{v}-{c}" for v in range(5) for c in range(2)], [f"v{v}" for v in range(5)]
OWN = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
DRAWN = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)


def write(folder: Path, scores: np.ndarray, texts: list[str] = TEXTS, videos: list[str] = VIDEOS) -> dict[str, str]:
    """A matrix and files of its ids, as the interaction's fields."""
    np.save(folder / "scores.npy", scores)
    (folder / "rows.txt").write_text("\n".join(texts))
    (folder / "cols.json").write_text(json.dumps(videos))
    return {
        name: str(folder / file) for name, file in (("file", "scores.npy"), ("rows", "rows.txt"), ("cols", "cols.json"))
    }


def text(*ids: str) -> TextFeatures:
    return TextFeatures(ids=ids)


def video(*ids: str) -> VideoFeatures:
    return VideoFeatures(ids=ids)


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, str]:
    return write(tmp_path, DRAWN)


# ------------------------------------------------------------------------------------------------ the interaction


def test_scores_are_looked_up_by_id(fields: dict[str, str]) -> None:
    given = create("interaction", "given_scores", **fields)
    made = given.score(given.text_side(text("v3-1", "v0-0")), given.video_side(video("v4", "v1", "v0")))
    for row, at in enumerate((7, 0)):
        for column, to in enumerate((4, 1, 0)):
            assert made[row, column].item() == DRAWN[at, to]


def test_it_keeps_the_contract_of_interactions(tmp_path: Path) -> None:
    texts, videos = [f"text{row}" for row in range(5)], [f"video{row}" for row in range(6)]
    check_component(GivenScores, **write(tmp_path, DRAWN.reshape(5, 10)[:, :6], texts, videos))


def test_ids_may_be_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "scores.npz"
    np.savez(file, scores=DRAWN, text_ids=np.array(TEXTS), video_ids=np.array(VIDEOS))
    given = create("interaction", "given_scores", file=str(file))
    made = given.score(given.text_side(text(*TEXTS)), given.video_side(video(*VIDEOS)))
    np.testing.assert_array_equal(made, DRAWN)


@pytest.mark.parametrize(
    ("side", "ids", "words"),
    [
        ("text", ["v0-0", "x", "y"], r"no scores of 2 of 3 texts, such as `x`, `y`; its own 10 are called `v0-0`"),
        ("video", ["v0", "clip"], r"no scores of 1 of 2 videos, such as `clip`; its own 5 are called `v0`, `v1`, `v2`"),
    ],
)
def test_ids_that_are_missing_are_named(fields: dict[str, str], side: str, ids: list[str], words: str) -> None:
    given = create("interaction", "given_scores", **fields)
    with pytest.raises(RunError, match=words):
        given.text_side(text(*ids)) if side == "text" else given.video_side(video(*ids))


def test_a_file_without_ids_asks_for_them(fields: dict[str, str]) -> None:
    given = create("interaction", "given_scores", file=fields["file"])
    with pytest.raises(RunError, match="names no text ids; give a file of them as `rows`"):
        given.text_side(text("v0-0"))


def test_features_without_ids_are_refused(fields: dict[str, str]) -> None:
    given = create("interaction", "given_scores", **fields)
    with pytest.raises(RunError, match="the texts that are to be scored have no ids"):
        given.text_side(TextFeatures(sentence=torch.zeros(2, 3)))


def test_a_file_that_is_not_there_is_an_error_of_the_experiment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.npy: no such file"):
        create("interaction", "given_scores", file=str(tmp_path / "none.npy"))


def test_other_content_than_was_written_down_is_refused(fields: dict[str, str]) -> None:
    content = create("interaction", "given_scores", **fields).config.content
    assert create("interaction", "given_scores", **fields, content=content).config.content == content
    np.save(fields["file"], 2 * DRAWN)
    with pytest.raises(ConfigError, match=f"not {content}"):
        create("interaction", "given_scores", **fields, content=content)


@pytest.mark.parametrize("named", ["rows", "cols"])
def test_other_ids_beside_the_same_scores_are_other_content(fields: dict[str, str], named: str) -> None:
    content = create("interaction", "given_scores", **fields).config.content
    file = Path(fields[named])
    file.write_text(file.read_text().replace("0", "zero", 1))
    with pytest.raises(ConfigError, match=f"not {content}"):
        create("interaction", "given_scores", **fields, content=content)


# ------------------------------------------------------------------------------------------------ the engine


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with registered_toys():
        yield Lab(tmp_path)


def ranked(fields: dict[str, str], **changes: Any) -> dict[str, Any]:
    interactions = {"theirs": {"name": "given_scores", **fields}, "dot": {"name": "toy_dot"}}
    changes = {"model.interactions": interactions, "model.losses": {}, "retrieve.first_stage": "theirs"} | changes
    return {"retrieve.rerank": None} | changes


def wanted(scores: np.ndarray) -> dict[str, float]:
    return evaluate(scores, OWN, ["R1", "R5", "MnR"]).metrics


def test_they_rank_by_themselves_and_in_another_order(lab: Lab, tmp_path: Path) -> None:
    texts, videos = [4, 2, 9, 0, 1, 3, 8, 7, 6, 5], [2, 0, 1, 4, 3]
    fields = write(tmp_path, DRAWN[texts][:, videos], [TEXTS[at] for at in texts], [VIDEOS[at] for at in videos])
    plan = lab.run(ranked(fields))
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted(DRAWN))
    assert plan.workspace.read(plan.trials[0].last).json("items.json")["texts"] == TEXTS


def test_they_are_mixed_with_ones_own_and_transformed(lab: Lab, fields: dict[str, str]) -> None:
    changes = {"retrieve.first_stage": {"theirs": 1.0, "dot": 0.5}}
    plan = lab.run(ranked(fields, **changes, **{"retrieve.transforms": {"z": {"name": "z_score", "each": True}}}))
    (step,) = [step for step in plan.steps.values() if step.label.startswith("score dot")]
    dot = plan.workspace.read(step).tensors()["scores"].double().numpy()

    def mixed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        scaled = [(m - m.mean(1, keepdims=True)) / m.std(1, keepdims=True) for m in (one, other)]
        return scaled[0] + 0.5 * scaled[1]

    found = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    theirs = DRAWN.astype(np.float64)
    for direction, scores in (("t2v", mixed(theirs, dot)), ("v2t", mixed(theirs.T, dot.T).T)):
        assert {n: v for n, v in found.items() if n.startswith(direction)} == pytest.approx(
            {n: v for n, v in wanted(scores).items() if n.startswith(direction)}
        )


def test_they_re_rank_candidates(lab: Lab, fields: dict[str, str]) -> None:
    rerank = {"name": "score_fusion", "weights": {"theirs": 1.0}, "top_k": 5}
    plan = lab.run(
        ranked(fields, **{"retrieve.first_stage": "dot", "retrieve.rerank": rerank}) | {"evaluate.directions": ["t2v"]}
    )
    found = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    assert found == pytest.approx({n: v for n, v in wanted(DRAWN).items() if n.startswith("t2v")})


def test_other_content_is_scored_anew(lab: Lab, fields: dict[str, str]) -> None:
    lab.run(ranked(fields))
    assert lab.new(ranked(fields)) == set()
    np.save(fields["file"], -DRAWN)
    assert lab.new(ranked(fields)) == {"score", "rank", "evaluate"}
    plan = lab.run(ranked(fields))
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted(-DRAWN))


def test_other_ids_of_the_same_videos_are_scored_anew(lab: Lab, tmp_path: Path) -> None:
    """Their content is the same, their scores are others."""
    nothing = np.zeros_like(DRAWN)
    both = np.block([[DRAWN, nothing], [nothing, -DRAWN]])
    fields = write(tmp_path, both, [*TEXTS, *(f"w{n[1:]}" for n in TEXTS)], [*VIDEOS, *(f"w{n[1:]}" for n in VIDEOS)])
    lab.run(ranked(fields))
    listed = lab.videos / "captions.json"
    splits = json.loads(listed.read_text())
    for item in splits["test"]:
        (lab.videos / "test" / item[0]).rename(lab.videos / "test" / f"w{item[0][1:]}")
        item[0] = f"w{item[0][1:]}"
    listed.write_text(json.dumps(splits))
    plan = lab.run(ranked(fields))
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted(-DRAWN))


@pytest.mark.parametrize(("axis", "marked"), [(0, {"t2v"}), (1, {"v2t"}), (None, set())])
def test_scores_that_were_normalised_over_the_queries_are_marked_in_the_table(
    lab: Lab, tmp_path: Path, axis: int | None, marked: set[str]
) -> None:
    scores = DRAWN if axis is None else np.exp(DRAWN) / np.exp(DRAWN).sum(axis=axis, keepdims=True)
    fields = write(tmp_path, scores)
    for direction in ("t2v", "v2t"):
        (row,) = findings(lab.run(ranked(fields) | {"evaluate.primary": f"{direction}/R1"})).rows
        assert row.transductive == (direction in marked)


def test_scores_that_rank_nothing_mark_no_row(lab: Lab, tmp_path: Path) -> None:
    fields = write(tmp_path, np.exp(DRAWN) / np.exp(DRAWN).sum(axis=0))
    (row,) = findings(lab.run(ranked(fields, **{"retrieve.first_stage": "dot"}))).rows
    assert not row.transductive
    rerank = {"name": "score_fusion", "weights": {"theirs": 1.0}, "top_k": 5}
    (row,) = findings(lab.run(ranked(fields, **{"retrieve.first_stage": "dot", "retrieve.rerank": rerank}))).rows
    assert row.transductive
