"""Files of published numbers: what is read, what is refused, where they are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core import ConfigError
from core.contract.keys import assign
from core.experiment.config import read_document
from core.experiment.published import load_published, read_published
from core.run import main
from tests.engine import COUNTS, Lab

ROW: dict[str, Any] = {
    "system": "Ours",
    "backbone": "ViT-B/32",
    "post_processing": "none",
    "source": "paper",
    "values": {"t2v/R1": 48, "v2t/MnR": 10.3},
}


def given(**changes: Any) -> dict[str, Any]:
    """A file's values, with rows that `changes` replaces."""
    values = {
        "dataset": "Toys",
        "split": "test",
        "protocol": "one caption is a query",
        "texts": 2000,
        "sources": {"paper": {"publication": "A paper, Table 1", "known": "read from the table"}},
        "rows": [ROW],
    }
    return {**values, **changes}


def write(file: Path, values: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(values, sort_keys=False))
    return file


def row(**changes: Any) -> dict[str, Any]:
    values = {**ROW, "values": dict(ROW["values"])}
    for key, value in changes.items():
        assign(values, key, value)
    return given(rows=[values])


def test_a_file_is_read_with_its_sources_and_typed_values(tmp_path: Path) -> None:
    published = load_published(write(tmp_path / "toys.yaml", given()))
    assert published.title == "Toys, test, 2,000 texts"
    assert published.metrics == ["t2v/R1", "v2t/MnR"]
    assert published.rows[0].values == {"t2v/R1": 48.0, "v2t/MnR": 10.3}
    assert isinstance(published.rows[0].values["t2v/R1"], float)
    assert str(published.sources["paper"]) == "A paper, Table 1 (read from the table)"


@pytest.mark.parametrize(
    ("values", "key", "said"),
    [
        (given(rows=[]), "rows", "one row at least"),
        (given(dataset=None), "dataset", "a text"),
        (given(texts=0), "texts", "at least 1"),
        (
            given(sources={"paper": {"publication": "P", "known": "read in the table"}}),
            "sources.paper.known",
            "read from",
        ),
        (row(source="papers"), "rows[0].source", "Did you mean `paper`?"),
        (row(system=7), "rows[0].system", "a text"),
        (row(post_processing="DSL"), "rows[0].post_processing", "not allowed"),
        (row(valeus={}), "rows[0].valeus", "unknown key"),
        (row(values={}), "rows[0].values", "one value at least"),
        (row(values=["t2v/R1"]), "rows[0].values", "expected a mapping"),
        (row(values={"R1": 48.1}), "rows[0].values.R1", "write t2v/R1 or v2t/R1"),
        (row(values={"t2v/R@1": 48.1}), "rows[0].values.t2v/R@1", "no metric"),
        (row(values={"t2v/R1": "48.1"}), "rows[0].values.t2v/R1", "a number"),
        (row(values={"t2v/R1": 481}), "rows[0].values.t2v/R1", "from 0 to 100, got 481"),
        (row(values={"t2v/MdR": 0.5}), "rows[0].values.t2v/MdR", "1 at least"),
        (row(uncertain=["t2v/R5"]), "rows[0].uncertain", "no value of `t2v/R5`"),
        (given(rows=[ROW, ROW]), "rows[1]", "stands twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_is_named_with_file_and_key(tmp_path: Path, values: dict[str, Any], key: str, said: str) -> None:
    file = write(tmp_path / "toys.yaml", values)
    with pytest.raises(ConfigError) as caught:
        load_published(file)
    found = [problem for problem in caught.value.problems if problem.key == key]
    assert len(found) == 1
    assert found[0].file == str(file)
    assert said in found[0].message


def test_a_sum_of_recalls_may_exceed_one_hundred_and_sources_may_disagree(tmp_path: Path) -> None:
    other = {**ROW, "source": "later", "values": {"t2v/RSum": 204.3}, "uncertain": ["t2v/RSum"]}
    sources = {name: {"publication": name, "known": "quoted by a later paper"} for name in ("paper", "later")}
    published = load_published(write(tmp_path / "toys.yaml", given(sources=sources, rows=[ROW, other])))
    assert [row.source for row in published.rows] == ["paper", "later"]


# ------------------------------------------------------------------------------------------------ where they lie


def named(folder: Path, *names: str) -> Any:
    """An experiment file that names references, read as a document."""
    return read_document(str(write(folder / "experiment.yaml", {"references": list(names)})))


def read(document: Any) -> list[str]:
    return [published.dataset for published in read_published(document, document.values["references"])]


def test_a_path_starts_in_the_folder_of_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "experiments" / "both.yaml", given(dataset="beside"))
    write(tmp_path / "both.yaml", given(dataset="here"))
    document = named(Path("experiments"), "both.yaml", "../both.yaml")
    assert document.values["references"] == ["experiments/both.yaml", "both.yaml"]
    assert read(document) == ["beside", "here"]


def test_a_path_from_the_working_directory_is_refused_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "only.yaml", given())
    with pytest.raises(ConfigError, match=r"references\[0\]: looked for experiments/only.yaml, .* write ../only.yaml"):
        named(Path("experiments"), "only.yaml")


def test_an_inherited_path_starts_in_the_folder_of_the_file_that_wrote_it(tmp_path: Path) -> None:
    write(tmp_path / "base" / "toys.yaml", given())
    write(tmp_path / "base" / "base.yaml", {"references": ["toys.yaml"]})
    child = write(tmp_path / "child" / "child.yaml", {"extends": "../base/base.yaml"})
    assert read(read_document(str(child))) == ["Toys"]


def test_a_missing_file_is_named_at_the_key_that_names_it_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "toys.yaml", given())
    with pytest.raises(ConfigError) as caught:
        read(named(tmp_path, "toys.yaml", "tois.yaml"))
    assert [(p.key, p.file) for p in caught.value.problems] == [("references[1]", str(tmp_path / "experiment.yaml"))]
    assert f"looked for {tmp_path / 'tois.yaml'}. Did you mean `toys.yaml`?" in str(caught.value)


def test_one_that_the_command_line_names_is_blamed_on_it(tmp_path: Path) -> None:
    file = write(tmp_path / "experiment.yaml", {"name": "x"})
    document = read_document(str(file), ["references=[nowhere.yaml]"])
    with pytest.raises(ConfigError, match=r"command line: references\[0\]: no such file: looked for nowhere.yaml\."):
        read_published(document, ["nowhere.yaml"])


def test_the_faults_of_all_files_are_told_together(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", given(texts=0))
    write(tmp_path / "b.yaml", given(rows=[]))
    names = ["a.yaml", "b.yaml", "c.yaml"]
    with pytest.raises(ConfigError) as caught:
        read(named(tmp_path, *names))
    assert [problem.key for problem in caught.value.problems] == ["texts", "rows", "references[2]"]


@pytest.mark.parametrize("fault", ["missing", "malformed"])
def test_a_fault_ends_the_command_before_any_work(lab: Lab, capsys: pytest.CaptureFixture[str], fault: str) -> None:
    if fault == "malformed":
        write(lab.folder / "toys.yaml", given(texts=0))
    file = lab.write({"references": ["toys.yaml"], "outputs.mlflow": None})
    assert main([str(file), "--store", str(lab.store), "--runs", str(lab.folder / "runs"), "--workers", "0"]) == 2
    assert "toys.yaml" in capsys.readouterr().err
    assert not lab.entries("encode")
    assert not COUNTS["videos"]
