"""A reranker's own fit: wrong answers, batches, alpha chosen on validation, and what is shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor, nn

from core import Shapes, Side, Split, TextFeatures, VideoFeatures
from core.contract.optimisation import RerankerTraining
from core.contract.store import Store
from core.engine.execute import execute
from core.engine.plan import Plan, add_trials, read_plan
from core.engine.reranking import Negatives, mine
from core.engine.scoring import Sides, match_candidates
from core.engine.steps.step import Workspace
from core.engine.steps.weights import fitted_reranker
from core.errors import ConfigError, RunError
from core.measure.metrics import Relevance, evaluate
from tests.core.experiments import plugged, plugin_of
from tests.engine import COUNTS, Lab, ToyMatcher, ToyMatching, ToyVideos

RERANK = {
    "name": "toy_matcher",
    "top_k": 3,
    "train": {
        "losses": {"match": {"name": "toy_matching", "of": "rerank"}},
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.05,
        "negatives": 2,
        "pool": 3,
    },
}


def reranked(**changes: Any) -> dict[str, Any]:
    return {"retrieve.rerank": {**RERANK, **changes}}


def trained(**changes: Any) -> dict[str, Any]:
    return reranked(train={**RERANK["train"], **changes})  # type: ignore[dict-item]


def steps(plan: Plan, name: str) -> list[Any]:
    return [step for step in plan.steps.values() if step.name == name]


# ------------------------------------------------------------------------------------------------ wrong answers


def case(seed: int, texts: int, videos: int) -> tuple[torch.Tensor, csr_array, torch.Tensor]:
    draws = np.random.default_rng(seed)
    own = np.arange(texts) % videos
    relevance = draws.random((texts, videos)) < 0.2
    relevance[np.arange(texts), own] = True
    scores = torch.from_numpy(draws.permutation(texts * videos).reshape(texts, videos).astype(np.float32))
    return scores, csr_array(relevance), torch.from_numpy(own)


def in_blocks(scores: torch.Tensor, size: int) -> list[tuple[slice, torch.Tensor]]:
    return [(slice(at, at + size), scores[:, at : at + size]) for at in range(0, scores.shape[1], size)]


@given(st.integers(0, 99), st.integers(1, 9), st.integers(2, 9), st.integers(1, 12), st.integers(1, 9))
def test_wrong_answers_are_the_best_that_are_not_relevant(
    seed: int, texts: int, videos: int, pool: int, size: int
) -> None:
    scores, relevance, own = case(seed, texts, videos)
    found = mine(in_blocks(scores, size), relevance, own, pool)
    matrix, right = scores.numpy(), relevance.toarray()
    assert found.own.tolist() == matrix[np.arange(texts), own.numpy()].tolist()
    for negatives, values, wrong in ((found.t2v, matrix, ~right), (found.v2t, matrix.T, ~right.T)):
        for row in range(len(values)):
            best = [i for i in np.argsort(-values[row]) if wrong[row, i]][:pool]
            there = torch.isfinite(negatives.scores[row])
            assert negatives.items[row][there].tolist() == best
            assert negatives.scores[row][there].tolist() == [values[row, i] for i in best]


def test_random_wrong_answers_are_any_that_are_not_relevant() -> None:
    scores, relevance, own = case(0, 40, 8)
    draw = [mine(in_blocks(scores, 3), relevance, own, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(draw[0].t2v.items, draw[1].t2v.items)
    assert not torch.equal(draw[0].t2v.items, draw[2].t2v.items)
    right = relevance.toarray()
    seen = np.zeros_like(right)
    for row in range(40):
        for item, score in zip(draw[0].t2v.items[row].tolist(), draw[0].t2v.scores[row].tolist(), strict=True):
            if np.isfinite(score):
                assert not right[row, item]
                assert score == scores[row, item]
                seen[row, item] = True
    assert (seen.sum(0) > 5).all()  # not the best ones: every video is drawn for several texts


def settings(**changes: Any) -> RerankerTraining:
    return RerankerTraining(**{"losses": {}, "negatives": 2, "temperature": 1.0, **changes})


def test_negatives_are_drawn_in_proportion_to_their_softmax() -> None:
    pool = Negatives(torch.tensor([[7, 8, 9]]), torch.tensor([[2.0, 1.0, 0.0]]))
    rows = torch.zeros(20_000, dtype=torch.int64)
    items, scores = pool.draw(rows, settings(negatives=1), torch.Generator().manual_seed(0))
    shares = torch.stack([(items == item).float().mean() for item in (7, 8, 9)])
    torch.testing.assert_close(shares, torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0), atol=0.015, rtol=0)
    assert torch.equal(scores, 9.0 - items)
    items, _ = pool.draw(rows, settings(negatives=1, temperature=0.5), torch.Generator().manual_seed(0))
    shares = torch.stack([(items == item).float().mean() for item in (7, 8, 9)])
    torch.testing.assert_close(shares, torch.softmax(torch.tensor([4.0, 2.0, 0.0]), 0), atol=0.015, rtol=0)
    even, _ = pool.draw(rows, settings(negatives=1, negatives_from="random"), torch.Generator().manual_seed(0))
    assert (even == 7).float().mean().item() == pytest.approx(1 / 3, abs=0.015)


def test_negatives_of_one_query_differ_as_far_as_there_are_enough() -> None:
    pool = Negatives(torch.tensor([[4, 5, 6], [1, 2, 3]]), torch.tensor([[0.5, 0.1, -torch.inf], [0.3, 0.2, 0.1]]))
    items, scores = pool.draw(torch.tensor([0, 1]), settings(negatives=4), torch.Generator().manual_seed(0))
    assert (set(items[0].tolist()), set(items[1].tolist())) == ({4, 5}, {1, 2, 3})
    assert torch.isfinite(scores).all()


# ------------------------------------------------------------------------------------------------ the fit


def test_a_batch_has_a_row_for_each_text_and_video_that_asks_with_its_pair_first(lab: Lab) -> None:
    lab.run(trained())
    batch = ToyMatching.seen[0]
    assert {name: tuple(scores.shape) for name, scores in batch.scores.items()} == {
        "rerank": (8, 3),
        "first_stage": (8, 3),
    }
    assert batch.relevance.tolist() == [[True, False, False]] * 8
    assert torch.equal(batch.scores["rerank"][:4, 0], batch.scores["rerank"][4:, 0])
    ToyMatching.seen.clear()
    lab.run(trained(directions=["t2v"], negatives=1))
    assert ToyMatching.seen[0].scores["rerank"].shape == (4, 2)


def test_training_learns_to_tell_pairs_from_wrong_answers(lab: Lab) -> None:
    plan = lab.run(trained(epochs=30, keep="last"))
    (fit,) = steps(plan, "fit_reranker")
    history = plan.workspace.read(fit).json("history.json")
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]


def test_new_scores_are_alpha_times_the_first_stage_plus_the_matching_score(lab: Lab) -> None:
    plan = lab.run(reranked(alpha=2.0, top_k=5))
    (fit,) = steps(plan, "fit_reranker")
    (step,) = [s for s in steps(plan, "match") if s.fields["direction"] == "t2v"]
    matching = plan.workspace.read(step).tensors()["scores"]
    first = plan.workspace.read(step.inputs.stage.first_stage["dot"]).tensors()["scores"]
    order = first.argsort(dim=1, descending=True, stable=True)
    final = torch.empty_like(first).scatter(1, order, 2.0 * first.gather(1, order) + matching)
    own = np.arange(10) // 2
    relevance = Relevance.from_pairs(np.arange(10), own, (10, 5))
    wanted = evaluate(final.numpy(), relevance, ["R1", "MnR"], ["t2v"]).metrics
    made = plan.workspace.read(plan.trials[0].last).json()["metrics"]
    assert {name: made[name] for name in wanted} == pytest.approx(wanted)
    made_reranker = fitted_reranker(plan.workspace, fit, plan.experiment, step.payload.shapes)
    assert made_reranker.config.alpha == 2.0


def test_alpha_is_the_one_that_is_best_on_validation(lab: Lab) -> None:
    """With one alpha so large that the first stage alone decides, and one of 0."""
    plan = lab.run(reranked(alphas=[0.0, 1e6]))
    (fit,) = steps(plan, "fit_reranker")
    entry = plan.workspace.read(fit)
    chosen = entry.json("chosen.json")["alpha"]
    found = {}
    for alpha in (0.0, 1e6):
        validation = lab.run({**reranked(alpha=alpha, top_k=20), "evaluate.split": "val", "evaluate.primary": "t2v/R1"})
        found[alpha] = validation.workspace.read(validation.trials[0].last).json()["metrics"]["t2v/R1"]
    assert found[chosen] == max(found.values())
    best = max(record["validation"] for record in entry.json("history.json"))
    assert best == pytest.approx(found[chosen])


@pytest.mark.parametrize(("primary", "best"), [("t2v/R1", max), ("t2v/MnR", min)])
def test_epoch_and_alpha_are_those_of_the_best_validation_whichever_way_the_metric_goes(
    lab: Lab, primary: str, best: Any
) -> None:
    training = {**RERANK["train"], "epochs": 8, "learning_rate": 0.2}  # type: ignore[dict-item]
    plan = lab.run(reranked(train=training, alphas=[0.0, 0.5, 1e6]) | {"evaluate.primary": primary})
    (fit,) = steps(plan, "fit_reranker")
    entry = plan.workspace.read(fit)
    validations = [record["validation"] for record in entry.json("history.json")]
    assert len(set(validations)) > 1
    assert entry.info["best_epoch"] == 1 + validations.index(best(validations))
    found = {}
    for alpha in (0.0, 0.5, 1e6):
        changes = {"evaluate.split": "val", "evaluate.primary": primary, "evaluate.metrics": ["R1", "MnR"]}
        validated = lab.run(reranked(train=training, alphas=[0.0, 0.5, 1e6], alpha=alpha, top_k=20) | changes)
        found[alpha] = validated.workspace.read(validated.trials[0].last).json()["metrics"][primary]
    assert len(set(found.values())) > 1
    assert found[entry.json("chosen.json")["alpha"]] == best(found.values())


def test_a_great_alpha_gives_the_first_stage_back(lab: Lab) -> None:
    both = [lab.run(changes) for changes in (reranked(alpha=1e9), {"retrieve.rerank": None})]
    first, second = (plan.workspace.read(plan.trials[0].last).json()["metrics"] for plan in both)
    assert first == second


def test_another_top_k_or_alpha_trains_and_matches_nothing_again(lab: Lab) -> None:
    lab.run(reranked(top_k=5))
    assert lab.new(reranked(top_k=2)) == {"rank", "evaluate"}
    assert lab.new(reranked(top_k=5, alpha=3.0)) == {"rank", "evaluate"}
    lab.run(reranked(top_k=2))
    assert COUNTS["matched"] == 0


def test_fewer_candidates_than_are_matched_are_ranked_by_the_scores_of_the_first_ones(lab: Lab) -> None:
    lab.run(reranked(top_k=5, alpha=0.5))
    from_more = lab.run(reranked(top_k=2, alpha=0.5))
    lab.store = lab.folder / "another"
    alone = lab.run(reranked(top_k=2, alpha=0.5))
    ranks = [
        [plan.workspace.read(step).tensors()["above"].tolist() for step in steps(plan, "rank")]
        for plan in (from_more, alone, lab.run(reranked(top_k=5, alpha=0.5)))
    ]
    assert ranks[0] == ranks[1] != ranks[2]


def test_a_larger_top_k_matches_only_what_is_new(lab: Lab) -> None:
    lab.run(reranked(top_k=2))
    lab.run(reranked(top_k=4))
    assert COUNTS["matched"] == 10 * 2 + 5 * 2


class ToyPrior(ToyMatcher):
    """A trained multiple of the first stage's score, and nothing else."""

    name = "toy_prior"

    def __init__(self, config: Any, shapes: Shapes):
        super().__init__(config, shapes)
        self.factor = nn.Parameter(torch.tensor(3.0))

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        return self.factor * scores["first_stage"]


