"""The page of pictures of an experiment, which is made again only where it would show something else."""

from __future__ import annotations

import inspect
import zlib
from pathlib import Path
from types import ModuleType

from core.findings import Result
from core.store import digest, write_atomically
from core.store.files import read_text

from . import choice, drawing, gates, html, pages, stages

PAGE = "pictures.html"


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


def shown(result: Result, chosen: list[object]) -> str:
    """Digest of all that decides what pictures show, and of the code that draws."""
    trials = [[row.name, *(found.trial.last.key for found in row.results)] for row in result.rows]
    modules: list[ModuleType] = [choice, drawing, gates, html, pages, stages]
    facts = [result.name, result.primary, result.plan.experiment.anonymous, chosen]
    return digest([[inspect.getsource(module) for module in modules], trials, facts])


def _mark(state: str, page: str) -> str:
    return f"<!-- {state} {zlib.crc32(page.encode()):08x} -->\n"


__all__ = ["PAGE", "shown", "shows", "write_page"]
