"""Names and messages of others stay texts wherever they are written."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from core.contract.escaping import code, csv_cell, markdown, markdown_sentence, plain_line, slug

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[here](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "[a]: http://evil.example",
    "[a][b]",
    "<javascript:alert(1)>",
    "<me@evil.example>",
    "a | b\n--- | ---",
    "`code` ``more``",
    "\\[a](b)",
    "\\\\`x`",
    "&lt;b&gt; &#60;",
    "*a* **b** _c_ __d__ ~~e~~",
    "# heading",
    "- item",
    "1. item",
    "2) item",
    "---",
    "===",
    "~~~",
    "    code",
    "> quote",
    "\x1b]0;title\x07",
    "\u202egnp.exe",
    "line\r\nline\u2028line",
    "\ud800",
]
texts = st.text(st.characters() | st.sampled_from("<>[]()!|`*_~#&\\:-=+. \n\t@/"), max_size=40) | st.sampled_from(
    ATTACKS
)


def spoken(tokens: list[Token] | None) -> tuple[str, set[str]]:
    """The text that a reader sees in a line, and the kinds of what it is made of."""
    return "".join(token.content for token in tokens or []), {token.type for token in tokens or []}


def squeezed(text: str) -> str:
    return " ".join(text.replace("\xa0", " ").split())


@pytest.mark.parametrize("frame", ["{}", "- {}", "# {}", "**Bold:** {}", "| head |\n| --- |\n| {} |", "> {}"])
def test_a_name_in_markdown_is_shown_as_it_is_and_nothing_else(frame: str) -> None:
    @given(texts.filter(lambda text: bool(text.strip())))
    def shown(text: str) -> None:
        tokens = READER.parse(frame.format(f"x{markdown(text)}" if frame == "# {}" else markdown(text)))
        plain, kinds = spoken(next(token for token in reversed(tokens) if token.type == "inline").children)
        assert kinds <= {"text", "strong_open", "strong_close"}
        assert squeezed(plain).endswith(squeezed(plain_line(text)))
        blocks = [token.type for token in READER.parse(frame.format("x"))]
        assert [token.type for token in tokens] == blocks

    for attack in ATTACKS:
        shown = example(attack)(shown)
    shown()


@given(texts)
def test_a_sentence_in_markdown_holds_text_and_code_only(text: str) -> None:
    tokens = READER.parse(f"x {markdown_sentence(text)}")
    _, kinds = spoken(tokens[1].children)
    assert kinds <= {"text", "code_inline"}
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]


def test_what_a_sentence_of_ours_marks_as_code_is_code() -> None:
    (_, line, _) = READER.parse(markdown_sentence("3 variants against `top_k=<b>` on t2v/R1."))
    assert [(token.type, token.content) for token in line.children or []] == [
        ("text", "3 variants against "),
        ("code_inline", "top_k=<b>"),
        ("text", " on t2v/R1."),
    ]


@given(texts.filter(lambda text: bool(text.strip())))
def test_code_in_markdown_is_shown_as_it_is(text: str) -> None:
    (_, line, _) = READER.parse(f"x {code(text)}")
    plain, kinds = spoken(line.children)
    assert kinds <= {"text", "code_inline"}
    assert squeezed(plain) == squeezed(f"x {plain_line(text)}")


def test_plain_names_are_written_as_they_are() -> None:
    for name in (
        "top_k=50",
        "layers=2 · seed 0",
        "model.transforms.temporal.layers=3",
        "größer ↔ 文字 (a, b)",
        "+1.2",
        "-0.5",
        "0.3",
    ):
        assert markdown(name) == name
        assert plain_line(name) == name


def test_addresses_and_mentions_are_no_links_on_mlflows_page() -> None:
    """It makes links of whatever looks like one."""
    for text, written in {
        "http://evil.example/x": "http&#58;//evil.example/x",
        "WWW.evil.example": "WWW&#46;evil.example",
        "@someone": "&#64;someone",
        "me@evil.example": "me&#64;evil.example",
    }.items():
        assert markdown(text) == written


@given(st.text())
def test_no_character_of_a_line_moves_the_cursor_or_turns_the_text(text: str) -> None:
    line = plain_line(text)
    assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cs", "Zl", "Zp"}
    assert not set(line) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff")
    line.encode()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\r\n\tb\x9b", r"a\x0d\x0a\x09b\x9b"),
        ("\u202egnp", r"\u202egnp"),
        ("\U000e0041", r"\U000e0041"),
        ("\udc80", r"\udc80"),
        ("نمی\u200cخواهم 👩\u200d🔬", "نمی\u200cخواهم 👩\u200d🔬"),
    ],
)
def test_what_cannot_be_seen_is_spelled(text: str, line: str) -> None:
    assert plain_line(text) == line


@pytest.mark.parametrize("cell", ["=1+1", "+A1", "-A1", "@SUM(1)", "\t=1", "\r=1", "\n=1", "=", "-", "-1-1"])
def test_a_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", [-1.5, 3, True, "", "a=1", "-1.5", "+2e-05", "-.5", "1-1", "'=1"])
def test_numbers_and_other_texts_of_a_cell_stay(cell: object) -> None:
    assert csv_cell(cell) is cell


def test_a_name_that_is_a_file_name_stays_one() -> None:
    assert slug("ablate_topk-2.v1") == "ablate_topk-2.v1"
    assert slug("消融_1") == "消融_1"
    assert slug("é" * 100) == "é" * 100


def test_names_that_differ_do_not_share_a_folder() -> None:
    names = ["a_b", "a b", "a/b", "a:b", "..", ".", "/", "é" * 300, "é" * 301, "a\n", "a"]
    assert len({slug(name) for name in names}) == len(names)
    for name in names:
        file = slug(name)
        assert 0 < len(file.encode()) <= 200
        assert not re.search(r"^\.|/", file)
    assert slug("a/b").startswith("a_b-")
