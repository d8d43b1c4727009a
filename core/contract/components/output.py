"""Outputs: what shows, writes or sends what an experiment found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .base import Component

if TYPE_CHECKING:
    from ...outputs import Planned, Rankings, Result, Trial


class Output(Component):
    """Shows, writes or sends what an experiment found; each method does nothing unless it is overridden.

    It is built before anything runs: a ConfigError that its constructor raises ends the run. What a method raises costs
    no trial and no other output; it is told at the end. The store keeps all results, so an output may be asked again at
    any time (`--stored`): writing the same again adds nothing.

    >>> import core
    >>> class Pointer(core.Output):
    ...     name = "pointer"
    ...     def finished(self, result, folder):
    ...         return [f"what was found lies in {folder}"]
    >>> Pointer(Pointer.Config()).finished(result=None, folder="runs/lab")
    ['what was found lies in runs/lab']
    """

    kind = "output"
    by_default: ClassVar[bool] = False
    """Whether it is there without being named in the file."""

    def __init__(self, config: Any):
        self.config = config

    def started(self, plan: Planned) -> None:
        """Once, before any step runs."""

    def trial_finished(self, trial: Trial) -> None:
        """After the result of a trial is stored, in any order."""

    def finished(self, result: Result, folder: Path) -> Iterable[str]:
        """Once, with all results, those that are missing among them. folder: of this experiment's files, for all
        outputs. Returns lines to tell the person."""
        return ()

    def sheet(self, rankings: Rankings, top: int, file: Path) -> bool:
        """Draw the `top` best videos of a typed sentence, `rankings.best(0, top)`, into a file; False where this output
        draws no file with such an ending. `python -m core.search` asks for it."""
        return False

    def trial_of(self, text: str) -> str | None:
        """The key of the trial that a text names, such as the id of a run; None where it names none of this output's.

        Raises UserError where that cannot be told.
        """
        return None
