"""The page of pictures of an experiment, which is made again only where it would show something else."""

from __future__ import annotations

import zlib
from pathlib import Path

from core.outputs import Result, digest, read_text, write_atomically

from ..pages import TEMPLATES

PAGE = "pictures.html"
CODE = (".py", ".j2", ".css")
"""Endings of the files that decide how pictures look."""


def write_page(file: Path, state: str, page: str) -> None:
    """Write a page that shows a state."""
    write_atomically(file, page + _mark(state, page))


def shows(file: Path, state: str) -> bool:
    """Whether a page shows a state, and is as it was written."""
    try:
        text = read_text(file)
    except (OSError, ValueError):
        return False
    page = text[: -len(_mark(state, ""))]
    return text == page + _mark(state, page)


def state_of(result: Result, chosen: list[object]) -> str:
    """Digest of all that decides what pictures show, and of the code and templates that draw."""
    trials = [[row.name, *(trial.key for trial in row.results)] for row in result.rows]
    files = [path for folder in (Path(__file__).parent, TEMPLATES) for path in sorted(folder.iterdir())]
    code = [path.read_text(encoding="utf-8") for path in files if path.suffix in CODE]
    facts = [result.name, result.primary, result.experiment.anonymous, chosen]
    return digest([code, trials, facts])


def _mark(state: str, page: str) -> str:
    return f"<!-- {state} {zlib.crc32(page.encode()):08x} -->\n"
