"""Built-in outputs: what shows, writes or sends what an experiment found. In this order they are there by default."""

from collections.abc import Callable

from core import hookimpl

from .claims import Claims
from .export import Export
from .figures import Figures
from .mlflow import MLflow
from .pictures import Pictures
from .report import Report
from .terminal import Terminal


@hookimpl
def register_outputs(register: Callable[[type], None]) -> None:
    for output in (Terminal, Figures, Pictures, Report, Export, MLflow, Claims):
        register(output)
