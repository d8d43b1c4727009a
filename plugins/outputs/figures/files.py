"""The files of an experiment's figures, which are drawn again only where they would show something else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from core import UserError
from core.outputs import Result, checked, checksum, digest, read_text, slug, with_check, write_atomically

from .curves import TOP_K, Curves
from .drawing import draw
from .figure import Figure, figures_of
from .gain_map import gain_maps

DRAWN = "drawn.json"
FORMATS = (".svg", ".png", ".pdf")


def write_figures(result: Result, folder: Path) -> None:
    """Draw what the plan has figures for, as SVG, PNG and PDF. Nothing is drawn twice that is whole."""
    state, record = _state(result), _record(folder)
    if _is_whole(record, state, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    figures = figures_of(result)
    names = apart(figures)
    for name, figure in figures.items():
        draw("", [figure], [], *(folder / f"{names[name]}{suffix}" for suffix in FORMATS))
    files = {f"{name}{suffix}": checksum(folder / f"{name}{suffix}") for name in names.values() for suffix in FORMATS}
    for stale in record.get("files", {}).keys() - files:
        (folder / stale).unlink(missing_ok=True)
    captions = {names[name]: figure.caption for name, figure in figures.items()}
    write_atomically(folder / DRAWN, with_check({"state": state, "captions": captions, "files": files}))


def captions(result: Result, folder: Path) -> dict[str, str]:
    """{name: caption} of the figures that a folder holds of these findings; none of others."""
    record = _record(folder)
    return record["captions"] if _is_whole(record, _state(result), folder) else {}


def write_sheet(result: Result, file: Path) -> None:
    """Draw, on one page with the question and what it rests on, a figure for each hypothesis that leaves two axes open,
    and one over `top_k` where that varies.

    Raises UserError where there is nothing of the kind.
    """
    curves = Curves.of(result)
    figures: list[Figure] = [*gain_maps(result).values(), *([curves] if curves else [])]
    if not figures:
        raise UserError(
            f"{file}: nothing to draw: it needs a hypothesis that leaves two axes open, or variants that differ in "
            f"{TOP_K} and in at most one other axis"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    draw(result.question or result.name, figures, _ground(result), file)


def _ground(result: Result) -> list[str]:
    """What the numbers rest on, in lines below a figure."""
    (data, about), (split, sizes), (_, encoder), (_, trained), (_, compared) = result.facts.items()
    return [
        f"{data} {about}",
        f"{split}: {sizes}. Encoder: {encoder}. {f'Trained: {trained}' if trained else 'Nothing is trained'}.",
        f"Interactions: {compared}. Intervals: over videos{' and seeds' if trained else ''}, each by itself.",
    ]


def _record(folder: Path) -> dict[str, Any]:
    """What the figures that are there show, and their checksums; nothing where that is not to be relied on."""
    try:
        record = checked(read_text(folder / DRAWN))
    except (OSError, ValueError):
        return {}
    return record if record.keys() == {"state", "captions", "files"} else {}


def _is_whole(record: dict[str, Any], state: str, folder: Path) -> bool:
    """Whether the figures that are there show a state, each as it was written."""
    return record.get("state") == state and all(_has_sum(folder / name, v) for name, v in record["files"].items())


def _has_sum(file: Path, value: int) -> bool:
    try:
        return checksum(file) == value
    except OSError:
        return False


def _state(result: Result) -> str:
    """Digest of all that figures show: results, what they are compared with and called, and the code that draws."""
    costs = [trial.costs for row in result.rows for trial in row.results]
    claims = [[str(decision.hypothesis), decision.verdict.reason, decision.post_hoc] for decision in result.decisions]
    outcomes = [row.outcome for row in result.rows]
    trials = [[row.name, *(trial.key for trial in row.results)] for row in result.rows]
    compared = [trials, outcomes, costs, claims, result.primary, result.baseline.name]
    here = Path(__file__).parent
    modules = [here.parent / "axes.py", here.parent / "numbers.py", *sorted(here.glob("*.py"))]
    return digest([[module.read_text() for module in modules], compared])


def apart(names: Iterable[str]) -> dict[str, str]:
    """{name: file name}, apart also where capital letters are not told from small ones."""
    files: dict[str, str] = {}
    for name in names:
        taken = {file.casefold() for file in files.values()}
        file = slug(name)
        files[name] = slug(f"{file} {len(files)}") if file.casefold() in taken else file
    return files
