"""Trials as the store has them: what outputs are handed of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from ..contract.components import Split
from ..contract.store import Entry, digest
from ..engine.failures import Failure
from ..engine.plan import Plan, PlannedTrial
from ..experiment.selection import Variant, short_value
from .hiding import Hide, hidden_in
from .naming import named

FITS = {"fit": "train", "fit_reranker": "rerank"}
"""Steps that train, and what `Trial.fits` calls them."""


@dataclass(frozen=True)
class DataUsed:
    """A split that a trial used: what the data set is called and how the file writes it, a digest of ids and texts,
    sizes."""

    split: str
    dataset: str
    source: str
    digest: str
    videos: int
    texts: int


@dataclass(frozen=True)
class Fit:
    """What training stored: seconds; by epoch the mean loss and, where there is a validation, its primary metric; the
    epoch whose weights were kept; of a reranker the weight `alpha` of the first stage's score. validated_on: the split
    that the epoch was chosen on and its number of videos; None where the last was kept."""

    key: str
    seconds: float
    history: list[dict[str, float]]
    best_epoch: int
    alpha: float | None = None
    validated_on: tuple[str, int] | None = None


@dataclass(frozen=True)
class _Tried:
    """A trial of a plan, as it is told: by the name of its variant and its seed.

    seed: None where nothing depends on one. key: of its result in the store, as core.compare takes it.
    """

    name: str
    variant: str
    seed: int | None
    key: str
    _plan: Plan = field(repr=False)
    _planned: PlannedTrial = field(repr=False)
    _hide: Hide = field(repr=False, kw_only=True, default=str)

    def hidden_by(self, hide: Hide) -> Any:
        """The same, with every text in it hidden, those too that are read only when they are asked for."""
        return replace(self, name=hide(self.name), variant=hide(self.variant), _hide=hide)

    @property
    def assignments(self) -> dict[str, Any]:
        """{dotted key: value} of what makes its variant."""
        return hidden_in(self._planned.variant.assignments, self._hide)

    @property
    def configuration(self) -> dict[str, Any]:
        """Its resolved configuration as an experiment file that repeats this one trial."""
        return hidden_in(runnable(self._plan.experiment.name, self._planned.variant, [self.seed or 0]), self._hide)

    @property
    def directions(self) -> tuple[str, ...]:
        return self._planned.variant.experiment.evaluate.directions

    @property
    def data(self) -> list[DataUsed]:
        """The split that was scored and, where something was trained, the one that it was trained on."""
        settings = self._planned.variant.experiment
        splits: dict[str, Split] = {settings.evaluate.split: self._planned.split}
        if "train" in self._fit_steps:
            splits["train"] = self._fit_steps["train"].payload.train
        source = self._hide(short_value(settings.data.dataset.resolved()))
        dataset = self._hide(named(settings.data.dataset))
        return [_data_used(name, dataset, source, split) for name, split in splits.items()]

    @cached_property
    def _fit_steps(self) -> dict[str, Any]:
        inputs = self._planned.last.inputs
        of_its_seed = [*inputs.ranks.values(), *inputs.diagnose.values()]  # costs are those of the first seed
        walked = (step for last in of_its_seed for step in last.walk())
        return {FITS[step.name]: step for step in walked if step.name in FITS}


@dataclass(frozen=True)
class Trial(_Tried):
    """The stored result of one trial."""

    _entry: Entry = field(repr=False)

    def hidden_by(self, hide: Hide) -> Trial:
        """The same, with every text in it hidden. What was read of it and holds no text of others is not read again."""
        hidden: Trial = super().hidden_by(hide)
        kept = [name for name in ("stored", "tensors", "fits") if name in self.__dict__]
        hidden.__dict__.update({name: self.__dict__[name] for name in kept})
        return hidden

    @cached_property
    def stored(self) -> dict[str, Any]:
        """`result.json`: metrics, ceilings, and how many videos and texts were ranked."""
        return self._entry.json()

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
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Per-query values `<direction>/<metric>` and `<direction>/clusters`."""
        return {name: tensor.numpy() for name, tensor in self._entry.tensors().items()}

    @cached_property
    def items(self) -> dict[str, Any]:
        """Ids of `texts` and `videos` in the order of the per-query values, and the videos that were `skipped`."""
        return hidden_in(self._entry.json("items.json"), self._hide)

    @cached_property
    def fits(self) -> dict[str, Fit | None]:
        """What was trained: the model under `train`, a reranker under `rerank`; None for what the store lost."""
        store = self._plan.workspace.store
        entries = {name: store.peek(step.name, step.key) for name, step in self._fit_steps.items()}
        splits = {"train": self._planned.variant.experiment.train.select_on, "rerank": "val"}
        return {
            name: None if entry is None else _fit(name, entry, splits[name], self._fit_steps[name].payload.val)
            for name, entry in entries.items()
        }

    @property
    def ended(self) -> float:
        """When its result was stored, in seconds since 1970."""
        return float(self._entry.meta["created"])


@dataclass(frozen=True)
class FailedTrial(_Tried):
    """A trial without a result, and why."""

    failure: Failure

    @property
    def ended(self) -> float:
        """When it failed, in seconds since 1970."""
        return self.failure.time

    def hidden_by(self, hide: Hide) -> Any:
        told, trace = hide(self.failure.message), hide(self.failure.traceback)
        return replace(super().hidden_by(hide), failure=replace(self.failure, message=told, traceback=trace))


def _fit(name: str, entry: Entry, split: str, validation: Split | None) -> Fit:
    alpha = entry.json("chosen.json")["alpha"] if name == "rerank" else None
    history = entry.json("history.json")
    validated_on = None
    if validation is not None and any("validation" in record for record in history):
        validated_on = (split, len(validation.videos))
    return Fit(entry.meta["key"], entry.meta["seconds"], history, entry.info["best_epoch"], alpha, validated_on)


def _data_used(name: str, dataset: str, source: str, split: Split) -> DataUsed:
    texts = [[text.id, text.text, text.video] for text in split.texts]
    content = digest([[video.id for video in split.videos], texts, split.pairs])
    return DataUsed(name, dataset, source, content, len(split.videos), len(split.texts))


def runnable(name: str, variant: Variant, seeds: list[int]) -> dict[str, Any]:
    """A resolved configuration as an experiment file."""
    values = variant.configuration
    encoder = values["encoder"]
    return {"name": name, **values, "encoder": encoder.get("", encoder), "seeds": seeds}


def trial_of(plan: Plan, planned: PlannedTrial) -> Trial:
    """A trial whose result the store has. Raises StoreError where it has not."""
    entry = plan.workspace.store.read("evaluate", planned.last.key)
    return Trial(planned.name, planned.variant.name, planned.seed, planned.last.key, plan, planned, entry)


def failed_trial(plan: Plan, planned: PlannedTrial, failure: Failure) -> FailedTrial:
    return FailedTrial(planned.name, planned.variant.name, planned.seed, planned.last.key, plan, planned, failure)
