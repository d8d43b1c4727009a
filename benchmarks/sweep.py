"""What a sweep over retrieval-side fields costs beside its most expensive variant alone.

    python -m benchmarks.sweep --out benchmarks/results/sweep.json

An experiment shaped like EERCF on made-up levels that lie in the store as an encoder would have left them: mean pooling
finds candidates, gated frames and patches re-rank them, in both directions. Every run begins with an empty memory and
nothing scored; what is timed is everything from there to the stored metrics of the last trial.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from benchmarks.measuring import Ratio, Seconds, described, machine, publish, read_options, short, table
from core import Dataset, Encoder, EncoderSettings, Levels, LevelShape, Split, Text, hookimpl, setting
from core.contract.components import Video
from core.contract.store import Store
from core.engine.execute import execute
from core.engine.plan import Plan, add_trials, read_plan
from core.engine.steps.step import Step, Workspace
from core.plugins import registry

ALONE = "alone"
SCORED = ("score", "candidates", "rank", "evaluate")


@dataclass(frozen=True)
class Size:
    """videos, each with one text; frames, patches a frame, width: of the levels. top_k, temperatures: what is swept,
    besides `fusions` weightings of frames and patches."""

    videos: int = 1000
    frames: int = 12
    patches: int = 49
    width: int = 512
    top_k: tuple[int, ...] = (10, 20, 30, 40, 50)
    temperatures: tuple[float, ...] = (0.1, 0.05, 0.2, 0.02)
    fusions: int = 5
    rounds: int = 3


class MadeUpVideos(Dataset):
    """As many videos as texts, none of which exists."""

    name = "made_up_videos"

    @dataclass(frozen=True)
    class Config:
        videos: int = setting(1000, "videos of the test split", ge=1)

    def prepare(self, folder: Path) -> dict[str, Split]:
        names = [f"video{row}" for row in range(self.config.videos)]
        videos = tuple(Video(name, f"made-up/{name}") for name in names)
        return {"test": Split(videos, tuple(Text(name, f"text of {name}", row) for row, name in enumerate(names)))}


class MadeUpEncoder(Encoder):
    """Says which levels there are; it never encodes."""

    name = "made_up_encoder"

    @dataclass(frozen=True)
    class Config(EncoderSettings):
        patches: int = setting(49, "patches a frame", ge=1)
        width: int = setting(512, "of all levels", ge=1)

    def __init__(self, config: Any):
        super().__init__(config)
        self.frame_size = 1
        video = {"frames": LevelShape(None, config.width), "patches": LevelShape(config.patches, config.width)}
        self.shapes = {"sentence": LevelShape(None, config.width), **video}
        self.levels = Levels(("sentence",), tuple(video))

    def fingerprint(self) -> Any:
        return self.name


class MadeUp:
    """Registers both."""

    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(MadeUpVideos)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(MadeUpEncoder)


# ------------------------------------------------------------------------------------------------- the experiment


def experiment(size: Size) -> dict[str, Any]:
    """The most expensive variant: the largest K, every interaction weighted."""
    return {
        "name": "sweep",
        "data": {"dataset": {"name": "made_up_videos", "videos": size.videos}, "num_frames": size.frames},
        "encoder": {"name": "made_up_encoder", "patches": size.patches, "width": size.width},
        "model": {
            "interactions": {
                "video": {"name": "mean_pooling"},
                "frame": {"name": "tib", "temperature": 0.1},
                "patch": {"name": "tib", "level": "patches", "temperature": 0.01},
            }
        },
        "retrieve": {
            "first_stage": "video",
            "rerank": {"name": "score_fusion", "weights": _weights(0), "top_k": max(size.top_k)},
        },
    }


def _weights(turn: int) -> dict[str, float]:
    return {"first_stage": 0.5, "frame": 1.0 - 0.1 * turn, "patch": 0.2 + 0.1 * turn}


def sweeps(size: Size) -> dict[str, dict[str, list[Any]]]:
    """The grids by name, each with the most expensive variant in it."""
    top_k = sorted(size.top_k, reverse=True)
    weights = [_weights(turn) for turn in range(size.fusions)]
    frame, patch = "retrieve.settings.frame.temperature", "retrieve.settings.patch.temperature"
    rerank, warm = "retrieve.rerank", list(size.temperatures)
    return {
        ALONE: {f"{rerank}.top_k": top_k[:1]},
        "a tenth": {f"{rerank}.top_k": top_k, f"{rerank}.weights": weights[:2]},
        "all": {f"{rerank}.top_k": top_k, f"{rerank}.weights": weights, frame: warm},
        "frame temperatures": {frame: warm},
        "patch temperatures": {patch: [t / 10 for t in warm]},
    }


class Bench:
    """A store with the levels, and the time that runs in it take."""

    def __init__(self, folder: Path, size: Size):
        self.folder, self.size, self.store = folder, size, folder / "store"
        self.by_step: dict[str, list[dict[str, float]]] = defaultdict(list)
        self.variants: dict[str, int] = {}
        self._plant()

    def plan(self, grid: Mapping[str, Sequence[Any]]) -> Plan:
        """The plan as a new process would make it."""
        file = self.folder / "sweep.yaml"
        file.write_text(yaml.safe_dump(experiment(self.size) | {"ablate": dict(grid)}, sort_keys=False))
        made = read_plan(str(file), [], Workspace(Store(self.store), torch.device("cpu"), workers=0))
        add_trials(made)
        return made

    def _plant(self) -> None:
        """Write the levels: every token of a video is its text with noise, half as long again."""
        generator = torch.Generator().manual_seed(0)
        size, plan = self.size, self.plan({})
        texts = torch.randn(size.videos, size.width, generator=generator) / size.width**0.5
        axes = {"frames": (size.frames,), "patches": (size.frames, size.patches), "sentence": ()}
        for step in plan.steps.values():
            if step.name == "encode":
                shape = axes[step.fields["level"]]
                tensors = {"values": _noisy(texts, shape, generator)}
                if shape:
                    tensors["mask"] = torch.ones(size.videos, size.frames, dtype=torch.bool)
                with plan.workspace.store.write(step.name, step.key, step.fields) as draft:
                    draft.save(tensors)
                    draft.info |= {"label": step.label, "skipped": {}}

    def prepare(self, name: str, grid: Mapping[str, Sequence[Any]]) -> Plan:
        """A plan of which nothing is scored, and whose steps take their time."""
        for folder in SCORED:
            shutil.rmtree(self.store / folder, ignore_errors=True)
        plan, spent = self.plan(grid), dict.fromkeys(SCORED, 0.0)
        for key, step in plan.steps.items():
            plan.steps[key] = replace(step, compute=partial(_clocked, spent, step.compute))
        self.by_step[name].append(spent)
        self.variants[name] = len(plan.variants)
        return plan

    def run(self, name: str, grid: Mapping[str, Sequence[Any]]) -> Seconds:
        """Score, rank and evaluate; laying out the plan is not timed."""
        plan = self.prepare(name, grid)
        wall, cpu = time.perf_counter(), time.process_time()
        execute(plan, lambda trial: None)
        taken = Seconds(time.perf_counter() - wall, time.process_time() - cpu)
        spent = self.by_step[name][-1]
        spent["store"] = taken.wall - sum(spent.values())
        return taken


def _noisy(texts: Tensor, axes: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """[B, *axes, D]"""
    values = torch.randn(len(texts), *axes, texts.shape[1], generator=generator)
    values *= 3 / texts.shape[1] ** 0.5
    return values.add_(texts.view(len(texts), *(1 for _ in axes), -1))


def _clocked(
    spent: dict[str, float], compute: Callable[..., None], workspace: Workspace, members: list[Step], drafts: Any
) -> None:
    began = time.perf_counter()
    compute(workspace, members, drafts)
    spent[members[0].name] += time.perf_counter() - began


# -------------------------------------------------------------------------------------------------------- results


def measure(size: Size) -> dict[str, Any]:
    """Everything that is written as JSON. A first round, not counted, brings the levels into the page cache."""
    torch.set_num_threads(1)
    plugin, grids = MadeUp(), sweeps(size)
    times: dict[str, list[Seconds]] = {name: [] for name in grids}
    registry().add_plugin(plugin, "made up", "1")
    try:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), size)
            for turn in range(size.rounds + 1):
                start = turn % len(grids)
                for name in [*grids][start:] + [*grids][:start]:
                    times[name].append(bench.run(name, grids[name]))
    finally:
        registry().remove_plugin(plugin, "made up")
    return {
        "benchmark": "sweep",
        "machine": machine(),
        "size": asdict(size),
        "sweeps": [_row(bench, name, times) for name in grids],
    }


def _row(bench: Bench, name: str, times: Mapping[str, Sequence[Seconds]]) -> dict[str, Any]:
    own, alone, spent = times[name][1:], times[ALONE][1:], bench.by_step[name][1:]
    more, further = bench.variants[name] - 1, [a.wall - b.wall for a, b in zip(own, alone, strict=True)]
    ranked, ranked_alone = ([_ranking(one) for one in bench.by_step[n][1:]] for n in (name, ALONE))
    return {
        "sweep": name,
        "variants": bench.variants[name],
        "ratio": Ratio.of(own, alone),
        "scoring_and_ranking": statistics.median(a / b for a, b in zip(ranked, ranked_alone, strict=True)),
        "seconds": statistics.median(seconds.wall for seconds in own),
        "further_ms": 1e3 * statistics.median(further) / more if more else None,
        "seconds_by_step": {step: statistics.median(one[step] for one in spent) for step in spent[0]},
    }


def _ranking(spent: Mapping[str, float]) -> float:
    """Seconds that scoring and ranking took; reading and checking their inputs is among them."""
    return spent["score"] + spent["candidates"] + spent["rank"]


def report(result: Mapping[str, Any]) -> str:
    """The tables."""
    size, rows = result["size"], result["sweeps"]
    steps = [*rows[0]["seconds_by_step"]]
    headings = ["sweep", "variants", "scoring, ranking", "everything", "by processor", "seconds", "ms a further one"]
    ks, heats = len(size["top_k"]), len(size["temperatures"])
    ratios = [
        [
            row["sweep"],
            row["variants"],
            short(row["scoring_and_ranking"]),
            *row["ratio"].cells(),
            short(row["seconds"]),
            short(row["further_ms"]),
        ]
        for row in rows
    ]
    seconds = [[row["sweep"], *(short(row["seconds_by_step"][step]) for step in steps)] for row in rows]
    return f"""# What a sweep costs

{size["videos"]} texts and videos, {size["frames"]} frames of {size["patches"]} patches, width {size["width"]}; mean
pooling, then frames and patches on the best {max(size["top_k"])}, both directions. Alone: the most expensive variant.
All: {ks} top_k, {size["fusions"]} fusion weights, {heats} temperatures of the frames, crossed.
{size["rounds"]} rounds in alternation; {described(result)}. Levels are in the page cache; checksums are verified.

How many times the cost of the most expensive variant alone: scoring and ranking; everything up to the stored metrics
(median, smallest and largest; by processor time). Then seconds of everything, and milliseconds for a further variant.

{table(headings, ratios)}

Seconds by step; `store`: leases, checksums and commits, the ledger of scorings.

{table(["sweep", *steps], seconds)}"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("sweep", arguments)
    small = Size(20, 3, 2, 16, top_k=(2, 4), temperatures=(0.1, 0.2), fusions=2, rounds=1)
    result = measure(small if options.small else Size())
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
