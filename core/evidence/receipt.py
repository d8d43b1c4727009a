"""`registration.json`: what an experiment registered, as a small file that can be put where time is kept.

The store's own registrations can be deleted with the store. This file can be sent or committed before the run, and
`python -m core.run --registered FILE` refuses an experiment that is no longer what it says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..contract.repository import git_state
from ..contract.store import digest, write_atomically
from ..engine.plan import Plan
from ..errors import ConfigError, Problem
from ..experiment.hypotheses import Hypothesis
from .hiding import hidden_in, hiding
from .recognition import arm_of, content_scored, split_scored
from .registration import baseline_arms, baseline_names, post_hoc, registration_digest

RECEIPT = "registration.json"
COMPARED = ("experiment", "seeds", "primary", "correction", "baseline", "family", "claims", "splits")


def receipt(plan: Plan) -> str:
    """The text of `registration.json`: digests and words of claims, family, metric, seeds, split and code."""
    late = post_hoc(plan)
    names = [variant.name for variant in plan.variants if not variant.is_baseline]
    contents = {split_scored(plan, v.name): content_scored(plan, v.name) for v in plan.variants}
    sizes = {split: f"{len(items.texts)} texts, {len(items.videos)} videos" for split, items in contents.items()}
    values = _facts(plan)
    state = None if plan.experiment.anonymous else git_state(Path.cwd())
    told = {
        "claims": [f"{h.name}: {h}{' (post hoc)' if h.name in late else ''}" for h in plan.hypotheses],
        "baseline": baseline_names(plan),
        "family": names,
        "splits": sizes,
    }
    registered = {"registered as": registration_digest(plan)}  # as the report and MLflow call it
    whole = {"digest": digest(values), **values, **registered, "in words": hidden_in(told, hiding(plan))}
    if state is not None:
        whole |= {"commit": state.commit, "with changes that are in none": state.dirty}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _facts(plan: Plan) -> dict[str, Any]:
    """What is compared: names of variants and claims, and where the data lie, are no part of it."""
    experiment = plan.experiment
    return {
        "experiment": experiment.name,
        "seeds": list(experiment.seeds),
        "primary": experiment.evaluate.primary,
        "correction": experiment.evaluate.correction,
        "baseline": baseline_arms(plan),
        "family": sorted(arm_of(plan, variant) for variant in plan.variants if not variant.is_baseline),
        "claims": sorted(_claimed(plan, hypothesis) for hypothesis in plan.hypotheses),
        "splits": sorted({split_scored(plan, variant.name) for variant in plan.variants}),
    }


def _claimed(plan: Plan, hypothesis: Hypothesis) -> str:
    arms = [arm_of(plan, variant) for variant in hypothesis.arms]
    return digest([hypothesis.kind, hypothesis.metric, hypothesis.bound, arms])


def write_receipt(plan: Plan, folder: Path) -> None:
    """Write `registration.json` to the folder of an experiment's files, before anything is scored."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / RECEIPT, receipt(plan))


def check_registered(plan: Plan, file: str) -> str:
    """What is to be told of an experiment that is what the file says, whose commit may be another.

    Raises ConfigError with all that differs, and for a file that is no `registration.json`.
    """
    receipt_values = _read(file)
    if not plan.trials:
        return f"{file} can be compared once the data set is made: its splits are digests of texts and videos"
    problems = list(_differences(receipt_values, _facts(plan), plan, file))
    if problems:
        raise ConfigError(problems)
    state = None if plan.experiment.anonymous else git_state(Path.cwd())
    told = f"Registered: {file} says the same (digest {receipt_values['digest']})"
    if state is not None and receipt_values.get("commit") not in (None, state.commit):
        return f"{told}; it was written at commit {str(receipt_values['commit'])[:10]}, this is {state}"
    return told


def _read(file: str) -> dict[str, Any]:
    try:
        values = json.loads(Path(file).read_text(encoding="utf-8"))
        if not isinstance(values, dict) or digest({name: values[name] for name in COMPARED}) != values["digest"]:
            raise ValueError("its digest is not that of what stands in it")
    except OSError as fault:
        raise ConfigError(Problem("--registered", f"cannot be read: {fault.strerror}", file)) from None
    except (ValueError, KeyError) as fault:
        why = f"`{fault.args[0]}` is missing" if isinstance(fault, KeyError) else fault
        reason = f"is no {RECEIPT} as it was written: {why}; take the one from the report's folder"
        raise ConfigError(Problem("--registered", reason, file)) from None
    return values


def _differences(receipt_values: dict[str, Any], facts: dict[str, Any], plan: Plan, file: str) -> Iterator[Problem]:
    words = {_claimed(plan, h): f"{h.name}: {h}" for h in plan.hypotheses}
    words |= {arm_of(plan, variant): variant.name for variant in plan.variants}
    for name in COMPARED:
        if receipt_values[name] == facts[name]:
            continue
        if name not in ("family", "claims", "splits"):
            current = baseline_names(plan) if name == "baseline" else facts[name]
            yield Problem(name, f"{receipt_values[name]} was registered, the experiment has {current}", file)
            continue
        lost = [item for item in receipt_values[name] if item not in facts[name]]
        new = [words.get(item, item) for item in facts[name] if item not in receipt_values[name]]
        counts = [f"{len(lost)} of {len(receipt_values[name])} registered are not there"] if lost else []
        counts += [f"not registered: {'; '.join(new)}"] if new else []
        yield Problem(name, ", ".join(counts) or "stand there another number of times", file)