class ToySame(ToyPrior):
    """A trained multiple of the score that the first stage `dot` gives, from the features of the pair."""

    name = "toy_same"

    def text_side(self, text: TextFeatures) -> Side:
        return {"vector": nn.functional.normalize(text.level("sentence").values[:, 0], dim=-1)}

    def video_side(self, video: VideoFeatures) -> Side:
        return {"vector": nn.functional.normalize(video.level("frames").values.mean(1), dim=-1)}

    def score_pairs(self, text: Side, video: Side, scores: Mapping[str, Tensor]) -> Tensor:
        return self.factor * (text["vector"] * video["vector"]).sum(-1)


@pytest.fixture
def prior(lab: Lab) -> Iterator[Lab]:
    def both(register: Any) -> None:
        register(ToyPrior)
        register(ToySame)

    with plugged(plugin_of(register_rerankers=both), "prior"):
        yield lab


@pytest.mark.parametrize("name", ["toy_prior", "toy_same"])
def test_what_scores_as_the_first_stage_does_gives_each_pair_of_a_batch_its_first_stages_score(
    prior: Lab, name: str
) -> None:
    """Texts with wrong videos in the first rows, videos with wrong texts in the others."""
    training = {**RERANK["train"], "negatives": 3, "pool": 20, "batch_size": 6}  # type: ignore[dict-item]
    prior.run(reranked(name=name, train=training))
    first = ToyMatching.seen[0].scores
    assert first["rerank"].shape == (12, 4)
    torch.testing.assert_close(first["rerank"], 3 * first["first_stage"])


