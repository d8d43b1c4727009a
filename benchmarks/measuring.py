"""What the benchmarks share: multiply-adds counted, times taken in alternation, results written."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from core.engine.efficiency import multiply_adds as multiply_adds

Name = TypeVar("Name", bound=Hashable)


class Seconds(NamedTuple):
    """Of one call: on the clock, and of the processor. With one thread they differ by what else the machine does."""

    wall: float
    cpu: float


def timed(call: Callable[[], object], repeats: int = 1) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    return Seconds((time.perf_counter() - wall) / repeats, (time.process_time() - cpu) / repeats)


def alternate(calls: Mapping[Name, Callable[[], object]], rounds: int, at_least: float) -> dict[Name, list[Seconds]]:
    """Seconds a call of each, one a round: every round runs all of them, and starts with another one.

    A first round, not counted, finds how often each must be repeated to take the processor `at_least` seconds.
    """
    repeats = {name: min(200, max(1, math.ceil(at_least / max(timed(call).cpu, 1e-6)))) for name, call in calls.items()}
    found: dict[Name, list[Seconds]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(timed(calls[name], repeats[name]))
    return found


class Ratio(NamedTuple):
    """Of times taken in the same round: median over the rounds, smallest and largest; the median of processor times."""

    median: float
    low: float
    high: float
    cpu: float

    @classmethod
    def of(cls, slower: Sequence[Seconds], faster: Sequence[Seconds]) -> Ratio:
        pairs = list(zip(slower, faster, strict=True))
        wall = [one.wall / other.wall for one, other in pairs]
        cpu = statistics.median(one.cpu / other.cpu for one, other in pairs)
        return cls(statistics.median(wall), min(wall), max(wall), cpu)

    def cells(self) -> list[str]:
        """Two cells of a table: the clock's, and the processor's."""
        return [f"{short(self.median)} ({short(self.low)}–{short(self.high)})", short(self.cpu)]


def median_ms(times: Sequence[Seconds]) -> float:
    """Processor's milliseconds."""
    return 1e3 * statistics.median(seconds.cpu for seconds in times)


def short(value: float | None) -> str:
    """Three digits that count; thousands and millions as k, M, G, T. A missing value is a dash."""
    if value is None:
        return "–"
    factors = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}
    unit = next((unit for unit, factor in factors.items() if abs(value) >= 0.9995 * factor), "")
    return f"{value / factors[unit]:#.3g}".rstrip(".") + unit if value else "0"


def machine() -> dict[str, Any]:
    """Generic words for what this runs on."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.partition("+")[0],
    }


def described(result: Mapping[str, Any]) -> str:
    """The machine of a result, in words."""
    on = result["machine"]
    return f"{on['processor']}, {on['threads']} thread{'s' * (on['threads'] > 1)}, torch {on['torch']}"


def titles(*names: str) -> list[str]:
    """Headings from names of fields."""
    return [name.replace("multiply_adds", "multiply-adds").replace("_", " ") for name in names]


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A markdown table; the first column is text, the others numbers."""
    cells = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        return " | ".join(["| " + first, *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]) + " |"

    rule = "|".join(["|" + "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(cells[0]), rule, *(line(row) for row in cells[1:])])


def read_options(name: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """`small` and `out` of a benchmark's command line."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--small", action="store_true", help="tiny shapes, a few seconds: to see that it works")
    parser.add_argument("--out", type=Path, help="JSON file to write; the tables go beside it as .md")
    return parser.parse_args(arguments)


def publish(result: Mapping[str, Any], text: str, out: Path | None) -> None:
    """Print the text; with `out` also write the result as JSON there, and the text beside it as .md."""
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(_rounded(result), indent=1) + "\n", encoding="utf-8")
        out.with_suffix(".md").write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """Four digits that count, everywhere."""
    if isinstance(value, Ratio):
        return _rounded(value._asdict())
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
