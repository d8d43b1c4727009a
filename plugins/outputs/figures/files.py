"""The files of an experiment's figures, which are drawn again only where they would show something else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core import UserError
from core.outputs import Result, checked, checksum, digest, read_text, slug, with_check, write_atomically

from ..panels import TOP_K, Panel, curves, gain_maps, panels
from .drawing import draw

DRAWN = "drawn.json"
FORMATS = (".svg", ".png", ".pdf")


def write_figures(result: Result, folder: Path) -> None:
    """Draw what the plan has panels for, as SVG, PNG and PDF. Nothing is drawn twice that is whole."""
    state, known = _shown(result), _drawn_before(folder)
    if _is_whole(known, state, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    drawn_panels = panels(result)
    names = apart(drawn_panels)
    found = {names[name]: panel for name, panel in drawn_panels.items()}
    for name, panel in found.items():
        draw("", [panel], [], *(folder / f"{name}{suffix}" for suffix in FORMATS))
    files = {f"{name}{suffix}": checksum(folder / f"{name}{suffix}") for name in found for suffix in FORMATS}
    for stale in known.get("files", {}).keys() - files:
        (folder / stale).unlink(missing_ok=True)
    captions = {name: panel.caption for name, panel in found.items()}
    write_atomically(folder / DRAWN, with_check({"state": state, "captions": captions, "files": files}))


def captions(result: Result, folder: Path) -> dict[str, str]:
    """{name: caption} of the figures that a folder holds of these findings; none of others."""
    known = _drawn_before(folder)
    return known["captions"] if _is_whole(known, _shown(result), folder) else {}


def write_sheet(result: Result, file: Path) -> None:
    """Draw, on one page with the question and what it rests on, a panel for each hypothesis that leaves two axes open,
    and one over `top_k` where that varies.

    Raises UserError where there is nothing of the kind.
    """
    lines = curves(result)
    drawn_panels: list[Panel] = [*gain_maps(result).values(), *([lines] if lines else [])]
    if not drawn_panels:
        raise UserError(
            f"{file}: nothing to draw: it needs a hypothesis that leaves two axes open, or variants that differ in "
            f"{TOP_K} and in at most one other axis"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    draw(result.question or result.name, drawn_panels, _ground(result), file)


def _ground(result: Result) -> list[str]:
    """What the numbers rest on, in lines below a figure."""
    (data, about), (split, sizes), (_, encoder), (_, trained), (_, compared) = result.facts.items()
    return [
        f"{data} {about}",
        f"{split}: {sizes}. Encoder: {encoder}. {f'Trained: {trained}' if trained else 'Nothing is trained'}.",
        f"Interactions: {compared}. Intervals: over videos{' and seeds' if trained else ''}, each by itself.",
    ]


def _drawn_before(folder: Path) -> dict[str, Any]:
    """What the figures that are there show, and their checksums; nothing where that is not to be relied on."""
    try:
        known = checked(read_text(folder / DRAWN))
    except (OSError, ValueError):
        return {}
    return known if known.keys() == {"state", "captions", "files"} else {}


def _is_whole(known: dict[str, Any], state: str, folder: Path) -> bool:
    """Whether the figures that are there show a state, each as it was written."""
    return known.get("state") == state and all(_has_sum(folder / name, v) for name, v in known["files"].items())


def _has_sum(file: Path, value: int) -> bool:
    try:
        return checksum(file) == value
    except OSError:
        return False


def _shown(result: Result) -> str:
    """Digest of all that figures show: results, what they are compared with and called, and the code that draws."""
    costs = [found.costs for row in result.rows for found in row.results]
    claims = [[str(claim.hypothesis), claim.verdict.reason, claim.post_hoc] for claim in result.decisions]
    outcomes = [row.outcome for row in result.rows]
    trials = [[row.name, *(found.key for found in row.results)] for row in result.rows]
    compared = [trials, outcomes, costs, claims, result.primary, result.baseline.name]
    here = Path(__file__).parents[1]
    code = [path.read_text() for part in ("panels", "figures") for path in sorted((here / part).glob("*.py"))]
    return digest([code, compared])


def apart(names: Iterable[str]) -> dict[str, str]:
    """{name: file name}, apart also where capital letters are not told from small ones."""
    files: dict[str, str] = {}
    for name in names:
        taken = {file.casefold() for file in files.values()}
        file = slug(name)
        files[name] = slug(f"{file} {len(files)}") if file.casefold() in taken else file
    return files
