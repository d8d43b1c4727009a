"""Ranks and metrics against brute force, closed forms and ranx."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, DataError, RunError
from core.measure.metrics import (
    Evaluation,
    RankCounts,
    Relevance,
    Reranking,
    evaluate,
    metric,
    per_query,
    query_relevance,
    rank_counts,
    relevant_scores,
    rerank_counts,
    summarise,
)

NAMES = ("R1", "R2", "R5", "RSum", "MnR", "MRR", "mAP", "nDCG3", "nDCG10")


def values_of_order(order, relevant, name):
    """A metric of one query whose items lie in `order`, straight from its definition."""
    hits = np.isin(order, relevant)
    first = int(np.argmax(hits)) + 1
    if name == "MnR":
        return float(first)
    if name == "MRR":
        return 100 / first
    if name == "RSum":
        return sum(100.0 * (first <= k) for k in (1, 5, 10))
    if name.startswith("R"):
        return 100.0 * (first <= int(name[1:]))
    if name == "mAP":
        return 100 * np.mean([hits[: i + 1].sum() / (i + 1) for i in np.flatnonzero(hits)])
    k = int(name[4:])
    discounts = 1 / np.log2(np.arange(2, k + 2))
    return 100 * (hits[:k] * discounts[: hits.size]).sum() / discounts[: len(relevant)].sum()


def orders(scores):
    """Every order of the items that is compatible with the scores."""
    groups = [np.flatnonzero(scores == value) for value in sorted(set(scores), reverse=True)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield np.concatenate(parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_its_mean_over_all_orders_of_the_ties(name):
    rng = np.random.default_rng(0)
    for _ in range(25):
        scores = rng.integers(0, 3, size=6).astype(float)
        relevant = rng.choice(6, size=rng.integers(1, 5), replace=False)
        relevance = Relevance.from_pairs(np.zeros_like(relevant), relevant, (1, 6))
        values = [values_of_order(order, relevant, name) for order in orders(scores)]
        counts = rank_counts(scores[None], relevance)
        assert per_query(counts, name)[0] == pytest.approx(np.mean(values))
        best, worst = (min, max) if name == "MnR" else (max, min)
        assert per_query(counts, name, ties="optimistic")[0] == pytest.approx(best(values))
        assert per_query(counts, name, ties="pessimistic")[0] == pytest.approx(worst(values))


@pytest.fixture(scope="module")
def ranx():
    """The independent library, interpreted: compiling it takes a minute, running it here a millisecond."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_DISABLE_JIT", "1")
        yield pytest.importorskip("ranx")


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("R1", ("hit_rate@1",)),
        ("R10", ("hit_rate@10",)),
        ("R50", ("hit_rate@50",)),
        ("RSum", ("hit_rate@1", "hit_rate@5", "hit_rate@10")),
        ("MRR", ("mrr",)),
        ("mAP", ("map",)),
        ("nDCG10", ("ndcg@10",)),
    ],
)
def test_untied_metrics_agree_with_ranx_in_both_directions(ranx, name, theirs, direction):
    rng = np.random.default_rng(1)
    scores, dense = rng.standard_normal((80, 70)), rng.random((80, 70)) < 0.06
    dense[np.arange(80), rng.integers(70, size=80)] = True
    dense[rng.integers(80, size=70), np.arange(70)] = True
    asked, answers = (scores, dense) if direction == "t2v" else (scores.T, dense.T)
    qrels = ranx.Qrels({f"q{i}": {f"v{j}": 1 for j in np.flatnonzero(row)} for i, row in enumerate(answers)})
    run = ranx.Run({f"q{i}": {f"v{j}": float(x) for j, x in enumerate(row)} for i, row in enumerate(asked)})
    expected = 100 * sum(ranx.evaluate(qrels, run, one) for one in theirs)
    found = evaluate(scores, Relevance.from_dense(dense), [name], [direction]).metrics
    assert found == {f"{direction}/{name}": pytest.approx(expected)}


