"""The files of a report, in the folder of its experiment."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..findings import Result
from ..hypotheses import configuration
from ..plan import Plan
from ..privacy import hidden_in, hiding
from ..receipt import RECEIPT, receipt
from ..store import digest, write_atomically
from ..store.files import checked, checksum, read_text, with_check
from .as_csv import csv, hypotheses_csv, published_csv
from .as_html import PICTURES, html
from .as_latex import latex
from .as_markdown import markdown
from .folder import remove_leftovers

DRAWN = "drawn.json"
FORMATS = (".svg", ".png", ".pdf")
LONGEST = 200
"""Bytes of a file's name."""
QUERIES = 6
"""Shown on the page of pictures."""


def write_report(result: Result, root: Path) -> Path:
    """Write every file of the report to `<root>/<experiment>`; the folder.

    report.md, report.html, table.csv, table.tex, resolved.json, registration.json, figures/; pictures.html where
    variants re-rank; hypotheses.csv and published_<n>.csv where there are any. Figures and pictures that would show the
    same as those that are there are left as they are, and so is a registration.json.
    """
    folder = root / slug(result.name)
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    if not (folder / RECEIPT).is_file():
        write_registration(result.plan, root)
    captions = write_figures(result, folder / "figures")
    figures = {folder / "figures" / f"{name}.svg": said for name, said in captions.items()}
    no_pictures = write_pictures(result, folder / PICTURES)
    resolved = {variant.name: configuration(variant) for variant in result.plan.variants}
    files = {
        "report.md": markdown(result),
        "table.csv": csv(result),
        "table.tex": latex(result),
        "resolved.json": json.dumps(resolved, indent=1),
        "report.html": html(result, figures, no_pictures),
    }
    if result.claims:
        files["hypotheses.csv"] = hypotheses_csv(result)
    files |= {f"published_{n}.csv": published_csv(one) for n, one in enumerate(result.published, 1)}
    hide = hiding(result.plan)
    for name, content in files.items():
        write_atomically(folder / name, hide(content))
    for stale in {"hypotheses.csv", *(path.name for path in folder.glob("published_*.csv"))} - files.keys():
        (folder / stale).unlink(missing_ok=True)
    return folder


def write_registration(plan: Plan, root: Path) -> Path:
    """Write `registration.json` to the folder of the report, before anything is scored; the file."""
    folder = root / slug(plan.experiment.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECEIPT, receipt(plan))
    return folder / RECEIPT


def write_figures(result: Result, folder: Path) -> dict[str, str]:
    """Draw what the plan has panels for, as SVG, PNG and PDF; {name: caption}. Nothing is drawn twice that is whole."""
    state, known = _shown_in_figures(result), _drawn_before(folder)
    if known.get("state") == state and all(_has_sum(folder / name, value) for name, value in known["files"].items()):
        return known["captions"]
    from ..figures import draw
    from ..panels import panels

    folder.mkdir(exist_ok=True)
    hide = hiding(result.plan)
    drawn_panels = panels(result)
    names = apart(drawn_panels)
    found = {names[name]: hidden_in(panel, hide) for name, panel in drawn_panels.items()}
    for name, panel in found.items():
        draw("", [panel], [], *(folder / f"{name}{suffix}" for suffix in FORMATS))
    files = {f"{name}{suffix}": checksum(folder / f"{name}{suffix}") for name in found for suffix in FORMATS}
    for stale in known.get("files", {}).keys() - files:
        (folder / stale).unlink(missing_ok=True)
    captions = {name: panel.caption for name, panel in found.items()}
    write_atomically(folder / DRAWN, with_check({"state": state, "captions": captions, "files": files}))
    return captions


def _drawn_before(folder: Path) -> dict[str, Any]:
    """What the figures that are there show, and their checksums; nothing where that is not to be relied on."""
    try:
        known = checked(read_text(folder / DRAWN))
    except (OSError, ValueError):
        return {}
    return known if known.keys() == {"state", "captions", "files"} else {}


def _has_sum(file: Path, value: int) -> bool:
    try:
        return checksum(file) == value
    except OSError:
        return False


def write_pictures(result: Result, file: Path) -> str:
    """Write what a few queries find at each stage, unless the file shows the same already; "" then, else why there is
    no such page. Whatever goes wrong, the report goes without it."""
    state = _shown_in_pictures(result)
    if _shows(file, state):
        return ""
    try:
        page = hiding(result.plan)(_pictures(result))
        write_atomically(file, page + _mark(state, page))
    except (Exception, SystemExit) as fault:  # of a video, a component, the memory: no reason to lose a finished run
        file.unlink(missing_ok=True)
        told = str(fault).strip().partition("\n")[0]
        return told if isinstance(fault, UserError) else f"{type(fault).__name__}: {told}"
    return ""


def _mark(state: str, page: str) -> str:
    return f"<!-- {state} {zlib.crc32(page.encode()):08x} -->\n"


def _shows(file: Path, state: str) -> bool:
    """Whether a page shows a state, and is as it was written."""
    try:
        text = read_text(file)
    except (OSError, ValueError):
        return False
    page = text[: -len(_mark(state, ""))]
    return text == page + _mark(state, page)


def _pictures(result: Result) -> str:
    if not any(variant.experiment.retrieve.rerank for variant in result.plan.variants):
        raise UserError("no variant re-ranks")
    from ..pictures import pages, whole_page

    return whole_page(pages(result.plan, most_changed=QUERIES))


def _shown_in_figures(result: Result) -> str:
    """Digest of all that figures show: results, what they are compared with and called, and the code that draws."""
    costs = [found.costs for row in result.rows for found in row.results]
    claims = [[str(claim.hypothesis), claim.verdict.reason, claim.post_hoc] for claim in result.claims]
    outcomes = [row.outcome for row in result.rows]
    compared = [_trials(result), outcomes, costs, claims, result.primary, result.baseline.name]
    return digest([_code("panels", "figures"), hidden_in(compared, hiding(result.plan))])


def _shown_in_pictures(result: Result) -> str:
    """Digest of all that decides what pictures show, and of the code that draws."""
    shown = [result.name, result.primary, result.plan.experiment.anonymous]
    return digest([_code("pictures"), _trials(result), shown])


def _trials(result: Result) -> list[list[str]]:
    return [[row.name, *(found.trial.last.key for found in row.results)] for row in result.rows]


def _code(*parts: str) -> list[str]:
    """The source of parts of core."""
    here = Path(__file__).parents[1]
    return [path.read_text() for part in parts for path in sorted((here / part).glob("*.py"))]


def slug(name: str) -> str:
    """A name as a file name: letters of any language, at most 200 bytes. One that is not its own file name gets a
    digest, so that `a b` and `a/b` do not share a file."""
    kept = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._")
    if kept == name and len(kept.encode()) <= LONGEST:
        return kept
    mark = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    shortened = kept.encode(errors="ignore")[: LONGEST - len(mark) - 1].decode(errors="ignore")
    return f"{shortened or 'experiment'}-{mark}"


def apart(names: Iterable[str]) -> dict[str, str]:
    """{name: file name}, apart also where capital letters are not told from small ones."""
    files: dict[str, str] = {}
    for name in names:
        taken = {file.casefold() for file in files.values()}
        file = slug(name)
        files[name] = slug(f"{file} {len(files)}") if file.casefold() in taken else file
    return files
