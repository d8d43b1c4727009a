"""What a variant costs: which fields and inputs decide it, and what it was measured on."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from ...contract.components import Levels, TrainedReranker
from ...contract.settings import Spec
from ...plugins import registry
from ..steps import efficiency
from ..steps.efficiency import EfficiencySource
from ..steps.step import Step
from .reranking import RerankGraph


class EfficiencyGraph(RerankGraph):
    """The step that measures a variant's retrieval."""

    @cached_property
    def efficiency(self) -> Step:
        """Costs of the first seed, which stand for every seed's. Texts ask for videos, whatever is evaluated."""
        first = self.experiment.seeds[0]
        if self.seed != first:
            return type(self)(self.workspace, self.experiment, first, self.label).efficiency
        split, spec = self.experiment.evaluate.split, self.experiment.retrieve.rerank
        scored = {name: self._scored(name, split) for name in self._asked(spec)}
        ranking, stages = self._ranking("t2v", split)
        fields: dict[str, Any] = ranking | {
            "interactions": {name: fields for name, (fields, _, _) in scored.items()},
            "device": self.workspace.device.type,
            "threads": torch.get_num_threads(),
        }
        inputs = {key: step for _, given, _ in scored.values() for key, step in given.items()}
        inputs |= {name: step for name, step in stages.items() if name.startswith("bank/")}
        if spec is not None:
            cls = registry().component("reranker", spec)
            levels: Levels = cls.reads(spec.fields)
            fields |= {"rerank": spec.resolved(), "source": self._reranker_source(spec)}
            inputs |= self.encode(split, levels) | self._skipping(split, levels)
            inputs |= {"fit_reranker": self.fit_reranker} if issubclass(cls, TrainedReranker) else {}
        configs = {name: source.config for name, (_, _, source) in scored.items()}
        payload = EfficiencySource(
            experiment=self.experiment, shapes=self.shapes, split=self.split(split), configs=configs
        )
        return Step("efficiency", fields, inputs, efficiency.efficiency, f"measure {self.label}".strip(), payload)

    def _asked(self, spec: Spec | None) -> list[str]:
        """Interactions that retrieval uses."""
        wanted = registry().component("reranker", spec).interactions(spec.fields) if spec is not None else ()
        names = dict.fromkeys([*self.experiment.retrieve.first_stage, *wanted])
        return [name for name in self.experiment.model.interactions if name in names]
