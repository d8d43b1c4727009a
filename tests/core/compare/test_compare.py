"""`core.compare`: inputs in any order, with one caption or several, give the right numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from scipy import sparse, stats

from core.compare import Line, _Side, compare_inputs
from core.compare.__main__ import main
from core.compare.judged import Judged
from core.compare.relevance import Judgements
from core.compare.sources import Values
from core.errors import DataError
from core.measure.significance import paired_medians

from .compared import N, _elsewhere, lines, many_captions, ranks, save, scores, told

__all__ = ["_elsewhere", "scores"]


# ------------------------------------------------------------------------------------------------ the numbers


@pytest.mark.parametrize("swapped", [False, True])
def test_lower_ranks_are_wins_and_better_and_higher_ones_are_losses_and_worse(scores, swapped):
    before, after = reversed(scores) if swapped else scores
    _, second = compare_inputs(save(a=before, b=after), name="MnR").lines
    gains = ranks(before) - ranks(after)
    made = second.comparison
    assert (made.wins, made.ties, made.losses) == tuple(int((np.sign(gains) == sign).sum()) for sign in (1, 0, -1))
    assert made.wins != made.losses
    assert made.difference == pytest.approx(-gains.mean())
    assert second.outcome == ("worse" if swapped else "better")


class Told:
    """Ranks whose file names the queries in one order, and a trial that knows which share a video, in another."""

    inputs: ClassVar[dict[str, Values]] = {
        "ranks": Values(np.arange(5.0), ("q3", "q0", "q4", "q1", "q2")),
        "trial": Values(10 + np.arange(5.0), ("q0", "q1", "q2", "q3", "q4"), clusters=np.array([0, 0, 1, 1, 2])),
    }

    def read(self, shown: str, name: str) -> Values:
        return self.inputs[shown]


def test_clusters_follow_the_order_of_the_queries_whichever_input_knows_them() -> None:
    side = _Side(dict.fromkeys(Told.inputs), Told(), "t2v/R1")  # type: ignore[arg-type]
    assert side.values["trial"].tolist() == [13, 10, 14, 11, 12]
    assert side.clusters is not None
    assert side.clusters.tolist() == [1, 0, 2, 0, 1]


@pytest.mark.parametrize(
    ("direction", "queries", "clusters"),
    [("t2v", ("t1", "t0", "t2"), [1, 0, 0]), ("v2t", ("v2", "v0", "v1", "v3"), [1, 0, 1, 2])],
)
def test_ranks_are_grouped_by_what_their_queries_share(
    direction: str, queries: tuple[str, ...], clusters: list[int]
) -> None:
    """Texts 0 and 2 have video 0; text 1 is answered by videos 1 and 2, which are one unit."""
    pairs = (("t0", "v0"), ("t1", "v1"), ("t1", "v2"), ("t2", "v0"), ("t3", "v3"), ("t4", "v3"))
    pairs = pairs if direction == "v2t" else pairs[:-2]
    judged = Judged({}, Judgements("answers.tsv", pairs), (direction,))
    found = judged._with_clusters(Values(np.arange(len(queries), dtype=float), queries), direction).clusters
    assert found is not None
    alike = [[one == other for other in clusters] for one in clusters]
    assert (found[:, None] == found).tolist() == alike


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.5, 2.0, "worse"), (-2.0, -0.5, "better"), (-0.5, 2.0, "n.s."), (-2.0, 0.0, "n.s.")]
)
def test_a_median_is_judged_by_both_ends_of_its_interval(low: float, high: float, outcome: str) -> None:
    """Of a rank, so that more is worse."""
    rank = np.arange(40.0) + 1
    made = replace(paired_medians(rank, rank), low=low, high=high)
    assert Line("b", "t2v/MdR", 20.0, made, "", "").outcome == f"{outcome} (interval)"


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
    assert line.untested == (None if tested else "5 queries are too few to test (no p is below 0.0625)")


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


def test_the_interval_of_a_median_has_as_many_draws_as_were_asked_for(scores, monkeypatch):
    asked = []

    def counted(*arms, draws, **options):
        asked.append(draws)
        return paired_medians(*arms, draws=draws, **options)

    monkeypatch.setattr("core.compare.paired_medians", counted)
    compare_inputs(save(a=scores[0], b=scores[1]), name="MdR", draws=77)
    assert asked == [77]
