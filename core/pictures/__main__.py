"""`python -m core.pictures FILE`: for some queries of an experiment, what stands on top at each stage of a variant, as
strips of frames, from the store. Writes pictures.html, which needs no other file, and a PNG for each query."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import add_allow_env, command
from ..config import allow_environment
from ..store import write_atomically
from ..stored import stored_plan, workspaces
from . import drawn, pages, whole_page


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got `{text}`")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core.pictures", description=__doc__)
    parser.add_argument("file", help="experiment file whose results are in the store")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that it was run with")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--variant", help="its name (default: the best of those that re-rank)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--queries", metavar="ID,ID", type=lambda ids: ids.split(","), help="ids of texts")
    which.add_argument(
        "--most-changed", metavar="N", type=_count, default=6, help="texts whose right video moved most (default: 6)"
    )
    parser.add_argument("--top", metavar="N", type=_count, default=5, help="videos of each stage (default: 5)")
    parser.add_argument("--out", default="pictures", type=Path, help="folder that is written to (default: pictures)")
    add_allow_env(parser)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    chosen = _parser().parse_intermixed_args(arguments)
    allow_environment(chosen.allow_env)
    plan = stored_plan(chosen.file, workspaces(chosen.store), chosen.overrides)
    made = pages(plan, chosen.variant, chosen.queries or (), chosen.most_changed, chosen.top)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(made.pages, 1):
        name = re.sub(r"[^\w.-]", "_", page.query)[:60]
        drawn(page).save(chosen.out / f"{number:02}-{name}.png")
    write_atomically(chosen.out / "pictures.html", whole_page(made))
    print(f"{chosen.out / 'pictures.html'}, and a PNG for each of its {len(made.pages)} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
