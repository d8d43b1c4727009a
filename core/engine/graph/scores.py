"""Scores of all pairs of a split, and the first stage that they make."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from ...contract.components import Levels
from ...contract.settings import Checker, Spec, plain
from ...contract.store import digest
from ...errors import ConfigError
from ...plugins import registry
from ..model import levels_of, transforms_for
from ..steps import scoring
from ..steps.retrieval import ScoreSource
from ..steps.step import Step, arithmetic, source_of, versions
from .fits import FitGraph


class ScoreGraph(FitGraph):
    """Steps that score all pairs."""

    @cached_property
    def _scores(self) -> dict[tuple[str, str, str | None], Step]:
        return {}

    def _scored(
        self, name: str, split: str, bank: str | None = None
    ) -> tuple[dict[str, Any], dict[str, Step], ScoreSource]:
        """Fields, inputs and payload that any scoring of one interaction has, with settings after training.

        bank: the direction in which the train split's queries ask the gallery of `split`, in the place of its own.
        """
        experiment = self.experiment
        spec = experiment.model.interactions[name]
        cls = registry().component("interaction", spec)
        config = self._after_training(name)
        values = {"name": spec.name, **plain(config)}
        transforms, raw = transforms_for(experiment.model.transforms, levels_of({name: Spec(spec.name, config)}))
        own = self.parametric(name)
        fit = self.fit if self.main.config.trainable or own else None
        fields = {
            "interaction": {key: value for key, value in values.items() if key not in cls.after_training},
            "settings": {key: value for key, value in values.items() if key in cls.after_training},
            "source": source_of("interaction", Spec(spec.name, config)),
            "transforms": [[s.resolved(), source_of("feature_transform", s)] for s in transforms.values()],
            "weights": [n for n in transforms if ("transforms", n) in own] + [name] * (("interactions", name) in own),
            "versions": versions("torch"),
            "arithmetic": arithmetic(self.workspace.device),
        }
        source = ScoreSource(
            experiment=experiment, shapes=self.shapes, split=self.split(split), interaction=name, config=config
        )
        if bank is None:
            inputs = self.encode(split, raw) | self._skipping(split, raw)
        else:
            source = replace(source, direction=bank, bank=self.split("train"))
            asking, asked = (Levels(raw.text), Levels((), raw.video))[:: 1 if bank == "t2v" else -1]
            inputs = self.encode("train", asking) | self.encode(split, asked) | self._skipping(split, asked)
        if not any(raw):
            fields["ids"] = digest(source.ids)
        return fields, inputs | ({"fit": fit} if fit else {}), source

    def _after_training(self, name: str) -> Any:
        """An interaction's configuration with `retrieve.settings`."""
        fields, changed = self.experiment.model.interactions[name].fields, self.experiment.retrieve.settings.get(name)
        if not changed:
            return fields
        checker = Checker(registry().specify)
        config = checker.build(type(fields), plain(fields) | changed, f"retrieve.settings.{name}")
        if config is None:
            raise ConfigError(checker.problems)
        return config

    def score(self, name: str, split: str, bank: str | None = None) -> Step:
        """All pairs of a split by one interaction; or of a bank's queries, in the direction `bank`, and its gallery."""
        key = (name, split, bank)
        if key not in self._scores:
            fields, inputs, source = self._scored(name, split, bank)
            label = f"score {name} {f'bank {bank} ' if bank else ''}{self.label}".strip()
            self._scores[key] = Step("score", fields, inputs, scoring.score, label, source, ("settings",))
        return self._scores[key]

    def _ranking(self, direction: str, split: str) -> tuple[dict[str, Any], dict[str, Step]]:
        """Fields and inputs that give the first stage's matrix."""
        retrieve = self.experiment.retrieve
        fields = {
            "direction": direction,
            "first_stage": dict(retrieve.first_stage),
            "score_transforms": [[s.resolved(), source_of("score_transform", s)] for s in retrieve.transforms.values()],
        }
        inputs = {f"first_stage/{name}": self.score(name, split) for name in retrieve.first_stage}
        if any(registry().component("score_transform", spec).needs_bank for spec in retrieve.transforms.values()):
            inputs |= {f"bank/{name}": self.score(name, split, direction) for name in retrieve.first_stage}
        return fields, inputs
