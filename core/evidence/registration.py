"""What was claimed before the test split was scored: claims, family, correction.

Lines of JSON in the store that are only ever added to, in `registrations.jsonl` and a copy, because nothing else could
tell again what stood in a damaged line. A claim is one line, the family of an experiment's variants another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..contract.store import append_twice, digest, read_twice
from ..engine.plan import Plan
from ..experiment.hypotheses import Hypothesis
from ..experiment.selection import Variant
from .ledger import Line, arms_scored, moment, on_split, scorings, times_scored
from .recognition import arm_of, is_same_arm, is_same_split, keep, split_scored


def register(plan: Plan) -> None:
    """Write down every hypothesis that was not yet, and the family where it is another than the last; a claim that
    comes after a scoring of its split is post hoc."""
    keep(plan)
    earlier_lines = registered(plan)
    claimed = {_identity(plan, hypothesis): hypothesis for hypothesis in plan.hypotheses}
    marks, complete = _marks(earlier_lines), {line["hypothesis"] for line in earlier_lines if "arms" in line}
    fresh = {identity: hypothesis for identity, hypothesis in claimed.items() if identity not in marks}
    ledger = scorings(plan) if fresh else []
    if lines := [_line(plan, i, h, _comes_late(plan, h, ledger)) for i, h in fresh.items()]:
        append_twice(_registrations(plan), lines)
    more = [_line(plan, i, h, marks[i]) for i, h in claimed.items() if i in marks and i not in complete]
    if more := [*more, *_new_family(plan)]:
        with suppress(OSError):  # a finished store that is read-only can still be read
            append_twice(_registrations(plan), more)


def _line(plan: Plan, identity: str, hypothesis: Hypothesis, late: bool) -> Line:
    return {
        "experiment": plan.experiment.name,
        "hypothesis": identity,
        "name": hypothesis.name,
        "claim": f"{hypothesis.name}: {hypothesis}",
        "kind": hypothesis.kind,
        "metric": hypothesis.metric,
        "arms": [arm_of(plan, variant) for variant in hypothesis.arms],
        "seeds": list(plan.experiment.seeds),
        "split": split_scored(plan, hypothesis.variant.name),
        "post_hoc": late,
        "registration": registration_digest(plan),
        "time": time.time(),
    }


def _marks(lines: Sequence[Line]) -> dict[str, bool]:
    """{claim: whether it was post hoc when it was first written down}"""
    marks: dict[str, bool] = {}
    for line in lines:
        marks.setdefault(line["hypothesis"], line["post_hoc"])
    return marks


def _comes_late(plan: Plan, hypothesis: Hypothesis, ledger: Sequence[Line]) -> bool:
    """Whether its experiment has scored the split before, or all its variants have been, whoever's and whichever seeds
    they had."""
    if times_scored(plan, hypothesis.variant.name, plan.experiment.name):
        return True
    return all(_known(plan, arm) for arm in hypothesis.arms) or arms_scored(plan, hypothesis.arms, ledger)


def _known(plan: Plan, variant: Variant) -> bool:
    steps = [step for trial in plan.trials_of(variant) for step in trial.last.inputs.values()]
    return any(step.ready(plan.workspace.store) for step in steps)


def _new_family(plan: Plan) -> list[Line]:
    """The line of a plan's family; none where the last one says the same, or nothing can be tested."""
    family = {
        "experiment": plan.experiment.name,
        "family": {v.name: arm_of(plan, v) for v in plan.variants if not v.is_baseline},
        "baseline": baseline_names(plan),
        "compared_with": baseline_arms(plan),
        "primary": plan.experiment.evaluate.primary,
        "correction": plan.experiment.evaluate.correction,
        "split": split_scored(plan, plan.baselines[0].name),
    }
    last = families(plan)[-1:]
    same = last and {name: value for name, value in last[0].items() if name != "time"} == family
    return [] if same or not family["family"] else [family | {"time": time.time()}]


def baseline_names(plan: Plan) -> str:
    return "; ".join(variant.name for variant in plan.baselines)


def baseline_arms(plan: Plan) -> str | list[str]:
    """What a registration keeps of the baselines: the arm, a list where there are several."""
    arms = [arm_of(plan, variant) for variant in plan.baselines]
    return arms[0] if len(arms) == 1 else arms


