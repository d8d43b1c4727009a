"""The one call: which checks a component gets, and what they are given."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..contract.components import Component, Shapes
from ..contract.features import TextFeatures, VideoFeatures
from . import datasets, description, encoders, interactions, losses, matrices, outputs, rerankers, transforms
from .contract import Check, ContractError, Fault, faults_of, said
from .inputs import Sample, sample, shapes_of


@dataclass(frozen=True)
class Given:
    """What a caller brings, and a folder for files."""

    shapes: Shapes | None
    text: TextFeatures | None
    video: VideoFeatures | None
    auxiliary: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    captions: Sequence[str] = encoders.CAPTIONS
    folder: Path = Path()

    def sample(self, component: Any, config: Any) -> Sample:
        """Synthetic features of what the component reads; those of the caller in their place."""
        brought = [side for side in (self.text, self.video) if side is not None]
        synthetic = sample(component.reads(config), {**shapes_of(*brought), **(self.shapes or {})})
        text = synthetic.text if self.text is None else self.text
        video = synthetic.video if self.video is None else self.video
        return Sample(text, video, synthetic.shapes)


@dataclass(frozen=True)
class Contract:
    """The case of a kind, the checks without which there is no going on, and the others."""

    case: Callable[[Any, Any, Given], Any]
    first: Sequence[Check]
    checks: Sequence[Check]


CONTRACTS = {
    "dataset": Contract(lambda c, config, data: datasets.DatasetCase(c, config, data.folder),
                        datasets.FIRST, datasets.CHECKS),
    "encoder": Contract(lambda c, config, data: encoders.EncoderCase(c, config, data.captions),
                        encoders.FIRST, encoders.CHECKS),
    "feature_transform": Contract(lambda c, config, data: transforms.TransformCase(c, config, data.sample(c, config)),
                                  transforms.FIRST, transforms.CHECKS),
    "interaction": Contract(lambda c, config, data: interactions.InteractionCase(c, config, data.sample(c, config)),
                            interactions.FIRST, interactions.CHECKS),
    "loss": Contract(lambda c, config, data: losses.LossCase(c, config, data.auxiliary),
                     losses.FIRST, losses.CHECKS),
    "output": Contract(lambda c, config, data: outputs.OutputCase(c, config, data.folder),
                       outputs.FIRST, outputs.CHECKS),
    "reranker": Contract(lambda c, config, data: rerankers.RerankerCase(c, config, data.sample(c, config)),
                         rerankers.FIRST, rerankers.CHECKS),
    "score_transform": Contract(lambda c, config, data: matrices.ScoreTransformCase(c, config),
                                matrices.FIRST, matrices.CHECKS),
}  # fmt: skip


def check_component(
    component: type[Component],
    *,
    config: Any = None,
    shapes: Shapes | None = None,
    text: TextFeatures | None = None,
    video: VideoFeatures | None = None,
    auxiliary: Mapping[str, tuple[int, ...]] | None = None,
    captions: Sequence[str] = encoders.CAPTIONS,
    **fields: Any,
) -> None:
    """Check a component against the contract of its kind, on small synthetic inputs.

    component: its class; `fields` are those of its Config, as in YAML (`temperature=0.1`). It need not be registered.
    config: a Config made by hand, instead of fields. shapes: {level: LevelShape} where the small defaults (4 frames of
    20 patches, 7 words, width 16) do not do. text, video: features to check on instead of synthetic ones. auxiliary:
    for a loss, the shape of one row of an auxiliary tensor that is not a vector. captions: what an encoder is to read.

    Raises ContractError, which lists every rule that is broken, with what was observed and what to do; ConfigError for
    fields that the Config refuses.
    """
    contract = CONTRACTS[description.kind_of(component)]
    subject = f"{component.kind.replace('_', ' ')} `{getattr(component, 'name', component.__name__)}`"
    faults = faults_of(component, description.FIRST)
    if faults:
        raise ContractError(subject, faults)
    faults = faults_of(component, description.CHECKS)
    config = description.configured(component, fields) if config is None else config
    devices: list[int] | None = None if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), tempfile.TemporaryDirectory() as folder:
        data = Given(shapes, text, video, auxiliary or {}, captions, Path(folder))
        try:
            case = contract.case(component, config, data)
        except Exception as error:  # a component may fail in any way
            words = f"{type(error).__name__}: {said(error)}"
            raise ContractError(subject, [*faults, Fault("it can be made", words, "It must not raise here")]) from error
        faults += (first := faults_of(case, contract.first))
        if not first:
            faults += faults_of(case, contract.checks)
    if faults:
        raise ContractError(subject, faults)
