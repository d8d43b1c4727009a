"""Trials that were scored by other rules, or on other content under the same ids: refused."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from ..errors import DataError
from .sources import Source, Stored


def refuse_other_protocols(sources: Mapping[str, Source]) -> None:
    """Raise DataError where two inputs were scored on other splits or content, break ties otherwise, or one's weights
    were selected on test. What is no trial breaks ties by `expected`, and tells nothing else."""
    trials = {name: source for name, source in sources.items() if isinstance(source, Stored)}
    for name, trial in trials.items():
        if trial.selected_on_test:
            others = ", ".join(other for other in sources if other != name)
            reason = f"the weights of {name} were selected on test (train.select_on: test)"
            raise DataError(f"{reason}: not compared with {others}")
    ties = {name: source.ties if isinstance(source, Stored) else "expected" for name, source in sources.items()}
    _refuse("ties", ties)
    _refuse("split", {name: trial.split for name, trial in trials.items()})
    for (name, trial), (other_name, other) in combinations(trials.items(), 2):
        if trial.content and other.content and not trial.content & other.content:
            raise DataError(
                f"{name} and {other_name} bear the same ids and rank other texts or videos, or others answer them "
                "(data.dataset): not compared"
            )


def _refuse(setting: str, values: Mapping[str, str]) -> None:
    for (name, value), (other_name, other) in combinations(values.items(), 2):
        if value != other:
            raise DataError(f"evaluate.{setting} is {value} in {name} and {other} in {other_name}: not compared")