def test_several_captions_a_video_by_hand_in_both_directions():
    """Captions 0 and 1 are of video 0, caption 2 of video 1, caption 3 of videos 1 and 2."""
    relevance = Relevance.from_pairs([0, 1, 2, 3, 3], [0, 0, 1, 1, 2], (4, 3))
    scores = np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.5], [0.4, 0.7, 0.6], [0.2, 0.1, 0.4]])
    found = evaluate(scores, relevance, ["R1", "R2", "R50", "mAP", "nDCG10", "RSum"]).metrics
    second = 1 / np.log2(3)
    by_hand = {
        # places of the relevant items: 1; 3; 1; 1 and 3
        "t2v/R1": 75,
        "t2v/R2": 75,
        "t2v/R50": 100,
        "t2v/mAP": 100 * (1 + 1 / 3 + 1 + (1 + 2 / 3) / 2) / 4,
        "t2v/nDCG10": 100 * (1 + 0.5 + 1 + 1.5 / (1 + second)) / 4,
        "t2v/RSum": 75 + 100 + 100,
        # captions by score of each video: 0 2 1 3 (0, 1 right); 1 2 0 3 (2, 3 right); 2 1 3 0 (3 right)
        "v2t/R1": 100 / 3,
        "v2t/R2": 200 / 3,
        "v2t/R50": 100,
        "v2t/mAP": 100 * ((1 + 2 / 3) / 2 + (1 / 2 + 2 / 4) / 2 + 1 / 3) / 3,
        "v2t/nDCG10": 100 * (1.5 / (1 + second) + (second + 1 / np.log2(5)) / (1 + second) + 0.5) / 3,
        "v2t/RSum": 100 / 3 + 100 + 100,
    }
    assert found == {name: pytest.approx(value) for name, value in by_hand.items()}


def test_a_constant_matrix_is_chance_not_a_perfect_score():
    result = evaluate(np.zeros((50, 50)), Relevance.from_dense(np.eye(50)), ["R1", "R10", "MdR", "MnR", "MRR"])
    for side in ("t2v", "v2t"):
        assert result.metrics[f"{side}/R1"] == pytest.approx(100 / 50)
        assert result.metrics[f"{side}/R10"] == pytest.approx(100 * 10 / 50)
        assert result.metrics[f"{side}/MdR"] == result.metrics[f"{side}/MnR"] == pytest.approx(25.5)
        assert result.metrics[f"{side}/MRR"] == pytest.approx(100 * np.mean(1 / np.arange(1, 51)))


def test_half_perfect_and_half_tied_rows_give_the_tie_averaged_recall():
    scores = np.eye(100)
    scores[50:] = 0
    assert evaluate(scores, Relevance.from_dense(np.eye(100)), ["R1"], ["t2v"]).metrics["t2v/R1"] == pytest.approx(50.5)


def test_expected_rank_shares_ties_among_the_relevant():
    scores = np.array([[3.0, 2, 2, 2, 2, 2, 1]])
    counts = rank_counts(scores, Relevance.from_pairs([0, 0], [1, 2], (1, 7)))
    assert [int(x[0]) for x in counts.first] == [1, 3, 2]
    assert per_query(counts, "MnR")[0] == pytest.approx(1 + 1 + 3 / 3)


score_cases = st.integers(0, 2**31 - 1).map(np.random.default_rng)


def random_case(rng):
    texts, videos = (int(n) for n in rng.integers(2, 9, size=2))
    dense = rng.random((texts, videos)) < 0.25
    dense[np.arange(texts), rng.integers(videos, size=texts)] = True
    dense[rng.integers(texts, size=videos), np.arange(videos)] = True
    return rng.integers(0, 4, size=(texts, videos)).astype(float), dense


@settings(max_examples=60, deadline=None)
@given(score_cases)
def test_permuting_texts_and_videos_never_changes_a_metric(rng):
    scores, dense = random_case(rng)
    rows, columns = rng.permutation(scores.shape[0]), rng.permutation(scores.shape[1])
    before = evaluate(scores, Relevance.from_dense(dense), NAMES)
    after = evaluate(scores[rows][:, columns], Relevance.from_dense(dense[rows][:, columns]), NAMES)
    assert after.metrics == pytest.approx(before.metrics)


@settings(max_examples=60, deadline=None)
@given(score_cases, st.integers(1, 4))
def test_counts_of_blocks_equal_counts_of_the_whole(rng, step):
    scores, dense = random_case(rng)
    for side, matrix in (("t2v", scores), ("v2t", scores.T)):
        relevance = query_relevance(Relevance.from_dense(dense), side)
        whole = rank_counts(matrix, relevance)
        parts = RankCounts.join(
            [rank_counts(matrix[at : at + step], relevance, at) for at in range(0, len(matrix), step)]
        )
        for field in ("indptr", "above", "above_relevant", "tied", "tied_relevant"):
            assert np.array_equal(getattr(whole, field), getattr(parts, field))