def test_wrong_answers_are_found_by_the_weighted_first_stage(lab: Lab) -> None:
    mined = []
    for weights in ({"dot": 1.0}, {"dot": 0.25}):
        plan = lab.run(trained() | {"retrieve.first_stage": weights})
        mined.append(plan.workspace.read(steps(plan, "mine")[0]).tensors())
    for name in ("t2v/scores", "v2t/scores", "own"):
        torch.testing.assert_close(mined[1][name], 0.25 * mined[0][name])
    assert torch.equal(mined[1]["v2t/items"], mined[0]["v2t/items"])


def test_each_seed_draws_random_wrong_answers_of_its_own(lab: Lab) -> None:
    plan = lab.run(trained(negatives_from="random") | {"seeds": [0, 1]})
    first, second = (plan.workspace.read(step).tensors() for step in steps(plan, "mine"))
    assert not torch.equal(first["t2v/items"], second["t2v/items"])


@pytest.mark.parametrize(("others", "named"), [("texts", "`v1` has"), ("videos", "`v1-1` has")])
def test_who_has_no_wrong_answer_is_named(lab: Lab, monkeypatch: pytest.MonkeyPatch, others: str, named: str) -> None:
    """Every text answers video 1, or every video answers the second text of video 1."""
    split_of = ToyVideos._split

    def related(self: ToyVideos, folder: Path, items: list[Any]) -> Split:
        split = split_of(self, folder, items)
        pairs = [(row, 1) for row in range(len(split.texts)) if split.texts[row].video != 1]
        if others == "videos":
            pairs = [(3, video) for video in range(len(split.videos)) if video != 1]
        return replace(split, also_relevant=tuple(pairs))

    monkeypatch.setattr(ToyVideos, "_split", related)
    with pytest.raises(RunError, match=f"{named} no wrong answer in the train split"):
        lab.run(trained())


