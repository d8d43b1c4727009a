"""`python -m core.compare A B [C …]`: is B better than A?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..contract.command import command
from ..contract.store import write_atomically
from .call import refuse_output

DESCRIPTION = """Test systems against the first one (the baseline), from their score files; nothing is computed again.
Each input is a score matrix [texts, videos] (.npy, .npz, .safetensors; FILE.npz:key), a file with the rank of the
first relevant item of each query, one a line, a TREC run, a trial in the store (store:KEY, or its digest) or the id of
its MLflow run."""
EPILOG = """Example: python -m core.compare baseline.npy ours.npy --relevance pairs.tsv --rows texts --cols videos. Exit
status: 0 compared; 1 a file or trial cannot be read or compared; 2 the call is wrong. A dual softmax that is hidden in
the scores is flagged where it shows; one that is not flagged is no proof that there is none. docs/compare.md tells
more."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core.compare",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("inputs", nargs="*", metavar="A B", help="the baseline, then what is compared with it")
    parser.add_argument(
        "--relevance", metavar="FILE", help="text id TAB video id, TREC qrels, or a sparse .npz by position"
    )
    for option, side in (("--rows", "texts"), ("--cols", "videos")):
        text = f"ids of the {side}, one a line or a JSON list; once for all inputs, or once for each"
        parser.add_argument(option, metavar="FILE", action="append", default=[], help=text)
    parser.add_argument("--metric", default="R1", help="R1, R5, MRR, mAP, nDCG10, MnR, MdR, … (default: R1)")
    parser.add_argument(
        "--direction",
        choices=("t2v", "v2t", "both"),
        default="t2v",
        help="query side: t2v = texts, v2t = videos (default: t2v)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed for sign flips and resampling (default: 0)")
    parser.add_argument("--draws", type=int, default=10_000, help="random flips and resamples (default: 10000)")
    parser.add_argument("--json", metavar="FILE", help="write everything there as well")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument(
        "--published", nargs=2, metavar="PERCENT", help="two published recalls in percent, instead of input files"
    )
    parser.add_argument("--n", type=int, help="queries that the published recalls were measured on")
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 1 where files or trials cannot be compared, 2 for a call that is wrong."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if bool(chosen.inputs) == bool(chosen.published):
        parser.error("give two inputs at least, or --published with two numbers")
    if chosen.published and chosen.n is None:
        parser.error("--published needs --n, the number of queries")
    try:
        if chosen.json:
            refuse_output(chosen.json, [*chosen.inputs, *chosen.rows, *chosen.cols, *filter(None, [chosen.relevance])])
        told = _published(chosen) if chosen.published else _compared(chosen)
        if chosen.json:
            write_atomically(Path(chosen.json), json.dumps(told, indent=1, allow_nan=False) + "\n")
    except BrokenPipeError:  # nobody reads what is printed any more
        raise
    except OSError as fault:
        print(f"error: --json: {fault}", file=sys.stderr)
        return 1
    return 0


def _published(chosen: argparse.Namespace) -> dict[str, Any]:
    from .printed import printed

    first, second = chosen.published
    bounds = printed(first, second, chosen.n)
    print("\n".join(bounds.lines))
    return asdict(bounds) | {"verdict": bounds.verdict}


def _compared(chosen: argparse.Namespace) -> dict[str, Any]:
    from . import compare_inputs
    from .table import as_json, show

    compared = compare_inputs(
        chosen.inputs,
        rows=chosen.rows,
        cols=chosen.cols,
        relevance=chosen.relevance,
        name=chosen.metric,
        direction=chosen.direction,
        store=chosen.store,
        draws=chosen.draws,
        seed=chosen.seed,
    )
    show(compared)
    return as_json(compared) | {"seed": chosen.seed, "draws": chosen.draws, "inputs": chosen.inputs}


if __name__ == "__main__":
    sys.exit(main())
