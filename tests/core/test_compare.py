"""`core.compare`: inputs in any form and order give the right numbers, and what is wrong with them is told."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse, stats
from scipy.special import log_softmax, softmax

from core import ScoreTransform, hookimpl
from core.compare import compare_inputs, printed
from core.compare.__main__ import main
from core.errors import ConfigError, DataError, UserError
from core.plugins import registry
from core.store import Store
from core.tracking.server import Server
from core.transduction import transductive_trace as transductive

N = 200
ROOT = Path(__file__).parents[2]


def similarities(rng: np.random.Generator, texts: int = N, videos: int = N, noise: float = 3.0) -> np.ndarray:
    """Cosine-like scores in which text i describes video i modulo `videos`."""
    video = rng.normal(size=(videos, 32))
    text = video[np.arange(texts) % videos] + noise * rng.normal(size=(texts, 32))
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (text, video)]
    return 0.1 + 0.35 * unit[0] @ unit[1].T


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    """A baseline and a system whose scores resemble it and are better."""
    rng = np.random.default_rng(5)
    first = similarities(rng)
    return first, first + 0.01 * rng.normal(size=first.shape) + 0.03 * np.eye(N)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(**matrices: np.ndarray) -> list[str]:
    for name, matrix in matrices.items():
        np.save(f"{name}.npy", matrix)
    return [f"{name}.npy" for name in matrices]


def lines(name: str, *words: object) -> str:
    Path(name).write_text("".join(f"{word}\n" for word in words))
    return name


def ranks(matrix: np.ndarray) -> np.ndarray:
    """Rank of the diagonal in each row, no ties."""
    return np.array([1 + sum(one > row[at] for one in row) for at, row in enumerate(matrix)])


def told(compared: object) -> str:
    return " ".join([*compared.doubts, *compared.warnings, *compared.assumptions, *compared.remarks])  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------ the numbers


def test_two_matrices_give_metric_difference_and_mcnemars_p(scores):
    found = compare_inputs(save(a=scores[0], b=scores[1]))
    hits = [ranks(matrix) == 1 for matrix in scores]
    first, second = found.lines
    assert (first.value, second.value) == (100 * hits[0].mean(), 100 * hits[1].mean())
    wins, losses = int((hits[1] & ~hits[0]).sum()), int((hits[0] & ~hits[1]).sum())
    made = second.comparison
    assert (made.wins, made.losses, made.ties) == (wins, losses, N - wins - losses)
    assert made.difference == pytest.approx(100 * (wins - losses) / N)
    assert made.p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, abs=0.01)
    assert second.outcome == "better"


@pytest.mark.parametrize("name", ["MRR", "MnR", "R5"])
def test_p_agrees_with_scipys_permutation_test_on_every_metric(scores, name):
    better = compare_inputs(save(a=scores[0], b=scores[0] + 0.004 * np.eye(N)), name=name).lines[1].comparison
    values = [
        {"MRR": 100 / found, "MnR": found, "R5": 100.0 * (found <= 5)}[name]
        for found in (ranks(scores[0]), ranks(scores[0] + 0.004 * np.eye(N)))
    ]
    theirs = stats.permutation_test(
        (values[1] - values[0],), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(0)
    )
    assert better.difference == pytest.approx(np.mean(values[1] - values[0]))
    assert better.p == pytest.approx(theirs.pvalue, abs=0.02)


@pytest.fixture(scope="module")
def ranx():
    """The independent library, interpreted: compiling it takes a minute, running it here a millisecond."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        yield pytest.importorskip("ranx")


def test_values_agree_with_ranx_in_both_directions(scores, ranx):
    found = {
        (line.name, line.metric): line.value
        for line in compare_inputs(save(a=scores[0], b=scores[1]), direction="both", name="MRR").lines
    }
    for name, matrix in zip("ab", scores, strict=True):
        for direction, asked in (("t2v", matrix), ("v2t", matrix.T)):
            run = ranx.Run(
                {f"q{i:03}": {f"v{j:03}": float(x) for j, x in enumerate(row)} for i, row in enumerate(asked)}
            )
            qrels = ranx.Qrels({f"q{i:03}": {f"v{i:03}": 1} for i in range(N)})
            assert found[f"{name}.npy", f"{direction}/MRR"] == pytest.approx(100 * ranx.evaluate(qrels, run, "mrr"))


