"""What the store holds of each trial, and of each variant over its seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Experiment
from .failures import Failure
from .plan import Trial
from .plugins import registry
from .significance import Comparison
from .store import Entry


@dataclass(frozen=True)
class TrialResult:
    """The stored result of one trial."""

    trial: Trial
    entry: Entry

    @cached_property
    def stored(self) -> dict[str, Any]:
        """`result.json`: metrics, ceilings, and how many videos and texts were ranked."""
        return self.entry.json()

    @property
    def metrics(self) -> dict[str, float]:
        """{"t2v/R1": 44.8, …}: percent, or ranks."""
        return self.stored["metrics"]

    @property
    def ceilings(self) -> dict[str, float]:
        """{direction: percent of queries with an answer among the candidates}; empty where nothing is re-ranked."""
        return self.stored["ceilings"]

    @property
    def costs(self) -> dict[str, float]:
        """{"cost/latency_ms": 1.2, …}, some of `COSTS`; empty where they were not measured."""
        return self.stored.get("costs", {})

    @property
    def index_recalls(self) -> dict[str, float]:
        """{direction: percent of the exact candidates that the index found}; empty where there is none."""
        return self.stored["index_recalls"]

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """Per-query values `<direction>/<metric>` and `<direction>/clusters`."""
        return {name: tensor.numpy() for name, tensor in self.entry.tensors().items()}

    @cached_property
    def items(self) -> dict[str, Any]:
        """Ids of texts and videos in the order of the per-query values, and the videos that were skipped."""
        return self.entry.json("items.json")


@dataclass(frozen=True)
class FailedTrial:
    """A trial without a result, and why."""

    trial: Trial
    failure: Failure


def _scoring(experiment: Experiment) -> set[str]:
    """Names of the interactions whose scores rank."""
    rerank = experiment.retrieve.rerank
    candidates = registry().component("reranker", rerank).interactions(rerank.fields) if rerank else ()
    return {*experiment.retrieve.first_stage, *candidates}


@dataclass
class Row:
    """One variant of the table: means over seeds, their spread, and comparisons with the baseline by metric.

    results, failed: its trials, one or the other for each seed; means are over those that have a result.
    """

    name: str
    is_baseline: bool
    results: list[TrialResult]
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    outcome: str = ""
    failed: list[FailedTrial] = field(default_factory=list)

    @property
    def trials(self) -> list[TrialResult | FailedTrial]:
        return [*self.results, *self.failed]

    @property
    def first(self) -> Trial:
        """Any of its trials: they differ in the seed alone."""
        return self.trials[0].trial

    @property
    def whole(self) -> bool:
        """Whether every trial has a result."""
        return not self.failed

    @property
    def seeds(self) -> list[int]:
        """Those that have a result."""
        return [result.trial.seed for result in self.results if result.trial.seed is not None]

    @property
    def failed_seeds(self) -> str:
        """`seed 3`, `seeds 1, 3`; "" where none failed, or nothing depends on a seed."""
        seeds = [str(one.trial.seed) for one in self.failed if one.trial.seed is not None]
        return f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" if seeds else ""

    @property
    def selected_on(self) -> str:
        """The split by whose results its weights were chosen; "" where they were not."""
        trial = self.first
        train = trial.variant.experiment.train
        chosen = train.keep == "best" and any(step.name == "fit" for step in trial.last.walk())
        return train.select_on if chosen else ""

    @property
    def selected_on_test(self) -> bool:
        """Whether that is the test split, as a recipe that repeats a paper may have it."""
        return self.selected_on == "test"

    @property
    def transductive(self) -> bool:
        """Whether a query's scores depend on the other test queries: by a score transform, or as given scores show."""
        experiment = self.first.variant.experiment
        transforms = experiment.retrieve.transforms.values()
        if any(registry().component("score_transform", spec).transductive(spec.fields) for spec in transforms):
            return True
        direction = experiment.evaluate.primary.partition("/")[0]
        specs = [spec for name, spec in experiment.model.interactions.items() if name in _scoring(experiment)]
        return any(registry().component("interaction", s).transductive(s.fields, direction) for s in specs)

    @property
    def costs(self) -> dict[str, float]:
        """Mean over seeds of every cost that was measured of each."""
        first = self.results[0].costs if self.results else {}
        shared = [name for name in first if all(name in result.costs for result in self.results)]
        return {name: float(np.mean([result.costs[name] for result in self.results])) for name in shared}

    def values(self, name: str) -> list[float]:
        """The metric of each seed."""
        return [result.metrics[name] for result in self.results]

    def mean(self, name: str) -> float:
        """Over seeds; nan where no trial has a result."""
        return float(np.mean(self.values(name))) if self.results else math.nan

    def spread(self, name: str) -> float:
        """Standard deviation over seeds; nan for one."""
        return float(np.std(self.values(name), ddof=1)) if len(self.results) > 1 else math.nan

    def per_query(self, name: str) -> NDArray[np.float64]:
        """[seeds, queries]"""
        return np.stack([np.asarray(result.tensors[name], dtype=np.float64) for result in self.results])
