"""Ranks and metrics of stored scores, against brute force: both directions, blocks, ties, re-ranking."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import ScoreTransform, Split, hookimpl
from core.contract.store import Entry
from core.engine.plan import Plan
from core.engine.steps import first_stage, rank
from core.evidence.trials import trial_of
from core.measure.metrics import TIES, Relevance, evaluate, rank_counts
from core.plugins import registry
from tests.core.engine.test_reranking import RERANK
from tests.engine import Lab, ToyVideos

from .outputs import lifted, output


def brute_force(scores: np.ndarray, relevant: np.ndarray, top_k: int, new: np.ndarray | None) -> np.ndarray:
    """Rank of each query's best relevant item [Q], after re-ranking the best `top_k` by `new`; no ties."""
    ranks = []
    for query, row in enumerate(scores):
        order = sorted(range(len(row)), key=lambda item: -row[item])
        if new is not None:
            head = sorted(order[:top_k], key=lambda item: -new[query, item])
            order = head + order[top_k:]
        ranks.append(min(order.index(item) for item in np.flatnonzero(relevant[query])) + 1)
    return np.array(ranks)


@pytest.mark.parametrize("top_k", [1, 2, 3, 100])
def test_metrics_of_both_directions_are_those_of_brute_force(lab: Lab, top_k: int) -> None:
    plan = lab.run({"retrieve.rerank.top_k": top_k, "retrieve.first_stage": {"dot": 0.5, "linear": -0.25}})
    dot, linear = (output(plan, f"score {name}").tensors()["scores"].numpy() for name in ("dot", "linear"))
    first = np.float32(0.5) * dot - np.float32(0.25) * linear
    relevant = np.repeat(np.eye(5, dtype=bool), 2, axis=0)
    found = trial_of(plan, plan.trials[0])
    for direction, scores, new, truth in (("t2v", first, linear, relevant), ("v2t", first.T, linear.T, relevant.T)):
        ranks = brute_force(scores, truth, top_k, new)
        assert found.metrics[f"{direction}/R1"] == pytest.approx(100 * (ranks <= 1).mean())
        assert found.metrics[f"{direction}/MnR"] == pytest.approx(ranks.mean())
        assert found.tensors[f"{direction}/R5"].tolist() == pytest.approx((100.0 * (ranks <= 5)).tolist())
        ceiling = brute_force(scores, truth, top_k, None) <= top_k
        assert ((ranks <= 1) <= ceiling).all()


