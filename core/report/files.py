"""The files of a report, in the folder of its experiment."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..findings import Result
from ..hypotheses import configuration
from ..store import digest, write_atomically
from .as_csv import csv, hypotheses_csv, published_csv
from .as_html import html
from .as_latex import latex
from .as_markdown import markdown

DRAWN = "drawn.json"
FORMATS = (".svg", ".png", ".pdf")


def write_report(result: Result, root: Path) -> Path:
    """Write every file of the report to `<root>/<experiment>`; the folder.

    report.md, report.html, table.csv, table.tex, resolved.json, figures/; hypotheses.csv and published_<n>.csv where
    there are any. Figures that would show the same as those that are there are left as they are.
    """
    folder = root / slug(result.name)
    folder.mkdir(parents=True, exist_ok=True)
    captions = write_figures(result, folder / "figures")
    resolved = {variant.name: configuration(variant) for variant in result.plan.variants}
    files = {
        "report.md": markdown(result),
        "table.csv": csv(result),
        "table.tex": latex(result),
        "resolved.json": json.dumps(resolved, indent=1),
        "report.html": html(result, {folder / "figures" / f"{name}.svg": said for name, said in captions.items()}),
    }
    if result.claims:
        files["hypotheses.csv"] = hypotheses_csv(result)
    files |= {f"published_{n}.csv": published_csv(one) for n, one in enumerate(result.published, 1)}
    for name, content in files.items():
        write_atomically(folder / name, content)
    return folder


def write_figures(result: Result, folder: Path) -> dict[str, str]:
    """Draw what the plan has panels for, as SVG, PNG and PDF; {name: caption}. Nothing is drawn twice."""
    state, drawn = _state(result), folder / DRAWN
    if drawn.is_file():
        known = json.loads(drawn.read_text())
        there = all((folder / f"{name}{suffix}").is_file() for name in known["captions"] for suffix in FORMATS)
        if known["state"] == state and there:
            return known["captions"]
    from ..figures import draw
    from ..panels import panels

    folder.mkdir(exist_ok=True)
    found = {slug(name): panel for name, panel in panels(result).items()}
    for name, panel in found.items():
        draw("", [panel], [], *(folder / f"{name}{suffix}" for suffix in FORMATS))
    wanted = {f"{name}{suffix}" for name in found for suffix in FORMATS}
    if drawn.is_file():
        for stale in {f"{n}{s}" for n in json.loads(drawn.read_text())["captions"] for s in FORMATS} - wanted:
            (folder / stale).unlink(missing_ok=True)
    captions = {name: panel.caption for name, panel in found.items()}
    write_atomically(drawn, json.dumps({"state": state, "captions": captions}, indent=1))
    return captions


def _state(result: Result) -> str:
    """Of all that figures show: results, what they are compared with and called, and the code that draws."""
    here = Path(__file__).parents[1]
    code = [path.read_text() for part in ("panels", "figures") for path in sorted((here / part).glob("*.py"))]
    trials = [[row.name, row.outcome, *(found.trial.last.key for found in row.results)] for row in result.rows]
    costs = [found.costs for row in result.rows for found in row.results]
    claims = [[str(claim.hypothesis), claim.verdict.reason, claim.post_hoc] for claim in result.claims]
    return digest([code, trials, costs, claims, result.primary, result.baseline.name])


def slug(name: str) -> str:
    """A name as a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "experiment"
