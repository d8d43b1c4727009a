"""`python -m core.figures FILE --out FIGURE.svg`: an experiment's results, drawn from the store.

One panel for each hypothesis that leaves two axes open: the gain at each of their settings. One panel, where variants
differ in `retrieve.rerank.top_k` and in at most one other axis: the primary metric over k. Nothing is computed, and
the same store gives the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import add_allow_env, command
from ..config import allow_environment
from ..errors import UserError
from ..panels import TOP_K, Panel, curves, gain_maps, ground, question
from ..stored import read_stored, run_command, workspaces
from .drawing import draw


def figure(file: str, store: str, out: Path) -> None:
    """Draw an experiment file from the store. Raises UserError where results are missing or nothing can be drawn."""
    if out.suffix not in (".svg", ".png"):
        raise UserError(f"--out: expected a file that ends in .svg or .png, got {out}")
    plan, result = read_stored(file, workspaces(store))
    if result is None:
        raise UserError(f"{store} lacks results of {file}; compute them by: {run_command(plan, store)}")
    lines = curves(result)
    panels: list[Panel] = [*gain_maps(result).values(), *([lines] if lines else [])]
    if not panels:
        raise UserError(
            f"{file}: nothing to draw: it needs a hypothesis that leaves two axes open, or variants that differ in "
            f"{TOP_K} and in at most one other axis"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(question(file) or result.name, panels, ground(result), out)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    parser = argparse.ArgumentParser(prog="python -m core.figures", description=__doc__)
    parser.add_argument("file", help="experiment file whose results are in the store")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--out", required=True, type=Path, help="figure that is written: .svg or .png")
    add_allow_env(parser)
    chosen = parser.parse_args(arguments)
    allow_environment(chosen.allow_env)
    figure(chosen.file, chosen.store, chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
