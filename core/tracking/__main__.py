"""`python -m core.tracking sync FILE`: write a finished experiment to MLflow again, from the store's results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import RunError, UserError
from ..findings import findings
from ..run import prepared_plan
from . import Tracked, track


def sync(file: str, overrides: Sequence[str], store: str, device: str = "auto") -> Tracked | None:
    """Track what the store holds of an experiment; nothing is computed. Raises RunError for trials without a result."""
    plan = prepared_plan(file, [*overrides, "tracking.enabled=true"], store, device, None)
    missing = [trial.name for trial in plan.trials if not trial.last.ready(plan.workspace.store)]
    if missing:
        raise RunError(
            f"{plan.workspace.store.root} has no result of {len(missing)} of the {len(plan.trials)} trials: "
            f"{'; '.join(missing)}. They are computed by: python -m core.run {file}"
        )
    return track(findings(plan))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time."""
    parser = argparse.ArgumentParser(prog="python -m core.tracking", description=__doc__)
    parser.add_argument("action", choices=["sync"], help="write an experiment's results to MLflow; adds nothing twice")
    parser.add_argument("file", help="experiment file (YAML)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as given to core.run")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--uri", help="MLflow tracking URI, in place of the file's tracking.uri")
    parser.add_argument("--device", default="auto", help="as given to core.run: results of CUDA are others")
    chosen = parser.parse_intermixed_args(arguments)
    overrides = [*chosen.overrides, *([f"tracking.uri={chosen.uri}"] if chosen.uri else [])]
    try:
        tracked = sync(chosen.file, overrides, chosen.store, chosen.device)
    except UserError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.exit_code
    if tracked:
        print(f"{tracked.new_runs} new runs")
        print("\n".join(tracked.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