def test_a_median_has_an_interval_and_no_p(scores):
    line = compare_inputs(save(a=scores[0], b=scores[1]), name="MdR").lines[1]
    assert np.isnan(line.comparison.p)
    assert line.outcome == "better (interval)"


def test_several_inputs_and_directions_are_one_holm_family(scores):
    files = save(a=scores[0], b=scores[0] + 0.004 * np.eye(N), c=scores[1])
    made = [line.comparison for line in compare_inputs(files, direction="both").lines if line.comparison]
    raw = sorted((one.p, one.p_corrected) for one in made)
    assert [one.family for one in made] == [4] * 4
    corrected = 0.0
    for rank, (p, p_corrected) in enumerate(raw):
        corrected = max(corrected, min(1.0, (4 - rank) * p))
        assert p_corrected == pytest.approx(corrected)


def test_the_gallerys_order_changes_nothing(scores):
    rng = np.random.default_rng(1)
    plain = compare_inputs(save(a=scores[0], b=scores[1]))
    rows, columns = rng.permutation(N), rng.permutation(N)
    files = save(a=scores[0], b=scores[1][rows][:, columns])
    ids = {
        "rows": [lines("ra", *range(N)), lines("rb", *rows)],
        "cols": [lines("ca", *range(N)), lines("cb", *columns)],
    }
    moved = compare_inputs(files, **ids)
    assert [line.comparison for line in moved.lines] == [line.comparison for line in plain.lines]


def test_seed_and_draws_are_those_of_the_test(scores):
    files = save(a=scores[0], b=scores[1])
    assert compare_inputs(files, seed=1).lines == compare_inputs(files, seed=1).lines
    assert compare_inputs(files, draws=99).lines[1].comparison.p >= 0.01


# ------------------------------------------------------------------------------------------------ several captions


