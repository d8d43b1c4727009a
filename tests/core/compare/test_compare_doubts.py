"""`core.compare`: what is odd about scores is told."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from core.compare import compare_inputs
from core.compare.__main__ import main
from core.contract.transduction import transductive_trace as transductive

from .compared import N, _elsewhere, lines, ranks, save, scores, similarities, told

__all__ = ["_elsewhere", "scores"]


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


def test_ranks_that_hang_on_few_queries_name_the_metric_that_does_not():
    once = [1] * 99
    files = [lines("a", *once, 1), lines("b", *once, 90)]
    hangs = "1 of 100 differences carry half of the squares: p and interval hang on them"
    assert compare_inputs(files, name="MnR").warnings == (f"{hangs}; MRR is the smoother metric",)
    assert compare_inputs(files, name="MRR").warnings == (hangs,)
