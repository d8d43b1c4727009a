"""What lies in the folder of a report: its files, and what writes that were killed left there."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from core.outputs import is_running

REPORT = re.compile(
    r"report\.(md|html)|pictures\.html|(resolved|registration)\.json|table\.(csv|tex)|hypotheses\.csv|published_\d+\.csv"
)
FIGURE = re.compile(r"[^.].*\.(svg|png|pdf)")
DRAFT = re.compile(r"\.(?P<first>\d+)\.(.+)|\.(.+)\.(?P<last>\d+)")
"""Of a file that is being written: `.table.csv.123`, `.123.depth.svg`, by the process of that number."""

SECONDS = 5
"""A draft that is younger may be another machine's, on a shared folder."""


def report_files(folder: Path) -> dict[str, Path]:
    """The files of the report in a folder, {path within it: file}; whatever else lies there is no part of it."""
    places = [(folder, REPORT), (folder / "figures", FIGURE)]
    return {
        str(path.relative_to(folder)): path
        for place, wanted in places
        for path in sorted(place.glob("*"))
        if wanted.fullmatch(path.name) and path.is_file()
    }


def remove_leftovers(folder: Path) -> None:
    """Remove the drafts of processes that are no more, in the folder and that of its figures."""
    for place in (folder, folder / "figures"):
        for draft in _drafts(place):
            draft.unlink(missing_ok=True)


def _drafts(folder: Path) -> Iterator[Path]:
    for path in folder.glob(".*"):
        draft = DRAFT.fullmatch(path.name)
        if not draft or not path.is_file():
            continue
        name, process = (draft[2], draft["first"]) if draft["first"] else (draft[3], draft["last"])
        ours = REPORT.fullmatch(name) or FIGURE.fullmatch(name) or name == "drawn.json"
        if ours and time.time() - path.stat().st_mtime > SECONDS and not is_running(int(process)):
            yield path
