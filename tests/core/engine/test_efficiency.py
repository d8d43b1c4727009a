"""Costs: counts against formulas written here, measurements against what must hold of them, one run end to end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core import LevelShape, Side, Spec, TextFeatures, VideoFeatures
from core.contract.settings import Checker
from core.engine.efficiency import Retrieval, call_times, memory_growth, multiply_adds, retrieval_costs
from core.engine.efficiency.measuring import TensorBytes
from core.engine.model import Model
from core.engine.plan import Plan
from core.engine.scoring import limit_memory
from core.engine.steps.efficiency import gallery_sides
from core.errors import ConfigError
from core.evidence.findings import findings
from core.evidence.trials import trial_of
from core.evidence.wording import notes
from core.experiment.config.schema import LogitScale
from core.measure.metrics import COSTS
from core.plugins import registry
from core.testing.description import configured
from core.testing.inputs import TEXTS, VIDEOS, Sample, sample
from plugins.outputs.mlflow.trial import TrialRecord
from tests.core.engine.test_reranking import reranked
from tests.engine import Lab, ToyDot, ToyMatcher, keys
from tests.plugins.test_contract import COMPONENTS, CONFIGURATIONS, NO_DEFAULTS

N, Q, T, D, K = 13, 7, 5, 16, 4
SHAPES = {"sentence": LevelShape(None, D), "frames": LevelShape(T, D)}
ON = {"evaluate.efficiency": True}


@pytest.fixture(autouse=True)
def _few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engine.efficiency.measuring.AT_MOST", 20)


# ------------------------------------------------------------------------------------------------ measuring


def test_products_with_one_vector_are_counted_like_any_other() -> None:
    matrix, vector = torch.randn(3, 5), torch.randn(5)
    assert multiply_adds(lambda: matrix @ vector)[0] == 15
    assert multiply_adds(lambda: torch.addmv(torch.zeros(3), matrix, vector))[0] == 15
    assert multiply_adds(lambda: vector @ vector)[0] == 5
    assert multiply_adds(lambda: matrix @ matrix.T)[0] == 45
    with torch.inference_mode():
        assert multiply_adds(lambda: matrix @ vector)[0] == 15


def test_bytes_of_tensors_are_those_alive_at_once_beside_the_known_ones() -> None:
    x = torch.randn(1000)
    with torch.inference_mode(), TensorBytes([x]) as found:
        y = x[:500] + 1  # a view takes nothing
        z = torch.cat([y, y])
        del y
        z = z * 2
        del z
    assert (found.peak, found.now) == (8000, 0)
    with TensorBytes() as found:
        torch.add(torch.from_numpy(np.zeros(250)), 1)  # memory that torch did not ask for is seen when it is read
    assert found.peak == 4000


def test_bytes_inside_a_composed_operation_are_seen() -> None:
    """Products of batches that are paired by broadcasting copy both sides first."""
    one, other = torch.randn(2, 1, 3, 4), torch.randn(1, 5, 4, 6)
    with torch.inference_mode(), TensorBytes([one, other]) as found:
        one @ other
    assert found.peak == 4 * (2 * 5) * (3 * 4 + 4 * 6 + 3 * 6)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_memory_is_watched_at_its_peak_and_files_that_are_mapped_are_not_in_it(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "values", np.uint8, "w+", shape=2**27)
    with memory_growth(torch.device("cpu")) as found:
        mapped[:] = 1
        own = np.ones(2**26, np.uint8)
        time.sleep(0.1)
        del own
    assert found.peak is not None
    assert 2**26 <= found.peak + 2**20 < 2**27


def test_calls_are_timed_in_turn_after_some_that_are_not() -> None:
    seen: list[str] = []

    def quick() -> None:
        seen.append("a")

    def slow() -> None:
        seen.append("b")
        time.sleep(0.02)

    times = call_times([quick, slow], at_least=6, warm_up=3)
    assert "".join(seen[:9]) == "aba" + "ababab"
    assert len(times) == len(seen) - 3 == 20
    assert min(times[1::2]) > 0.019 > max(times[::2])


# ------------------------------------------------------------------------------------------------ retrieval


def spec(kind: str, name: str, **fields: Any) -> Spec:
    checker = Checker(registry().specify)
    made = registry().specify(kind, {"name": name, **fields}, kind, checker)
    assert made is not None, checker.problems
    return made


def features(videos: int = N, texts: int = Q) -> tuple[TextFeatures, VideoFeatures]:
    torch.manual_seed(0)
    return TextFeatures(sentence=torch.randn(texts, D)), VideoFeatures(frames=torch.randn(videos, T, D))


def retrieval(
    interactions: dict[str, Spec],
    first_stage: dict[str, float],
    rerank: Spec | None = None,
    transforms: dict[str, Spec] | None = None,
    shapes: Any = SHAPES,
) -> Retrieval:
    def mixed(scores: Any) -> Tensor:
        return sum(weight * matrix for weight, matrix in zip(first_stage.values(), scores, strict=True))

    model = Model(transforms or {}, interactions, shapes, LogitScale()).eval()
    reranker = registry().make("reranker", rerank, shapes).eval() if rerank else None
    top_k = rerank.fields.top_k if rerank else 10
    return Retrieval(model, tuple(first_stage), mixed, reranker, top_k, torch.device("cpu"))


def costs(made: Retrieval) -> dict[str, float]:
    text, video = features()
    return retrieval_costs(made.over(video), text, video)


def counts(found: dict[str, float]) -> tuple[float, ...]:
    names = ("parameters", "side_bytes", "offline_multiply_adds", "online_multiply_adds")
    return tuple(found[f"cost/{name}"] for name in names)


def test_mean_pooling_costs_one_dot_product_a_video() -> None:
    plain = retrieval({"a": spec("interaction", "mean_pooling")}, {"a": 1.0})
    assert counts(costs(plain)) == (0, 4 * D, 0, N * D)
    projected = retrieval({"a": spec("interaction", "mean_pooling", text_projection=True)}, {"a": 1.0})
    assert counts(costs(projected)) == (D * D, 4 * D, 0, D * D + N * D)


def test_a_text_gated_block_costs_a_dot_product_a_token_and_its_gram() -> None:
    gated = retrieval({"a": spec("interaction", "tib")}, {"a": 1.0})
    kept = 4 * T * D + 4 * T * T + T  # tokens, their products with each other, a mask
    assert counts(costs(gated)) == (0, kept, T * T * D, N * (T * D + T * T))


def test_two_stages_cost_the_second_for_the_candidates_alone() -> None:
    fused = spec("reranker", "score_fusion", weights={"first_stage": 1.0, "fine": 0.5}, top_k=K)
    made = {"coarse": spec("interaction", "mean_pooling"), "fine": spec("interaction", "tib")}
    found = costs(retrieval(made, {"coarse": 1.0}, fused))
    kept = 4 * D + 4 * T * D + 4 * T * T + T
    assert counts(found) == (0, kept, T * T * D, N * D + K * (T * D + T * T))


def test_a_transform_that_two_interactions_share_is_counted_once() -> None:
    temporal = {"t": spec("feature_transform", "temporal_transformer", layers=2, heads=1, into="temporal")}
    mean = spec("interaction", "mean_pooling", level="temporal")
    found = costs(retrieval({"a": mean, "b": mean}, {"a": 1.0, "b": 1.0}, transforms=temporal))
    block = 4 * (D * D + D) + 8 * D * D + 5 * D + 4 * D  # attention, feed-forward, two LayerNorms
    work = T * (4 * D * D + 8 * D * D) + 2 * T * T * D
    assert counts(found) == (T * D + 2 * block, 2 * 4 * D, 2 * work, 2 * N * D)


def test_a_trained_reranker_costs_its_sides_and_its_pairs(toys: None) -> None:
    shapes = {"sentence": LevelShape(None, 4), "frames": LevelShape(T, 4)}
    losses = {"match": {"name": "toy_matching", "of": "rerank"}}
    matcher = spec("reranker", "toy_matcher", top_k=K, alpha=0.0, train={"losses": losses})
    made = retrieval({"a": spec("interaction", "mean_pooling")}, {"a": 1.0}, matcher, shapes=shapes)
    text, video = TextFeatures(sentence=torch.randn(Q, 4)), VideoFeatures(frames=torch.randn(N, T, 4))
    found = retrieval_costs(made.over(video), text, video)
    assert counts(found) == (4 * 4 + 4, 4 * 4 + 4 * 4, 0, 4 * 4 + N * 4)  # matching itself is no matrix product
    scores, rows = made.over(video).search(text)
    assert isinstance(made.reranker, ToyMatcher)
    asked = text.structured("sentence").values @ made.reranker.matrix.weight.T + made.reranker.matrix.bias
    pooled = video.structured("frames").values.mean(1)
    torch.testing.assert_close(scores, (asked[:, None] * pooled[rows]).sum(2))


def test_what_is_measured_finds_the_right_videos() -> None:
    fused = spec("reranker", "score_fusion", weights={"first_stage": 1.0, "fine": 0.5}, top_k=K)
    made = {"coarse": spec("interaction", "mean_pooling"), "fine": spec("interaction", "tib")}
    text, video = features()
    scores, rows = retrieval(made, {"coarse": 2.0}, fused).over(video).search(text)

    def unit(values: Tensor) -> Tensor:
        return values / values.norm(dim=-1, keepdim=True)

    for query in range(Q):
        asked, frames = unit(text.structured("sentence").values[query]), unit(video.structured("frames").values)
        first = 2 * unit(frames.mean(1)) @ asked
        wanted = {}
        for row in first.argsort(descending=True)[:K].tolist():
            weights = torch.softmax(frames[row] @ asked / 0.1, 0)
            wanted[row] = (first[row] + 0.5 * unit(weights @ frames[row]) @ asked).item()
        order = sorted(wanted, key=lambda row: -wanted[row])
        assert rows[query].tolist() == order
        assert scores[query].tolist() == pytest.approx([wanted[row] for row in order], abs=1e-5)


def test_times_are_in_order_and_the_peak_holds_the_gallery_and_a_matrix_of_scores() -> None:
    plain = retrieval({"a": spec("interaction", "mean_pooling")}, {"a": 1.0})
    found = costs(plain)
    assert 0 < found["cost/latency_ms"] <= found["cost/latency_p95_ms"]
    assert found["cost/throughput"] > 0
    assert found["cost/peak_bytes"] >= N * 4 * D + 4 * Q * N


# ------------------------------------------------------------------------------------------------ every component


def small(kind: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, fields) of every built-in component of a kind: by default where that can be, and as its contract has it
    besides."""
    named = [name for of, name in COMPONENTS if of == kind and (of, name) not in NO_DEFAULTS]
    listed = [(name, fields) for of, name, fields in CONFIGURATIONS if of == kind]
    given = [("given_scores", {})] if kind == "interaction" else []
    return [*((name, {}) for name in named), *listed, *given]


