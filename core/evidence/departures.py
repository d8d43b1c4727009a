"""What an experiment registered, had scored, and no longer says: variants, claims, correction, metric, baseline."""

from __future__ import annotations

from ..engine.plan import Plan
from .ledger import Line, moment, on_baselines, scorings
from .recognition import is_same_arm
from .registration import are_baselines, baseline_names, families, is_same_claim, withdrawn_lines

SETTINGS = {"correction": "the correction", "primary": "the primary metric", "baseline": "the baseline"}


def dropped_variants(plan: Plan) -> list[str]:
    """Names of variants that were in the family, have been scored, and are compared no longer.

    One that goes by another name, has other seeds or is a near twin is still there.
    """
    lines = _own_scorings(plan)
    scored = {line["variant"] for line in lines}
    members = {name: arm for line in families(plan) for name, arm in line["family"].items() if name in scored}
    return [name for name, arm in members.items() if not _is_there(plan, name, arm)]


def _is_there(plan: Plan, name: str, arm: str) -> bool:
    return any(name in (v.name, *v.aliases) or is_same_arm(plan, v, arm) for v in plan.variants)


def dropped_claims(plan: Plan) -> list[str]:
    """Claims that were registered in time and tested, whose scores are known and which no hypothesis makes any longer,
    under its name or by its substance: members of the family of claims for ever."""
    scored = {line.get("arm") for line in _own_scorings(plan)}
    names = {hypothesis.name for hypothesis in plan.hypotheses}
    return [line["claim"] for line in withdrawn_lines(plan) if _is_member(line) and _left(plan, line, names, scored)]


def _is_member(line: Line) -> bool:
    """Whether a claim has a p. A line of a store from before does not tell."""
    return "arms" in line and line["kind"] != "cheaper"


def _left(plan: Plan, line: Line, names: set[str], scored: set[str | None]) -> bool:
    there = line["name"] in names or any(is_same_claim(plan, hypothesis, line) for hypothesis in plan.hypotheses)
    return not there and all(arm in scored for arm in line["arms"])


def changed_settings(plan: Plan) -> list[str]:
    """Correction, primary metric and baseline that are others than when the split was first scored, in words."""
    lines, registered = _own_scorings(plan), families(plan)
    if not lines or not registered:
        return []
    first = min(map(moment, lines))
    then = next((line for line in reversed(registered) if moment(line) <= first), registered[0])
    evaluate = plan.experiment.evaluate
    now = {"correction": evaluate.correction, "primary": evaluate.primary, "baseline": baseline_names(plan)}
    differing = [name for name in SETTINGS if then[name] != now[name]]
    if "baseline" in differing and are_baselines(plan, then["compared_with"]):
        differing.remove("baseline")
    return [f"{SETTINGS[name]} was registered as {then[name]} and is {now[name]}" for name in differing]


def _own_scorings(plan: Plan) -> list[Line]:
    """What the ledger has of this experiment on the baselines' splits."""
    lines = [line for line in scorings(plan) if line["experiment"] == plan.experiment.name and "variant" in line]
    return on_baselines(plan, lines)
