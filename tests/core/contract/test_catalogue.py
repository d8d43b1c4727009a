"""What `python -m core.plugins` prints, and that what it gives as an example is accepted."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields

import pytest

from core.contract.catalogue import PLACES, example, first_sentence, in_a_file
from core.contract.settings import Checker
from core.experiment.config.parsing import parsed
from core.plugins import DISTRIBUTION, main, registry

COMPONENTS = sorted(key for key, item in registry().found.items() if item.package == DISTRIBUTION)


@pytest.fixture
def printed(capsys, monkeypatch):
    """What a command line prints; on 80 columns where it is asked for."""

    def call(*words: str, columns: int | None = None) -> str:
        monkeypatch.setenv("COLUMNS", "" if columns is None else str(columns))
        assert main(list(words)) == 0
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_the_example_of_every_component_is_yaml_whose_settings_the_registry_accepts(
    kind, name, printed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "file").write_text("")
    told = printed("show", name)
    values = parsed(told.split("In a file:\n\n")[-1])
    for key in PLACES[kind]:
        values = values[key or name]
    checker = Checker(registry().specify)
    spec = registry().specify(kind, values, "", checker)
    assert not checker.problems
    assert spec is not None
    assert spec.name == name


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_everything_of_a_component_is_shown(kind, name, printed):
    told = printed("show", name)
    item = registry().get(kind, name)
    assert told.startswith(f"{name}: {kind.replace('_', ' ')} of {DISTRIBUTION} {item.version}, in plugins.")
    assert first_sentence(item.component) in " ".join(told.split())
    for field in fields(item.component.Config):
        assert re.search(rf"^  {field.name} +\S.*{re.escape(field.metadata['doc'])}$", told, re.MULTILINE), field.name


@pytest.mark.parametrize(("kind", "name"), [key for key in COMPONENTS if key[0] not in ("dataset", "output")])
def test_a_component_from_a_paper_names_it_and_its_levels_are_shown(kind, name, printed):
    told = printed("show", name)
    assert "Source: " in told or name == "given_scores"
    if kind in ("feature_transform", "reranker") and name != "score_fusion":
        assert re.search(r"^  reads +(text: \w+|video: \w+)", told, re.MULTILINE)


def test_what_needs_auxiliary_tensors_and_what_provides_them_say_so(printed):
    assert re.search(r"^  needs +text_vector, video_vector$", printed("show", "pearson"), re.MULTILINE)
    assert re.search(r"^  provides +text_vector, video_vector$", printed("show", "tib"), re.MULTILINE)
    assert re.search(r"^  after training +temperature$", printed("show", "tib"), re.MULTILINE)


def test_on_80_columns_sentences_are_whole_and_hang_below_their_beginning(printed):
    whole, narrow = printed(), printed(columns=80)
    lines = narrow.splitlines()
    assert max(map(len, lines)) <= 80
    indent = len(re.search(r"^  tib +", narrow, re.MULTILINE)[0])
    for line in whole.splitlines():
        if line.startswith("  "):
            name, sentence = line[:indent], line[indent:]
            assert sentence.endswith(".")
            start = next(number for number, text in enumerate(lines) if text.startswith(name.rstrip() + " "))
            rest = [text for text in lines[start + 1 :] if text.startswith(" " * indent)]
            joined = " ".join([lines[start][indent:], *(text[indent:] for text in rest)])
            assert joined.startswith(sentence)


def test_a_word_that_is_longer_than_a_line_is_not_cut(printed, monkeypatch):
    component = registry().get("interaction", "tib").component
    monkeypatch.setattr(component, "__doc__", f"Reads {'x' * 90} alone. Not this.")
    assert f" {'x' * 90}\n" in printed(columns=80)


def test_the_first_sentence_ends_at_its_full_stop_alone():
    class Sample:
        """One of B_t, i.e. a text, of 3.5 words… over
        two lines. `level` is read.

        More."""

    assert first_sentence(Sample) == "One of B_t, i.e. a text, of 3.5 words… over two lines."


def test_an_example_is_indented_below_the_keys_that_hold_it():
    values = example(registry(), "loss", registry().get("loss", "info_nce").component)
    assert in_a_file("loss", values) == textwrap.dedent("""\
        model:
          losses:
            info_nce: {name: info_nce, of: {video: 1.0}}""")
