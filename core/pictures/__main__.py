"""`python -m core.pictures FILE`: for some queries of an experiment, what stands on top at each stage of a variant, as
strips of frames, from the store. Writes pictures.html, which needs no other file, and a PNG for each query."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..plan import Plan, add_trials, read_plan
from ..store import write_atomically
from ..stored import workspaces
from . import drawn, pages, whole_page


def stored_plan(file: str, overrides: Sequence[str], store: str) -> Plan:
    """The plan as the device lays it out whose results the store has, of any trial; else as the first does."""
    plans = [read_plan(file, overrides, place) for place in workspaces(store)]
    for plan in plans:
        prepared = all(plan.workspace.is_prepared(v.experiment.data.dataset) for v in plan.variants)
        if prepared:
            add_trials(plan)
        if any(trial.last.ready(plan.workspace.store) for trial in plan.trials):
            return plan
    return plans[0]


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got `{text}`")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core.pictures", description=__doc__)
    parser.add_argument("file", help="experiment file whose results are in the store")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that it was run with")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--variant", help="its name (default: the best of those with several stages)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--queries", metavar="ID,ID", type=lambda ids: ids.split(","), help="ids of texts")
    which.add_argument(
        "--most-changed", metavar="N", type=_count, default=6, help="texts whose right video moved most (default: 6)"
    )
    parser.add_argument("--top", metavar="N", type=_count, default=5, help="videos of each stage (default: 5)")
    parser.add_argument("--out", default="pictures", type=Path, help="folder that is written to (default: pictures)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    chosen = _parser().parse_intermixed_args(arguments)
    try:
        plan = stored_plan(chosen.file, chosen.overrides, chosen.store)
        made = pages(plan, chosen.variant, chosen.queries or (), chosen.most_changed, chosen.top)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    chosen.out.mkdir(parents=True, exist_ok=True)
    for number, page in enumerate(made.pages, 1):
        name = re.sub(r"[^\w.-]", "_", page.query)
        drawn(page).save(chosen.out / f"{number:02}-{name}.png")
    write_atomically(chosen.out / "pictures.html", whole_page(made))
    print(f"{chosen.out / 'pictures.html'}, and a PNG for each of its {len(made.pages)} texts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