def many_captions(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dump [30, 4, 30] padded with -inf, video i having 1 + i % 4 captions; and each caption's video."""
    own = np.repeat(np.arange(30), 1 + np.arange(30) % 4)
    flat = similarities(rng, 30 * 4, 30)[:120].reshape(4, 30, 30)
    dump = np.full((30, 4, 30), -np.inf)
    for video in range(30):
        for caption in range(1 + video % 4):
            dump[video, caption] = flat[caption, video]
    return dump, own


def test_captions_of_one_video_are_one_unit_of_the_test():
    rng = np.random.default_rng(0)
    dump, own = many_captions(rng)
    better = np.where(np.isneginf(dump), dump, dump + 0.05 * np.eye(30)[:, None])
    found = compare_inputs(save(a=dump, b=better))
    made = found.lines[1].comparison
    assert (made.n_clusters, made.n_queries) == (30, own.size)
    flat = dump[~np.isneginf(dump).all(axis=2)]
    expected = np.mean([row.argmax() == video for row, video in zip(flat, own, strict=True)])
    assert found.lines[0].value == pytest.approx(100 * expected)
    assert "padding" in told(found)
    assert "diagonal" not in told(found)


@pytest.mark.parametrize("form", ["tsv", "qrels", "npz"])
def test_relevance_files_say_the_same_as_a_dump(form):
    rng = np.random.default_rng(0)
    dump, own = many_captions(rng)
    flat = dump[~np.isneginf(dump).all(axis=2)]
    texts = [f"t{row}" for row in range(own.size)]
    file = f"relevance.{form}"
    if form == "npz":
        sparse.save_npz(file, sparse.csr_array((np.ones(own.size), (np.arange(own.size), own)), shape=flat.shape))
    elif form == "tsv":
        lines(file, *[f"{text}\tv {video}" for text, video in zip(texts, own, strict=True)])
    else:
        judged = [f"{text} 0 v{video} 1" for text, video in zip(texts, own, strict=True)]
        lines(file, *judged, *[f"{text} 0 v{(video + 1) % 30} 0" for text, video in zip(texts, own, strict=True)])
    ids = {
        "rows": [lines("rows", *texts)],
        "cols": [lines("cols", *[f"{'v ' if form == 'tsv' else 'v'}{i}" for i in range(30)])],
    }
    noise = 0.01 * rng.normal(size=dump.shape)
    flat_b = (dump + noise)[~np.isneginf(dump).all(axis=2)]
    expected = compare_inputs(save(a=dump, b=dump + noise), direction="both")
    found = compare_inputs(save(a=flat, b=flat_b), relevance=file, direction="both", **ids)
    assert [(x.value, x.comparison) for x in found.lines] == [(x.value, x.comparison) for x in expected.lines]
    assert ("taken to stand in the order of the scores" in told(found)) == (form == "npz")


def test_without_relevance_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(DataError, match="20 texts x 10 videos: say by --relevance"):
        compare_inputs(save(a=np.random.rand(20, 10), b=np.random.rand(20, 10)))


def test_a_relevance_file_whose_texts_are_the_columns_is_told_as_transposed(scores):
    pairs = lines("pairs", *[f"t{i}\tv{i}" for i in range(N)])
    texts, videos = lines("t", *[f"t{i}" for i in range(N)]), lines("v", *[f"v{i}" for i in range(N)])
    with pytest.raises(DataError, match="transpose the scores"):
        compare_inputs(save(a=scores[0].T, b=scores[1].T), relevance=pairs, rows=[videos], cols=[texts])


def by_position(name: str, matrix: np.ndarray) -> str:
    sparse.save_npz(name, sparse.csr_array(matrix.astype(float)))
    return name


@pytest.mark.parametrize("name", ["R1", "MdR"])
@pytest.mark.parametrize(
    ("relevance", "groups", "told_so"),
    [
        (
            np.eye(N) + np.eye(N, k=1),
            1,
            "shared answers link the 200 queries into one group, so nothing can be tested.",
        ),
        (
            np.kron(np.eye(4), np.ones((50, 50))),
            4,
            "link the 200 queries into 4 groups, so nothing can be tested (no p",
        ),
    ],
    ids=["a chain", "four blocks"],
)
def test_queries_that_shared_answers_link_into_few_groups_are_not_tested(
    scores, capsys, relevance, groups, told_so, name
):
    files = save(a=scores[0], b=scores[1])
    assert main([*files, "--relevance", by_position("linked.npz", relevance), "--metric", name]) == 0
    out = capsys.readouterr().out
    assert told_so in out
    assert f"n = {groups} group{'s' * (groups > 1)} of texts that share answers (200 texts)." in out
    assert not re.search(r"\binf|is better|is worse|n\.s\.|p [=<]|interval [+-]|1 videos|Beware", out)
    line = compare_inputs(files, relevance="linked.npz", name=name).lines[1]
    assert (line.comparison.n_clusters, line.outcome) == (groups, "not tested")


def test_groups_of_texts_with_several_videos_each_are_not_called_videos(scores):
    pairs = np.kron(np.eye(100), np.ones((2, 2)))
    for direction, kind in (("t2v", "texts"), ("v2t", "videos")):
        found = compare_inputs(
            save(a=scores[0], b=scores[1]), relevance=by_position("pairs.npz", pairs), direction=direction
        )
        assert found.lines[1].size == f"100 groups of {kind} that share answers (200 {kind})"
        assert found.lines[1].outcome == "better"


@pytest.mark.parametrize(("queries", "tested"), [(5, False), (6, True)])
def test_no_fewer_than_six_queries_are_tested(queries, tested):
    worse = [lines(f"{rank}.txt", *[rank] * queries) for rank in (2, 1)]
    line = compare_inputs(worse).lines[1]
    assert line.comparison.p == pytest.approx(2 * 0.5**queries)
    assert line.outcome == ("better" if tested else "not tested")
    assert line.untested == ("" if tested else "5 queries are too few to test (no p is below 0.0625)")


def named(scores: tuple[np.ndarray, np.ndarray]) -> dict:
    save(a=scores[0], b=scores[1])
    return {
        "inputs": ["a.npy", "b.npy"],
        "rows": [lines("rows", *[f"t{i}" for i in range(N)])],
        "cols": [lines("cols", *[f"v{i}" for i in range(N)])],
    }


def test_a_query_without_an_answer_is_told_by_its_id_with_what_the_file_names_instead(scores):
    files = named(scores)
    short = lines("short", *[f"t{i}\tv{i}" for i in range(198)], "t198\tgone", "t777\tv199", "t778\tv0")
    text = re.escape(
        "short: no video answers text `t198`; 2 of 200 texts have no answer; the file names 2 text ids that no input "
        "has (the first is t777) and 1 video id outside the gallery (the first is gone)"
    )
    with pytest.raises(DataError, match=text):
        compare_inputs(**files, relevance=short)
    with pytest.raises(DataError, match="short: no text answers video `v198`; 2 of 200 videos have no answer"):
        compare_inputs(**files, relevance=short, direction="v2t")
    with pytest.raises(DataError, match=r"hole\.npz: no video answers text 7, counted from 0; 1 of 200 texts"):
        compare_inputs(files["inputs"], relevance=by_position("hole.npz", np.diag(np.arange(N) != 7)))


def test_ids_that_no_input_has_are_counted_and_left_out(scores):
    files = named(scores)
    exact = [f"t{i}\tv{i}" for i in range(N)]
    plain = compare_inputs(**files, relevance=lines("exact", *exact))
    found = compare_inputs(**files, relevance=lines("more", *exact, "t777\tv0", "t3\tgone", "t4\tgone"))
    assert plain.remarks == ()
    assert found.remarks == (
        "more: names 1 text id that no input has (the first is t777) and 1 video id outside the gallery (the first is "
        "gone), left out.",
    )
    assert found.lines == plain.lines


def test_relevance_tells_which_ranks_are_of_one_video():
    first, second = (lines(name, *([rank] * 40)) for name, rank in (("a.txt", 2), ("b.txt", 1)))
    relevance = np.kron(np.eye(20), np.ones((2, 1)))
    ids = [lines("ids", *[f"t{i}" for i in range(40)])]
    pairs = lines("pairs", *[f"t{i}\tv{i // 2}" for i in range(40)])
    for options in ({"relevance": by_position("r.npz", relevance)}, {"relevance": pairs, "rows": ids}):
        assert compare_inputs([first, second], **options).lines[1].size == "20 videos (40 captions)"
    with pytest.raises(DataError, match=r"few\.npz: has 39 queries, the ranks 40"):
        compare_inputs([first, second], relevance=by_position("few.npz", relevance[:39]))
    with pytest.raises(DataError, match="short: no video answers text `t39`"):
        compare_inputs([first, second], relevance=lines("short", *[f"t{i}\tv" for i in range(39)]), rows=ids)


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


def put_trial(
    store: Store,
    key: str,
    hits: np.ndarray,
    order: np.ndarray,
    transforms: dict | None = None,
    *,
    select_on: str = "val",
    seed: str = " · seed 0",
    **fields: str,
) -> None:
    """The result of a trial over texts t0, t1, … and as many videos, in this order."""
    with store.write("evaluate", key, {"ties": "expected", "split": "test"} | fields) as draft:
        clusters = torch.arange(hits.size)
        draft.save({"t2v/R1": 100.0 * torch.from_numpy(hits[order]).double(), "t2v/clusters": clusters})
        draft.json({"texts": [f"t{i}" for i in order], "videos": [f"v{i}" for i in range(hits.size)]}, "items.json")
        train = {"keep": "best", "select_on": select_on}
        draft.json({"experiment": {"retrieve": {"transforms": transforms or {}}, "train": train}}, "trial.json")
        draft.info["label"] = f"evaluate [top_k=5{seed}]"


KEYS = ("0123456789abcdef", "fedcba9876543210")


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


# ------------------------------------------------------------------------------------------------ what is told


def test_a_clean_pair_of_matrices_is_warned_of_nothing(scores):
    found = compare_inputs(save(a=scores[0], b=scores[1]), direction="both")
    assert found.warnings == found.doubts == ()


def test_rows_in_another_order_are_told_as_chance(scores):
    found = compare_inputs(save(a=scores[0], b=scores[1][np.random.default_rng(0).permutation(N)]))
    assert re.search(r"b\.npy: R@1 is \d\.\d, by chance it would be 0\.5", told(found))
    assert "a.npy: R@1" not in told(found)


def test_one_matrix_that_is_transposed_is_told(scores):
    found = compare_inputs(save(a=scores[0], b=scores[1].T))
    assert "a.npy and b.npy agree better with one of them transposed" in told(found)


def test_what_puts_the_comparison_in_doubt_is_said_before_any_outcome(scores, capsys):
    main(save(a=scores[0], b=scores[1].T))
    out = capsys.readouterr().out
    assert out.startswith("Beware: a.npy and b.npy agree better with one of them transposed")
    assert "is better" in out
    assert "Rows are taken to be the texts, columns the videos." in out


def test_a_constant_matrix_is_told_once(scores):
    found = compare_inputs(save(a=scores[0], b=np.full((N, N), 0.5)))
    assert found.doubts == ("b.npy: holds one value only (constant): nothing is ranked.",)
    assert found.warnings == ()


def test_r1_as_by_chance_is_told_only_where_a_better_one_could_be_told_from_it():
    rng = np.random.default_rng(0)
    perfect = save(a=np.eye(3), b=np.eye(3) + 0.1 * rng.random((3, 3)))
    assert compare_inputs(perfect).doubts == ()
    wrong = save(a=np.eye(8), b=np.roll(np.eye(8), 1, axis=0))
    assert "b.npy: R@1 is 0.0, by chance it would be 12.5" in told(compare_inputs(wrong))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1e300, 1e308, 1e-20, 1e-305])
