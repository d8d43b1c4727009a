"""docs/experiment_file.md says what there is, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.contract.fields import fields_in_words
from core.experiment.config import Experiment, read_document
from core.experiment.hypotheses import KINDS, read_hypotheses
from core.experiment.variants import read_variants
from core.plugins import DISTRIBUTION, registry
from core.reference import COMMAND, EXAMPLE, FILE, main, reference

PAGE = Path(__file__).parents[2] / FILE


def test_the_page_is_what_the_generator_gives():
    assert PAGE.read_text() == reference(), f"the experiment file has changed; run: {COMMAND}"


def test_the_command_writes_the_page(tmp_path):
    assert main([str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text() == reference()


def test_the_page_opens_with_a_complete_file_of_15_lines_that_is_understood(tmp_path):
    text = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)[1]
    assert text == EXAMPLE
    assert len(text.splitlines()) == 15
    file = tmp_path / "first.yaml"
    file.write_text(text)
    document = read_document(str(file))
    variants = read_variants(document)
    assert [variant.name for variant in variants if variant.is_baseline] == ["rerank=none"]
    assert len(variants) == 3
    assert [hypothesis.kind for hypothesis in read_hypotheses(document, variants)] == ["better"]


@pytest.mark.parametrize("field", list(fields_in_words(Experiment)), ids=lambda field: field.key)
def test_every_key_of_the_schema_has_a_doc_and_stands_in_the_page(field):
    assert field.doc
    assert f"| `{field.key}` |" in PAGE.read_text()


def test_kinds_of_hypotheses_and_fields_of_outputs_stand_in_the_page():
    page = PAGE.read_text()
    assert all(f"`{kind}: …, " in page for kind in KINDS)
    for (kind, name), item in registry().found.items():
        if kind == "output" and item.package == DISTRIBUTION:
            keys = [field.key for field in fields_in_words(item.component.Config, f"outputs.{name}")]
            assert all(f"| `{key}` |" in page for key in [f"outputs.{name}", *keys])


def test_no_row_of_the_page_breaks_its_table():
    for line in PAGE.read_text().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 6)
