"""The approximate index, by itself and in a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from core.engine.index import approximate, completed, recall
from core.engine.scoring import nearest
from core.engine.steps import first_stage
from tests.engine import Lab


def clustered(vectors: int, queries: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 32, generator=generator)
    own = torch.randint(30, (vectors,), generator=generator)
    gallery = normalize(centres[own] + 0.5 * torch.randn(vectors, 32, generator=generator))
    near = gallery[torch.randint(vectors, (queries,), generator=generator)]
    return normalize(near + 0.1 * torch.randn(queries, 32, generator=generator)), gallery


def test_it_finds_most_of_the_best_and_fewer_are_the_first_of_more() -> None:
    queries, gallery = clustered(3000, 50)
    found = approximate(queries, gallery, 20)
    exact = nearest(queries, gallery, 20)[1]
    assert 80 < recall(found, exact) <= 100
    products = queries @ gallery.T
    assert all(len(set(row)) == 20 for row in found.tolist())
    assert (products.gather(1, found).diff(dim=1) <= 1e-6).all()
    assert torch.equal(approximate(queries, gallery, 5), found[:, :5])
    assert torch.equal(approximate(queries, gallery, 20), found)


def test_a_gallery_of_one_cell_is_searched_whole() -> None:
    queries, gallery = clustered(2, 4)
    assert torch.equal(approximate(queries, gallery, 9), nearest(queries, gallery, 9)[1])


def test_recall_counts_what_each_query_shares_with_its_own_list() -> None:
    exact = torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]])
    assert recall(torch.tensor([[3, 0, 9, -1], [0, 1, 2, 3]]), exact) == 25.0
    assert recall(exact.flip(1), exact) == 100.0


def test_where_cells_hold_too_few_the_best_others_follow() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.9, 0.3], [5.0, 4.0, 3.0, 2.0, 1.0]])
    found = torch.tensor([[2, -1, -1, -1], [1, 0, 3, 4]])
    assert completed(found, scores).tolist() == [[2, 1, 3, 4], [1, 0, 3, 4]]
    assert found[0].tolist() == [2, -1, -1, -1]


@pytest.fixture
def lab(tmp_path: Path, toys: None) -> Lab:
    made = Lab(tmp_path, {"train": 4, "val": 3, "test": 60})
    made.values["model"] = {"interactions": {"mean": {"name": "mean_pooling"}, "gated": {"name": "tib"}}}
    made.values["retrieve"] = {"first_stage": "mean", "index": "faiss"}
    made.values["retrieve"]["rerank"] = {"name": "score_fusion", "weights": {"gated": 1.0}, "top_k": 12}
    return made


def test_a_run_takes_its_candidates_from_the_index_and_reports_what_it_missed(lab: Lab) -> None:
    result = lab.result()
    entries = {entry.meta["fields"]["direction"]: entry for entry in lab.entries("index")}
    found, exact = (entries["t2v"].tensors()[name] for name in ("found", "exact"))
    assert found.shape == exact.shape == (120, 12)
    (scored,) = [
        entry for entry in lab.entries("score") if entry.meta["fields"]["interaction"]["name"] == "mean_pooling"
    ]
    matrix = scored.tensors()["scores"]
    assert exact.tolist() == matrix.sort(dim=1, descending=True, stable=True).indices[:, :12].tolist()
    shared = [len(set(a) & set(b)) for a, b in zip(completed(found, matrix).tolist(), exact.tolist(), strict=True)]
    trial = result.rows[0].results[0]
    assert trial.index_recalls["t2v"] == pytest.approx(100 * sum(shared) / exact.numel(), abs=1e-4)
    assert set(trial.index_recalls) == {"t2v", "v2t"}
    assert f"The index found {trial.index_recalls['t2v']:.1f} % of the candidates" in "\n".join(result.notes)


def test_candidates_of_the_index_get_the_scores_of_their_pairs(lab: Lab) -> None:
    """As if an exact search had found them."""
    lab.run()
    found = {e.meta["fields"]["direction"]: e.tensors()["found"] for e in lab.entries("index")}
    given = {e.meta["fields"]["direction"]: e.tensors()["scores"] for e in lab.entries("candidates")}
    lab.run({"retrieve.index": "exact", "retrieve.first_stage": "gated", "retrieve.rerank": None})
    whole = next(e for e in lab.entries("score") if e.meta["fields"]["interaction"]["name"] == "tib").tensors()[
        "scores"
    ]
    for direction, matrix in (("t2v", whole), ("v2t", whole.T)):
        there = found[direction] >= 0
        wanted = matrix.gather(1, found[direction].clamp_min(0))
        torch.testing.assert_close(given[direction][there], wanted[there])


def test_candidates_of_the_index_are_the_same_in_blocks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def ranks() -> dict[str, list[int]]:
        lab.run()
        return {e.meta["fields"]["direction"]: e.tensors()["above"].tolist() for e in lab.entries("rank")}

    at_once = ranks()
    for name in ("candidates", "rank", "evaluate"):
        shutil.rmtree(lab.store / name)
    monkeypatch.setattr(first_stage, "block_floats", lambda: 1)
    assert ranks() == at_once


def test_fewer_candidates_and_the_exact_search_share_what_they_can(lab: Lab) -> None:
    lab.run()
    assert lab.new({"retrieve.rerank.top_k": 5}) == {"rank", "evaluate"}
    assert lab.new({"retrieve.rerank.top_k": 20}) == {"index", "candidates", "rank", "evaluate"}
    assert lab.new({"retrieve.index": "exact"}) == {"candidates", "rank", "evaluate"}
