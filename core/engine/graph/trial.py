"""Candidates, ranks, evaluation."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

from ...contract.components import Levels, TrainedReranker
from ...contract.settings import Spec
from ...plugins import registry
from ..steps import candidates, index, ranking
from ..steps.retrieval import FEATURES, RetrievalSource
from ..steps.step import Step, arithmetic, versions
from .efficiency import EfficiencyGraph


class TrialGraph(EfficiencyGraph):
    """Builds the steps of one variant with one seed. `evaluate` is the last; the others hang from it."""

    def candidates(self, name: str, direction: str, top_k: int) -> Step:
        """Scores of each query's candidates by one interaction."""
        split = self.experiment.evaluate.split
        fields, inputs, source = self._scored(name, split)
        ranking, stages = self._ranking(direction, split)
        stages |= self._index(direction, split, top_k)
        return Step(
            "candidates",
            fields | ranking,
            inputs | stages,
            candidates.score_candidates,
            f"re-score {name} {direction} {self.label}".strip(),
            replace(source, direction=direction),
            ("settings",),
            self._covers(direction, top_k),
        )

    def _source(self, direction: str = "t2v") -> RetrievalSource:
        split = self.split(self.experiment.evaluate.split)
        return RetrievalSource(
            experiment=self.experiment, shapes=self.shapes, split=split, direction=direction, seed=self.seed
        )

    def _covers(self, direction: str, top_k: int) -> int:
        split = self.split(self.experiment.evaluate.split)
        return min(top_k, len(split.videos if direction == "t2v" else split.texts))

    def _index(self, direction: str, split: str, top_k: int) -> dict[str, Step]:
        """`index`: what an approximate index finds, where the experiment asks for one."""
        if self.experiment.retrieve.index == "exact":
            return {}
        (name,) = self.experiment.retrieve.first_stage
        fields, inputs, source = self._scored(name, split)
        fields |= {"direction": direction, "index": self.experiment.retrieve.index, "faiss": versions("faiss-cpu")}
        label = f"index {direction} {self.label}".strip()
        payload, covers = replace(source, direction=direction), self._covers(direction, top_k)
        return {"index": Step("index", fields, inputs, index.index, label, payload, covers=covers)}

    def match(self, spec: Spec, direction: str) -> Step:
        """Scores of each query's candidates by a trained reranker, before they are added to the first stage's."""
        split = self.experiment.evaluate.split
        cls = registry().component("reranker", spec)
        fields, inputs = self._ranking(direction, split)
        inputs |= self._index(direction, split, spec.fields.top_k)
        levels = cls.reads(spec.fields)
        inputs |= {"fit_reranker": self.fit_reranker} | self.encode(split, levels) | self._skipping(split, levels)
        fields |= self._reranker_fields(spec) | {"arithmetic": arithmetic(self.workspace.device)}
        return Step(
            "match",
            fields,
            inputs,
            candidates.match_candidates,
            f"match {direction} {self.label}".strip(),
            self._source(direction),
            covers=self._covers(direction, spec.fields.top_k),
        )

    def rank(self, direction: str) -> Step:
        """Rank counts of one direction."""
        experiment = self.experiment
        split = experiment.evaluate.split
        asked = "t2v" if experiment.retrieve.candidates_from == "text_side" else direction
        fields, inputs = self._ranking(asked, split)
        fields |= {"relevance": self._relevance(split), "ranked": direction}
        levels = Levels()
        spec = experiment.retrieve.rerank
        if spec is not None:
            cls = registry().component("reranker", spec)
            fields |= {"rerank": spec.resolved(), "source": self._reranker_source(spec)}
            inputs |= self._index(asked, split, spec.fields.top_k)
            wanted = [name for name in cls.interactions(spec.fields) if name != "first_stage"]
            inputs |= {f"candidates/{n}": self.candidates(n, asked, spec.fields.top_k) for n in wanted}
            if issubclass(cls, TrainedReranker):
                inputs |= {"match": self.match(spec, asked), "fit_reranker": self.fit_reranker}
            else:
                levels = cls.reads(spec.fields)
        stage = next(iter(inputs.values()))
        inputs |= {name: s for name, s in stage.inputs.items() if name.startswith(FEATURES)}
        inputs |= self.encode(split, levels)
        together = ("rerank", "source", "candidates", "match", "fit_reranker")
        label, source = f"rank {direction} {self.label}".strip(), self._source(asked)
        return Step("rank", fields, inputs, ranking.rank, label, source, together)

    def diagnose(self, name: str) -> Step:
        """What an interaction measures of each text with its own video."""
        fields, inputs, source = self._scored(name, self.experiment.evaluate.split)
        return Step("diagnose", fields, inputs, candidates.diagnose, f"diagnose {name} {self.label}".strip(), source)

    @cached_property
    def evaluate(self) -> Step:
        """The trial's last step."""
        settings = self.experiment.evaluate
        names = dict.fromkeys([*settings.metrics, settings.primary.partition("/")[2]])
        fields: dict[str, Any] = {"metrics": list(names), "ties": settings.ties, "split": settings.split}
        fields["directions"] = list(dict.fromkeys([*settings.directions, settings.primary.partition("/")[0]]))
        inputs = {direction: self.rank(direction) for direction in fields["directions"]}
        if settings.diagnostics:
            fields["diagnostics"] = list(settings.diagnostics)
            inputs |= {f"diagnose/{n}": self.diagnose(n) for n in dict.fromkeys(map(_diagnosed, settings.diagnostics))}
        if settings.efficiency:
            inputs["efficiency"] = self.efficiency
        together = ("directions", "diagnostics", "diagnose", "efficiency", "t2v", "v2t")
        label = f"evaluate {self.label}".strip()
        return Step("evaluate", fields, inputs, ranking.evaluate, label, self._source(), together)


def _diagnosed(diagnostic: str) -> str:
    return diagnostic.rpartition(".")[0]
