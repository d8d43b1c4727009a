"""Mine: wrong answers of the training queries, of which a reranker's fit draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...contract.components import Split
from ...contract.optimisation import RerankerTraining
from ...contract.settings import Spec
from ...contract.store import Draft
from ...errors import RunError
from ..reranking import mine
from ..scoring import Sides, score_blocks
from .score import ScoreInputs, ScoreSource, loaded_model, refuse_non_finite, scoring
from .seeded import SeededVariant
from .split import Kept, kept, read_features
from .step import Inputs, Step, Workspace

VERSION = 1
MINED = 2**24
"""Scores looked through at a time. Not what memory allows: random wrong answers are drawn block by block."""


@dataclass(frozen=True, kw_only=True)
class MineInputs(Inputs):
    """What a score reads, of each interaction of the first stage."""

    flat_names = {"interactions": ""}
    interactions: Mapping[str, ScoreInputs]


@dataclass(frozen=True)
class MineSource:
    """What finding wrong answers reads beside its inputs: how each interaction of the first stage is scored."""

    sources: Mapping[str, ScoreSource]
    train: Split
    settings: RerankerTraining
    seed: int


def mine_step(trial: SeededVariant, spec: Spec) -> Step[MineInputs]:
    """Wrong answers of each training query by the first stage, for a reranker."""
    train: RerankerTraining = spec.fields.train
    weights = trial.experiment.retrieve.first_stage
    scored = {name: scoring(trial, name, "train") for name in weights}
    fields: dict[str, Any] = {
        "first_stage": dict(weights),
        "interactions": {name: part.fields for name, part in scored.items()},
        "relevance": trial.relevance("train"),
        "pool": train.pool,
        "negatives_from": train.negatives_from,
    } | ({"seed": trial.seed} if train.negatives_from == "random" else {})
    sources = {name: part.source for name, part in scored.items()}
    return Step(
        name="mine",
        version=VERSION,
        fields=fields,
        inputs=MineInputs(interactions={name: part.inputs for name, part in scored.items()}),
        compute=compute,
        label=trial.labelled("find negatives"),
        payload=MineSource(sources, trial.split("train"), train, trial.seed),
    )


def compute(workspace: Workspace, members: list[Step[MineInputs]], drafts: list[Draft]) -> None:
    """Tensors `<direction>/items` and `<direction>/scores` [Q, pool], and `own` [B_t]: see engine.reranking.Mined."""
    step, draft, source = members[0], drafts[0], members[0].payload
    levels = [level for scored in step.inputs.interactions.values() for level in scored.features.values()]
    rows = kept(workspace, source.train, levels)
    width = max(1, min(1024, MINED // max(1, len(rows.texts))))
    generator = None
    if source.settings.negatives_from == "random":
        generator = torch.Generator().manual_seed(source.seed)
    mined = mine(_mixed(workspace, step, rows, width), rows.sparse, rows.own, source.settings.pool, generator)
    for negatives, ids in ((mined.t2v, rows.text_ids), (mined.v2t, rows.video_ids)):
        alone = (~torch.isfinite(negatives.scores).any(1)).nonzero().flatten().tolist()
        if alone:
            raise RunError(f"{step.label}: `{ids[alone[0]]}` has no wrong answer in the train split")
    draft.save(
        {
            "t2v/items": mined.t2v.items,
            "t2v/scores": mined.t2v.scores,
            "v2t/items": mined.v2t.items,
            "v2t/scores": mined.v2t.scores,
            "own": mined.own,
        }
    )
    draft.info |= {"label": step.label}


def _mixed(workspace: Workspace, step: Step[MineInputs], rows: Kept, width: int) -> Iterator[tuple[slice, Tensor]]:
    """(columns, the first stage's scores [B_t, columns]) of the train split, before any score transform."""
    weights: Mapping[str, float] = step.fields["first_stage"]
    streams = []
    for name, source in step.payload.sources.items():
        inputs = step.inputs.interactions[name]
        model, interaction = loaded_model(workspace, inputs.fit, source)
        features = read_features(workspace, rows, inputs.features)
        sides = Sides(interaction, *features, model, workspace.device, step.label)
        streams.append(score_blocks(sides, [source.config], width))
    for blocks in zip(*streams, strict=True):
        scores = torch.stack([w * block[0] for w, (_, block) in zip(weights.values(), blocks, strict=True)]).sum(0)
        refuse_non_finite(scores, step.label, rows.text_ids)
        yield blocks[0][0], scores