def test_clusters_are_the_videos_for_texts_and_single_for_videos(lab: Lab) -> None:
    plan = lab.run({"retrieve.rerank": None})
    found = trial_of(plan, plan.trials[0])
    assert found.tensors["t2v/clusters"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert found.tensors["v2t/clusters"].tolist() == [0, 1, 2, 3, 4]


def test_what_is_left_beside_a_skipped_video_keeps_its_own_features_and_answers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos 1 and 3 also answer the first text; video 1 is the one that cannot be read."""
    split_of = ToyVideos._split

    def related(self: ToyVideos, folder: Path, items: list[Any]) -> Split:
        return replace(split_of(self, folder, items), also_relevant=((0, 1), (0, 3)))

    monkeypatch.setattr(ToyVideos, "_split", related)
    whole = output(lab.run({"retrieve.rerank": None}), "score dot").tensors()["scores"]
    for picture in (lab.videos / "test" / "v1").iterdir():
        picture.write_bytes(b"")
    plan = lab.run({"retrieve.rerank": None, "data.on_unreadable": "skip"})
    texts, videos = [0, 1, 4, 5, 6, 7, 8, 9], [0, 2, 3, 4]
    scores = output(plan, "score dot").tensors()["scores"]
    torch.testing.assert_close(scores, whole[texts][:, videos])
    answers = np.array([0, 0, 1, 1, 2, 2, 3, 3])[:, None] == np.arange(4)
    answers[0, 2] = True
    wanted = evaluate(scores.numpy(), Relevance.from_dense(answers), ["R1", "R5", "MnR"]).metrics
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted)


class Centred(ScoreTransform):
    """Without the mean over the queries: each score depends on the whole matrix."""

    name = "toy_centred"

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        return scores - scores.mean(0, keepdim=True)


class CentredPlugin:
    @hookimpl
    def register_score_transforms(self, register: Any) -> None:
        register(Centred)


@pytest.fixture
def centred() -> Iterator[None]:
    plugin = CentredPlugin()
    registry().add_plugin(plugin, "centred", "1")
    yield
    registry().remove_plugin(plugin, "centred")


@pytest.mark.parametrize("transform", [False, True])
def test_a_first_stage_is_mixed_transformed_and_ranked_in_blocks(
    lab: Lab, centred: None, transform: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"retrieve.first_stage": {"dot": 0.5, "linear": 2.0}, "retrieve.rerank": None}
    changes |= {"retrieve.transforms": {"own": {"name": "toy_centred"}}} if transform else {}
    monkeypatch.setattr(first_stage, "block_floats", lambda: 1)
    sizes = []
    monkeypatch.setattr(rank, "rank_counts", lambda *given: sizes.append(len(given[0])) or rank_counts(*given))
    plan = lab.run(changes)
    assert sizes == [1] * (10 + 5)
    dot, linear = (output(plan, f"score {name}").tensors()["scores"] for name in ("dot", "linear"))
    scores = 0.5 * dot + 2 * linear
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    wanted = {}
    for direction, over in (("t2v", 0), ("v2t", 1)):  # the queries are the rows of the transform
        asked = scores - scores.mean(over, keepdim=True) if transform else scores
        wanted |= evaluate(asked.numpy(), relevance, ["R1", "R5", "MnR"], [direction]).metrics
    assert plan.workspace.read(plan.trials[0].last).json()["metrics"] == pytest.approx(wanted)


@pytest.mark.parametrize("at_once", [True, False])
def test_fewer_candidates_than_are_stored_are_ranked_by_the_scores_of_the_first_ones(lab: Lab, at_once: bool) -> None:
    """All numbers of candidates in one run, or one after the other from what the largest has stored."""
    metrics = {"evaluate.metrics": ["R1", "R5", "MnR", "MRR"]}
    sweep = {"ablate": {"retrieve.rerank.top_k": [4, 1, 2]}, "baseline": "top_k=4"}
    weights = {"retrieve.rerank.weights": {"linear": 1.0, "first_stage": 0.5}}
    changes = [sweep] if at_once else [{"retrieve.rerank.top_k": k} for k in (4, 1, 2)]
    plans = [lab.run(change | metrics | weights) for change in changes]
    results = [plan.workspace.read(trial.last).json() for plan in plans for trial in plan.trials]
    first = output(plans[0], "score dot").tensors()["scores"].numpy()
    every = lab.run({"retrieve.first_stage": "linear", "retrieve.rerank": None})
    new = output(every, "score linear").tensors()["scores"].numpy() + 0.5 * first
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    for k, found in zip((4, 1, 2), results, strict=True):
        wanted = evaluate(lifted(first, new, k), relevance, metrics["evaluate.metrics"], ["t2v"]).metrics
        wanted |= evaluate(lifted(first.T, new.T, k).T, relevance, metrics["evaluate.metrics"], ["v2t"]).metrics
        assert found["metrics"] == pytest.approx(wanted), k
        best = np.argsort(-first, axis=1)[:, :k]
        there = (best == np.arange(10)[:, None] // 2).any(1)
        asked = (np.argsort(-first.T, axis=1)[:, :k] // 2 == np.arange(5)[:, None]).any(1)
        assert found["ceilings"] == pytest.approx({"t2v": 100 * there.mean(), "v2t": 100 * asked.mean()}), k


@pytest.mark.parametrize("ties", ["expected", "optimistic", "pessimistic"])
def test_tied_scores_are_ranked_as_the_file_says(lab: Lab, ties: Any) -> None:
    """Of the power 0 only the sign of a score is left, so that most tie."""
    interactions = {"dot": {"name": "toy_dot", "power": 0.0}}
    changes: dict[str, Any] = {"model.interactions": interactions, "model.losses": {}, "retrieve.rerank": None}
    plan = lab.run(changes | {"evaluate.ties": ties})
    scores = output(plan, "score dot").tensors()["scores"].numpy()
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    found = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    by_rule = {rule: evaluate(scores, relevance, ["R1", "R5", "MnR"], ties=rule).metrics for rule in TIES}
    assert found == pytest.approx(by_rule[ties])
    assert [rule for rule, metrics in by_rule.items() if found == pytest.approx(metrics)] == [ties]


@pytest.mark.parametrize("asked", ["each_side", "text_side"])
def test_re_ranking_is_the_same_in_blocks(lab: Lab, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"retrieve.candidates_from": asked, "retrieve.rerank.top_k": 3}
    before = [entry.json() for entry in evaluated(lab.run(changes))]
    for name in ("rank", "evaluate"):
        shutil.rmtree(lab.store / name)
    monkeypatch.setattr(first_stage, "block_floats", lambda: 1)
    assert [entry.json() for entry in evaluated(lab.run(changes))] == before


def evaluated(plan: Plan) -> list[Entry]:
    return [plan.workspace.read(trial.last) for trial in plan.trials]


def test_a_listwise_reranker_reranks_each_query(lab: Lab) -> None:
    plain = lab.result({"retrieve.rerank": None}).rows[0]
    listwise = lab.result({"retrieve.rerank": {"name": "toy_listwise", "top_k": 3}}).rows[0]
    assert listwise.results[0].metrics == plain.results[0].metrics


@pytest.mark.parametrize("rerank", [True, False])
def test_candidates_from_the_text_side_rank_both_directions_by_one_matrix(lab: Lab, rerank: bool) -> None:
    changes: dict[str, Any] = {"retrieve.candidates_from": "text_side", "evaluate.metrics": ["R1", "R5", "MnR", "MRR"]}
    plan = lab.run(changes if rerank else changes | {"retrieve.rerank": None})
    first = output(plan, "score dot").tensors()["scores"].numpy()
    every = lab.run({"retrieve.first_stage": "linear", "retrieve.rerank": None})
    new = output(every, "score linear").tensors()["scores"].numpy()
    final = lifted(first, new, 2) if rerank else first
    relevance = Relevance.from_pairs(np.arange(10), np.arange(10) // 2, (10, 5))
    wanted = evaluate(final, relevance, ["R1", "R5", "MnR", "MRR"], ["t2v", "v2t"]).metrics
    made = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    assert made == pytest.approx(wanted)


@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize("rerank", ["score_fusion", "toy_matcher"])
def test_r1_after_re_ranking_is_at_most_the_first_stages_recall_at_k_which_is_stored(
    lab: Lab, top_k: int, rerank: str
) -> None:
    metrics = {"evaluate.metrics": ["R1", "R2", "R4"]}
    spec = {"name": "score_fusion", "weights": {"linear": 1.0}} if rerank == "score_fusion" else dict(RERANK)
    plan = lab.run({**metrics, "retrieve.rerank": {**spec, "top_k": top_k}})
    found = plan.workspace.read(plan.trials[0].last).json()
    alone = lab.run({**metrics, "retrieve.rerank": None})
    first = alone.workspace.read(alone.trials[0].last).json()
    assert first["ceilings"] == {}
    for direction in ("t2v", "v2t"):
        assert found["metrics"][f"{direction}/R1"] <= found["ceilings"][direction]
        assert found["ceilings"][direction] == pytest.approx(first["metrics"][f"{direction}/R{top_k}"])
