"""A reranker's own fit: wrong answers from the first stage, then training with everything else frozen."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ...contract.components import TrainedReranker
from ...contract.optimisation import RerankerTraining
from ...contract.settings import Spec, plain
from ...plugins import registry
from ..steps import reranking
from ..steps.reranking import MineSource, RerankerSource
from ..steps.step import Step, arithmetic, source_of, sources_in, versions
from .scores import ScoreGraph


class RerankGraph(ScoreGraph):
    """Steps that train a reranker."""

    def mine(self, spec: Spec) -> Step:
        """Wrong answers of each training query, of which the reranker's fit draws."""
        train: RerankerTraining = spec.fields.train
        scored = {name: self._scored(name, "train") for name in self.experiment.retrieve.first_stage}
        fields: dict[str, Any] = {
            "first_stage": dict(self.experiment.retrieve.first_stage),
            "interactions": {name: fields for name, (fields, _, _) in scored.items()},
            "relevance": self._relevance("train"),
            "pool": train.pool,
            "negatives_from": train.negatives_from,
        } | ({"seed": self.seed} if train.negatives_from == "random" else {})
        inputs = {f"{name}/{key}": step for name, (_, given, _) in scored.items() for key, step in given.items()}
        sources = {name: source for name, (_, _, source) in scored.items()}
        payload = MineSource(sources, self.split("train"), train, self.seed)
        return Step("mine", fields, inputs, reranking.mine, f"find negatives {self.label}".strip(), payload)

    def _reranker_fields(self, spec: Spec) -> dict[str, Any]:
        """What decides a reranker's matching scores beside its weights."""
        cls = registry().component("reranker", spec)
        resolved = {k: v for k, v in spec.resolved().items() if k not in cls.after_training and k != "train"}
        return {"reranker": resolved, "source": self._reranker_source(spec), "versions": versions("torch")}

    def _reranker_source(self, spec: Spec) -> str:
        """Without what only its fit reads, which `fit_reranker` counts."""
        trained = issubclass(registry().component("reranker", spec), TrainedReranker)
        return source_of("reranker", spec, left_out=("train",) if trained else ())

    @cached_property
    def fit_reranker(self) -> Step:
        """The reranker's fit; its best alpha is chosen whether or not the experiment gives one, so that it is in no
        key."""
        experiment = self.experiment
        spec = experiment.retrieve.rerank
        assert spec is not None
        train: RerankerTraining = spec.fields.train
        levels = registry().component("reranker", spec).reads(spec.fields)
        direction = experiment.evaluate.primary.partition("/")[0]
        ranking, stages = self._ranking(direction, "val")
        fields = self._reranker_fields(spec) | {
            "train": {k: v for k, v in plain(train).items() if k != "losses"},
            "losses": [[n, s.resolved(), source_of("loss", s)] for n, s in train.losses.items()],
            "relevance": {name: self._relevance(name) for name in ("train", "val")},
            "alphas": list(spec.fields.alphas),
            "primary": experiment.evaluate.primary,
            "validation": ranking,
            "seed": self.seed,
            "arithmetic": arithmetic(self.workspace.device),
        }
        others = sources_in(train, left_out=("losses",))
        fields |= {"train_sources": others} if others else {}
        inputs = {"mine": self.mine(spec)} | stages
        for split in ("train", "val"):
            given = self.encode(split, levels) | self._skipping(split, levels)
            inputs |= {f"{split}/{key}": step for key, step in given.items()}
        payload = RerankerSource(experiment, spec, self.shapes, self.split("train"), self.split("val"), self.seed)
        label = f"train reranker {self.label}".strip()
        return Step("fit_reranker", fields, inputs, reranking.fit_reranker, label, payload)
