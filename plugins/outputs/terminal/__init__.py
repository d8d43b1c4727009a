"""The report on the terminal, or in the file that a log is written to."""

from __future__ import annotations

from pathlib import Path

from core import Output
from core.outputs import Result


class Terminal(Output):
    """The table, the verdicts, and what would decide the other claims. Further metrics stand in the files."""

    name = "terminal"
    by_default = True

    def finished(self, result: Result, folder: Path) -> list[str]:
        return report_text(result).splitlines()


def report_text(result: Result) -> str:
    """Tables, notes and verdicts, no line wider than the terminal; where there is none, than 100 columns."""
    from .page import page

    return "".join(f"{line}\n" for line in page(result))
