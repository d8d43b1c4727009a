"""What figures of an experiment show: arrays and words, taken from its findings. Nothing is drawn here."""

from __future__ import annotations

from core.outputs import Result

from .axes import Axis, distinct, keys_of, marked, own, words
from .lines import TOP_K, Curves, Training, curves, sweeps, trainings
from .maps import GainMap, Grid, gain_maps, grid
from .numbers import short_number
from .rows import COST_WORDS, Forest, Pareto, RankChanges, forest, paretos, rank_changes

Panel = GainMap | Grid | Curves | Training | Forest | Pareto | RankChanges

__all__ = [
    "COST_WORDS",
    "TOP_K",
    "Axis",
    "Curves",
    "Forest",
    "GainMap",
    "Grid",
    "Panel",
    "Pareto",
    "RankChanges",
    "Training",
    "curves",
    "distinct",
    "forest",
    "gain_maps",
    "grid",
    "keys_of",
    "marked",
    "own",
    "panels",
    "paretos",
    "rank_changes",
    "short_number",
    "sweeps",
    "trainings",
    "words",
]


def panels(result: Result) -> dict[str, Panel]:
    """{name of the file: panel} of everything that the plan has something for, what answers most first."""
    found: dict[str, Panel | None] = {"differences": forest(result)}
    found |= {f"gain_{name}": panel for name, panel in gain_maps(result).items()}
    found |= {f"sweep_{name}": panel for name, panel in sweeps(result).items()}
    found["grid"] = grid(result)
    found |= {f"pareto_{name.partition('/')[2]}": panel for name, panel in paretos(result).items()}
    found["rank_changes"] = rank_changes(result)
    found |= {f"training_{name}": panel for name, panel in trainings(result).items()}
    return {name: panel for name, panel in found.items() if panel is not None}
