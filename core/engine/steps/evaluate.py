"""Evaluate: the metrics that rank counts of each direction give, with what else was measured of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contract.settings import plain
from ...contract.store import Draft
from ...experiment.config import PROSE
from ...measure.metrics import RankCounts, per_query, summarise
from .diagnose import diagnose_step
from .efficiency import efficiency_step
from .rank import COUNTS, rank_step
from .seeded import SeededVariant, once_a_trial
from .split import rows_of
from .step import Inputs, Step, Workspace

VERSION = 4
FACTS = {"ceiling": "ceilings", "index_recall": "index_recalls"}
"""What a rank step may say of its direction, and where evaluation says it of all."""


@dataclass(frozen=True, kw_only=True)
class EvaluateInputs(Inputs):
    """Ranks by direction, diagnoses by interaction, and costs where they are asked for."""

    flat_names = {"ranks": ""}
    ranks: Mapping[str, Step]
    diagnose: Mapping[str, Step] = field(default_factory=dict)
    efficiency: Step | None = None


@once_a_trial
def evaluate_step(trial: SeededVariant) -> Step[EvaluateInputs]:
    """The trial's last step; the others hang from it."""
    settings = trial.experiment.evaluate
    primary_direction, _, primary = settings.primary.partition("/")
    directions = list(dict.fromkeys([*settings.directions, primary_direction]))
    diagnosed = dict.fromkeys(diagnostic.rpartition(".")[0] for diagnostic in settings.diagnostics)
    fields: dict[str, Any] = {
        "metrics": list(dict.fromkeys([*settings.metrics, primary])),
        "ties": settings.ties,
        "split": settings.split,
        "directions": directions,
    } | ({"diagnostics": list(settings.diagnostics)} if settings.diagnostics else {})
    return Step(
        name="evaluate",
        version=VERSION,
        fields=fields,
        inputs=EvaluateInputs(
            ranks={direction: rank_step(trial, direction) for direction in directions},
            diagnose={name: diagnose_step(trial, name) for name in diagnosed},
            efficiency=efficiency_step(trial) if settings.efficiency else None,
        ),
        compute=compute,
        label=trial.labelled("evaluate"),
        payload=trial.source(),
        varies_within_group=("directions", "diagnostics", "ranks", "diagnose", "efficiency"),
    )


def compute(workspace: Workspace, members: list[Step[EvaluateInputs]], drafts: list[Draft]) -> None:
    """Metrics as `result.json`, per-query values as tensors `<direction>/<metric>`, and the video of each query."""
    for step, draft in zip(members, drafts, strict=True):
        rows = rows_of(workspace, next(iter(step.inputs.ranks.values())))
        tensors, facts = _per_query(workspace, step)
        metrics = {name: summarise(values.numpy(), name) for name, values in tensors.items()}
        units = {"t2v": rows.own, "v2t": torch.arange(len(rows.videos))}  # the unit is the video, whoever is relevant
        measured = dict.fromkeys(name.partition("/")[0] for name in tensors)
        draft.save(tensors | {f"{direction}/clusters": units[direction] for direction in measured})
        efficiency = step.inputs.efficiency
        costs = {} if efficiency is None else {"costs": workspace.read(efficiency).json()}
        counted = {"texts": len(rows.texts), "videos": len(rows.videos)}
        draft.json({"metrics": metrics, **facts, **costs, **counted})
        experiment = {k: v for k, v in plain(step.payload.experiment).items() if k == "name" or k not in PROSE}
        draft.json({"experiment": experiment, "seed": step.payload.seed}, "trial.json")
        draft.json({"texts": rows.text_ids, "videos": rows.video_ids, "skipped": rows.skipped}, "items.json")
        draft.info |= {"label": step.label}


def _per_query(
    workspace: Workspace, step: Step[EvaluateInputs]
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Values {`<direction>/<metric>`: [Q] float64} of each query, and of each direction that re-ranks the ceiling, and
    the recall of the index where there is one."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, dict[str, float]] = {name: {} for name in FACTS.values()}
    for direction in step.fields["directions"]:
        entry = workspace.read(step.inputs.ranks[direction])
        stored = entry.tensors()
        counts = RankCounts(**{name: stored[name].numpy() for name in COUNTS})
        for fact in FACTS.keys() & entry.info.keys():
            facts[FACTS[fact]][direction] = entry.info[fact]
        for name in step.fields["metrics"]:
            values = per_query(counts, name, step.fields["ties"])
            tensors[f"{direction}/{name}"] = torch.from_numpy(np.ascontiguousarray(values))
    for diagnostic in step.fields.get("diagnostics", ()):
        name, _, measure = diagnostic.rpartition(".")
        tensors[f"t2v/{diagnostic}"] = workspace.read(step.inputs.diagnose[name]).tensors()[measure].double()
    return tensors, facts
