"""What an interaction compares, read from what is stored; and scores of all pairs, block by block into their files."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...contract.components import Interaction, Split
from ...contract.features import TextFeatures, VideoFeatures
from ...contract.store import Draft
from ...contract.tensorfile import map_tensors
from ...errors import RunError
from ..scoring import Sides, score_blocks
from .retrieval import ScoreSource, feature_steps, features_of, loaded_model
from .split import kept, read_features
from .step import Step, Workspace


def sides_of(workspace: Workspace, step: Step) -> Sides[Interaction]:
    """What a step's interaction compares, with its trained weights: texts and videos of a split, or on one side those
    of a bank."""
    source: ScoreSource = step.payload
    model, interaction = loaded_model(workspace, step.inputs, source)
    features = features_of(workspace, step) if source.bank is None else _with_bank(workspace, step, source.bank)
    return Sides(interaction, *features, model, workspace.device, step.label)


def _with_bank(workspace: Workspace, step: Step, bank: Split) -> tuple[TextFeatures, VideoFeatures]:
    """Those that ask are of a bank, those that are asked of the step's own split."""
    source: ScoreSource = step.payload
    steps, texts_ask = feature_steps(step.inputs), source.direction == "t2v"
    asking = {name: step for name, step in steps.items() if name.startswith("text/" if texts_ask else "video/")}
    asked = {name: step for name, step in steps.items() if name not in asking}
    queries = read_features(workspace, kept(workspace, bank, asking), asking)
    gallery = read_features(workspace, kept(workspace, source.split, asked), asked)
    return (queries[0], gallery[1]) if texts_ask else (gallery[0], queries[1])


def score(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
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


def refuse_non_finite(scores: Tensor, label: str, ids: Sequence[str]) -> None:
    bad = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"{label}: a score of query `{ids[bad[0]]}` is NaN or infinite ({len(bad)} queries have such)")
