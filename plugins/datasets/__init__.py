"""Data sets: `shapes`, procedural videos whose difficulty is a field, and `folder`, one's own files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable


@hookimpl
def register_datasets(register: Callable[[type], None]) -> None:
    from .folder import Folder
    from .shapes import Shapes

    register(Shapes)
    register(Folder)
