"""`python -m core.figures FILE --out FIGURE.svg`: an experiment's results, drawn from the store.

One panel for each hypothesis that leaves two axes open: the gain at each of their settings. One panel, where variants
differ in `retrieve.rerank.top_k` and in at most one other axis: the primary metric over k. Nothing is computed, and
the same store gives the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .config import read_core
from .errors import UserError
from .findings import Result
from .metrics import metric
from .panels import TOP_K, Curves, GainMap, curves, gain_maps
from .plugins import registry
from .references import short_value
from .stored import read_stored, run_command, workspaces

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Told apart without colour vision (Okabe and Ito)."""
MARKERS = "osD^vPX"
PANEL = (4.9, 4.3)
"""Inches. A page of 900 pixels then shows two panels side by side about as large as they are."""


# ------------------------------------------------------------------------------------------------ what is said


def question(file: str) -> str:
    """The question that the experiment file opens with, up to its question mark; "" without one."""
    path = Path(file)
    text = path.read_text() if path.is_file() else ""
    found = re.match(r"# Question: +((?:[^?\n]|\n# {2,})+\?)", text)
    asked = " ".join(re.sub(r"\n#", " ", found[1]).split()) if found else ""
    return asked[:1].upper() + asked[1:]


def ground(result: Result) -> list[str]:
    """What the figures rest on: data, sizes, what is trained, what is compared."""
    settings, values = result.plan.experiment, read_core(result.plan.document)
    about = inspect.getdoc(registry().component("dataset", settings.data.dataset)) or ""
    sizes = [row.results[0].entry.json() for row in result.rows]
    counts = [_range([size[side] for size in sizes], side) for side in ("videos", "texts")]
    trained = _trained(result)
    compared = [f"{name} = {short_value(spec)}" for name, spec in values["model"]["interactions"].items()]
    return [
        f"Data set {short_value(values['data']['dataset'])}: {about.partition(chr(10))[0]}",
        f"{settings.evaluate.split.capitalize()} split: n = {', '.join(counts)} at each setting. "
        f"Encoder: {short_value(values['encoder'])}. {trained or 'Nothing is trained'}.",
        f"Interactions: {'; '.join(compared)}. "
        f"Intervals: over videos{' and seeds' if trained else ''}, each by itself.",
    ]


def _trained(result: Result) -> str:
    """What is trained and how often; "" for nothing."""
    steps = {step.name for trial in result.plan.trials for step in trial.last.walk()}
    encoders = [spec for variant in result.plan.variants for spec in variant.experiment.encoder.values()]
    parts = {
        "encoder": "fit" in steps and any(spec.fields.trainable for spec in encoders),
        "model": "fit" in steps,
        "reranker": "fit_reranker" in steps,
    }
    trained = ", ".join(part for part, fitted in parts.items() if fitted)
    return f"Trained: {trained}; seeds: {max(len(row.seeds) for row in result.rows)}" if trained else ""


def _range(numbers: list[int], what: str) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,} {what}" if low == high else f"{low:,} to {high:,} {what}"


# ------------------------------------------------------------------------------------------------ drawing


def draw(title: str, panels: Sequence[GainMap | Curves], notes: Sequence[str], file: Path) -> None:
    """Write the panels, two in a row, as SVG or PNG by the suffix of the file."""
    from matplotlib import style
    from matplotlib.figure import Figure

    columns, rows = min(len(panels), 2), -(-len(panels) // 2)
    with style.context(["default", {"svg.hashsalt": "core.figures", "font.size": 9.0}]):
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(places, panels, strict=False):
            if isinstance(panel, GainMap):
                _draw_map(axes, panel)
            else:
                _draw_curves(axes, panel)
        for axes in places[len(panels) :]:
            axes.remove()
        figure.suptitle(textwrap.fill(title, 70 * columns), x=0.01, ha="left", fontsize=12, fontweight="bold")
        lines = [line for note in notes for line in textwrap.wrap(note, 88 * columns)]
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color="0.3")
        draft = file.with_name(f".{os.getpid()}.{file.name}")
        figure.savefig(draft, dpi=180, metadata={"Date": None} if file.suffix == ".svg" else None)
    os.replace(draft, file)