def told(case: tuple[str, dict[str, Any]]) -> str:
    return " ".join([case[0], *case[1]])


def test_every_component_that_retrieval_runs_is_measured_below() -> None:
    measured = {(kind, name) for kind in ("interaction", "reranker") for name, _ in small(kind)}
    assert measured == {key for key in COMPONENTS if key[0] in ("interaction", "reranker")}


def prepared(kind: str, name: str, fields: dict[str, Any], folder: Path) -> tuple[Any, Any, Sample]:
    """(class, configuration, features that it reads)"""
    if name == "given_scores":
        values = np.random.default_rng(0).normal(size=(TEXTS, VIDEOS))
        ids = {f"{side}_ids": [f"{side}{row}" for row in range(n)] for side, n in (("text", TEXTS), ("video", VIDEOS))}
        np.savez(folder / "scores.npz", scores=values, **ids)
        fields = {"file": str(folder / "scores.npz")}
    fields = dict(fields)
    shapes = fields.pop("shapes", None)
    cls: Any = COMPONENTS[kind, name]
    config = configured(cls, fields)
    return cls, config, sample(cls.reads(config), shapes)


@pytest.mark.parametrize("scarce", [False, True], ids=["in memory", "in a file"])
@pytest.mark.parametrize("case", small("interaction"), ids=told)
def test_every_interaction_is_measured_and_finds_its_best_videos(
    case: tuple[str, dict[str, Any]], scarce: bool, tmp_path: Path
) -> None:
    _, config, given = prepared("interaction", *case, tmp_path)
    made = retrieval({"a": Spec(case[0], config)}, {"a": 1.0}, shapes=given.shapes)
    found, (scores, rows) = measured(made, given, scarce, tmp_path)
    part = made.model.interaction("a")
    with torch.inference_mode():
        sides = part.text_side(given.text), part.video_side(given.video)
        wanted = part.score(*sides)
    assert found["cost/side_bytes"] == sum(t[0].numel() * t.element_size() for t in sides[1].values())
    torch.testing.assert_close(scores, wanted.float().sort(dim=1, descending=True, stable=True).values)
    torch.testing.assert_close(wanted.float().gather(1, rows), scores)


