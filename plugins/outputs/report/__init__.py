"""The report of an experiment as HTML, Markdown, LaTeX and CSV, with its figures."""

from __future__ import annotations

from pathlib import Path

from core import Output
from core.outputs import Result

from .as_csv import csv
from .as_markdown import markdown, markdown_table
from .files import write_report
from .folder import report_files
from .order import grouped

__all__ = ["Report", "csv", "grouped", "markdown", "markdown_table", "report_files", "write_report"]


class Report(Output):
    """`report.html` and beside it Markdown, LaTeX, CSV and all resolved configurations."""

    name = "report"
    by_default = True

    def finished(self, result: Result, folder: Path) -> list[str]:
        write_report(result, folder)
        return ["", f"Report: {folder / 'report.html'}"]
