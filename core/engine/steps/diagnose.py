"""Diagnose: what an interaction measures of each text with its own video."""

from __future__ import annotations

from ...contract.store import Draft
from ..scoring import diagnose_pairs
from .score import ScoreInputs, refuse_non_finite, scoring, sides_of
from .seeded import SeededVariant
from .split import rows_of
from .step import Step, Workspace

VERSION = 1


def diagnose_step(trial: SeededVariant, name: str) -> Step[ScoreInputs]:
    """What one interaction measures on the scored split."""
    fields, inputs, source = scoring(trial, name, trial.scored_split)
    return Step(
        name="diagnose",
        version=VERSION,
        fields=fields,
        inputs=inputs,
        compute=compute,
        label=trial.labelled(f"diagnose {name}"),
        payload=source,
    )


def compute(workspace: Workspace, members: list[Step[ScoreInputs]], drafts: list[Draft]) -> None:
    """Values [B_t] in percent, by name."""
    step, draft, rows = members[0], drafts[0], rows_of(workspace, members[0])
    sides = sides_of(workspace, step)
    sides.part.config = step.payload.config
    measured = diagnose_pairs(sides, rows.own)
    for values in measured.values():
        refuse_non_finite(values[:, None], step.label, rows.text_ids)
    draft.save({name: 100 * values for name, values in measured.items()})
    draft.info |= {"label": step.label}
