"""The files of a report, in the folder of its experiment."""

from __future__ import annotations

import json
from pathlib import Path

from core.outputs import Result, write_atomically

from ..figures.files import captions
from .as_csv import csv, hypotheses_csv, published_csv
from .as_html import PICTURES, html
from .as_latex import latex
from .as_markdown import markdown
from .folder import remove_leftovers


def write_report(result: Result, folder: Path) -> None:
    """Write every file of the report to the folder of its experiment.

    report.md, report.html, table.csv, table.tex, resolved.json; hypotheses.csv and published_<n>.csv where there are
    any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    figures = {folder / "figures" / f"{name}.svg": said for name, said in captions(result, folder / "figures").items()}
    resolved = {variant.name: variant.configuration for variant in result.variants}
    files = {
        "report.md": markdown(result),
        "table.csv": csv(result),
        "table.tex": latex(result),
        "resolved.json": json.dumps(resolved, indent=1),
        "report.html": html(result, figures, (folder / PICTURES).is_file()),
    }
    if result.decisions:
        files["hypotheses.csv"] = hypotheses_csv(result)
    files |= {f"published_{n}.csv": published_csv(published) for n, published in enumerate(result.published, 1)}
    for name, content in files.items():
        write_atomically(folder / name, content)
    for stale in {"hypotheses.csv", *(path.name for path in folder.glob("published_*.csv"))} - files.keys():
        (folder / stale).unlink(missing_ok=True)