def _draw_map(axes: Axes, panel: GainMap) -> None:
    limit = np.nanmax(np.abs(panel.gain), initial=1e-9)
    shown = np.ma.masked_invalid(panel.gain)
    axes.pcolormesh(shown, cmap="RdBu", vmin=-limit, vmax=limit, edgecolors="white", linewidth=1.5)
    for row, column in np.ndindex(panel.gain.shape):
        gain, low, high = (float(values[row, column]) for values in (panel.gain, panel.low, panel.high))
        colour = "white" if abs(gain) > 0.6 * limit else "black"
        if np.isnan(gain):
            axes.text(column + 0.5, row + 0.5, "not decided", va="center", ha="center", color="0.4")
            continue
        weight = "bold" if panel.clear[row, column] else "normal"
        axes.text(column + 0.5, row + 0.47, f"{gain:+.1f}", va="bottom", ha="center", color=colour, weight=weight)
        axes.text(
            column + 0.5, row + 0.53, f"{low:+.1f} to {high:+.1f}", va="top", ha="center", color=colour, fontsize=7.5
        )
    axes.set_xticks(np.arange(len(panel.columns.values)) + 0.5, panel.columns.values)
    axes.set_yticks(np.arange(len(panel.rows.values)) + 0.5, [_stacked(value) for value in panel.rows.values])
    axes.tick_params(length=0)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
    axes.set_xlabel(panel.columns.name)
    axes.set_ylabel(panel.rows.name)
    unit = "points" if metric(panel.metric).unit == "points" else "ranks"
    said = f"gain in {panel.metric}, {unit}; bold: the 95 % interval excludes 0"
    _entitle(axes, panel.claim, panel.held, said)


def _draw_curves(axes: Axes, panel: Curves) -> None:
    for number, name in enumerate(panel.lines.values):
        mean, low, high = (values[number] for values in (panel.mean, panel.low, panel.high))
        there, best = ~np.isnan(mean), panel.best[number]
        ks = np.array(panel.ks)[there]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axes.fill_between(ks, low[there], high[there], color=colour, alpha=0.13, linewidth=0)
        axes.plot(ks, mean[there], color=colour, marker=marker, markersize=3.5, linewidth=1.4, label=_stacked(name))
        axes.plot(panel.ks[best], mean[best], color=colour, marker=marker, markersize=9, markeredgecolor="black")
    axes.set_xscale("log")
    axes.set_xticks(panel.ks, [str(k) for k in panel.ks])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_xlabel(f"candidates that are re-ranked, {TOP_K.rpartition('.')[2]}")
    axes.set_ylabel(panel.metric)
    _entitle(axes, "re-ranking the best k", panel.held, "large mark: best k of the line; band: 95 % interval")
    if panel.lines.name:
        axes.legend(title=panel.lines.name, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)


def _entitle(axes: Axes, shown: str, held: str, key: str) -> None:
    lines = [shown, f"at {held}" if held else "", key]
    wrapped = [part for line in lines for part in textwrap.wrap(line, 72)]
    axes.set_title("\n".join(wrapped), fontsize=8, loc="left")


def _stacked(value: str) -> str:
    """The parts of a mixture, one above the other; long ones over several lines."""
    return "\n".join(line for part in value.split(", ") for line in textwrap.wrap(part, 18))


# ------------------------------------------------------------------------------------------------ command line


def figure(file: str, store: str, out: Path) -> None:
    """Draw an experiment file from the store. Raises UserError where results are missing or nothing can be drawn."""
    if out.suffix not in (".svg", ".png"):
        raise UserError(f"--out: expected a file that ends in .svg or .png, got {out}")
    plan, result = read_stored(file, workspaces(store))
    if result is None:
        raise UserError(f"{store} lacks results of {file}; compute them by: {run_command(plan, store)}")
    lines = curves(result)
    panels: list[GainMap | Curves] = [*gain_maps(result), *([lines] if lines else [])]
    if not panels:
        raise UserError(
            f"{file}: nothing to draw: it needs a hypothesis that leaves two axes open, or variants that differ in "
            f"{TOP_K} and in at most one other axis"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(question(file) or result.name, panels, ground(result), out)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    parser = argparse.ArgumentParser(prog="python -m core.figures", description=__doc__)
    parser.add_argument("file", help="experiment file whose results are in the store")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--out", required=True, type=Path, help="figure that is written: .svg or .png")
    chosen = parser.parse_args(arguments)
    try:
        figure(chosen.file, chosen.store, chosen.out)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