@pytest.mark.parametrize("case", small("reranker"), ids=told)
def test_every_reranker_is_measured_and_gives_its_own_scores(case: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    cls, config, given = prepared("reranker", *case, tmp_path)
    mean = spec("interaction", "mean_pooling")
    names = {"first": mean} | {name: mean for name in cls.interactions(config) if name != "first_stage"}
    config = replace(config, top_k=K)
    torch.manual_seed(0)
    made = retrieval(names, {"first": 1.0}, Spec(case[0], config), shapes=given.shapes)
    _, (scores, rows) = measured(made, given, False, tmp_path)
    assert made.reranker is not None
    with torch.inference_mode():
        first = made.model.interaction("first")
        matrix = first.score(first.text_side(given.text), first.video_side(given.video))
        for query in range(TEXTS):
            candidates = matrix[query].argsort(descending=True)[:K]
            asked = torch.full((K,), query)
            known = dict.fromkeys([*names, "first_stage"], matrix[query, candidates])
            wanted = made.reranker(given.text[asked], given.video[candidates], known)
            order = wanted.argsort(descending=True)
            assert rows[query].tolist() == candidates[order].tolist()
            torch.testing.assert_close(scores[query], wanted[order])


def measured(made: Retrieval, given: Sample, scarce: bool, folder: Path) -> tuple[dict[str, float], Any]:
    """(costs, what a search finds) with a gallery made as a run makes it."""
    limit_memory("1" if scarce else None)
    try:
        sides = gallery_sides(made, given.video, folder / "sides", "measure")
        assert (folder / "sides").exists() == scarce
        made = made.over(given.video, sides)
        found = retrieval_costs(made, given.text, given.video)
    finally:
        limit_memory(None)
    assert all(np.isfinite(value) and value >= 0 for value in found.values())
    assert found["cost/latency_ms"] > 0
    return found, made.search(given.text)


def test_learned_queries_that_modules_are_called_with_are_counted() -> None:
    """In inference mode the hooks that count module by module fail on them."""
    made = retrieval(
        {"a": spec("interaction", "learnable_queries", text_level="sentence", queries=3, layers=2, heads=1)}, {"a": 1.0}
    )
    attention = 4 * 3 * D * D + 2 * 3 * 3 * D  # among the queries
    reading = 2 * 3 * D * D + 2 * T * D * D + 2 * 3 * T * D  # of the tokens
    assert costs(made)["cost/offline_multiply_adds"] == 2 * (attention + reading + 2 * 3 * D * 4 * D)


class Odd(ToyDot):
    """Sides with tensors of any name and kind: codes beyond what float32 counts, vectors of half precision."""

    name = "toy_odd"

    def text_side(self, text: TextFeatures) -> Side:
        return {"a/b": super().text_side(text)["vector"].half()}

    def video_side(self, video: VideoFeatures) -> Side:
        rows = torch.full((len(video),), 2**24 + 1)
        vectors = super().video_side(video)["vector"].half()
        return {"a/b": vectors, "/": rows, "frames": rows.to(torch.int8), "": rows.to(torch.int16)}

    def score(self, text: Side, video: Side) -> Tensor:
        assert (video["/"] == 2**24 + 1).all()
        assert [tensor.dtype for tensor in video.values()] == [torch.half, torch.int64, torch.int8, torch.int16]
        return (text["a/b"] @ video["a/b"].T).float()


@pytest.mark.parametrize("scarce", [False, True], ids=["in memory", "in a file"])
def test_sides_are_measured_as_they_are_whatever_their_tensors_are_called(tmp_path: Path, scarce: bool) -> None:
    text, video = features()
    masked = VideoFeatures(frames=video.structured("frames").values, frame_mask=torch.ones(N, T, dtype=torch.bool))
    made = retrieval({"a": spec("interaction", "mean_pooling")}, {"a": 1.0})
    made.model.interactions["a"] = Odd(ToyDot.Config(), SHAPES)
    found, _ = measured(made, Sample(text, masked, SHAPES), scarce, tmp_path)
    assert found["cost/side_bytes"] == 2 * D + 8 + 1 + 2


class TextsAlone(ToyMatcher):
    """Looks at no video."""

    name = "toy_texts_alone"

    def video_side(self, video: VideoFeatures) -> Side:
        return {}

    def score_pairs(self, text: Side, video: Side, scores: Any) -> Tensor:
        return text["vector"].sum(-1) + scores["first_stage"]


def test_a_reranker_that_keeps_nothing_of_a_video_is_measured(toys: None, tmp_path: Path) -> None:
    shapes = {"sentence": LevelShape(None, 4), "frames": LevelShape(T, 4)}
    losses = {"match": {"name": "toy_matching", "of": "rerank"}}
    matcher = spec("reranker", "toy_matcher", top_k=K, alpha=0.0, train={"losses": losses})
    made = retrieval({"a": spec("interaction", "mean_pooling")}, {"a": 1.0}, matcher, shapes=shapes)
    made = replace(made, reranker=TextsAlone(matcher.fields, shapes).eval())
    given = Sample(TextFeatures(sentence=torch.randn(Q, 4)), VideoFeatures(frames=torch.randn(N, T, 4)), shapes)
    found, _ = measured(made, given, False, tmp_path)
    assert found["cost/side_bytes"] == 4 * 4


# ------------------------------------------------------------------------------------------------ a run


def results(plan: Plan) -> list[dict[str, float]]:
    return [trial_of(plan, trial).costs for trial in plan.trials]


def fits(plan: Plan) -> list[Any]:
    return [plan.workspace.read(step) for step in plan.steps.values() if step.name in ("fit", "fit_reranker")]


def test_a_run_measures_each_variant_once_for_all_its_seeds(lab: Lab) -> None:
    plan = lab.run(
        {**ON, "seeds": [3, 1], "ablate": {"retrieve.rerank.top_k": [1, 2]}, "baseline": {"retrieve.rerank.top_k": 1}}
    )
    assert len(lab.entries("efficiency")) == len(keys(plan, "efficiency")) == 2
    one, again, two, other = results(plan)
    assert (one, two) == (again, other)
    assert set(one) == set(COSTS)
    assert all(np.isfinite(value) and value >= 0 for value in one.values())
    # 5 videos by `dot`, K candidates by `linear`, whose matrix [4, 4] is on the video's side
    assert counts(one) == (20, 2 * 16, 16, 5 * 4 + 1 * 4)
    assert counts(two) == (20, 2 * 16, 16, 5 * 4 + 2 * 4)
    (first,) = [fit for fit in fits(plan) if fit.meta["fields"]["seed"] == 3]
    assert one["cost/training_seconds"] == sum(record["seconds"] for record in first.json("history.json"))
    assert one["cost/training_peak_bytes"] == first.info["peak_bytes"] >= 4 * 20
    assert not lab.new(
        {**ON, "seeds": [3, 1], "ablate": {"retrieve.rerank.top_k": [1, 2]}, "baseline": {"retrieve.rerank.top_k": 1}}
    )


def test_switched_on_it_adds_its_own_step_and_changes_no_other(done: Lab) -> None:
    assert results(done.plan()) == [{}]
    assert done.new(ON) == {"efficiency", "evaluate"}
    threads = torch.get_num_threads()
    before = keys(done.plan(ON), "efficiency")
    torch.set_num_threads(threads + 1)
    try:
        assert keys(done.plan(ON), "efficiency") != before
    finally:
        torch.set_num_threads(threads)
    assert keys(done.plan(ON), "efficiency") == before


def test_a_trained_reranker_and_what_it_took_to_train_are_in_it(lab: Lab) -> None:
    plan = lab.run(
        {**ON, **reranked(), "model.interactions": {"linear": {"name": "toy_linear"}}, "retrieve.first_stage": "linear"}
    )
    (found,) = results(plan)
    assert counts(found) == (20 + 20, 2 * 16, 16, 16 + 5 * 4)
    seconds = [record["seconds"] for fit in fits(plan) for record in fit.json("history.json")]
    assert len(seconds) == 2 + 3
    assert found["cost/training_seconds"] == pytest.approx(sum(seconds))
    assert found["cost/training_peak_bytes"] == max(fit.info["peak_bytes"] for fit in fits(plan))


def test_nothing_trained_costs_no_training_and_scarce_memory_changes_no_count(lab: Lab) -> None:
    changes = {**ON, "model": {"interactions": {"dot": {"name": "toy_dot"}}}, "retrieve": {"first_stage": "dot"}}
    limit_memory("1k")
    try:
        plan = lab.run(changes)
    finally:
        limit_memory(None)
    (found,) = results(plan)
    assert (found["cost/training_seconds"], found["cost/training_peak_bytes"]) == (0, 0)
    assert counts(found) == (0, 16, 0, 5 * 4)
    (entry,) = lab.entries("efficiency")
    assert {file.name for file in entry.folder.iterdir()} == {"meta.json", "result.json"}


def test_an_index_whose_work_cannot_be_counted_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.efficiency: is not there with `retrieve.index: faiss`"):
        lab.plan({**ON, "retrieve.index": "faiss"})


def test_costs_are_logged_and_each_trial_keeps_the_curve_of_its_own_fit(lab: Lab) -> None:
    plan = lab.run({**ON, "seeds": [0, 1]})
    result = findings(plan)
    (row,) = result.rows
    for found in row.results:
        record = TrialRecord(result, row, found)
        assert plan.workspace.store.read("fit", record.fits["train"].key).meta["fields"]["seed"] == found.seed
        logged = {name: value for name, value, step in record.points if name.startswith("cost/")}
        assert logged == pytest.approx(found.costs, rel=1e-3)


def test_the_report_says_what_was_measured_on_and_when_the_machine_was_too_busy(lab: Lab) -> None:
    plan = lab.run(ON)
    result = findings(plan)
    ((found,),) = (row.results for row in result.rows)
    for slowest, noisy in ((2.9, False), (3.1, True)):
        costs = found.costs | {"cost/latency_ms": 1.0, "cost/latency_p95_ms": slowest}
        found.__dict__["stored"] = {**found.stored, "costs": costs}
        told = notes(plan, result)
        threads = torch.get_num_threads()
        assert any(line.startswith(f"Costs were measured on cpu, {threads} thread") for line in told)
        assert any("timing was noisy" in line for line in told) == noisy
    assert not any("measured on" in line for line in findings(lab.run({**ON, "evaluate.efficiency": False})).notes)
