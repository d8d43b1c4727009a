"""HTML pages: what renders the templates beside it, on one frame and with one stylesheet.

Whoever writes a page prepares facts: texts, lists, dataclasses. A template lays them out, and every text in it is shown
as it is: on one line, nothing of it hidden, escaped.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.outputs import plain_line

from .table import Cell, Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["TEMPLATES", "Cell", "Table", "embedded", "render"]

TEMPLATES = Path(__file__).parent
"""The folder of the templates, the stylesheet, and the code that renders."""


def render(template: str, **facts: Any) -> str:
    """A page that needs no other file and no network; the same facts give the same bytes.

    template: `report` for report.html.j2. facts: what it names, `title` too. Raises UndefinedError where one lacks.
    """
    return _environment().get_template(f"{template}.html.j2").render(facts)


def embedded(content: bytes, kind: str) -> str:
    """An address that holds a picture itself. kind: its MIME type."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_on_one_line,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["lines"] = _lines
    return environment


def _on_one_line(value: object) -> object:
    """What an expression of a template shows, before it is escaped; what a macro has laid out stays."""
    return value if hasattr(value, "__html__") else _visible(re.sub(r"[\t\r\n]+", " ", str(value)))


def _lines(text: str) -> Markup:
    """The filter `lines`: a text on as many lines as it has, each shown as it is."""
    from markupsafe import Markup

    return Markup("\n").join(map(_visible, text.split("\n")))


def _visible(text: str) -> str:
    """`plain_line`, which reads character by character, only where there is something to make visible: a picture is a
    text too, and long."""
    return text if text.isprintable() else plain_line(text)