def matching_and_first(plan: Plan) -> dict[str, tuple[Tensor, Tensor]]:
    """{direction: (matching scores [Q, K], all first-stage scores [Q, gallery])}"""
    found = {}
    for step in steps(plan, "match"):
        matching = plan.workspace.read(step).tensors()["scores"]
        first = plan.workspace.read(step.inputs.stage.first_stage["dot"]).tensors()["scores"]
        found[step.fields["direction"]] = matching, first if step.fields["direction"] == "t2v" else first.T
    return found


def test_a_reranker_that_reads_the_first_stage_is_given_each_candidates_own_score(prior: Lab) -> None:
    """Whether all candidates are matched at once or two first and two more later; fewer queries one way."""
    prior.run(reranked(name="toy_prior", top_k=2))
    grown = matching_and_first(prior.run(reranked(name="toy_prior", top_k=4)))
    prior.store = prior.folder / "another"
    plan = prior.run(reranked(name="toy_prior", top_k=4))
    at_once = matching_and_first(plan)
    (fit,) = steps(plan, "fit_reranker")
    factor = plan.workspace.read(fit).tensors()["reranker.factor"]
    assert {direction: tuple(matching.shape) for direction, (matching, _) in grown.items()} == {
        "t2v": (10, 4),
        "v2t": (5, 4),
    }
    for direction, (matching, first) in at_once.items():
        torch.testing.assert_close(matching, factor * first.sort(dim=1, descending=True).values[:, :4])
        torch.testing.assert_close(grown[direction][0], matching)


