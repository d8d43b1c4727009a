"""Reports of a run: on the terminal, as Markdown, HTML, LaTeX and CSV, with figures.

`python -m core.report EXPERIMENT.yaml` writes them again from the store, and computes nothing.
"""

from .as_csv import csv
from .as_markdown import markdown, markdown_table
from .files import slug, write_registration, write_report
from .folder import report_files
from .numbers import interval, p_value, with_spread
from .on_terminal import show_report
from .tables import header, table
from .wording import claim_line, in_short, notes

__all__ = [
    "claim_line",
    "csv",
    "header",
    "in_short",
    "interval",
    "markdown",
    "markdown_table",
    "notes",
    "p_value",
    "report_files",
    "show_report",
    "slug",
    "table",
    "with_spread",
    "write_registration",
    "write_report",
]
