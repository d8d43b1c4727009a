"""YAML of strangers: what no experiment needs is refused, whatever it would do."""

from __future__ import annotations

import os

import pytest

from .hostile import TEXT, fault, read

LAUGHS = "claim: x\noutputs:\n  a0: &a0 [1, 1]\n" + "".join(
    f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("references: " + "[" * 400 + "]" * 400, "nested deeper than 50 levels"),
        ("references: " + "[" * 100_000 + "]" * 100_000, "nested deeper than 50 levels"),
        ("baseline: " + "{a: " * 400 + "1" + "}" * 400, "nested deeper than 50 levels"),
        ("references:\n" + "".join(" " * n + "-\n" for n in range(1, 400)), "nested deeper than 50 levels"),
        (LAUGHS, "more than 200,000 values, aliases written out"),
        ("references: &a [*a]", "`*a` stands within what it stands for"),
        ("claim: &a {<<: *a}", "`*a` stands within what it stands for"),
        ("seeds: [!!int abc]", "seeds[0]: `abc` is no whole number"),
        ("seeds: [!!float abc]", "seeds[0]: `abc` is no number"),
        ("anonymous: !!bool abc", "anonymous: `abc` is no true or false"),
        ("claim: !!timestamp abc", "claim: `abc` is no date"),
        ("claim: !!timestamp 2024-01-01", "claim: expected a text, a number, true, false, null"),
        ("claim: !!binary aGVsbG8=", "claim: expected a text, a number, true, false, null"),
        ("claim: !!set {a, b}", "claim: expected a text, a number, true, false, null"),
        ("claim: !!omap [a: 1]", "claim[0]: expected a text, a number, true, false, null"),
        ("claim: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("claim: !!python/object/apply:pathlib.Path [a]", "could not determine a constructor"),
        ('claim: "\\ud800"', "is not valid YAML"),
        ('claim: "a\\0b"', "claim: holds a character that is none of a text: U+0000"),
        ('claim: "a\\e[31mb"', "claim: holds a character that is none of a text: U+001B"),
        ('variants: {"a\\e": {train.epochs: 3}}', "a key holds a character that is none of a text: U+001B"),
        ("variants: {? " + "a" * 5000 + " : 1}", "a key has at most 1000 letters, this one 5,000"),
        ("claim: {text: a, source: b, text: c}", "found duplicate key text"),
        ("claim: {text: a, 'text': c}", "found duplicate key text"),
        ("claim: {<<: {text: a}, <<: {source: b}}", "found duplicate key <<"),
        ("#" + "x" * 2_000_000, "an experiment file has at most 2,000,000"),
    ],
)
def test_what_no_experiment_needs_is_refused(tmp_path, addition, message):
    assert message in fault(tmp_path, f"{TEXT}{addition}\n")


def test_a_merged_key_may_be_written_over(tmp_path):
    text = f"{TEXT}claim: {{<<: {{text: a, source: b}}, text: c}}\n"
    (variant,) = read(tmp_path, text)
    assert (variant.experiment.claim.text, variant.experiment.claim.source) == ("c", "b")


def test_what_stands_under_two_aliases_is_changed_in_one_place_only(tmp_path):
    text = TEXT.replace("patch:", "other: &tib {name: tib, temperature: 0.1}\n    further: *tib\n    patch:")
    (variant,) = read(tmp_path, text, "model.interactions.other.temperature=0.7")
    found = variant.experiment.model.interactions
    assert (found["other"].fields.temperature, found["further"].fields.temperature) == (0.7, 0.1)


@pytest.mark.parametrize("password", ["a${hunter2", "${hunter2:x}", "a${hunter2}b${hunter2 c}"])
def test_a_password_with_a_reference_in_it_is_not_shown(tmp_path, password):
    told = fault(tmp_path, TEXT, f"outputs.mlflow.uri=postgresql://user:{password}@host/db")
    assert "outputs.mlflow.uri: " in told
    assert "hunter2" not in told


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_in_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path, encoding):
    assert "cannot be read: expected UTF-8" in fault(tmp_path, TEXT.encode(encoding))
    assert read(tmp_path, TEXT.encode("utf-8-sig"))


def test_a_command_line_with_bytes_that_are_no_text_is_refused(tmp_path):
    broken = os.fsdecode(b"\xff")
    assert "command line: name: " in fault(tmp_path, TEXT, f"name={broken}")
    assert "command line" in fault(tmp_path, TEXT, f"na{broken}me=x")
    assert "command line: train.epochs: `abc` is no whole number" in fault(tmp_path, TEXT, "train.epochs=!!int abc")
    assert "command line: seeds: the value" in fault(tmp_path, TEXT, "seeds=" + "[" * 100_000)


def test_files_that_extend_one_another_endlessly_are_refused(tmp_path):
    for number in range(100):
        (tmp_path / f"f{number}.yaml").write_text(f"extends: f{number + 1}.yaml\n")
    assert "more than 20 files extend one another" in fault(tmp_path, "extends: f0.yaml\n")


@pytest.mark.parametrize("parent", ["x" * 5000, "'a\\tb'", "nowhere_at_all:x.yaml", "json:x.yaml"])
def test_a_parent_that_cannot_be_a_file_is_refused(tmp_path, parent):
    assert "trial.yaml" in fault(tmp_path, f"extends: {parent}\n") or parent.startswith(("nowhere", "json"))


def test_a_file_that_names_a_package_runs_none_of_its_code(tmp_path, monkeypatch):
    package = tmp_path / "loud_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('code of the package ran')")
    (package / "base.yaml").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    assert read(tmp_path, "extends: loud_package:base.yaml\n")
