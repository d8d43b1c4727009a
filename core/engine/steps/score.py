"""Score: all pairs of a split by one interaction, or a bank's queries with its gallery; and what other steps share that
score by an interaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...contract.components import Interaction, Levels, Split
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.settings import Spec, plain
from ...contract.store import Draft, digest
from ...contract.tensorfile import map_tensors
from ...errors import RunError
from ...plugins import registry
from ..model import Model, levels_of, transforms_for
from ..scoring import Sides, score_blocks
from .encode import feature_steps, level_steps
from .fit import encoder_fit, fit_step
from .seeded import SeededVariant, once_a_trial
from .split import FeatureInputs, ReadsFeatures, RetrievalSource, features_of, kept, read_features
from .step import Step, Workspace, arithmetic, source_of, versions
from .weights import trained_model

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ScoreInputs(ReadsFeatures):
    """asking: levels of a bank's queries, which are scored with the gallery of `features`. fit: has the weights."""

    flat_names = {"asking": "", "features": ""}
    asking: FeatureInputs | None = None
    fit: Step | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreSource(RetrievalSource):
    """What scoring reads besides; `config` is the interaction's, with its settings after training.

    bank: a split whose queries ask the gallery of `split`, in the place of its own, in this `direction`.
    """

    interaction: str
    config: Any
    bank: Split | None = None

    @property
    def ids(self) -> tuple[list[str], list[str]]:
        """Ids of the texts and of the videos that are scored with each other."""
        asking = self.bank or self.split
        texts, videos = (asking, self.split) if self.direction == "t2v" else (self.split, asking)
        return [text.id for text in texts.texts], [video.id for video in videos.videos]


class Scoring(NamedTuple):
    """What any step that scores by an interaction reads."""

    fields: dict[str, Any]
    inputs: ScoreInputs
    source: ScoreSource


def scoring(trial: SeededVariant, name: str, split: str, bank: str | None = None) -> Scoring:
    """By one interaction with its settings after training.

    bank: the direction in which the train split's queries ask the gallery of `split`, in the place of its own.
    """
    spec, config = trial.experiment.model.interactions[name], trial.after_training(name)
    used, own = Spec(spec.name, config), trial.parametric(name)
    transforms, raw = transforms_for(trial.experiment.model.transforms, levels_of({name: used}))
    after_training, values = registry().component("interaction", spec).after_training, plain(config)
    weights = [transform for transform in transforms if ("transforms", transform) in own]
    if ("interactions", name) in own:
        weights.append(name)
    fields = {
        "interaction": {"name": spec.name, **{key: v for key, v in values.items() if key not in after_training}},
        "settings": {key: value for key, value in values.items() if key in after_training},
        "source": source_of("interaction", used),
        "transforms": [[s.resolved(), source_of("feature_transform", s)] for s in transforms.values()],
        "weights": weights,
        "versions": versions("torch"),
        "arithmetic": arithmetic(trial.workspace.device),
    }
    source = ScoreSource(
        experiment=trial.experiment, shapes=trial.shapes, split=trial.split(split), interaction=name, config=config
    )
    fit, encoded = fit_step(trial) if trial.main.config.trainable or own else None, encoder_fit(trial)
    if bank is None:
        inputs = ScoreInputs(features=feature_steps(trial, split, raw, encoded), fit=fit)
    else:
        source = replace(source, direction=bank, bank=trial.split("train"))
        texts, videos = Levels(raw.text), Levels((), raw.video)
        asking, asked = (texts, videos) if bank == "t2v" else (videos, texts)
        queries = level_steps(trial, "train", asking, encoded)
        inputs = ScoreInputs(asking=queries, features=feature_steps(trial, split, asked, encoded), fit=fit)
    if not any(raw):
        fields["ids"] = digest(source.ids)
    return Scoring(fields, inputs, source)


@once_a_trial
def score_step(trial: SeededVariant, name: str, split: str, bank: str | None = None) -> Step[ScoreInputs]:
    """All pairs of a split by one interaction; or of a bank's queries, in the direction `bank`, and its gallery."""
    fields, inputs, source = scoring(trial, name, split, bank)
    return Step(
        name="score",
        version=VERSION,
        fields=fields,
        inputs=inputs,
        compute=compute,
        label=trial.labelled(f"score {name}{f' bank {bank}' if bank else ''}"),
        payload=source,
        varies_within_group=("settings",),
    )


def compute(workspace: Workspace, members: list[Step[ScoreInputs]], drafts: list[Draft]) -> None:
    """Scores [B_t, B_v] of one interaction over all pairs of a split, for each member's settings.

    They go into the files block by block: no matrix lies in memory.
    """
    sides = sides_of(workspace, members[0])
    layout = {"scores": ((len(sides.text), len(sides.video)), torch.float32)}
    matrices = [map_tensors(draft.folder / "tensors.safetensors", layout)["scores"] for draft in drafts]
    for columns, block in score_blocks(sides, [member.payload.config for member in members]):
        for member, matrix, values in zip(members, matrices, block, strict=True):
            refuse_non_finite(values, member.label, sides.text.ids or ())
            matrix[:, columns] = values
    for member, draft in zip(members, drafts, strict=True):
        draft.info |= {"label": member.label}


def sides_of(workspace: Workspace, step: Step[ScoreInputs]) -> Sides[Interaction]:
    """What a step's interaction compares, with its trained weights: texts and videos of a split, or on one side those
    of a bank."""
    source: ScoreSource = step.payload
    model, interaction = loaded_model(workspace, step.inputs.fit, source)
    features = features_of(workspace, step) if source.bank is None else _with_bank(workspace, step, source.bank)
    return Sides(interaction, *features, model, workspace.device, step.label)


def loaded_model(workspace: Workspace, fit: Step | None, source: ScoreSource) -> tuple[Model, Interaction]:
    """One interaction, and the part of the model that it needs."""
    model = trained_model(workspace, fit, source.experiment, source.shapes, [source.interaction])
    return model, model.interaction(source.interaction)


def _with_bank(workspace: Workspace, step: Step[ScoreInputs], bank: Split) -> tuple[TextFeatures, VideoFeatures]:
    """Those that ask are of a bank, those that are asked of the step's own split."""
    source, asking, asked = step.payload, step.inputs.asking, step.inputs.features
    assert asking is not None
    queries = read_features(workspace, kept(workspace, bank, asking.values()), asking)
    gallery = read_features(workspace, kept(workspace, source.split, asked.values()), asked)
    return (queries[0], gallery[1]) if source.direction == "t2v" else (gallery[0], queries[1])


def refuse_non_finite(scores: Tensor, label: str, ids: Sequence[str]) -> None:
    bad = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"{label}: a score of query `{ids[bad[0]]}` is NaN or infinite ({len(bad)} queries have such)")
