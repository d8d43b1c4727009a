"""Fits: what is trained, on what, and which fields decide it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ...contract.components import Levels, Shapes
from ...contract.settings import Spec, plain
from ...contract.store import digest
from ...errors import ConfigError, Problem
from ...plugins import registry
from ..model import Outline, levels_of, outline, transforms_for
from ..steps import fitting
from ..steps.fitting import FitSource
from ..steps.step import Step, arithmetic, source_of, versions
from .levels import LevelGraph


class FitGraph(LevelGraph):
    """Steps that train the model."""

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Interactions that a loss names, in the model's order."""
        named = {name for spec in self.experiment.model.losses.values() for name in spec.fields.of}
        return tuple(name for name in self.experiment.model.interactions if name in named)

    def outline(self, kind: str, spec: Spec, shapes: Shapes) -> Outline:
        """`core.engine.model.outline`, made once for all variants that share it."""
        key = ("outline", kind, digest([spec.resolved(), plain(shapes)]))
        return self.workspace.once(key, lambda: outline(kind, spec, shapes))

    def parametric(self, name: str) -> set[tuple[str, str]]:
        """(kind, name) of what has parameters among an interaction and the transforms that it depends on."""
        return self._parametric[name]

    @cached_property
    def _parametric(self) -> dict[str, set[tuple[str, str]]]:
        return {name: self._with_parameters(name) for name in self.experiment.model.interactions}

    def _with_parameters(self, name: str) -> set[tuple[str, str]]:
        model = self.experiment.model
        transforms, _ = transforms_for(model.transforms, levels_of({name: model.interactions[name]}))
        known, found = dict(self.shapes), set()
        for key, transform in transforms.items():
            outlined = self.outline("feature_transform", transform, known)
            known |= outlined.writes
            found |= {("transforms", key)} if outlined.parametric else set()
        own = self.outline("interaction", model.interactions[name], known)
        return found | ({("interactions", name)} if own.parametric else set())

    @cached_property
    def fitted_parts(self) -> set[tuple[str, str]]:
        """What a fit gives weights to."""
        return {part for name in self.trained for part in self.parametric(name)}

    @cached_property
    def fit(self) -> Step | None:
        """The fit, or None where nothing has parameters to train."""
        if not self.fitted_parts and not (self.main.config.trainable and self.trained):
            return None
        experiment, best = self.experiment, self.experiment.train.keep == "best"
        select_on = experiment.train.select_on
        splits = ["train", select_on] if best else ["train"]
        fields = self._fit_fields() | {"relevance": {name: self._relevance(name) for name in splits}}
        if best:
            fields |= {"primary": experiment.evaluate.primary, "selection": self.selection}
        if self.main.config.trainable:
            fields["texts"] = {name: self._texts(name) for name in splits}
        inputs = {f"{name}/{key}": step for name in splits for key, step in self._fit_inputs(name).items()}
        val = self.split(select_on) if best else None
        source = FitSource(
            experiment, self.trained, self.shapes, self.main, self.split("train"), val, self.selection, self.seed
        )
        return Step("fit", fields, inputs, fitting.fit, f"train {self.label}".strip(), source)

    def _fit_fields(self) -> dict[str, Any]:
        """Lists, not mappings: order decides which numbers each part draws at the start."""
        model, train = self.experiment.model, plain(self.experiment.train)
        if train["num_frames"] is None:
            del train["sampler"]
        if not self.main.config.trainable:
            del train["encoder_learning_rate"]
        interactions = {name: model.interactions[name] for name in self.trained}
        transforms, _ = transforms_for(model.transforms, levels_of(interactions))
        return {
            "transforms": [[n, s.resolved(), source_of("feature_transform", s)] for n, s in transforms.items()],
            "interactions": [[n, s.resolved(), source_of("interaction", s)] for n, s in interactions.items()],
            "losses": [[n, s.resolved(), source_of("loss", s)] for n, s in model.losses.items()],
            "logit_scale": plain(model.logit_scale),
            "encoder": self._encoder_fields(self.main),
            "train": train,
            "seed": self.seed,
            "versions": versions("torch"),
            "arithmetic": arithmetic(self.workspace.device),
        }

    def _fit_inputs(self, split: str) -> dict[str, Step]:
        """Levels; where the encoder is trained, pixels in the place of its own (the captions enter as a field)."""
        model = self.experiment.model
        _, raw = transforms_for(model.transforms, levels_of({name: model.interactions[name] for name in self.trained}))
        if not self.main.config.trainable:
            return self.encode(split, raw) | self._skipping(split, raw)
        attached = set(raw.video) & set(self._video_texts)
        if attached:
            reason = f"training reads `{min(attached)}`, texts of the data set: their level needs a frozen encoder"
            raise ConfigError(Problem("encoder.trainable", reason))
        others = Levels(*(tuple(n for n in names if self._owner(n)[0] is not self.main) for names in raw))
        return {"video/pixels": self.decode(split), **self.encode(split, others)}

    @property
    def selection(self) -> dict[str, float]:
        """The mixture that is validated: that of the first contrastive loss, else of the first loss."""
        losses = list(self.experiment.model.losses.values())
        contrastive = [spec for spec in losses if registry().component("loss", spec).contrastive]
        return dict((contrastive or losses)[0].fields.of)
