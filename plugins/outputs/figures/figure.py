"""What every figure has, and the figures of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from core.outputs import Result

from .curves import sweeps
from .forest import Forest
from .gain_map import gain_maps
from .grid import Grid
from .pareto import paretos
from .rank_changes import RankChanges
from .training import trainings

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Figure(Protocol):
    """Arrays and words, taken from what an experiment found, and how they are drawn."""

    @property
    def caption(self) -> str: ...

    @property
    def size(self) -> tuple[float, float]:
        """Inches: wider where names stand at the side, higher where there are many rows."""

    def draw(self, axes: Axes) -> None: ...


def figures_of(result: Result) -> dict[str, Figure]:
    """{name of the file: figure} of everything that the plan has something for, what answers most first."""
    figures: dict[str, Figure | None] = {"differences": Forest.of(result)}
    figures |= {f"gain_{name}": figure for name, figure in gain_maps(result).items()}
    figures |= {f"sweep_{name}": figure for name, figure in sweeps(result).items()}
    figures["grid"] = Grid.of(result)
    figures |= {f"pareto_{name.partition('/')[2]}": figure for name, figure in paretos(result).items()}
    figures["rank_changes"] = RankChanges.of(result)
    figures |= {f"training_{name}": figure for name, figure in trainings(result).items()}
    return {name: figure for name, figure in figures.items() if figure is not None}
