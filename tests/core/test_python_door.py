"""What a person has in a notebook: any form of relevance, an experiment as a mapping, results as frames."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
import yaml

import core
from core import DataError, Relevance
from core.errors import ConfigError
from tests.engine import Lab, registered_toys

SCORES = np.array([[0.9, 0.5, 0.1], [0.8, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.9, 0.3]])
PAIRS = [(0, 0), (1, 2), (2, 2), (3, 1)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with registered_toys():
        yield Lab(tmp_path)


def dense() -> np.ndarray:
    matrix = np.zeros(SCORES.shape, bool)
    matrix[tuple(np.array(PAIRS).T)] = True
    return matrix


@pytest.mark.parametrize(
    "relevance",
    [
        dense(),
        dense().astype(int),
        torch.from_numpy(dense()),
        scipy.sparse.csr_array(dense()),
        scipy.sparse.coo_matrix(dense()),
        PAIRS,
        tuple(map(list, PAIRS)),
        [(np.int64(t), np.int64(v)) for t, v in PAIRS],
        Relevance.from_dense(dense()),
    ],
    ids=["bool array", "0/1 array", "tensor", "csr", "coo", "pairs", "lists", "NumPy pairs", "Relevance"],
)
def test_relevance_may_come_as_array_sparse_matrix_pairs_or_relevance(relevance: Any) -> None:
    found = core.evaluate(SCORES, relevance)
    assert found.metrics == core.evaluate(SCORES, Relevance.from_dense(dense())).metrics
    assert found.metrics["t2v/R1"] == 75.0
    assert found.assumed is None


def test_without_relevance_the_diagonal_of_a_square_is_taken_and_that_is_said() -> None:
    found = core.evaluate(SCORES[:3])
    assert found.metrics == core.evaluate(SCORES[:3], np.eye(3, dtype=bool)).metrics
    assert found.assumed == "the video of each text is the one in its place"
    assert found.assumed in repr(found)
    with pytest.raises(DataError, match="is needed for 4 texts and 3 videos"):
        core.evaluate(SCORES)


@pytest.mark.parametrize(
    ("relevance", "told"),
    [
        ("text", "got str"),
        (3, "got int"),
        ([0, 1, 2, 3], "got list"),
        ([(0, 0, 1)], "got list"),
        ([(0, 0.5)], "got list"),
        ([(0, 3)], "column 3, outside 0..2"),
        (np.full(SCORES.shape, 0.5), "got float64 of shape"),
        (np.eye(3, dtype=bool), r"is \[3, 3\], the scores \[4, 3\]"),
    ],
)
def test_what_is_no_relevance_is_told_by_its_own_name(relevance: Any, told: str) -> None:
    with pytest.raises(DataError, match=f"relevance.*{told}"):
        core.evaluate(SCORES, relevance)


@pytest.mark.parametrize("scores", ["abc", np.ones(3), np.zeros((0, 3)), [["a", "b"], ["c", "d"]], None])
def test_what_is_no_score_matrix_is_told(scores: Any) -> None:
    with pytest.raises(DataError, match=r"scores: expected numbers \[texts, videos\]"):
        core.evaluate(scores)


def test_an_experiment_given_as_a_mapping_is_written_where_a_command_can_repeat_it(lab: Lab) -> None:
    values = yaml.safe_load(Path(lab.write({"outputs": {"mlflow": None}})).read_text())
    places = {"store": str(lab.store), "runs": str(lab.folder / "runs"), "workers": 0}
    result = core.run_experiment(values, **places)
    assert yaml.safe_load(Path(result.file).read_text()) == values
    assert Path(result.file).parent.parent == lab.folder / "runs"
    assert result.file in result.command
    again = core.run_experiment(Path(result.file), **places)
    assert [row.values(again.primary) for row in again.rows] == [row.values(result.primary) for row in result.rows]
    with pytest.raises(ConfigError, match="holds what no file can"):
        core.run_experiment({**values, "seeds": np.arange(2)}, **places)


def test_paths_of_a_mapping_start_at_the_working_directory(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    (lab.folder / "here").mkdir()
    monkeypatch.chdir(lab.folder)
    values = yaml.safe_load(Path(lab.write({"outputs": {"mlflow": None}, "encoder.model": "here"})).read_text())
    result = core.run_experiment(values, store=str(lab.store), workers=0)
    assert result.experiment.encoder[""].fields.model == "here"
    assert yaml.safe_load(Path(result.file).read_text())["encoder"]["model"] == "../../here"
    assert core.run_experiment(Path(result.file), store=str(lab.store), workers=0).version == result.version


def test_result_and_rows_are_frames_and_print_small(lab: Lab) -> None:
    result = lab.result({"ablate": {"retrieve.rerank.top_k": [1, 2]}, "seeds": [0, 1]})
    frame = result.to_frame()
    assert list(frame.index) == [row.name for row in result.rows]
    for row in result.rows:
        assert frame.loc[row.name, "t2v/R1"] == row.mean("t2v/R1")
        assert frame.loc[row.name, "outcome"] == row.outcome
        assert list(row.to_frame()["t2v/R1"]) == row.values("t2v/R1")
        compared = row.comparisons.get(result.primary)
        assert np.isnan(frame.loc[row.name, "p"]) if compared is None else frame.loc[row.name, "low"] == compared.low
    assert len(repr(result)) < 400
    assert len(repr(result.rows[0])) < 200
    assert f"<th>{result.rows[1].name}</th>" in result._repr_html_()


def examples_of(name: str) -> list[doctest.DocTest]:
    """The examples in the docstring of a public name and of what it holds, each with a namespace of its own."""
    public = getattr(core, name)
    if inspect.isclass(public) or inspect.isroutine(public):
        home = importlib.import_module(public.__module__)
        return [found for found in doctest.DocTestFinder().find(public, name, module=home, globs={}) if found.examples]
    found = doctest.DocTestParser().get_doctest(told_below(name), {}, name, None, None)
    return [found] if found.examples else []


def told_below(name: str) -> str:
    """What stands below the assignment of a public name that is no class and no function: of an alias, of a mark."""
    home = f"core.{core._MODULE_OF[name]}"
    for module in [known for known in sys.modules if f"{known}.".startswith(f"{home}.")]:
        for assigned, below in itertools.pairwise(ast.parse(inspect.getsource(sys.modules[module])).body):
            if isinstance(assigned, ast.Assign) and ast.unparse(assigned.targets[0]) == name:
                told = ast.literal_eval(below.value) if isinstance(below, ast.Expr) else ""
                return inspect.cleandoc(told)
    raise AssertionError(f"{home}: assigns no {name}")


@pytest.mark.parametrize("name", core.__all__)
def test_the_docstring_of_a_public_name_holds_an_example_that_gives_what_it_says(name: str) -> None:
    examples = examples_of(name)
    assert name in {example.name for example in examples}, "has no example"
    for example in examples:
        assert doctest.DocTestRunner().run(example).failed == 0, example.name
