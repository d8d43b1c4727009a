"""Pages: a text stays a text wherever it stands, and all pages are one file each with the one stylesheet."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from core.evidence.findings import Result
from core.outputs import Clip, plain_line
from plugins.outputs.pages import TEMPLATES, Cell, Table, render
from plugins.outputs.pictures import files
from plugins.outputs.pictures.html import whole_page
from plugins.outputs.pictures.pages import Page, Pictures, Row, Shown
from plugins.outputs.report.as_html import html
from plugins.outputs.report.glossary import explained

HOSTILE = [
    "<b>&\"'\x1b[31m\u202eb",
    "<script>alert(1)</script>",
    "\"onload='x'",
    "</style></title></pre><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}{# a #}",
    "&lt;b&gt;",
    "\ud800\u2028\x00",
]
ATTRIBUTES = {"lang", "charset", "name", "content", "class", "scope", "id", "href", "src", "alt", "width", "height"}
NAMES = ("report", "pictures")


class Reader(HTMLParser):
    """The words of a page, of all its elements and in its `alt`, and the names of its attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.words = ""
        self.attributes: dict[str, list[str]] = {}
        self.elements: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        for name, value in attributes:
            self.attributes.setdefault(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def page(template: str, text: str, result: Result, folder: Path) -> str:
    """A page that holds a text wherever it shows one of others."""
    if template == "pictures":
        clip = Clip(np.zeros((2, 8, 8, 3), np.uint8), np.ones(2, bool))
        shown = Shown(text, 1, 0.5, True, None, clip)
        return whole_page(Pictures(text, [text], [Page(text, text, text, [Row(text, 1, [shown])])]))
    picture = folder / "a.svg"
    picture.write_text("<svg/>")
    rows = [replace(row, variant=replace(row.variant, name=text)) for row in result.rows]
    decisions = [replace(item, hypothesis=replace(item.hypothesis, name=text)) for item in result.decisions]
    texts = {"name": text, "question": text, "command": text, "notes": [text], "facts": {text: text}}
    texts |= {"packages": [text], "incomparable": [(decisions[0].hypothesis, text)]}
    return html(replace(result, rows=rows, decisions=decisions, **texts), {picture: text}, True)


@pytest.mark.parametrize("template", NAMES)
def test_whatever_is_in_a_name_is_shown_and_nothing_else(template: str, result: Result, tmp_path: Path) -> None:
    plain = Reader(page(template, "plain", result, tmp_path))
    for name in HOSTILE:
        text = page(template, name, result, tmp_path)
        assert text.replace("\n", "").isprintable()
        read = Reader(text)
        assert read.elements == plain.elements
        assert read.attributes.keys() == plain.attributes.keys() <= ATTRIBUTES | {"style"}
        assert read.words.count(plain_line(name)) >= plain.words.count("plain") - 2 > 5
        alternatives = [told for told in read.attributes["alt"] if plain_line(name) in told]
        assert len(alternatives) == len(plain.attributes["alt"])


@pytest.mark.parametrize("template", NAMES)
def test_quotes_angles_and_controls_are_escaped(template: str, result: Result, tmp_path: Path) -> None:
    text = page(template, HOSTILE[0], result, tmp_path)
    assert r"&lt;b&gt;&amp;&#34;&#39;\x1b[31m\u202eb" in text
    assert "<b>&" not in text


@pytest.mark.parametrize("template", NAMES)
def test_a_page_has_the_one_stylesheet_and_no_other_style(template: str, result: Result, tmp_path: Path) -> None:
    text = page(template, "plain", result, tmp_path)
    (style,) = re.findall(r"<style>\n(.*?)\n?</style>", text, re.DOTALL)
    assert style.strip() == (TEMPLATES / "pages.css").read_text().strip()
    read = Reader(text)
    assert "link" not in read.elements
    assert all(re.fullmatch(r"(--\w+: #\w+;? ?)+", style) for style in read.attributes.get("style", []))


def test_every_template_of_a_page_stands_on_the_frame_and_is_tested_here() -> None:
    templates = {path.name.removesuffix(".html.j2"): path.read_text() for path in TEMPLATES.glob("*.j2")}
    assert {name for name, text in templates.items() if '{% extends "frame.html.j2" %}' in text} == set(NAMES)
    assert templates.keys() - set(NAMES) == {"frame", "parts"}
    assert [name for name, text in templates.items() if "<style" in text] == ["frame"]
    assert not [name for name, text in templates.items() if "safe" in re.findall(r"\| *(\w+)", text)]


def test_a_fact_that_lacks_is_an_error_and_no_gap() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="notes"):
        render("pictures", title="title", colours={"right": "", "gate": ""})


def test_a_cell_has_the_classes_of_its_column_and_its_own() -> None:
    table = Table.of(["a", "b", "c"], [["1", Cell("2", "better"), "3"]], left=(0, 1), prose=(2,), row_kinds=["apart"])
    assert [cell.kind for cell in table.head] == ["left", "left", "left prose"]
    (line,) = table.lines
    assert (line.kind, [cell.kind for cell in line.cells]) == ("apart", ["left", "left better", "left prose"])


@pytest.mark.parametrize("name", ["pages.css", "frame.html.j2", "pictures.html.j2", "__init__.py"])
def test_pictures_are_made_again_where_a_template_changed(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = files.state_of(result, [])
    copy = shutil.copytree(TEMPLATES, tmp_path / "pages")
    monkeypatch.setattr(files, "TEMPLATES", copy)
    assert files.state_of(result, []) == before
    (copy / name).write_text((copy / name).read_text() + "\n")
    assert files.state_of(result, []) != before


def test_a_table_says_that_it_goes_on_only_where_it_is_wider_than_its_place(result: Result) -> None:
    text = html(result, {}, False)
    assert text.count('<div class="wide"><div><p class="hint"></p><table>') == text.count("<table>") > 2
    assert "scroll sideways" not in text.partition("</style>")[2]
    style = (TEMPLATES / "pages.css").read_text()
    hint, *_ = re.findall(r"\.hint \{([^}]*)\}", style)
    assert "height: 0;" in hint
    assert "clamp(0px, (100% - 100cqw)" in hint
    assert "container-type: inline-size" in style
    assert re.search(r"\.hint::before \{ content: \"[^\"]*scroll sideways", style)


def test_the_statistical_words_of_a_page_are_explained_on_it_and_no_others(result: Result) -> None:
    folded = html(result, {}, False).partition("<summary>Words of this page</summary>")[2].partition("</details>")[0]
    words = re.findall(r"<dt>(.*?)</dt><dd>[^<]{40,}</dd>", folded)
    assert {"Holm", "registered", "clusters"} <= {*words}
    assert "transductive" not in words
    late = [*result.notes, "Transductive: a. Claimed post hoc; re-ranking could reach 3."]
    said = html(replace(result, notes=late), {}, False)
    for word in ("transductive", "post hoc", "ceiling, what re-ranking could reach"):
        assert f"<dt>{word}</dt>" in said


def test_each_word_of_the_glossary_is_looked_for_by_itself() -> None:
    texts = ["crossed seeds and clusters", "Holm over 3", "80 % power", "post hoc", "registered as 1", "BH", "p, raw"]
    for text in texts:
        assert list(explained([text])) != list(explained(texts))
        assert explained([text]).items() <= explained(texts).items()
    assert explained(["nothing of the kind"]) == {}
