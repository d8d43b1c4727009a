"""Texts of others (names, messages, comments) where they must stay texts: on a terminal, in Markdown, in a CSV cell, as
the name of a file."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TypeVar

Cell = TypeVar("Cell")

JOINERS = "\u200c\u200d"
"""Of letters, in Persian and Hindi, and of emoji: the only invisible characters that are kept."""

ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
"""What a backslash does not take the meaning from everywhere: HTML, and names that MLflow's page links to."""

LONGEST_NAME = 200
"""Bytes of the name of a file."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def plain_line(text: str) -> str:
    r"""The text on one line, all of it visible: a control character, a line's end and what turns the direction of
    writing are shown as `\x1b`, `\u202e`."""
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def markdown(text: str) -> str:
    """A text within a line or table cell of Markdown, shown as it is: no HTML, link, picture, code or emphasis."""
    return _readable(_begun(_escaped(text)))


def markdown_sentence(text: str, in_table: bool = False) -> str:
    """A sentence of ours, in which what stands between backticks is code, with the names of others in it."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        sentence = markdown(text)
    else:
        parts = (code(piece) if number % 2 else _escaped(piece) for number, piece in enumerate(pieces))
        sentence = _readable(_begun("".join(parts)))
    return sentence if in_table else sentence.replace("\\|", "|")


def _readable(escaped: str) -> str:
    """Without the marks that nothing depends on: `<` before a space begins no HTML, nor `[name]` alone a link.

    `[name]:` does at the beginning of a line only.
    """
    return re.sub(r"(?!^[^\]]*\]:)\\\[([^\[\]\\]*)\\\](?![(\[])", r"[\1]", escaped.replace("&lt; ", "< "))


def _escaped(text: str) -> str:
    escaped = re.sub(r"[\\`*\[\]!|~#]", r"\\\g<0>", plain_line(text))
    escaped = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", escaped)  # within a word it means nothing
    escaped = re.sub(r"[<>&]|(?<!\w)@|@(?!\d+(?![.-]?\w))", lambda sign: ENTITIES[sign[0]], escaped)  # R@1 stays
    escaped = re.sub(r"://", "&#58;//", escaped)
    return re.sub(r"www\.", lambda www: f"{www[0][:-1]}&#46;", escaped, flags=re.IGNORECASE)


def _begun(line: str) -> str:
    """The line without what would begin a list, rule or heading there, or by its spaces a block of code."""
    return re.sub(r"^(\d*)([-+.)](?=\s|$)|[-=](?=[-=\s]*$))", r"\1\\\2", line.lstrip())


def code(text: str) -> str:
    """A text as code within a line or table cell of Markdown; as plain text where code cannot hold it."""
    span = plain_line(text)
    if not span.strip() or "|" in span:  # which ends a table's cell, even within code
        return _escaped(text)
    longest = max(map(len, re.findall("`+", span)), default=0)
    pad = " " if longest and (span[0] + span[-1]).count("`") else ""
    fence = "`" * (longest + 1)
    return f"{fence}{pad}{span}{pad}{fence}"


def csv_cell(value: Cell) -> Cell | str:
    """What a spreadsheet shows as it is: a text that it would compute gets an apostrophe in front; numbers stay."""
    if isinstance(value, str) and value[:1] in tuple("=+-@\t\r\n") and not NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def slug(name: str) -> str:
    """A name as a file name: letters of any language, at most 200 bytes. One that is not its own file name gets a
    digest, so that `a b` and `a/b` do not share a file."""
    kept = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._")
    if kept == name and len(kept.encode()) <= LONGEST_NAME:
        return kept
    mark = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    shortened = kept.encode(errors="ignore")[: LONGEST_NAME - len(mark) - 1].decode(errors="ignore")
    return f"{shortened or 'experiment'}-{mark}"