def test_scores_of_any_size_are_compared_alike_and_called_nothing(scores, factor):
    plain = compare_inputs(save(a=scores[0] - 0.1, b=scores[1] - 0.1), direction="both")
    found = compare_inputs(save(a=factor * (scores[0] - 0.1), b=factor * (scores[1] - 0.1)), direction="both")
    assert found == plain
    assert not found.doubts + found.warnings


def test_a_much_higher_r1_of_the_transpose_is_told(scores):
    rng = np.random.default_rng(0)
    lopsided = similarities(rng, noise=1.0) + rng.random(N)  # some columns win every row
    found = compare_inputs(save(a=scores[0], b=lopsided))
    assert re.search(r"b\.npy: R@1 is \S+ as it stands and \S+ transposed: are the rows the texts", told(found))


def test_ties_and_constant_rows_are_told_and_count_as_chance(scores):
    coarse = scores[0].copy()
    coarse[:20] = 0.5
    found = compare_inputs(save(a=scores[0], b=coarse))
    assert "b.npy: 20 rows hold one value only (the first is 0)" in told(found)
    assert "b.npy: 10.0 % of the queries have a tie for the best score" in told(found)
    hits = ranks(scores[0]) == 1
    assert found.lines[1].value == pytest.approx(100 * (hits[20:].sum() + 20 / N) / N)