@settings(max_examples=60, deadline=None)
@given(score_cases)
def test_a_monotone_change_of_scores_changes_nothing_and_video_to_text_is_the_transpose(rng):
    scores, dense = random_case(rng)
    relevance = Relevance.from_dense(dense)
    result = evaluate(scores, relevance, NAMES)
    assert evaluate(np.exp(scores) - 7, relevance, NAMES).metrics == result.metrics
    swapped = evaluate(scores.T, relevance.T, NAMES)
    assert {f"v2t/{name}": swapped.metrics[f"t2v/{name}"] for name in NAMES}.items() <= result.metrics.items()


FIELDS = ("above", "above_relevant", "tied", "tied_relevant")


def counted_by_hand(keys, dense):
    """{field: [pairs]} of comparable keys [queries][items]: what stands above and beside each relevant item."""
    found = {name: [] for name in FIELDS}
    for row, relevant in zip(keys, dense, strict=True):
        for item in np.flatnonzero(relevant):
            above, tied = [key > row[item] for key in row], [key == row[item] for key in row]
            for name, where in (("above", above), ("tied", tied)):
                found[name].append(sum(where))
                found[f"{name}_relevant"].append(sum(w and r for w, r in zip(where, relevant, strict=True)))
    return found


def assert_counts(counts, keys, dense):
    wanted = counted_by_hand(keys, dense)
    assert {name: getattr(counts, name).tolist() for name in FIELDS} == wanted
    assert np.diff(counts.indptr).tolist() == dense.sum(1).tolist()


@settings(max_examples=60, deadline=None)
@given(score_cases)
def test_counts_are_those_of_comparing_every_item_with_every_relevant_one(rng):
    scores, dense = random_case(rng)
    assert_counts(rank_counts(scores, Relevance.from_dense(dense)), scores.tolist(), dense)


def test_queries_with_few_and_with_many_relevant_items_are_counted_alike():
    rng = np.random.default_rng(5)
    scores, dense = rng.integers(0, 9, (6, 60)).astype(np.float32), rng.random((6, 60)) < 0.6
    dense[::2] &= np.arange(60) < 9
    dense[::2, 3] = True
    assert dense.sum(1).min() < 16 < dense.sum(1).max()
    assert_counts(rank_counts(scores, Relevance.from_dense(dense)), scores.tolist(), dense)


def best(scores, k):
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@settings(max_examples=60, deadline=None)
@given(score_cases, st.integers(1, 8))
def test_reranked_candidates_stand_above_all_others_which_keep_their_order(rng, k):
    scores, dense = random_case(rng)
    candidates = best(scores, k)
    new = rng.integers(-3, 3, size=candidates.shape) * 1e30
    keys = [[(0, score) for score in row] for row in scores]
    for row, columns in enumerate(candidates):
        for column, score in zip(columns, new[row], strict=True):
            keys[row][column] = (1, score)
    assert_counts(rerank_counts(scores, candidates, new, Relevance.from_dense(dense)), keys, dense)


@settings(max_examples=60, deadline=None)
@given(score_cases, st.integers(1, 8))
def test_the_first_candidates_of_longer_lists_are_shorter_lists(rng, k):
    scores, dense = random_case(rng)
    relevance, candidates = Relevance.from_dense(dense), best(scores, 8)
    known = np.take_along_axis(scores, candidates, axis=1)
    reranking = Reranking(
        rank_counts(scores, relevance), relevant_scores(scores, relevance), relevance, candidates, known
    )
    for short in {k, 1, candidates.shape[1]}:
        new = rng.integers(-2, 2, size=candidates[:, :short].shape).astype(np.float32)
        keys = [[(0, score) for score in row] for row in scores]
        for row, column in np.ndindex(*new.shape):
            keys[row][candidates[row, column]] = (1, new[row, column])
        assert_counts(reranking.counts(new), keys, dense)


@settings(max_examples=60, deadline=None)
@given(score_cases, st.integers(1, 8))
def test_candidates_that_the_texts_asked_for_rank_the_videos_queries_too(rng, k):
    scores, dense = random_case(rng)
    videos = Relevance.from_dense(dense).T
    candidates = best(scores, k)
    new = rng.integers(-2, 2, size=candidates.shape).astype(np.float32)
    keys = [[(0, score) for score in row] for row in scores.T]
    for text, column in np.ndindex(*new.shape):
        keys[candidates[text, column]][text] = (1, new[text, column])
    first, own = rank_counts(scores.T, videos), relevant_scores(scores.T, videos)
    known = np.take_along_axis(scores, candidates, axis=1)
    assert_counts(Reranking(first, own, videos, candidates, known, items_ask=True).counts(new), keys, dense.T)


