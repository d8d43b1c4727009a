"""What a command takes before and beside the computing: --help, --dry-run, and a run whose results are all there.

    python -m benchmarks.startup --out benchmarks/results/startup.json

Each command is a process of its own, in alternation with a bare interpreter and with one that imports torch. The store
is filled first, by one run with fewer videos and epochs; variants and seeds are those of the experiment file.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import Ratio, Seconds, described, machine, publish, read_options, table

ROOT = Path(__file__).parents[1]
EXPERIMENT = "experiments/ablate_topk.yaml"
BARE, TORCH, CACHED = "bare interpreter", "import torch", "all in the store"
FEWER = {"data.dataset.train_videos": 200, "data.dataset.val_videos": 60, "data.dataset.test_videos": 120}
SMALL = {"data.dataset.train_videos": 16, "data.dataset.val_videos": 8, "data.dataset.test_videos": 12, "seeds": [0]}
TOP_K = "ablate[retrieve.rerank.top_k]"
WIDE: dict[str, Any] = {TOP_K: [*range(1, 101)], "seeds": [0, 1, 2], "hypotheses": {}, "name": "wide"}
NARROW: dict[str, Any] = {TOP_K: [1, 5], "hypotheses": {}, "name": "narrow"}
PACKAGES, OTHERS = ("torch", "transformers", "mlflow", "scipy"), "others"
"""What imports are shared out among."""


def commands(folder: Path, reduced: Mapping[str, Any], wide: Mapping[str, Any]) -> dict[str, list[str]]:
    """Arguments of the interpreter by name of command; `folder` holds the stores, reports and MLflow's database."""
    given = {**reduced, "train.epochs": 2, "outputs.mlflow.uri": f"sqlite:///{folder}/mlflow.db"}
    run = ["-m", "core.run"]
    where = ["--store", str(folder / "store"), "--runs", str(folder / "runs")]
    file = [*run, EXPERIMENT, *where, *overrides(given)]
    return {
        BARE: ["-c", "pass"],
        TORCH: ["-c", "import torch"],
        "--help": [*run, "--help"],
        "--dry-run, nothing there": [*run, EXPERIMENT, "--store", str(folder / "empty"), "--dry-run"],
        "--dry-run, all there": [*file, "--dry-run"],
        CACHED: file,
        f"{CACHED}, without MLflow": [*file, "outputs.mlflow=null"],
        f"{CACHED}, {len(wide[TOP_K]) + 1} variants": [*run, EXPERIMENT, *where, *overrides({**given, **wide})],
    }


def overrides(values: Mapping[str, Any]) -> list[str]:
    """`key=value` as the command line takes it."""
    return [f"{key}={value}".replace(" ", "") for key, value in values.items()]


def run(arguments: Sequence[str]) -> tuple[Seconds, str, str]:
    """Seconds of a process, and what it wrote to both streams. Raises RuntimeError where it failed."""
    wall, before = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - wall, os.times()
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Seconds(wall, cpu), done.stdout, done.stderr


def measure(rounds: int, reduced: Mapping[str, Any], wide: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is written as JSON. Raises RuntimeError where a run computed what should have been there."""
    with tempfile.TemporaryDirectory() as folder:
        calls = commands(Path(folder), reduced, wide)
        names = list(calls)
        for name in (CACHED, names[-1]):
            run(calls[name])
        found: dict[str, list[Seconds]] = {name: [] for name in names}
        steps: dict[str, int] = {}
        for turn in range(rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                seconds, said, _ = run(calls[name])
                found[name].append(seconds)
                if name.startswith(CACHED):
                    steps[name] = steps_there(said)
        whole, _, said = run(["-X", "importtime", *calls[CACHED]])
    by_package = imports(said)
    importing = sum(by_package.values())
    return {
        "benchmark": "startup",
        "machine": machine(),
        "size": {"experiment": EXPERIMENT, "reduced": dict(reduced), "rounds": rounds},
        "commands": [_row(name, found) | {"steps": steps.get(name)} for name in names],
        "imports": {
            "seconds": importing,
            "of": whole.wall,
            "share": importing / whole.wall,
            "by_package": by_package,
        },
    }


def steps_there(said: str) -> int:
    """The steps of a run, from what it said. Raises RuntimeError where one of them was new."""
    last = said.splitlines()[-1]
    new, steps = (int(last.split()[place]) for place in (0, 2))
    if new:
        raise RuntimeError(f"the store was filled, and still: {last}")
    return steps


def _row(name: str, found: Mapping[str, Sequence[Seconds]]) -> dict[str, Any]:
    own = found[name]
    return {
        "command": name,
        "seconds": statistics.median(one.wall for one in own),
        "over_bare": statistics.median(one.wall - bare.wall for one, bare in zip(own, found[BARE], strict=True)),
        "times_bare": Ratio.of(own, found[BARE]),
        "times_torch": Ratio.of(own, found[TORCH]),
    }


def imports(stderr: str) -> dict[str, float]:
    """Seconds of imports by package, from what -X importtime writes: a line a module, its own microseconds, indented
    below the module that imported it, which comes after it. Within a package of PACKAGES everything counts as its."""
    found = dict.fromkeys([*PACKAGES, OTHERS], 0.0)
    above: list[tuple[int, str]] = []
    for line in reversed(stderr.splitlines()):
        own, _, name = line.removeprefix("import time:").split("|") if line.startswith("import time:") else ("", "", "")
        if not own.strip().isdigit():
            continue
        depth, package = len(name) - len(name.lstrip()), name.strip().partition(".")[0]
        above = [entry for entry in above if entry[0] < depth]
        outer = above[-1][1] if above else OTHERS
        above.append((depth, outer if outer != OTHERS or package not in PACKAGES else package))
        found[above[-1][1]] += int(own) / 1e6
    return found


# ------------------------------------------------------- tables


def report(result: dict[str, Any]) -> str:
    size, shares = result["size"], result["imports"]
    cells = [
        [row["command"], row["steps"] or "–", *(f"{row[name]:.2f}" for name in ("seconds", "over_bare"))]
        + [row[name].cells()[0] for name in ("times_bare", "times_torch")]
        for row in result["commands"]
    ]
    packages = [
        [name, f"{taken:.2f}", f"{100 * taken / shares['of']:.0f}"] for name, taken in shares["by_package"].items()
    ]
    packages.append(["all imports", f"{shares['seconds']:.2f}", f"{100 * shares['share']:.0f}"])
    of = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in size["reduced"].items())
    headings = ["command", "steps", "seconds", "over bare", "times bare", "times import torch"]
    return f"""# What a command takes beside the computing

{size["experiment"]} with {of}.
Rounds of processes in alternation: {size["rounds"]}; {described(result)}.

Seconds on the clock, and beyond those of a bare interpreter: medians. How many times those of a bare interpreter, and
of one that imports torch, in the same round: median, smallest and largest.

{table(headings, cells)}

Imports in a run whose results are all there, as -X importtime has them (a package with what it imports first), and
their percent of the {shares["of"]:.1f} s that this run took.

{table(["package", "seconds", "percent"], packages)}"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("startup", arguments)
    result = measure(1, SMALL, NARROW) if options.small else measure(5, FEWER, WIDE)
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
