"""`python -m core.report EXPERIMENT.yaml`: every file of a report, written again from the store, nothing computed.

Instead of an experiment file: keys of trials in the store, compared with the first of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import add_allow_env, command
from ..config import allow_environment
from ..stored import stored_result
from .files import write_report
from .trials import write_experiment


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    parser = argparse.ArgumentParser(prog="python -m core.report", description=__doc__)
    parser.add_argument("what", nargs="+", help="experiment file and key=value as given to core.run; or keys of trials")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--out", default=Path("runs"), type=Path, help="folder of the reports (default: runs)")
    parser.add_argument("--anonymous", action="store_true", help="write no user, host, folder or repository")
    add_allow_env(parser)
    chosen = parser.parse_intermixed_args(arguments)
    file, *more = chosen.what
    allow_environment(chosen.allow_env)
    if not file.endswith((".yaml", ".yml")):
        file, more = str(write_experiment(chosen.what, chosen.store, chosen.out)), []
    more += ["anonymous=true"] * chosen.anonymous
    print(f"Report: {write_report(stored_result(file, more, chosen.store), chosen.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