def test_reranking_with_the_first_stage_scores_of_all_items_changes_nothing():
    rng = np.random.default_rng(2)
    scores, relevance = rng.standard_normal((9, 9)), Relevance.from_dense(np.eye(9))
    everything = np.tile(np.arange(9), (9, 1))
    again = rerank_counts(scores, everything, scores, relevance)
    assert np.array_equal(again.above, rank_counts(scores, relevance).above)


def test_candidates_that_repeat_or_do_not_exist_are_refused():
    relevance = Relevance.from_pairs([0], [0], (1, 3))
    for candidates in ([[0, 0]], [[0, 3]], [[-1, 0]]):
        with pytest.raises(DataError, match=r"row 0.*candidate"):
            rerank_counts(np.zeros((1, 3)), candidates, np.zeros((1, 2)), relevance)
    with pytest.raises(DataError, match=r"must be \[1, K\]"):
        rerank_counts(np.zeros((1, 3)), [[0], [1]], np.zeros((2, 1)), relevance)


def test_new_scores_without_a_rank_or_without_a_candidate_are_refused():
    relevance = Relevance.from_pairs([0, 1], [0, 1], (2, 3))
    scores, candidates = np.zeros((2, 3)), [[0, 1], [1, 2]]
    with pytest.raises(RunError, match="query row 1: the new score"):
        rerank_counts(scores, candidates, [[0.0, 1.0], [0.0, np.nan]], relevance)
    with pytest.raises(DataError, match=r"\[2, 3\] do not fit 2 lists of 2"):
        rerank_counts(scores, candidates, np.zeros((2, 3)), relevance)
    first, own = rank_counts(scores, relevance), relevant_scores(scores, relevance)
    with pytest.raises(RunError, match=r"query row 0 \(`msr0`\)"):
        Reranking(first, own, relevance, candidates, np.zeros((2, 2))).counts([[np.inf], [0.0]], ids=["msr0", "msr1"])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_without_a_rank_is_an_error_that_names_the_first_query(bad):
    scores = np.zeros((6, 3))
    scores[4:, 1] = bad
    relevance = Relevance.from_pairs(range(6), [0] * 6, (6, 3))
    with pytest.raises(RunError, match=r"query row 4 \(`msr4`\).*item 1 is -?(nan|inf)"):
        rank_counts(scores[2:], relevance, first_row=2, ids=[f"msr{i}" for i in range(6)])


def test_a_query_without_a_relevant_item_is_named_and_a_distractor_video_is_not_a_query():
    relevance = Relevance.from_pairs([0, 2], [0, 0], (3, 2))
    with pytest.raises(DataError, match="query row 1 has no relevant item"):
        rank_counts(np.zeros((3, 2)), relevance)
    distractor = Relevance.from_pairs([0, 1], [0, 1], (2, 3))
    assert evaluate(np.zeros((2, 3)), distractor, ["R1"], ["t2v"]).metrics["t2v/R1"] == pytest.approx(100 / 3)
    with pytest.raises(DataError, match="query row 2"):
        evaluate(np.zeros((2, 3)), distractor, ["R1"])


def test_shapes_that_do_not_fit_are_refused():
    relevance = Relevance.from_dense(np.eye(3))
    for scores in (np.zeros((3, 4)), np.zeros(3), np.zeros((0, 3))):
        with pytest.raises(DataError):
            evaluate(scores, relevance)
    with pytest.raises(DataError, match="fit"):
        rank_counts(np.zeros((2, 3)), relevance, first_row=2)


def test_a_pair_is_found_among_the_relevant_ones_or_is_none():
    relevance = Relevance.from_pairs([0, 2, 2], [1, 0, 3], (3, 4))
    rows, columns = np.divmod(np.arange(12), 4)
    assert relevance.pairs(rows, columns).tolist() == [-1, 0, -1, -1, -1, -1, -1, -1, 1, -1, -1, 2]


@settings(max_examples=60, deadline=None)
@given(score_cases)
def test_relevance_keeps_exactly_the_pairs_of_the_dense_matrix(rng):
    _, dense = random_case(rng)
    relevance = Relevance.from_dense(dense)
    assert relevance.shape == dense.shape
    assert relevance.degree.tolist() == dense.sum(axis=1).tolist()
    assert all(relevance.rows(i).tolist() == np.flatnonzero(row).tolist() for i, row in enumerate(dense))
    assert all(relevance.T.rows(j).tolist() == np.flatnonzero(column).tolist() for j, column in enumerate(dense.T))
    rows, columns = np.nonzero(dense)
    shuffled = rng.permutation(np.tile(np.arange(rows.size), 2))
    assert np.array_equal(
        Relevance.from_pairs(rows[shuffled], columns[shuffled], dense.shape).indices, relevance.indices
    )


