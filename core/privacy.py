"""What a report and MLflow must not tell: passwords never; the person's folders where an experiment is `anonymous`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from .plan import Plan
from .settings import plain

Hide = Callable[[str], str]


def hidden_password(text: str) -> str:
    """The text with the password of every URL in it replaced: `https://me:***@host`."""
    return re.sub(r"(\w+://[^:/@\s]*):[^/\s]+@", r"\1:***@", text)


def hiding(plan: Plan) -> Hide:
    """What every text about a plan goes through before it is written.

    Passwords are hidden. Where the experiment is `anonymous`, so are folders: of an absolute path only the last part is
    kept, `…/videos`. Known are the person's home, the working directory, the store, and every absolute path in the
    configuration, whether written plainly or as JSON, HTML and LaTeX escape it.
    """
    if not plan.experiment.anonymous:
        return hidden_password
    roots = sorted(_roots(plan), key=len, reverse=True)
    anywhere = "|".join(spelling for root in roots for spelling in _spellings(root))
    found = re.compile(rf"(?<![\w/.])(?:{anywhere})((?:[/\\]+[^/\\\s\"'`<>|&:;,)\]}}]+)*)/?")
    return lambda text: found.sub(lambda path: "…/" + re.split(r"/|\\", path[0].rstrip("/"))[-1], hidden_password(text))


def _roots(plan: Plan) -> set[str]:
    """Folders that name the person or the machine, and absolute paths of the configuration."""
    folders = [Path.home(), Path.cwd(), plan.workspace.store.root.resolve()]
    written = [plan.document.file, *plan.document.origins.values()]
    values = [value for variant in plan.variants for value in _texts(plain(variant.experiment))]
    paths = [Path(text).expanduser() for text in (*written, *values) if text.startswith(("/", "~/"))]
    return {str(path) for path in (*folders, *paths) if len(path.parts) > 1}


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested values."""
    if isinstance(value, str):
        yield value
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    for part in parts:
        yield from _texts(part)


def _spellings(path: str) -> set[str]:
    """Patterns of a path as plain text, JSON and HTML write it; LaTeX puts a backslash before some characters."""
    latex = "".join(rf"\\?{re.escape(character)}" for character in path)
    return {latex, re.escape(json.dumps(path)[1:-1]), re.escape(escape(path))}
