"""Score transforms: their formulas, who depends on whom, and what the engine gives and computes for them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import ScoreTransform, create
from core.engine.plan import Plan
from core.measure.metrics import Relevance, evaluate
from core.testing import check_component
from plugins.score_transforms.qb_norm import QueryBankNorm
from plugins.score_transforms.query_sets import query_set_effects, table
from tests.engine import COUNTS, Lab, registered_toys

TEXTS, VIDEOS = 10, 5
OWN = Relevance.from_pairs(np.arange(TEXTS), np.arange(TEXTS) // 2, (TEXTS, VIDEOS))


def made(name: str, scores: torch.Tensor, bank: torch.Tensor | None = None, **fields: Any) -> torch.Tensor:
    transform = create("score_transform", name, **fields)
    return transform(scores, bank) if transform.needs_bank else transform(scores)


@pytest.fixture
def scores() -> torch.Tensor:
    """Like cosines, [7, 4]."""
    return 0.3 * torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def bank() -> torch.Tensor:
    """[9, 4], of which no query has the last item first."""
    bank = 0.3 * torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    bank[:, 3] -= 3
    return bank


# ------------------------------------------------------------------------------------------------ formulas


def test_dual_softmax_weighs_scores_by_their_share_among_the_queries(scores: torch.Tensor) -> None:
    found = made("dual_softmax", scores, temperature=0.2)
    for q in range(7):
        for i in range(4):
            s = scores[q, i].item()
            total = sum(math.exp(scores[r, i].item() / 0.2) for r in range(7))
            assert found[q, i].item() == pytest.approx(s * math.exp(s / 0.2) / total)


def test_inverted_softmax_is_the_scaled_logarithm_of_the_share(scores: torch.Tensor) -> None:
    found = made("inverted_softmax", scores, temperature=0.2)
    for q in range(7):
        for i in range(4):
            total = sum(math.exp(scores[r, i].item() / 0.2) for r in range(7))
            assert math.exp(found[q, i].item() / 0.2) == pytest.approx(math.exp(scores[q, i].item() / 0.2) / total)


@pytest.mark.parametrize(("top_k", "hits"), [(1, 1), (2, 1), (1, 3), (2, 4)])
def test_qb_norm_corrects_the_queries_whose_best_item_is_a_hub(
    scores: torch.Tensor, bank: torch.Tensor, top_k: int, hits: int
) -> None:
    found = made("qb_norm", scores, bank, temperature=0.1, top_k=top_k, hits=hits)
    best = [sorted(range(4), key=lambda i: -bank[b, i].item())[:top_k] for b in range(9)]
    hubs = {i for i in range(4) if sum(i in items for items in best) >= hits}
    changed = 0
    for q in range(7):
        row = scores[q].tolist()
        corrected = row.index(max(row)) in hubs
        changed += corrected
        for i in range(4):
            if corrected:
                total = sum(math.exp(bank[b, i].item() / 0.1) for b in range(9))
                assert math.exp(found[q, i].item() / 0.1) == pytest.approx(math.exp(row[i] / 0.1) / total)
            else:
                assert found[q, i].item() == row[i]
    assert 0 < changed < 7


def test_z_score_is_in_standard_deviations_over_the_gallery(scores: torch.Tensor) -> None:
    found = made("z_score", scores)
    for q in range(7):
        row = scores[q].tolist()
        mean = sum(row) / 4
        deviation = math.sqrt(sum((s - mean) ** 2 for s in row) / 4)
        assert found[q].tolist() == pytest.approx([(s - mean) / deviation for s in row])


def test_a_query_that_scores_all_alike_has_z_scores_of_0() -> None:
    assert made("z_score", torch.full((2, 3), 0.1)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_bank_in_several_blocks_gives_the_same(
    scores: torch.Tensor, bank: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made("qb_norm", scores, bank)
    monkeypatch.setattr("plugins.score_transforms.qb_norm.BLOCK", 2)
    torch.testing.assert_close(made("qb_norm", scores, bank), whole)


def test_the_far_end_of_a_ranking_does_not_underflow() -> None:
    """exp(-1 / 0.01) is 0 in float32: these scores would tie."""
    scores = torch.tensor([[0.2, 0.1], [1.2, 1.3]])
    for name in ("dual_softmax", "inverted_softmax"):
        far = made(name, scores, temperature=0.01)[0]
        assert far[0] > far[1]


def test_items_that_share_a_bank_querys_first_place_are_all_hubs() -> None:
    transform = QueryBankNorm(QueryBankNorm.Config())
    assert transform.hubs(torch.tensor([[1.0, 1.0, 0.0]])).tolist() == [True, True, False]


def test_qb_norm_without_a_bank_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match=r"needs a bank: the scores \[N, G\]"):
        create("score_transform", "qb_norm")(torch.zeros(2, 2))


# ------------------------------------------------------------------------------------------------ who depends on whom


@pytest.mark.parametrize("name", ["dual_softmax", "inverted_softmax", "qb_norm", "z_score"])
def test_they_keep_the_contract(name: str) -> None:
    check_component(type(create("score_transform", name)))


def test_only_those_over_the_test_queries_are_transductive() -> None:
    names = ["dual_softmax", "inverted_softmax", "qb_norm", "z_score"]
    made = [create("score_transform", name) for name in names]
    assert [one.transductive(one.config) for one in made] == [True, True, False, False]
    alone = create("score_transform", "dual_softmax", at_once=1)
    assert not alone.transductive(alone.config)


def test_one_query_at_a_time_dual_softmax_changes_nothing_and_inverted_softmax_leaves_nothing(
    scores: torch.Tensor,
) -> None:
    torch.testing.assert_close(made("dual_softmax", scores, at_once=1), scores)
    assert not made("inverted_softmax", scores, at_once=1).any()


@pytest.mark.parametrize("name", ["dual_softmax", "inverted_softmax"])
def test_queries_that_are_known_together_compete(name: str, scores: torch.Tensor) -> None:
    found = made(name, scores, at_once=3)
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        torch.testing.assert_close(found[rows], made(name, scores[rows]))


def test_a_declared_bank_that_is_not_read_is_found_out() -> None:
    class Idle(QueryBankNorm):
        """Reads no bank."""

        name = "idle"

        def __call__(self, scores: torch.Tensor, bank: torch.Tensor | None = None) -> torch.Tensor:
            return scores

    with pytest.raises(AssertionError, match="another bank changes nothing"):
        check_component(Idle)


# ------------------------------------------------------------------------------------------------ the engine


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with registered_toys():
        yield Lab(tmp_path)


def ranked(transforms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"retrieve.rerank": None, "retrieve.transforms": transforms, **changes}


def matrix(plan: Plan, label: str) -> torch.Tensor:
    (step,) = [step for step in plan.steps.values() if step.label.split(" [")[0] == label]
    return plan.workspace.read(step).tensors()["scores"].double()


def labels(lab: Lab, changes: dict[str, Any], name: str) -> list[str]:
    """Of the steps of one name that a run would compute."""
    return sorted(step.label.split(" [")[0] for step in lab.plan(changes).new_steps() if step.name == name)


def captions(lab: Lab) -> dict[str, Any]:
    return json.loads((lab.videos / "captions.json").read_text())


def write_captions(lab: Lab, splits: dict[str, Any]) -> None:
    (lab.videos / "captions.json").write_text(json.dumps(splits))


def metrics(t2v: torch.Tensor, v2t: torch.Tensor) -> dict[str, float]:
    """Of scores of texts [B_t, B_v], and of videos [B_v, B_t]."""
    found = evaluate(t2v.numpy(), OWN, ["R1", "R5", "MnR"], ["t2v"]).metrics
    return found | evaluate(v2t.T.numpy(), OWN, ["R1", "R5", "MnR"], ["v2t"]).metrics


def result(plan: Plan) -> dict[str, float]:
    return plan.workspace.read(plan.trials[0].last).json()["metrics"]


@pytest.mark.parametrize("name", ["dual_softmax", "inverted_softmax", "z_score"])
def test_the_queries_of_each_direction_are_its_rows(lab: Lab, name: str) -> None:
    plan = lab.run(ranked({"own": {"name": name}}))
    scores = matrix(plan, "score dot")
    assert result(plan) == pytest.approx(metrics(made(name, scores), made(name, scores.T)))


def test_where_texts_alone_ask_videos_are_ranked_by_what_texts_got(lab: Lab) -> None:
    plan = lab.run(ranked({"own": {"name": "dual_softmax"}}, **{"retrieve.candidates_from": "text_side"}))
    scores = made("dual_softmax", matrix(plan, "score dot"))
    assert result(plan) == pytest.approx(metrics(scores, scores.T))


def test_the_bank_is_the_train_split_against_the_gallery(lab: Lab) -> None:
    plan = lab.run(ranked({"own": {"name": "qb_norm", "temperature": 0.3}}))
    scores, texts, videos = (matrix(plan, f"score dot{of}") for of in ("", " bank t2v", " bank v2t"))
    assert (texts.shape, videos.shape) == ((12, VIDEOS), (TEXTS, 6))
    wanted = metrics(
        made("qb_norm", scores, texts, temperature=0.3), made("qb_norm", scores.T, videos.T, temperature=0.3)
    )
    assert result(plan) == pytest.approx(wanted)


def test_the_banks_scores_are_those_of_its_texts_and_videos(lab: Lab) -> None:
    """The train split is here the test split, its videos in another order."""
    order = [3, 0, 4, 1, 2]
    splits = captions(lab)
    (lab.videos / "train").rename(lab.videos / "before")
    (lab.videos / "train").symlink_to(lab.videos / "test")
    write_captions(lab, splits | {"train": [splits["test"][at] for at in order]})
    plan = lab.run(ranked({"own": {"name": "qb_norm"}}))
    scores = matrix(plan, "score dot")
    texts = [2 * at + caption for at in order for caption in (0, 1)]
    torch.testing.assert_close(matrix(plan, "score dot bank t2v"), scores[texts])
    torch.testing.assert_close(matrix(plan, "score dot bank v2t"), scores[:, order])


def test_each_acts_before_the_mixture(lab: Lab) -> None:
    mixture = {"retrieve.first_stage": {"dot": 1.0, "linear": 0.5}}
    plan = lab.run(
        ranked(
            {"last": {"name": "dual_softmax", "temperature": 1.0}, "z": {"name": "z_score", "each": True}}, **mixture
        )
    )
    dot, linear = matrix(plan, "score dot"), matrix(plan, "score linear")

    def wanted(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return made("dual_softmax", made("z_score", one) + 0.5 * made("z_score", other), temperature=1.0)

    assert result(plan) == pytest.approx(metrics(wanted(dot, linear), wanted(dot.T, linear.T)))


def test_the_bank_goes_the_way_of_the_queries(lab: Lab) -> None:
    transforms = {"z": {"name": "z_score", "each": True}, "qb": {"name": "qb_norm", "temperature": 1.0}}
    plan = lab.run(ranked(transforms, **{"retrieve.first_stage": {"dot": 1.0, "linear": 0.5}}))

    def wanted(direction: str) -> torch.Tensor:
        found = []
        for bank in ("", f" bank {direction}"):
            scores = [matrix(plan, f"score {name}{bank}") for name in ("dot", "linear")]
            dot, linear = (made("z_score", m if direction == "t2v" else m.T) for m in scores)
            found.append(dot + 0.5 * linear)
        return made("qb_norm", *found, temperature=1.0)

    assert result(plan) == pytest.approx(metrics(wanted("t2v"), wanted("v2t")))


def test_the_bank_goes_through_each_transform_before_the_one_that_needs_it(lab: Lab) -> None:
    transforms = {"z": {"name": "z_score"}, "qb": {"name": "qb_norm", "temperature": 1.0}}
    plan = lab.run(ranked(transforms))

    def wanted(direction: str) -> torch.Tensor:
        scores = [matrix(plan, f"score dot{bank}") for bank in ("", f" bank {direction}")]
        own, bank = (made("z_score", m if direction == "t2v" else m.T) for m in scores)
        return made("qb_norm", own, bank, temperature=1.0)

    assert result(plan) == pytest.approx(metrics(wanted("t2v"), wanted("v2t")))


def test_candidates_are_taken_after_the_transforms(lab: Lab) -> None:
    """One candidate, re-ranked, is the first stage."""
    transforms = {"own": {"name": "dual_softmax", "temperature": 0.3}}
    one = {"retrieve.rerank.top_k": 1, "retrieve.transforms": transforms}
    assert result(lab.run(one)) == result(lab.run(ranked(transforms)))


@pytest.mark.parametrize("name", ["dual_softmax", "qb_norm"])
def test_a_trained_reranker_is_validated_and_used_after_the_transforms(lab: Lab, name: str) -> None:
    """With an alpha so large that the first stage decides."""
    losses = {"match": {"name": "toy_matching", "of": "rerank"}}
    train = {"losses": losses, "epochs": 1, "batch_size": 4, "pool": 3}
    rerank = {"name": "toy_matcher", "top_k": 4, "alpha": 1e9, "train": train}
    transforms = {"own": {"name": name, "temperature": 0.3}}
    plan = lab.run({"retrieve.rerank": rerank, "retrieve.transforms": transforms})
    assert any(step.name == "fit_reranker" for step in plan.steps.values())
    assert result(plan) == pytest.approx(result(lab.run(ranked(transforms))))


def test_another_temperature_scores_nothing_again(lab: Lab) -> None:
    lab.run(ranked({"own": {"name": "qb_norm"}}))
    assert lab.new(ranked({"own": {"name": "qb_norm", "temperature": 0.1}})) == {"rank", "evaluate"}
    lab.run(ranked({"own": {"name": "qb_norm", "temperature": 0.1}}))
    assert (COUNTS["pairs"], COUNTS["texts"], COUNTS["videos"]) == (0, 0, 0)


def test_a_bank_is_scored_only_where_a_transform_needs_one(lab: Lab) -> None:
    lab.run(ranked({}))
    assert lab.new(ranked({"own": {"name": "dual_softmax"}})) == {"rank", "evaluate"}
    banks = ["score dot bank t2v", "score dot bank v2t"]
    assert labels(lab, ranked({"own": {"name": "qb_norm"}}), "score") == banks


def test_other_train_captions_make_another_bank(lab: Lab) -> None:
    changes = ranked({"own": {"name": "qb_norm"}})
    lab.run(changes)
    assert lab.new(changes) == set()
    splits = captions(lab)
    splits["train"][0][1][0] = "1 2 3"
    write_captions(lab, splits)
    assert labels(lab, changes, "score") == ["score dot bank t2v"]
    assert labels(lab, changes, "rank") == ["rank t2v"]


def test_unreadable_videos_are_left_out_of_bank_and_gallery(lab: Lab) -> None:
    for split in ("train", "test"):
        for picture in (lab.videos / split / "v1").iterdir():
            picture.write_bytes(b"no picture")
    plan = lab.run(ranked({"own": {"name": "qb_norm"}}, **{"data.on_unreadable": "skip"}))
    assert matrix(plan, "score dot bank t2v").shape == (12, 4)
    assert matrix(plan, "score dot bank v2t").shape == (8, 5)


# ------------------------------------------------------------------------------------------------ sets of queries


def answers(own: torch.Tensor, items: int) -> Relevance:
    """One right item for each query."""
    return Relevance.from_pairs(np.arange(len(own)), own.numpy(), (len(own), items))


class Recorder(ScoreTransform):
    """Remembers which queries came together."""

    name = "recorder"

    @classmethod
    def transductive(cls, config: Any) -> bool:
        return True

    def __call__(self, scores: torch.Tensor, bank: torch.Tensor | None = None) -> torch.Tensor:
        self.seen: list[torch.Tensor] = [*getattr(self, "seen", []), scores]
        return scores


def test_the_diagnostic_shows_what_is_left_of_one_query_at_a_time() -> None:
    draw = torch.Generator().manual_seed(0)
    own = torch.arange(40) % 20
    scores = 0.1 * torch.randn(40, 20, generator=draw, dtype=torch.float64) + 0.2 * torch.eye(20)[own]
    transform = create("score_transform", "inverted_softmax", temperature=0.1)
    found = query_set_effects(transform, scores, answers(own, 20))
    plain = sum(row.index(max(row)) == own[at].item() for at, row in enumerate(scores.tolist()))
    shares = scores.div(0.1).exp() / scores.div(0.1).exp().sum(0)
    best = sum(row.index(max(row)) == own[at].item() for at, row in enumerate(shares.tolist()))
    assert found["all"] == pytest.approx((100 * plain / 40, 100 * best / 40))
    assert best != plain
    assert found["1 at a time"] == pytest.approx((100 * plain / 40, 100 / 20))  # all scores are 0: chance
    assert found["100 at a time"] == found["all"]


def test_a_transform_of_single_queries_has_one_effect(scores: torch.Tensor, bank: torch.Tensor) -> None:
    found = query_set_effects(create("score_transform", "qb_norm"), scores, answers(torch.arange(7) % 4, 4), bank)
    assert found["1 at a time"] == found["16 at a time"] == found["all"]


def test_the_sets_of_queries_are_those_said() -> None:
    transform = Recorder(Recorder.Config())
    own = torch.arange(4).repeat_interleave(torch.tensor([2500, 1000, 400, 100]))  # a popular item is no item of many
    query_set_effects(transform, torch.eye(4)[own], answers(own, 4))
    sizes = [len(part) for part in transform.seen]
    assert sizes == [4000] + [1] * 4000 + [16] * 250 + [100] * 40 + [4000]
    asked = sorted(transform.seen[-1].sum(0).tolist(), reverse=True)
    assert asked == pytest.approx([4000 * share / (25 / 12) for share in (1, 1 / 2, 1 / 3, 1 / 4)], rel=0.15)


def test_the_diagnostic_counts_every_relevant_item(scores: torch.Tensor) -> None:
    relevance = Relevance.from_pairs(np.repeat(np.arange(7), 4), np.tile(np.arange(4), 7), (7, 4))
    found = query_set_effects(create("score_transform", "z_score"), scores, relevance)
    assert set(found.values()) == {(100, 100)}


def test_effects_are_told_as_a_table() -> None:
    assert table({"all": (44.9, 64.52)}).splitlines()[-1] == "| all | 44.9 | 64.5 |"
