"""What frozen features save in training: multiply-adds, time and memory of a step.

    python -m benchmarks.training_cost --out benchmarks/results/training_cost.json

Each variant runs in a process of its own, in alternation with the others: core's training loop on random videos, with
the shipped encoder. At the papers' shapes multiply-adds are counted and nothing is timed; and reading the levels of a
batch, mapped from a file, is timed beside the step that it is for.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.measuring import (
    Ratio,
    Seconds,
    described,
    machine,
    median_ms,
    publish,
    read_options,
    short,
    table,
    titles,
)
from benchmarks.training_input import SIZES as READ_SIZES
from benchmarks.training_input import VARIANTS as READ
from benchmarks.training_step import ROOT, SIZES

VARIANTS = {
    "fine_tuning": "fine-tuning, mean pooling",
    "frozen": "frozen features, mean pooling",
    "reranker": "frozen patches, cross-attention re-ranker",
    "encoding": "encoding alone (frozen: once)",
}
REFERENCE = "fine_tuning"
Found = Mapping[str, Any]


def run(variant: str, size: str, module: str = "training_step") -> Found:
    """What a module finds in a process of its own. Raises RuntimeError with what it said where it failed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", variant, size]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(size: str, rounds: int, reading: str, counted: str | None) -> dict[str, Any]:
    """Everything that is written as JSON. `reading`: the size at which reading is timed. `counted`: a size of which
    multiply-adds are counted besides."""
    found: dict[str, list[Found]] = {variant: [] for variant in VARIANTS}
    names = list(VARIANTS)
    for turn in range(rounds):
        start = turn % len(names)
        for variant in names[start:] + names[:start]:
            found[variant].append(run(variant, size))
    result = {
        "benchmark": "training_cost",
        "machine": {**machine(), "threads": 1},
        "size": _described(size) | {"rounds": rounds},
        "measured": [_row(variant, found) | _measured(variant, found) for variant in VARIANTS],
        "reading": {"size": READ_SIZES[reading], "steps": [_reading(variant, reading) for variant in READ]},
    }
    if counted:
        once = {variant: [run(variant, counted)] for variant in VARIANTS}
        result |= {"counted_size": _described(counted), "counted": [_row(variant, once) for variant in VARIANTS]}
    return result


def _described(size: str) -> dict[str, Any]:
    return {"encoder": size, **{name: value for name, value in asdict(SIZES[size]).items() if name != "encoder"}}


def _row(variant: str, found: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    """What does not change from round to round."""
    own, reference = found[variant][0], found[REFERENCE][0]
    fewer = reference["multiply_adds"] / own["multiply_adds"]
    names = ("parameters", "cached_bytes", "multiply_adds")
    return {"variant": variant, **{name: own[name] for name in names}, "fewer_multiply_adds": fewer}


def _measured(variant: str, found: Mapping[str, Sequence[Found]]) -> dict[str, Any]:
    times = {name: [Seconds(one["wall"], one["cpu"]) for one in found[name]] for name in (variant, REFERENCE)}
    row = {"faster": Ratio.of(times[REFERENCE], times[variant]), "step_ms": median_ms(times[variant])}
    if all(one["peak_bytes"] for name in times for one in found[name]):
        peaks = {name: statistics.median(one["peak_bytes"] for one in found[name]) for name in times}
        row |= {"peak_bytes": peaks[variant], "less_memory": peaks[REFERENCE] / peaks[variant]}
    return row


def _reading(variant: str, size: str) -> dict[str, Any]:
    """of_step: reading's share of a step. times_copy: how many times a copy of the same bytes reading takes."""
    found = run(variant, size, "training_input")
    row = {"variant": variant, "read_bytes": found["read_bytes"]}
    row |= {f"{name}_ms": 1e3 * found[name] for name in ("step", "read", "copy")}
    row |= {f"{name}_bytes_per_second": found["read_bytes"] / found[name] for name in ("read", "copy")}
    return row | {"of_step": found["read"] / found["step"], "times_copy": found["read"] / found["copy"]}


# ------------------------------------------------------- tables


def report(result: dict[str, Any]) -> str:
    about = "Encoder {encoder}, {frames} frames, random videos; {batch} pairs a step".format(**result["size"])
    rounds = "{rounds} rounds of processes in alternation, {steps} timed steps each".format(**result["size"])
    text = f"""# What frozen features save in training

{about}, the re-ranker with two wrong ones for each.
{rounds}; {described(result)}.

How many times less than fine-tuning a step takes: multiply-adds, memory at its peak (beyond what was there before the
first step), time (median of the rounds, smallest and largest; median by processor time).

{_ratios(result["measured"])}

Per step: processor's milliseconds, bytes at the peak. Per pair: multiply-adds forward and backward, bytes of cached
features in float32.

{_values(result["measured"], "parameters", "multiply_adds", "cached_bytes", "step_ms", "peak_bytes")}"""
    text += f"""

## Reading the levels

{_about_reading(result["reading"]["size"])}

{_read_table(result["reading"]["steps"])}"""
    if "counted" in result:
        of = "{encoder} at 224 pixels, {frames} frames; a re-ranker of {layers} layers, width {width}"
        text += f"""

## Counted at the papers' shapes

{of.format(**result["counted_size"])}. Nothing is timed.

{_values(result["counted"], "parameters", "multiply_adds", "cached_bytes", "fewer_multiply_adds")}"""
    return text


def _ratios(rows: Sequence[dict[str, Any]]) -> str:
    headings = ["variant", "fewer multiply-adds", "less memory", "faster", "by processor"]
    cells = [
        [row["variant"], short(row["fewer_multiply_adds"]), short(row.get("less_memory")), *row["faster"].cells()]
        for row in rows
    ]
    return _table(headings, cells)


def _values(rows: Sequence[dict[str, Any]], *names: str) -> str:
    cells = [[row["variant"], *(short(row.get(name)) for name in names)] for row in rows]
    return _table(titles("variant", *names), cells)


def _about_reading(size: Mapping[str, int]) -> str:
    levels = "{frames} videos of 12 frames, {patches} of 12 times 49 patches, width 512".format(**size)
    return f"""{levels}, mapped from a safetensors file that is in the page cache;
{size["batch"]} random pairs a step. Reading: gathering the rows and, where they are stored in half precision, casting
them to float32. Copying: as many bytes as are read, from memory to memory, after each step. Median, by the clock."""


def _read_table(rows: Sequence[dict[str, Any]]) -> str:
    names = ("read_bytes", "step_ms", "read_ms", "read_bytes_per_second", "copy_bytes_per_second", "times_copy")
    cells = [
        [READ[row["variant"]].title, *(short(row[name]) for name in names), f"{100 * row['of_step']:.1f} %"]
        for row in rows
    ]
    headings = ["what is read and trained", "bytes", "step, ms", "reading, ms", "bytes a second", "by copying", "times"]
    return table([*headings, "of the step"], cells)


def _table(headings: list[str], cells: list[list[str]]) -> str:
    return table(headings, [[VARIANTS[first], *rest] for first, *rest in cells])


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("training_cost", arguments)
    result = measure("small", 1, "small", None) if options.small else measure("shapes-clip", 3, "full", "ViT-B/32")
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
