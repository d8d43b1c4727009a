"""`core.compare`: what it reads, and what it refuses to compare."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import ScoreTransform, hookimpl
from core.compare import compare_inputs
from core.contract.store import Store
from core.errors import DataError, UserError
from core.plugins import registry
from plugins.outputs.mlflow.server import Server

from .compared import KEYS, N, _elsewhere, lines, put_trial, ranks, save, scores, told

__all__ = ["_elsewhere", "scores"]


# ------------------------------------------------------------------------------------------------ other forms


def test_ranks_runs_and_matrices_of_the_same_system_agree(scores):
    a, b = save(a=scores[0], b=scores[1])
    run = lines(
        "b.run",
        *[
            f"{i} Q0 {j} 0 {scores[1][i, j]!r} b".replace("np.float64(", "").replace(")", "")
            for i in np.random.default_rng(0).permutation(N)
            for j in range(N)
        ],
    )
    placed = lines("b.txt", *ranks(scores[1]))
    ids = lines("ids", *range(N))
    relevance = lines("pairs", *[f"{i}\t{i}" for i in range(N)])
    for name in ("R1", "MRR", "MnR"):
        found = compare_inputs([a, b, placed, run], name=name, rows=[ids], cols=[ids], relevance=relevance)
        assert len({line.value for line in found.lines[1:]}) == 1
        assert len({line.comparison for line in found.lines[1:]}) == 1


def test_ranks_without_ids_stand_as_they_are_and_that_is_said(scores):
    found = compare_inputs([lines("a.txt", *ranks(scores[0])), lines("b.txt", *ranks(scores[1]))])
    assert found.lines[1].comparison.difference == pytest.approx(
        100 * ((ranks(scores[1]) == 1).mean() - (ranks(scores[0]) == 1).mean())
    )
    assert "query i is taken to be the same" in told(found)
    assert "Each query is taken to stand alone" in told(found)


def test_a_run_that_lists_the_best_only_places_the_others_last():
    a = lines("a.run", "q1 Q0 x 1 0.9 a", "q1 Q0 y 2 0.5 a", "q2 Q0 x 1 3e0 a", "q2 Q0 z 2 2 a")
    b = lines("b.run", "q2 Q0 y 1 9 b", "q2 Q0 w 2 8 b", "q1 Q0 x 1 9 b", "q1 Q0 y 2 9 b")
    qrels = lines("qrels", "q1 0 y 1", "q2 0 y 1", "q9 0 k 1")
    found = compare_inputs([a, b], relevance=qrels, name="MnR")
    assert found.lines[0].value == pytest.approx((2 + (3 + 4) / 2) / 2)  # gallery x y z w: y is third or fourth for q2
    assert found.lines[1].value == pytest.approx((1.5 + 1) / 2)
    assert "lists as few as 2 items" in told(found)


def test_a_run_needs_relevance_unless_its_ids_are_the_same(scores):
    for name in ("a.run", "b.run"):
        lines(name, *[f"q{i} Q0 v{j} 0 {(i + j) % 3} x" for i in range(3) for j in range(3)])
    with pytest.raises(DataError, match=r"a\.run is a run, which has no diagonal; b\.run .*: say by --relevance"):
        compare_inputs(["a.run", "b.run"])
    with pytest.raises(DataError, match="a TREC run has one direction"):
        compare_inputs(["a.run", "b.run"], direction="both")


def test_trials_are_read_from_the_store_and_aligned_by_their_ids(scores):
    hits, order = [ranks(matrix) == 1 for matrix in scores], np.random.default_rng(0).permutation(N)
    store = Store("store")
    put_trial(store, KEYS[0], hits[0], np.arange(N))
    put_trial(store, KEYS[1], hits[1], order)
    expected = compare_inputs(save(a=scores[0], b=scores[1])).lines[1].comparison
    found = compare_inputs([f"store:{KEYS[0]}", KEYS[1]])
    assert found.lines[1].comparison == expected
    texts, videos = lines("t", *[f"t{i}" for i in range(N)]), lines("v", *[f"v{i}" for i in range(N)])
    mixed = compare_inputs([KEYS[0], "b.npy"], rows=[texts], cols=[videos])
    assert mixed.lines[1].comparison == expected


class Sharpened(ScoreTransform):
    name = "sharpened"

    @classmethod
    def transductive(cls, config: Any) -> bool:
        return True


class SharpenedPlugin:
    @hookimpl
    def register_score_transforms(self, register):
        register(Sharpened)


def test_a_trial_with_a_transductive_transform_is_marked(scores):
    hits = ranks(scores[0]) == 1
    put_trial(Store("store"), KEYS[0], hits, np.arange(N))
    put_trial(Store("store"), KEYS[1], hits, np.arange(N), {"sharp": {"name": "sharpened"}, "gone": {"name": "gone"}})
    plugin = SharpenedPlugin()
    registry().add_plugin(plugin, "sharpening", "0")
    try:
        found = compare_inputs(KEYS)
    finally:
        registry().remove_plugin(plugin, "sharpening")
    assert [line.name for line in found.lines] == ["top_k=5 · seed 0 (01234567)", "top_k=5 · seed 0 (fedcba98)"]
    assert [line.transductive for line in found.lines] == ["", "score transform sharpened"]
    assert "are compared with scores that do not" in told(found)


def test_an_mlflow_run_stands_for_its_trial(scores, monkeypatch, tmp_path):
    hits = [ranks(matrix) == 1 for matrix in scores]
    for key, one in zip(KEYS, hits, strict=True):
        put_trial(Store("store"), key, one, np.arange(N))
    asked = []

    class Client:
        def get_run(self, run_id):
            asked.append(run_id)
            tags = {"1" * 32: {"trial_key": KEYS[1]}, "2" * 32: {"role": "experiment"}}[run_id]
            return type("Run", (), {"data": type("Data", (), {"tags": tags})})

    with pytest.raises(DataError, match=r"no MLflow database at .*mlflow.db"):
        compare_inputs([KEYS[0], "1" * 32])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    sqlite3.connect(tmp_path / "mlflow.db").close()
    monkeypatch.setattr(Server, "__init__", lambda self, uri: setattr(self, "client", Client()))
    assert compare_inputs([KEYS[0], "1" * 32]).lines[1].value == 100 * hits[1].mean()
    assert asked == ["1" * 32]
    with pytest.raises(DataError, match="is no trial: name one of the runs below it"):
        compare_inputs([KEYS[0], "2" * 32])
    with pytest.raises(DataError, match="cannot give this run"):
        compare_inputs([KEYS[0], "3" * 32])


NAMED = tuple(f"top_k=5 · seed 0 ({key[:8]})" for key in KEYS)


@pytest.mark.parametrize(
    ("other", "told_so"),
    [
        ({"ties": "optimistic"}, f"evaluate.ties is expected in {NAMED[0]} and optimistic in {NAMED[1]}: not compared"),
        ({"split": "val"}, f"evaluate.split is test in {NAMED[0]} and val in {NAMED[1]}: not compared"),
        (
            {"select_on": "test"},
            f"the weights of {NAMED[1]} were selected on test (train.select_on: test): not compared with {NAMED[0]}",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_trials_that_were_scored_by_other_rules_are_refused(scores, other, told_so):
    hits = ranks(scores[0]) == 1
    put_trial(Store("store"), KEYS[0], hits, np.arange(N))
    put_trial(Store("store"), KEYS[1], hits, np.arange(N), **other)
    with pytest.raises(DataError, match=re.escape(told_so)):
        compare_inputs(KEYS)


def test_a_trial_whose_rule_for_ties_is_not_that_of_a_matrix_is_refused(scores):
    put_trial(Store("store"), KEYS[0], ranks(scores[0]) == 1, np.arange(N), ties="optimistic")
    with pytest.raises(DataError, match=r"evaluate\.ties is optimistic in .* and expected in b\.npy: not compared"):
        compare_inputs([KEYS[0], *save(b=scores[1])])


def test_where_nothing_was_trained_nothing_was_selected_on_test(scores):
    for key, matrix in zip(KEYS, scores, strict=True):
        put_trial(Store("store"), key, ranks(matrix) == 1, np.arange(N), select_on="test", seed="")
    assert compare_inputs(KEYS).lines[1].comparison is not None


def test_trials_on_other_content_under_the_same_ids_are_refused(scores):
    for key, matrix in zip(KEYS, scores, strict=True):
        put_trial(Store("store"), key, ranks(matrix) == 1, np.arange(N))

    def ledger(*splits: str) -> None:
        lines("store/ledger.jsonl", *[json.dumps({"trial": k, "split": s}) for k, s in zip(KEYS, splits, strict=True)])

    ledger("one", "one")
    assert compare_inputs(KEYS).lines[1].comparison is not None
    ledger("one", "other")
    with pytest.raises(DataError, match="bear the same ids and rank other texts or videos, or others answer them"):
        compare_inputs(KEYS)


def test_ranks_with_a_query_twice_are_refused(scores):
    placed = [lines(name, *ranks(matrix)) for name, matrix in zip(("a.txt", "b.txt"), scores, strict=True)]
    with pytest.raises(DataError, match="ids: an id stands twice: q7"):
        compare_inputs(placed, rows=[lines("ids", *[f"q{i}" for i in range(N - 1)], "q7")])


def test_a_trial_with_a_query_twice_is_refused(scores):
    put_trial(Store("store"), KEYS[0], ranks(scores[0]) == 1, np.arange(N))
    put_trial(Store("store"), KEYS[1], ranks(scores[0]) == 1, np.array([*range(N - 1), 7]))
    with pytest.raises(DataError, match=f"store:{KEYS[1]}: the query `t7` stands there twice: not compared"):
        compare_inputs(KEYS)


def test_a_trial_without_the_metric_or_that_is_not_there_is_told(scores):
    put_trial(Store("store"), KEYS[0], ranks(scores[0]) == 1, np.arange(N))
    with pytest.raises(
        DataError, match="holds no result of that trial; of its 1 trials the last are: 0123456789abcdef"
    ):
        compare_inputs(KEYS)
    put_trial(Store("store"), KEYS[1], ranks(scores[0]) == 1, np.arange(N))
    with pytest.raises(DataError, match=r"its result has no t2v/R5\. Did you mean `t2v/R1`"):
        compare_inputs(KEYS, name="R5")


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("ids", "told_so"),
    [
        ({"rows": ["x", "y"]}, "b.npy: its texts are others: 1 only there"),
        ({"cols": ["x", "y"]}, "b.npy: its videos are others: 1 only there"),
        ({"rows": ["x", "x2"]}, "stands twice"),
        ({"rows": ["x", "turned"]}, r"the diagonal of b\.npy pairs other ids than that of a\.npy: say by --relevance"),
    ],
)
def test_other_queries_other_galleries_repeated_ids_and_other_diagonals_are_refused(scores, ids, told_so):
    words = [f"i{row}" for row in range(N)]
    lines("x", *words)
    lines("y", *words[:-1], "new")
    lines("x2", *words[:-1], "i0")
    lines("turned", *words[::-1])
    with pytest.raises(DataError, match=told_so):
        compare_inputs(save(a=scores[0], b=scores[1]), **ids)


@pytest.mark.parametrize(
    ("content", "told_so"),
    [
        ("1\n0\n", "rank 2 is `0`; ranks are whole numbers, the best is 1"),
        ("1\n2.5\n", r"rank 2 is `2\.5`"),
        ("1\n" + "9" * 5000, r"rank 2 is `9{40}`"),
        ("1 2\n", "found lines of 2 words"),
        ("", "found lines of no words"),
        ("q Q0 v 1 nan x\n", "the score nan has no rank"),
        ("q Q0 v 1 1 x\nq Q0 v 2 0 x\n", "lists `v` a second time"),
    ],
)
def test_files_of_ranks_and_runs_are_checked_line_by_line(content, told_so):
    Path("bad").write_text(content)
    with pytest.raises(DataError, match=told_so):
        compare_inputs([lines("good", 1, 2), "bad"])


@pytest.mark.parametrize("judged", ["²", "١", "9" * 5000, "--1", "1.0"])
def test_a_judgement_that_is_no_whole_number_is_told_with_its_line(scores, judged):
    inputs = save(a=scores[0], b=scores[1])
    with pytest.raises(DataError, match="qrels: line 2: expected"):
        compare_inputs(inputs, relevance=lines("qrels", "a 0 a 1", f"a 0 b {judged}"))


def test_what_cannot_be_read_is_told(scores):
    a = save(a=scores[0])[0]
    Path("b.pkl").write_bytes(b"cposix\nsystem\n.")
    faults = {
        "neither the digest": [a, "nothing"],
        "there is no store": [a, f"store:{KEYS[0]}"],
        r"^\.: is a folder; an input is a file": [a, "."],
        r"b\.pkl: scores are read from .*, not from `\.pkl`.*can run code": [a, "b.pkl"],
        r"c\.pkl: no such file": [a, "c.pkl"],
    }
    for told_so, inputs in faults.items():
        with pytest.raises(DataError, match=told_so):
            compare_inputs(inputs)
    with pytest.raises(DataError, match="needs the place of every relevant item"):
        compare_inputs([a, lines("r", *range(1, N + 1))], name="mAP")
    with pytest.raises(DataError, match=r"r has 3 queries and a\.npy 200: not compared"):
        compare_inputs([a, lines("r", 1, 2, 3)])
    with pytest.raises(DataError, match="it fits when transposed"):
        compare_inputs(save(c=np.random.rand(4, 6), d=np.random.rand(6, 4)), relevance=lines("p", "a\tb"))


def test_nan_is_refused_with_file_and_row(scores):
    scores[1][17, 3] = np.nan
    with pytest.raises(UserError, match=r"b\.npy: row 17: the score of column 3 is nan"):
        compare_inputs(save(a=scores[0], b=scores[1]))
