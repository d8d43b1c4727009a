"""Figures of an experiment, drawn with matplotlib from the panels that its findings make.

`python -m core.figures FILE --out FIGURE.svg` draws hypotheses over two axes and re-ranking depth on one page.
"""

from .drawing import draw

__all__ = ["draw"]
