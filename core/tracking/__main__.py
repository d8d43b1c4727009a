"""`python -m core.tracking sync FILE`: write a finished experiment to MLflow again, from the store's results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import add_allow_env, command
from ..config import allow_environment
from ..report import write_report
from ..stored import stored_result
from . import Tracked, track


def sync(file: str, overrides: Sequence[str], store: str, runs: str) -> Tracked | None:
    """Track what the store holds of an experiment, with its report; nothing is computed.

    Raises UserError where a trial has no result.
    """
    result = stored_result(file, [*overrides, "tracking.enabled=true"], store)
    return track(result, write_report(result, Path(runs)))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    parser = argparse.ArgumentParser(prog="python -m core.tracking", description=__doc__)
    parser.add_argument("action", choices=["sync"], help="write an experiment's results to MLflow; adds nothing twice")
    parser.add_argument("file", help="experiment file (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to core.run")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--runs", default="runs", help="folder of the reports (default: runs)")
    parser.add_argument("--uri", help="MLflow tracking URI, in place of the file's tracking.uri")
    parser.add_argument("--anonymous", action="store_true", help="write no user, host, folder or repository")
    add_allow_env(parser)
    chosen = parser.parse_intermixed_args(arguments)
    overrides = [*chosen.overrides, *([f"tracking.uri={chosen.uri}"] if chosen.uri else [])]
    allow_environment(chosen.allow_env)
    tracked = sync(chosen.file, overrides + ["anonymous=true"] * chosen.anonymous, chosen.store, chosen.runs)
    if tracked:
        print(f"{tracked.new_runs} new runs")
        print("\n".join(tracked.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
