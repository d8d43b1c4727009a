"""`python -m core.search EXPERIMENT "a red ring"`: what a sentence finds, by a variant's own pipeline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .contract.command import add_allow_env, command
from .contract.escaping import plain_line
from .errors import ConfigError, Problem, UserError

if TYPE_CHECKING:
    from .engine.plan import Plan
    from .evidence.rankings import Found, Rankings

KEYS = ("--variant", "--seed")
EPILOG = """Example: python -m core.search experiments/ablate_topk.yaml "a red ring" --out ring.html. Exit status 2 is a
fault of what was typed, 1 that the store lacks something."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core.search",
        description="The best videos of the scored split for a sentence, from what the store holds: only the sentence "
        "is encoded, nothing is trained, nothing is stored.",
        epilog=EPILOG,
    )
    parser.add_argument("file", help="experiment file (YAML) that was run")
    parser.add_argument("sentence", help="what a video should show, in quotes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values that the run replaced in the file")
    parser.add_argument("--variant", help="its name (default: the best of those that re-rank, else the baseline)")
    parser.add_argument("--seed", type=int, help="which of its trials (default: the first)")
    parser.add_argument("--top", type=int, default=5, help="how many videos (default: 5)")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--out", metavar="FILE", help="a sheet of the videos' frames too: FILE.html or FILE.png")
    parser.add_argument("--runs", metavar="DIR", help="write the sheet beside the reports, into DIR/<experiment>")
    add_allow_env(parser)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the best videos of a sentence, and draw them where a file is named."""
    chosen = _parser().parse_intermixed_args(arguments)
    _check(chosen)
    from .contract.escaping import slug
    from .engine.plan import plan_of
    from .evidence.hiding import hiding
    from .evidence.rankings import rankings
    from .evidence.stored import stored_plan, workspaces
    from .experiment.config import allow_environment, read_document
    from .experiment.variants import check_core

    allow_environment(chosen.allow_env)
    places, described = workspaces(chosen.store), check_core(read_document(chosen.file, chosen.overrides))
    has_store = Path(chosen.store).is_dir()  # none is made
    plan = stored_plan(described, places) if has_store else plan_of(described, places[0])
    variant, why = _variant(plan, chosen.variant)
    asked = rankings(plan, variant, hiding(plan), chosen.seed, KEYS).asked(chosen.sentence)
    videos = asked.best(0, chosen.top)
    for line in [asked.name, asked.data, why or asked.reason, *_left_out(asked)]:
        if line:
            print(plain_line(line))
    _print_table(asked, videos)
    if chosen.out is not None:
        folder = Path() if chosen.runs is None else Path(chosen.runs) / slug(plan.experiment.name)
        print(plain_line(f"Frames: {_sheet(asked, chosen.top, folder / chosen.out)}"))
    return 0


def _check(chosen: argparse.Namespace) -> None:
    """Raises ConfigError for what can be told before anything is read."""
    problems = []
    if chosen.top < 1:
        problems.append(Problem("--top", f"must be 1 or more, got {chosen.top}", "command line"))
    for word in chosen.overrides:
        if "=" not in word:
            reason = "is no key=value; a sentence of several words stands in quotes"
            problems.append(Problem(word, reason, "command line"))
    if problems:
        raise ConfigError(problems)


def _variant(plan: Plan, name: str | None) -> tuple[str | None, str | None]:
    """Which variant is asked, and why where that is neither by its name nor because it is the best that re-ranks."""
    from .evidence.rankings import reranks

    if name is not None or any(reranks(variant) for variant in plan.variants):
        return name, None
    return plan.baselines[0].name, "No variant re-ranks: this is the baseline."


def _left_out(asked: Rankings) -> list[str]:
    return [
        f"Beware: {name} looks at the other queries of the split; for a single sentence it is left out, so that these "
        "are not the variant's own scores."
        for name in asked.left_out
    ]


def _print_table(asked: Rankings, videos: Sequence[Found]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=200)
    reranked = asked.stages[-1].candidates is not None
    gates = list(dict.fromkeys(gate.interaction for video in videos for gate in video.gates))
    table = Table(box=None, pad_edge=False)
    for name in ["rank", "video", *(["first stage"] if reranked else []), "score"]:
        table.add_column(name, justify="left" if name == "video" else "right", no_wrap=True)
    for name in gates:
        table.add_column(plain_line(f"{name}: weights of the frames"))
    for video in videos:
        cells = [str(video.rank), plain_line(video.video)]
        cells += [f"{video.first_stage:.4f}, rank {video.before}"] if reranked else []
        cells.append("not re-ranked" if video.score is None else f"{video.score:.4f}")
        table.add_row(*cells, *(_weights(video, name) for name in gates))
    console.print(table)


def _weights(video: Found, interaction: str) -> str:
    """`.02 .91 .07`, of each level that the interaction weighs."""
    levels = [gate.frames.tolist() for gate in video.gates if gate.interaction == interaction]
    return "; ".join(" ".join(f"{weight:.2f}".removeprefix("0") for weight in weights) for weights in levels)


def _sheet(asked: Rankings, top: int, file: Path) -> Path:
    """Have the first output draw that can. Raises ConfigError where none draws a file with this ending."""
    from .contract.settings import Spec
    from .plugins import registry

    file.parent.mkdir(parents=True, exist_ok=True)
    for (kind, name), item in registry().found.items():
        if kind == "output":
            try:
                output = registry().make("output", Spec(name, item.component.Config()))
            except (TypeError, UserError):  # it has fields that must be given
                continue
            if output.sheet(asked, top, file):
                return file
    raise ConfigError(Problem("--out", f"no output draws a `{file.suffix}`; name a .html or .png", "command line"))


if __name__ == "__main__":
    sys.exit(main())
