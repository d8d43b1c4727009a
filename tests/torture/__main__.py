"""`python -m tests.torture [KIND …]`: attempts by number, judged one by one; a table and JSON at the end."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import crowd, damage, full_disk, kills, mutated
from .campaign import Attempt, attempt, campaign
from .faults import compiler
from .verdict import CLASSES, GOOD, Verdict


@dataclass(frozen=True)
class Kind:
    """count: attempts of a whole run."""

    make: Attempt
    count: int
    told: str


KINDS = {
    "kills": Kind(kills.kill, 200, "killed at a random moment of any phase"),
    "damage": Kind(damage.damage, 300, "a file of store, report or MLflow's database damaged"),
    "leases": Kind(damage.lease, 18, "a lease as something left it"),
    "disk": Kind(full_disk.fail, 200, "a write, or all from it on, fails"),
    "small_disk": Kind(full_disk.small_disk, 20, "a file system too small for the run"),
    "crowd": Kind(crowd.crowd, 20, "four processes, two killed, one stopped"),
}
PROGRESS = 30.0
"""Seconds between lines that say how far it is."""
MUTATED = ("mutated", 10_000, "a mutated input file read")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where an attempt ended in anything but the right result or one message."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that folders and processes are cleared away
    kinds = chosen.kinds or [*KINDS, MUTATED[0]]
    verdicts: list[Verdict] = []
    began = said = time.monotonic()
    for verdict in tried(kinds, chosen.seed, chosen.count):
        verdicts.append(verdict)
        if not verdict.good or chosen.verbose:
            told = f"{verdict.kind} {verdict.seed}: {verdict.tried}: {verdict.result}"
            print(f"{told}{': ' * bool(verdict.detail)}{verdict.detail} ({verdict.seconds:.0f} s)", flush=True)
        if time.monotonic() - said > PROGRESS:
            said = time.monotonic()
            print(f"… {verdict.kind} {verdict.seed}, {len(verdicts):,} tried, {said - began:.0f} s", flush=True)
    print(table(verdicts))
    if chosen.out:
        _write(Path(chosen.out), verdicts, time.monotonic() - began)
    return 0 if all(verdict.good for verdict in verdicts) else 1


def tried(kinds: Sequence[str], seed: int = 0, count: int | None = None) -> Iterator[Verdict]:
    """The attempts of some kinds, `count` of each from number `seed` on."""
    unknown = [kind for kind in kinds if kind not in (*KINDS, MUTATED[0])]
    if unknown:
        raise SystemExit(f"no kind {unknown[0]}; known: {', '.join([*KINDS, MUTATED[0]])}")
    worldly = [kind for kind in kinds if kind in KINDS]
    if worldly and compiler() is None:
        raise SystemExit("faults are injected through a small C library, and there is no C compiler here")
    if worldly:
        with campaign() as made_in:
            for kind in worldly:
                for number in range(seed, seed + (count or KINDS[kind].count)):
                    yield attempt(made_in, kind, number, KINDS[kind].make)
    if MUTATED[0] in kinds:
        yield from mutated.read_all(seed, count or MUTATED[1])


def table(verdicts: Sequence[Verdict]) -> str:
    """Markdown: a row a kind. Each class of ending is in one column; what did not come about is in none."""
    columns = {
        "tried": [name for name in CLASSES if name != "skipped"],
        "survived": ["survived"],
        "told in one message": ["message"],
        "lost": ["lost"],
        "wrong": ["wrong", "outside"],
        "stuck": ["stuck", "again", "orphan"],
        "hang": ["hang"],
        "traceback": ["traceback", "crash"],
    }
    rows = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    told = {name: kind.told for name, kind in KINDS.items()} | {MUTATED[0]: MUTATED[2]}
    for kind, text in told.items():
        found = Counter(verdict.result for verdict in verdicts if verdict.kind == kind)
        if found:
            counts = (sum(found[name] for name in names) for names in columns.values())
            rows.append(f"| {text} | {' | '.join(f'{count:,}' for count in counts)} |")
    return "\n".join(rows)


def _write(file: Path, verdicts: Sequence[Verdict], seconds: float) -> None:
    """Counts, and every attempt that did not end well with the command that repeats it; the table beside it."""
    counts = {name: Counter(one.result for one in verdicts if one.kind == name) for name in [*KINDS, MUTATED[0]]}
    told = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "seconds": round(seconds),
        "classes": {kind: {name: found[name] for name in CLASSES if found[name]} for kind, found in counts.items()},
        "faults": [one.as_json() for one in verdicts if one.result not in GOOD],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told, indent=1) + "\n")
    file.with_suffix(".md").write_text(table(verdicts) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join([*KINDS, MUTATED[0]])}; default: all")
    parser.add_argument("--seed", type=int, default=0, help="number of the first attempt (default: 0)")
    parser.add_argument("--count", type=int, help="attempts of each kind (default: as many as a whole run makes)")
    parser.add_argument("--out", metavar="FILE", help="write JSON there, and the table beside it")
    parser.add_argument("--verbose", action="store_true", help="print every attempt, not only faults")
    return parser


if __name__ == "__main__":
    sys.exit(main())