def dual(scores: np.ndarray, how: str) -> np.ndarray:
    """Scores whose values for one text depend on the other texts, as found in public code."""
    return {
        "softmax": softmax(100 * scores, axis=0),
        "softmax times n": N * softmax(100 * scores, axis=0),
        "log-softmax": log_softmax(100 * scores, axis=0),
        "times its softmax": scores * softmax(100 * scores, axis=0) * N,
        "times its softmax, soft": scores * softmax(30 * scores, axis=0),
        "both softmaxes": softmax(100 * scores, axis=0) * softmax(100 * scores, axis=1),
        "log of both": log_softmax(100 * scores, axis=0) + log_softmax(100 * scores, axis=1),
    }[how]


@pytest.mark.parametrize(
    "how",
    ["softmax", "softmax times n", "log-softmax", "times its softmax", "times its softmax, soft", "both softmaxes",
     "log of both"],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_over_the_queries_is_seen_in_the_matrix_alone(scores, how, dtype):
    made = dual(scores[0], how).astype(dtype)
    assert "softmax" in transductive(made, "t2v")
    assert "softmax" in transductive(made.T, "v2t")


@pytest.mark.parametrize(
    "matrix",
    [
        similarities(np.random.default_rng(1)),
        similarities(np.random.default_rng(2), 400, 100),
        100 * similarities(np.random.default_rng(3), noise=1.0),
        np.exp(100 * similarities(np.random.default_rng(4))),
        softmax(100 * similarities(np.random.default_rng(5)), axis=1),
        np.eye(50),
        np.random.default_rng(6).random((300, 300)),
        np.random.default_rng(7).normal(size=(300, 300)),
    ],
    ids=["cosine", "two sizes", "logits", "exp", "each text's own softmax", "identity", "uniform", "normal"],
)
def test_scores_that_look_at_no_other_query_are_not_called_transductive(matrix):
    assert transductive(matrix, "t2v") == ""


def test_transductive_against_plain_scores_is_marked_and_told(scores, capsys):
    files = save(a=scores[0], b=dual(scores[1], "times its softmax"))
    assert main(files) == 0
    out = capsys.readouterr().out
    assert "b.npy*" in out
    assert "are compared with scores that do not" in out


def test_a_matrix_and_itself_rescaled_over_the_queries_are_told_apart_from_two_systems(scores):
    rescaled = scores[0] * softmax(3 * scores[0], axis=0)  # too soft to be seen in the matrix alone
    assert not transductive(rescaled, "t2v")
    assert "with each item's scores rescaled" in told(compare_inputs(save(a=scores[0], b=rescaled)))
    assert "rescaled" not in told(compare_inputs(save(a=scores[0], b=scores[1])))
    assert "rescaled" not in told(compare_inputs(save(a=scores[0], b=np.exp(3 * scores[0]))))


def test_assumptions_are_said_aloud(scores):
    found = compare_inputs(save(a=scores[0], b=scores[1]))
    assert "row i and column i belong together" in told(found)
    assert "No text ids: row i is taken to be the same text everywhere" in told(found)
    assert "Rows are taken to be the texts, columns the videos" in told(found)
    ids = lines("ids", *np.random.default_rng(0).permutation(N))
    same = compare_inputs(save(a=scores[0], b=scores[1]), rows=[ids], cols=[ids])
    assert "the video that answers a text is the one of the same id" in told(same)
    assert "No text ids" not in told(same)
    assert "Rows are taken" not in told(same)


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_prints_one_table_and_a_verdict_and_writes_json(scores, capsys):
    assert main([*save(a=scores[0], b=scores[1]), "--json", "out.json", "--direction", "both"]) == 0
    out = capsys.readouterr().out
    told_all = json.loads(Path("out.json").read_text())
    assert "b.npy is better than a.npy on t2v/R1: +" in out
    assert "95 % interval" in out
    assert f"t2v/R1: n = {N} texts" in out
    assert [line["metric"] for line in told_all["lines"]] == ["t2v/R1", "t2v/R1", "v2t/R1", "v2t/R1"]
    assert told_all["lines"][1]["comparison"]["n_clusters"] == N
    assert all(verdict in out for verdict in told_all["verdicts"])
    assert told_all["lines"][1]["size"] == f"{N} texts"
    assert told_all["doubts"] == []


def test_what_shows_no_difference_comes_with_what_could_have_been_shown(scores, capsys):
    a, b = save(a=scores[0], b=scores[0] + 0.002 * np.eye(N))
    main([a, b])
    out = capsys.readouterr().out
    assert "are not shown to differ on t2v/R1" in out
    made = compare_inputs([a, b]).lines[1].comparison
    discordance = (made.wins + made.losses) / N
    assert made.detectable == pytest.approx(280 * np.sqrt(discordance / N), rel=0.1)
    assert f"This test shows {made.detectable:.1f} points with 80 % power" in out


def test_clusters_are_named_in_the_sample_size(capsys):
    dump, own = many_captions(np.random.default_rng(0))
    main(save(a=dump, b=np.where(np.isneginf(dump), dump, dump + 0.05 * np.eye(30)[:, None])))
    assert f"n = 30 videos ({own.size} captions)" in capsys.readouterr().out


def test_faults_end_the_command_with_a_message(capsys):
    assert main(["a.npy", "b.npy"]) == 1
    assert "error: a.npy: no such file" in capsys.readouterr().err
    for wrong in ([], ["a", "b", "--published", "1", "2"], ["--published", "1", "2"]):
        with pytest.raises(SystemExit) as end:
            main(wrong)
        assert end.value.code == 2


@pytest.mark.parametrize(
    ("words", "told_so"),
    [
        ("a.npy", "error: needs two inputs at least"),
        ("a.npy b.npy --rows x --rows x --rows x", "--rows: give it once for all inputs, or once for each of the 2"),
        ("a.npy b.npy --cols x --cols x --cols x", "--cols: give it once for all inputs"),
        ("a.npy b.npy --metric R", "--metric: unknown metric `R`. Did you mean `R"),
        ("a.npy b.npy --metric R0", "--metric: unknown metric `R0`"),
        ("a.npy b.npy --metric foo.bar", "--metric: unknown metric `foo.bar`. Known: MRR"),
        ("a.npy b.npy --metric a/R1", "--metric: unknown metric `a/R1`"),
        ("a.npy b.npy --metric t2v/R1", "--metric: write R1, and the direction as --direction t2v"),
        ("a.npy b.npy --metric cost/latency_ms", "is a cost, which no query has a value of its own for: `python -m co"),
        ("a.npy b.npy --seed -1", "--seed: 0 or more, not -1"),
        ("a.npy b.npy --draws 19", "--draws: 19 are too few: no p could be below .05; 20 at least"),
        ("a.npy b.npy c.npy --direction both --draws 79", "no p of 4 comparisons, corrected for each other, could be"),
        ("a.npy b.npy --json nowhere/out.json", "--json: nowhere/out.json: there is no folder nowhere"),
        ("a.npy b.npy --json .", "--json: . is a folder"),
        ("a.npy b.npy --json ./b.npy", "--json: ./b.npy is read by this call"),
        ("a.npy b.npy --cols ids --json ids", "--json: ids is read by this call"),
        ("--published 101 2 --n 100", "--published: expected a recall in percent, such as 48.1, got 101"),
        ("--published nan 2 --n 100", "--published: expected a recall in percent"),
        ("--published 1 2 --n 0", "--n: needs one query at least, got 0"),
        ("--published 1 2 --n 100 --json nowhere/out.json", "--json: nowhere/out.json: there is no folder nowhere"),
    ],
)
def test_a_call_that_is_wrong_ends_with_status_2_before_any_file_is_opened(words, told_so, capsys):
    assert main(shlex.split(words)) == 2
    said = capsys.readouterr()
    assert told_so in said.err
    assert not said.out


def test_as_many_draws_as_can_be_significant_are_enough(scores):
    files = save(a=scores[0], b=scores[1], c=scores[1] + 1e-4 * scores[0])
    assert [line.outcome for line in compare_inputs(files, draws=40).lines] == ["baseline", "better", "better"]


def test_the_same_input_twice_is_refused_however_it_is_written(scores, capsys, monkeypatch):
    a, _ = save(a=scores[0], b=scores[1])
    put_trial(Store("store"), KEYS[0], ranks(scores[0]) == 1, np.arange(N))
    Path("link.npy").symlink_to("a.npy")
    monkeypatch.setattr("core.compare.sources._trial_of_run", lambda run_id: KEYS[0])
    for inputs, told_so in (
        ([a, a], "a.npy is given twice: it has no difference from itself"),
        ([a, "./a.npy"], "a.npy and ./a.npy are the same file"),
        ([a, "link.npy"], "a.npy and link.npy are the same file"),
        ([f"store:{KEYS[0]}", KEYS[0]], f"store:{KEYS[0]} and {KEYS[0]} are the same trial"),
        (["b.npy", "1" * 32, KEYS[0]], f"{'1' * 32} and {KEYS[0]} are the same trial"),
    ):
        assert main(inputs) == 2
        assert told_so in capsys.readouterr().err


def test_the_page_shows_what_its_commands_print(capsys):
    page = (ROOT / "docs" / "compare.md").read_text()
    (made,) = re.findall(r"```python\n(.*?)```", page, re.S)
    exec(made, space := {})
    shown = re.findall(r"```console\n\$ python -m core.compare (.*?)\n(.*?)```", page, re.S)
    assert len(shown) == 3
    for words, expected in shown:
        assert main(shlex.split(words)) == 0
        assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == expected.splitlines()
    soft = space["ours"] * softmax(10 * space["ours"], axis=0)
    assert not compare_inputs(["theirs.npy", *save(soft=soft)]).warnings


def test_help_says_what_an_unflagged_matrix_does_not_prove_and_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "one that is not flagged is no proof that there is none" in said
    assert "0 compared; 1 a file or trial cannot be read or compared; 2 the call is wrong" in said


def test_help_and_printed_numbers_need_neither_torch_nor_mlflow():
    code = "import sys, core.compare.__main__ as c; c.main(sys.argv[1:]); print({'torch', 'mlflow'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code, "--published", "48.1", "47.4", "--n", "1000"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "set()"


# ------------------------------------------------------------------------------------------------ printed numbers


def test_printed_numbers_bound_what_any_pairing_could_show():
    near = printed("48.1", "47.4", 1000)
    assert near.best == pytest.approx(2 * 0.5**7)
    assert all(0.6 <= p <= 0.71 for p in near.usual.values())
    for share, p in near.usual.items():
        wins = round((1000 * share + 7) / 2)
        assert p == pytest.approx(stats.binomtest(wins, 2 * wins - 7).pvalue, abs=0.01)
    nearer = printed("48.1", "47.8", 1000)
    assert nearer.best == 0.25
    assert "not significant at .05, whatever the pairing" in nearer.lines[0]
    assert "significant at .05 at usual discordance" in printed("48.1", "40.0", 1000).lines[0]


def test_the_best_pairing_is_the_best_of_all():
    every = [stats.binomtest(losses + 3, 2 * losses + 3).pvalue for losses in range(48)]
    assert printed("50", "47", 100).best == pytest.approx(min(every))


def test_printed_digits_leave_room_and_impossible_numbers_are_told():
    found = printed("48.1", "47.9", 5000)  # printed for 2,403 to 2,407 and 2,393 to 2,397
    assert found.net == (6, 14)


@pytest.mark.parametrize(
    ("numbers", "n", "net"),
    [(("48.1", "47.45"), 1000, (6, 7)), (("47.45", "48.1"), 1000, (6, 7)), (("48.1", "47.4"), 3, (0, 1))],
)
def test_of_an_impossible_number_both_counts_beside_it_are_taken_and_there_is_no_verdict(numbers, n, net):
    found = printed(*numbers, n)
    assert found.net == net
    assert found.best == pytest.approx(min(1.0, 2 * 0.5 ** net[1]))
    assert found.verdict == ""
    assert f"no count of {n:,} queries gives {next(x for x in numbers if x in found.impossible)}" in found.lines[0]
    assert not any("significant" in line or "usual" in line for line in found.lines)


def test_the_counts_beside_an_impossible_number_are_told():
    assert printed("43.1", "48.15", 1000).impossible == {"48.15": (481, 482)}
    assert "481 gives 48.1, 482 gives 48.2" in printed("43.1", "48.15", 1000).lines[0]


@pytest.mark.parametrize("numbers", [("0.481", "0.474"), ("0.5", "0.4")])
def test_two_fractions_are_asked_about_before_anything_is_said_of_them(numbers):
    lines = printed(*numbers, 1000).lines
    asked = next(at for at, line in enumerate(lines) if "fractions? They are read as percent" in line)
    assert all(line.startswith("Beware") for line in lines[:asked])
    assert not any("fractions" in line for line in printed("48.1", "0.4", 1000).lines)


@pytest.mark.parametrize(
    ("numbers", "n"), [(("481", "47"), 10), (("x", "47"), 10), (("1e1", "2"), 9), (("48", "47"), 0)]
)
def test_what_is_no_recall_is_refused(numbers, n):
    with pytest.raises(ConfigError, match=r"--published|--n"):
        printed(*numbers, n)


def test_the_command_prints_the_bounds(capsys):
    assert main(["--published", "48.1", "47.8", "--n", "1000", "--json", "out.json"]) == 0
    assert "p >= 0.250 whatever the pairing" in capsys.readouterr().out
    assert json.loads(Path("out.json").read_text())["best"] == 0.25