def are_baselines(plan: Plan, registered: str | list[str]) -> bool:
    """Whether the baselines are those of a registration, whatever they are called."""
    arms = [registered] if isinstance(registered, str) else registered
    same = (is_same_arm(plan, variant, arm) for variant, arm in zip(plan.baselines, arms, strict=False))
    return len(arms) == len(plan.baselines) and all(same)


def post_hoc(plan: Plan) -> set[str]:
    """Names of hypotheses that were registered after their split had been scored, or never."""
    marks = _marks(registered(plan))
    return {h.name for h in plan.hypotheses if marks.get(_identity(plan, h), True)}


def earlier_tries(plan: Plan, hypothesis: Hypothesis) -> list[str]:
    """Registrations of the same claim whose arms were scored before this one was registered: `try_1 (seed 0)`.

    The same by arms, but for seeds and values that differ by less than a per cent, metric, kind and split.
    """
    lines, own = registered(plan), _identity(plan, hypothesis)
    since = next((moment(line) for line in lines if line["hypothesis"] == own), float("inf"))
    before = [line for line in lines if moment(line) < since and line["hypothesis"] != own]
    tries = [line for line in before if is_same_claim(plan, hypothesis, line)]
    ledger = [line for line in scorings(plan) if moment(line) < since] if tries else []
    scored = {(line["experiment"], line.get("arm")) for line in ledger}
    scored_tries = [line for line in tries if all((line["experiment"], arm) in scored for arm in line["arms"])]
    return list(dict.fromkeys(f"{line['experiment']} ({_seeds(line['seeds'])})" for line in scored_tries))


def _seeds(seeds: Sequence[int]) -> str:
    return f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}"


def is_same_claim(plan: Plan, hypothesis: Hypothesis, line: Line) -> bool:
    """Whether a registered line makes the claim of a hypothesis, whatever it is called and whatever its bound."""
    if (line.get("kind"), line.get("metric")) != (hypothesis.kind, hypothesis.metric):
        return False
    if len(line["arms"]) != len(hypothesis.arms) or not is_same_split(plan, hypothesis.variant.name, line["split"]):
        return False
    return all(is_same_arm(plan, v, arm) for v, arm in zip(hypothesis.arms, line["arms"], strict=True))


def withdrawn(plan: Plan) -> list[str]:
    """Claims that this experiment registered, before it was scored, and no longer makes: they left its family."""
    return [line["claim"] for line in withdrawn_lines(plan)]


def withdrawn_lines(plan: Plan) -> list[Line]:
    """The lines of `withdrawn`."""
    own = [line for line in registered(plan) if line["experiment"] == plan.experiment.name and not line["post_hoc"]]
    splits = {line["split"] for line in own}
    claimed = {_identity_on(plan, hypothesis, split) for hypothesis in plan.hypotheses for split in splits}
    mine = {line["hypothesis"]: line for variant in plan.variants for line in on_split(plan, variant.name, own)}
    left = [line for identity, line in mine.items() if identity not in claimed]
    return sorted(left, key=moment)


def registration_digest(plan: Plan) -> str:
    """One digest of hypotheses, primary metric, seeds, family and its correction."""
    experiment = plan.experiment
    claims = sorted(hypothesis.digest for hypothesis in plan.hypotheses)
    family = [experiment.evaluate.correction, *sorted(variant.name for variant in plan.variants)]
    return digest([claims, experiment.evaluate.primary, list(experiment.seeds), family])


def _identity(plan: Plan, hypothesis: Hypothesis) -> str:
    return _identity_on(plan, hypothesis, split_scored(plan, hypothesis.variant.name))


def _identity_on(plan: Plan, hypothesis: Hypothesis, split: str) -> str:
    return digest([plan.experiment.name, hypothesis.digest, split])


def registered(plan: Plan) -> list[Line]:
    """The claims that `register` wrote, oldest first; those of a store from before have no `arms`."""
    return read_twice(_registrations(plan), "experiment", "hypothesis", "claim", "split", "post_hoc")


def families(plan: Plan) -> list[Line]:
    """The families that an experiment of this name registered, oldest first."""
    names = ("experiment", "family", "baseline", "compared_with", "primary", "correction", "split")
    lines = read_twice(_registrations(plan), *names)
    return [line for line in lines if line["experiment"] == plan.experiment.name]


def _registrations(plan: Plan) -> Path:
    return plan.workspace.store.root / "registrations.jsonl"