@pytest.mark.parametrize("transform", [None, "dual_softmax", "z_score"])
@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_a_reranker_that_reads_the_first_stage_reads_it_in_its_validation(
    prior: Lab, direction: str, transform: str | None
) -> None:
    """With no alpha such a score alone ranks as the first stage does, after its transforms."""
    primary: dict[str, Any] = {"evaluate.primary": f"{direction}/MnR", "evaluate.split": "val"}
    primary["retrieve.transforms"] = {} if transform is None else {"own": {"name": transform}}
    plan = prior.run(reranked(name="toy_prior", alphas=[0.0], top_k=4) | primary)
    (fit,) = steps(plan, "fit_reranker")
    alone = prior.run({"retrieve.rerank": None} | primary)
    wanted = alone.workspace.read(alone.trials[0].last).json()["metrics"][f"{direction}/MnR"]
    history = plan.workspace.read(fit).json("history.json")
    assert [record["validation"] for record in history] == pytest.approx([wanted] * 3)


def test_the_first_stages_scores_of_a_batch_are_those_of_its_pairs(lab: Lab) -> None:
    """Of every text's and every video's wrong answers all are in the pools; a video has two texts."""
    plan = lab.run(trained(negatives=3, pool=20, batch_size=6) | {"seeds": [1]})
    (mine_step,) = steps(plan, "mine")
    mined = {name: tensor.tolist() for name, tensor in plan.workspace.read(mine_step).tensors().items()}
    owns = np.array(mined["own"])
    for batch in ToyMatching.seen:
        rows = [int(np.abs(owns - own).argmin()) for own in batch.scores["first_stage"][:6, 0].tolist()]
        known = [mined["t2v/scores"][row] for row in rows] + [mined["v2t/scores"][row // 2] for row in rows]
        assert len(known) == len(batch.scores["first_stage"])
        for scores, pool in zip(batch.scores["first_stage"].tolist(), known, strict=True):
            assert set(scores[1:]) <= set(pool)


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        (trained(epochs=4), {"fit_reranker", "match", "rank", "evaluate"}),
        (trained(pool=2), {"mine", "fit_reranker", "match", "rank", "evaluate"}),
        (trained(negatives_from="random"), {"mine", "fit_reranker", "match", "rank", "evaluate"}),
        ({**trained(), "train.epochs": 3}, set()),
    ],
)
def test_a_reranker_is_fitted_again_for_what_it_reads_only(lab: Lab, changes: dict[str, Any], new: set[str]) -> None:
    lab.run(trained())
    assert lab.new(changes) == new


