"""Faults of a composition that no single field shows: names that point nowhere, levels nobody writes, tensors that a
loss lacks, parameters that nothing trains. Found before any data is touched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..contract.components import TrainedReranker
from ..contract.keys import join
from ..contract.settings import Checker, Spec, plain
from ..errors import ConfigError, Problem, nearest
from ..measure.metrics import metric
from ..plugins import registry
from .index import is_installed
from .steps.seeded import SeededVariant
from .video import SAMPLERS

Found = Iterator[Problem]


def composition_faults(trial: SeededVariant) -> list[Problem]:
    """Every fault of one variant."""
    named = [*_references(trial), *_fields(trial)]
    if named:
        return named
    # Each group of checks relies on the one before it: without names and levels no shape can be asked for.
    linked = [*_levels(trial), *_auxiliaries(trial), *_second_fit(trial)]
    return linked or [*_misfits(trial)] or [*_untrained(trial)]


def _references(trial: SeededVariant) -> Found:
    """Names of interactions, wherever they are used."""
    experiment = trial.experiment
    interactions = experiment.model.interactions
    used: list[tuple[str, Any]] = [("retrieve.first_stage", name) for name in experiment.retrieve.first_stage]
    for loss, spec in experiment.model.losses.items():
        used += [(f"model.losses.{loss}.of", name) for name in spec.fields.of]
    rerank = experiment.retrieve.rerank
    if rerank is not None:
        wanted = registry().component("reranker", rerank).interactions(rerank.fields)
        used += [("retrieve.rerank", name) for name in wanted if name != "first_stage"]
    used += [("evaluate.diagnostics", name.rpartition(".")[0]) for name in experiment.evaluate.diagnostics]
    used += [("retrieve.settings", name) for name in experiment.retrieve.settings]
    for key, name in used:
        if name not in interactions:
            yield Problem(key, f"no interaction named `{name}` under model.interactions.{nearest(name, interactions)}")
    for name in interactions:
        if name == "first_stage" or "/" in name or "." in name:
            yield Problem(f"model.interactions.{name}", "this name is reserved or holds a `/` or `.`; take another")


def _fields(trial: SeededVariant) -> Found:
    """Samplers, metrics, settings after training."""
    experiment = trial.experiment
    sampler = experiment.data.sampler
    if sampler not in SAMPLERS:
        yield Problem("data.sampler", f"there is no sampler `{sampler}`.{nearest(sampler, SAMPLERS)}")
    wanted, decoded = experiment.train.num_frames, experiment.data.num_frames
    if wanted is not None and wanted > decoded:
        yield Problem("train.num_frames", f"{wanted} frames cannot be drawn from data.num_frames: {decoded}")
    for name in experiment.evaluate.metrics:
        if "/" in name:
            yield Problem("evaluate.metrics", f"`{name}`: name a metric without a direction; `directions` gives those")
            continue
        try:
            metric(name)
        except ConfigError as fault:
            yield from fault.problems
    yield from _diagnostics(trial)
    yield from _index(trial)
    direction, _, name = experiment.evaluate.primary.partition("/")
    try:
        is_metric = direction in ("t2v", "v2t") and "/" not in name and bool(metric(name))
    except ConfigError:
        is_metric = False
    if not is_metric:
        yield Problem("evaluate.primary", f"expected t2v/<metric> or v2t/<metric>, got `{experiment.evaluate.primary}`")
    for interaction, settings in experiment.retrieve.settings.items():
        if interaction in experiment.model.interactions:
            yield from _after_training(trial, interaction, settings)


def _index(trial: SeededVariant) -> Found:
    """An approximate index finds candidates by one dot product."""
    retrieve, model = trial.experiment.retrieve, trial.experiment.model
    if retrieve.index == "exact":
        return
    stages = [model.interactions[name] for name in retrieve.first_stage if name in model.interactions]
    if [_is_product(spec) for spec in stages] != [True] or retrieve.transforms:
        products = ", ".join(name for name, spec in model.interactions.items() if _is_product(spec)) or "none here is"
        reason = f"`{retrieve.index}` needs a first stage of one interaction that is a dot product ({products}), and no"
        yield Problem("retrieve.index", f"{reason} retrieve.transforms")
    if retrieve.rerank is None:
        reason = "finds candidates, and nothing re-ranks them; `{name: score_fusion, weights: {first_stage: 1}}` does"
        yield Problem("retrieve.index", f"`{retrieve.index}` {reason} so by the first stage's own scores")
    if not is_installed():
        yield Problem("retrieve.index", "FAISS is not installed: pip install 'retrieval-ablations[faiss]'")
    if trial.experiment.evaluate.efficiency:
        reason = f"is not there with `retrieve.index: {retrieve.index}`, whose work cannot be counted"
        yield Problem("evaluate.efficiency", reason)


def _is_product(spec: Spec) -> bool:
    return registry().component("interaction", spec).inner_product


def _diagnostics(trial: SeededVariant) -> Found:
    """Each names something that its interaction can measure."""
    for diagnostic in trial.experiment.evaluate.diagnostics:
        name, _, measure = diagnostic.rpartition(".")
        spec = trial.experiment.model.interactions.get(name)
        if spec is not None:
            measures = registry().component("interaction", spec).diagnostics
            if measure not in measures:
                can = ", ".join(measures) or "nothing"
                reason = f"`{spec.name}` measures {can}, not `{measure}`.{nearest(measure, measures)}"
                yield Problem("evaluate.diagnostics", reason)


def _after_training(trial: SeededVariant, interaction: str, settings: dict[str, Any]) -> Found:
    spec = trial.experiment.model.interactions[interaction]
    cls = registry().component("interaction", spec)
    key = join("retrieve.settings", interaction)
    current = plain(spec.fields)
    for name in settings:
        if name in current and name not in cls.after_training:
            allowed = ", ".join(sorted(cls.after_training)) or "none"
            yield Problem(join(key, name), f"cannot change after training; `{spec.name}` allows: {allowed}")
    checker = Checker(registry().specify)
    checker.build(type(spec.fields), current | settings, key)
    yield from checker.problems


def _levels(trial: SeededVariant) -> Found:
    """Every level that a transform or interaction reads is written by something before it."""
    model = trial.experiment.model
    text, video = set(trial.levels.text), set(trial.levels.video)
    for name, spec in model.transforms.items():
        cls = registry().component("feature_transform", spec)
        yield from _missing(f"model.transforms.{name}", cls.reads(spec.fields), text, video)
        text |= set(cls.writes(spec.fields).text)
        video |= set(cls.writes(spec.fields).video)
    for name, spec in model.interactions.items():
        read = registry().component("interaction", spec).reads(spec.fields)
        yield from _missing(f"model.interactions.{name}", read, text, video)
    rerank = trial.experiment.retrieve.rerank
    if rerank is not None:
        read = registry().component("reranker", rerank).reads(rerank.fields)
        yield from _missing("retrieve.rerank", read, set(trial.levels.text), set(trial.levels.video))


def _missing(key: str, read: Any, text: set[str], video: set[str]) -> Found:
    for side, names, levels in (("text", read.text, text), ("video", read.video, video)):
        for name in names:
            if name not in levels:
                hint = nearest(name, levels)
                yield Problem(key, f"reads the {side} level `{name}`, which nothing before it writes.{hint}")


def _misfits(trial: SeededVariant) -> Found:
    """Components that refuse the shapes that they would read."""
    model, rerank = trial.experiment.model, trial.experiment.retrieve.rerank
    parts = [("interaction", f"model.interactions.{name}", spec) for name, spec in model.interactions.items()]
    transforms = [("feature_transform", f"model.transforms.{name}", spec) for name, spec in model.transforms.items()]
    rerankers = [("reranker", "retrieve.rerank", rerank)] if rerank is not None else []
    shapes = dict(trial.shapes)
    for kind, key, spec in [*transforms, *parts, *rerankers]:
        try:
            shapes |= trial.outline(kind, spec, shapes).writes
        except ValueError as fault:
            yield Problem(key, str(fault))
            if kind == "feature_transform":
                return


def _auxiliaries(trial: SeededVariant) -> Found:
    """A loss finds its auxiliary tensors with every interaction that it names."""
    model = trial.experiment.model
    for name, spec in model.losses.items():
        needs = registry().component("loss", spec).needs(spec.fields)
        for interaction in spec.fields.of:
            source = model.interactions[interaction]
            lacking = needs - registry().component("interaction", source).provides(source.fields)
            if lacking:
                yield Problem(
                    f"model.losses.{name}.of",
                    f"`{spec.name}` needs {', '.join(sorted(lacking))}, which interaction `{interaction}` "
                    f"({source.name}) does not provide; name another interaction or remove the loss",
                )


def _is_trained(rerank: Spec) -> bool:
    return issubclass(registry().component("reranker", rerank), TrainedReranker)


def _second_fit(trial: SeededVariant) -> Found:
    """What a trained reranker's fit has: its own score, the first stage's, and no auxiliary tensors."""
    rerank = trial.experiment.retrieve.rerank
    if rerank is None or not _is_trained(rerank):
        return
    key = "retrieve.rerank.train.losses"
    if not rerank.fields.train.losses:
        yield Problem(key, "needs one loss at least")
    if not rerank.fields.alphas and rerank.fields.alpha is None:
        yield Problem("retrieve.rerank.alphas", "needs one number at least, as `alpha` is null")
    for name, spec in rerank.fields.train.losses.items():
        for of in spec.fields.of:
            if of not in ("rerank", "first_stage"):
                hint = nearest(of, ["rerank", "first_stage"])
                yield Problem(f"{key}.{name}.of", f"`{of}` is not there: a reranker's fit has `rerank`.{hint}")
        needs = registry().component("loss", spec).needs(spec.fields)
        if needs:
            reason = f"`{spec.name}` needs {', '.join(sorted(needs))}, which a reranker does not provide"
            yield Problem(f"{key}.{name}", reason)


def _untrained(trial: SeededVariant) -> Found:
    """What retrieval uses and has parameters is reached by a loss."""
    experiment = trial.experiment
    used = list(experiment.retrieve.first_stage)
    rerank = experiment.retrieve.rerank
    if rerank is not None:
        used += registry().component("reranker", rerank).interactions(rerank.fields)
    used += [name.rpartition(".")[0] for name in experiment.evaluate.diagnostics]
    for name in dict.fromkeys(name for name in used if name != "first_stage"):
        for kind, part in sorted(trial.parametric(name) - trial.fitted_parts):
            yield Problem(f"model.{kind}.{part}", "has parameters, is used in retrieval, and no loss trains it")
    if rerank is not None and not _is_trained(rerank) and trial.outline("reranker", rerank, trial.shapes).parametric:
        reason = f"`{rerank.name}` has parameters that nothing trains; its class must derive from core.TrainedReranker"
        yield Problem("retrieve.rerank", reason)
    if trial.main.config.trainable and not trial.trained:
        yield Problem("encoder.trainable", "is true, but no loss names an interaction")
    if any(encoder.config.trainable for encoder in list(trial.encoders.values())[1:]):
        yield Problem("encoder", "only the first of several encoders can be trained")
