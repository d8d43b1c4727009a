"""Figures of an experiment, drawn with matplotlib: a module for each, with its data and how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import ConfigError, Output, Problem, setting
from core.outputs import Result

from .files import write_figures, write_sheet


class Figures(Output):
    """`figures/` as SVG, PNG and PDF: differences, gains over two axes, sweeps, costs, changes of rank, training."""

    name = "figures"
    by_default = True

    @dataclass(frozen=True)
    class Config:
        sheet: str | None = setting(
            None, "a file (.svg, .png or .pdf) for gains over two axes and over top_k, on one page"
        )

    def __init__(self, config: Config):
        super().__init__(config)
        if config.sheet is not None and Path(config.sheet).suffix not in (".svg", ".png", ".pdf"):
            raise ConfigError(Problem("sheet", f"expected a file that ends in .svg, .png or .pdf, got {config.sheet}"))

    def finished(self, result: Result, folder: Path) -> list[str]:
        write_figures(result, folder / "figures")
        if self.config.sheet is None:
            return []
        write_sheet(result, Path(self.config.sheet))
        return [f"Figure: {self.config.sheet}"]
