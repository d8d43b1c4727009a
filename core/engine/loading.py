"""The encoder of a plan, with trained weights."""

from __future__ import annotations

from ..contract.components import Encoder
from .execute import ensure_after_others
from .plan import Plan
from .steps.weights import loaded_encoder


def trained_encoder(plan: Plan) -> Encoder:
    """The encoder of a plan's first trial, as trained where it was, on the CPU.

    Raises UserError where its training is not in the store and fails.
    """
    trial = plan.trials[0]
    encoder = plan.workspace.encoder(next(iter(trial.variant.experiment.encoder.values())))
    fits = [step for step in trial.last.walk() if step.name == "fit" and encoder.config.trainable]
    for fit in fits:
        ensure_after_others(plan, plan.steps[fit.name, fit.key])
    return loaded_encoder(plan.workspace, encoder, trial.seed or 0, fits[0] if fits else None).to("cpu")