def test_a_pair_outside_the_shape_is_refused_with_its_number():
    with pytest.raises(DataError, match=r"pair 1 has column 5, outside 0\.\.4"):
        Relevance.from_pairs([0, 1], [4, 5], (2, 5))
    with pytest.raises(DataError, match="cannot be paired"):
        Relevance.from_pairs([0, 1], [4], (2, 5))


def test_clusters_are_the_videos_and_merge_where_a_caption_belongs_to_two():
    captions = Relevance.from_pairs([0, 1, 2, 3, 4], [2, 0, 2, 1, 0], (5, 3))
    labels = captions.clusters()
    assert labels[0] == labels[2]
    assert labels[1] == labels[4]
    assert len(set(labels.tolist())) == 3
    shared = Relevance.from_pairs([0, 1, 2, 3, 4, 3], [2, 0, 2, 1, 0, 2], (5, 3)).clusters()
    assert shared[3] == shared[0]
    assert sorted(set(captions.T.clusters().tolist())) == [0, 1, 2]


def test_each_direction_has_the_clusters_of_its_own_queries():
    """Caption 4 answers videos 1 and 3, so that these videos are one unit, and so are their captions."""
    relevance = Relevance.from_pairs([0, 1, 2, 3, 4, 4], [2, 0, 2, 3, 1, 3], (5, 4))
    found = evaluate(np.random.default_rng(5).standard_normal((5, 4)), relevance, ["R1"]).clusters
    texts, videos = found["t2v"].tolist(), found["v2t"].tolist()
    assert [[one == other for other in texts] for one in texts] == [
        [one == other for other in (2, 0, 2, 1, 1)] for one in (2, 0, 2, 1, 1)
    ]
    assert (videos[1] == videos[3], len(set(videos)), len(videos)) == (True, 3, 4)


def test_what_one_query_can_lose_is_known_of_points_and_not_of_ranks_and_costs():
    spans = {name: metric(name).span for name in ("R1", "v2t/RSum", "nDCG10", "MnR", "cost/latency_ms")}
    assert spans == {"R1": 100, "v2t/RSum": 300, "nDCG10": 100, "MnR": None, "cost/latency_ms": None}


def test_the_table_is_the_mean_of_the_per_query_values_and_the_median_for_mdr():
    rng = np.random.default_rng(3)
    captions = Relevance.from_pairs(np.arange(12), np.arange(12) // 3, (12, 4))
    result = evaluate(rng.standard_normal((12, 4)), captions, ["R1", "MdR", "MnR"])
    assert isinstance(result, Evaluation)
    assert result.per_query["t2v"]["R1"].shape == (12,)
    assert result.per_query["v2t"]["R1"].shape == (4,)
    assert result.clusters["t2v"].tolist() == (np.arange(12) // 3).tolist()
    assert result.metrics["t2v/MdR"] == np.median(result.per_query["t2v"]["MnR"])
    assert result.metrics["v2t/R1"] == summarise(result.per_query["v2t"]["R1"], "v2t/R1")


def test_metrics_know_their_unit_and_direction_and_misspelt_ones_are_corrected():
    assert [metric(name).higher_is_better for name in ("R1", "t2v/R50", "MdR", "v2t/MnR", "nDCG10")] == [1, 1, 0, 0, 1]
    assert metric("MdR").unit == "rank"
    assert metric("RSum").unit == "points"
    with pytest.raises(ConfigError, match="Did you mean `MRR`"):
        metric("MRRR")
    with pytest.raises(ConfigError):
        metric("R0")
    with pytest.raises(ConfigError, match="v2v"):
        evaluate(np.eye(2), Relevance.from_dense(np.eye(2)), directions=["v2v"])
    with pytest.raises(ConfigError, match="ties"):
        evaluate(np.eye(2), Relevance.from_dense(np.eye(2)), ties="random")


def test_many_captions_a_video_take_seconds():
    rng = np.random.default_rng(4)
    videos, each = 200, 40
    scores = rng.standard_normal((videos * each, videos), dtype=np.float32)
    captions = Relevance.from_pairs(np.arange(videos * each), np.arange(videos * each) // each, scores.shape)
    result = evaluate(scores, captions, ["R1", "MdR", "mAP"])
    assert result.metrics["t2v/R1"] < 2
    best = np.array([(scores.T[v] > scores[v * each : (v + 1) * each, v].max()).sum() + 1 for v in range(videos)])
    assert result.metrics["v2t/MdR"] == np.median(best)