def test_on_a_trained_first_stage_the_reranker_follows_its_fit(lab: Lab) -> None:
    linear = {**trained(), "retrieve.first_stage": "linear"}
    lab.run(linear)
    assert {"fit", "mine", "fit_reranker", "match"} <= lab.new({**linear, "train.epochs": 3})


def test_the_seed_of_an_untrained_first_stage_enters_only_the_rerankers_fit(lab: Lab) -> None:
    changes = {**trained(), "seeds": [0, 1]}
    plan = lab.run(changes)
    counted = {name: len(steps(plan, name)) for name in ("score", "mine", "fit_reranker", "match")}
    assert counted == {"score": 2, "mine": 1, "fit_reranker": 2, "match": 4}


def test_the_same_seed_gives_the_same_bits(lab: Lab, tmp_path: Path) -> None:
    def weights(where: Lab) -> dict[str, torch.Tensor]:
        (entry,) = where.entries("fit_reranker")
        return entry.tensors()

    lab.run(trained())
    before = weights(lab)
    lab.store = tmp_path / "another"
    torch.manual_seed(123)
    lab.run(trained())
    after = weights(lab)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_that_names_something_else_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"retrieve.rerank.train.losses.match.of: `linear` is not there"):
        lab.plan(trained(losses={"match": {"name": "toy_matching", "of": "linear"}}))
    with pytest.raises(ConfigError, match=r"train.losses.contrast: `pearson` needs text_vector"):
        lab.plan(trained(losses={"contrast": {"name": "pearson", "of": "rerank"}}))
    with pytest.raises(ConfigError, match=r"train.losses: needs one loss"):
        lab.plan(trained(losses={}))


def test_fuse_without_an_alpha_says_what_to_do(lab: Lab) -> None:
    plan = lab.run(reranked())
    (fit,) = steps(plan, "fit_reranker")
    made = fitted_reranker(plan.workspace, fit, plan.experiment, fit.payload.shapes)
    made.config = replace(made.config, alpha=None)
    with pytest.raises(ValueError, match="give a number"):
        made.fuse(torch.zeros(1), {"first_stage": torch.zeros(1)})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_reranker_trained_on_the_gpu_scores_as_on_the_cpu(lab: Lab) -> None:
    """The same weights give the same matching scores on either device, and the fit runs there."""
    plan = lab.run({**trained(), "model.losses": {}})
    (fit,) = steps(plan, "fit_reranker")
    here = Workspace(Store(lab.store), torch.device("cpu"), 0)
    there = Workspace(Store(lab.store), torch.device("cuda"), 0)
    text, video = torch.randn(4, 4), torch.randn(4, 3, 4)
    scores = []
    for workspace in (here, there):
        reranker = fitted_reranker(workspace, fit, plan.experiment, fit.payload.shapes)
        rows = torch.arange(4)
        features = TextFeatures(sentence=text), VideoFeatures(frames=video)
        sides = Sides(reranker, *features, device=workspace.device)
        scores.append(match_candidates(sides, rows, rows, {"first_stage": torch.zeros(4)}))
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5)
    lab.store = lab.folder / "gpu"
    on_gpu = read_plan(str(lab.write(trained())), [], Workspace(Store(lab.store), torch.device("cuda"), 0))
    add_trials(on_gpu)
    execute(on_gpu, lambda trial: None)
    metrics = on_gpu.workspace.read(on_gpu.trials[0].last).json()["metrics"]
    assert set(metrics) == set(plan.workspace.read(plan.trials[0].last).json()["metrics"])
