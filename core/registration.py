"""What was claimed before the test split was scored, and how often it was scored.

Both are lines of JSON in the store that are only ever added to: `registrations.jsonl` and `ledger.jsonl`, each with a
copy, because nothing else could tell again what stood in a damaged line.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from .hypotheses import Hypothesis
from .plan import Plan, Trial
from .store import append_twice, digest, read_twice
from .variants import Variant


def register(plan: Plan) -> None:
    """Write down every hypothesis that was not yet; one that comes after a scoring of its split is post hoc."""
    known = {line["hypothesis"] for line in _registered(plan)}
    fresh = {_identity(plan, hypothesis): hypothesis for hypothesis in plan.hypotheses}
    lines = [
        {
            "experiment": plan.experiment.name,
            "hypothesis": identity,
            "claim": f"{hypothesis.name}: {hypothesis}",
            "split": split_scored(plan, hypothesis.variant.name),
            "post_hoc": _comes_late(plan, hypothesis),
            "registration": registration_digest(plan),
            "time": time.time(),
        }
        for identity, hypothesis in fresh.items()
        if identity not in known
    ]
    if lines:
        append_twice(_registrations(plan), lines)


def _comes_late(plan: Plan, hypothesis: Hypothesis) -> bool:
    """Whether its experiment has scored the split before, or the store has results of all its variants, whoever's."""
    if times_scored(plan, hypothesis.variant.name, plan.experiment.name):
        return True
    return all(_known(plan, variant) for variant in hypothesis.arms)


def _known(plan: Plan, variant: Variant) -> bool:
    ranks = [rank for trial in plan.trials_of(variant) for rank in trial.last.inputs.values()]
    return any(rank.ready(plan.workspace.store) for rank in ranks)


def post_hoc(plan: Plan) -> set[str]:
    """Names of hypotheses that were registered after their split had been scored, or never."""
    marks: dict[str, bool] = {}
    for line in _registered(plan):
        marks.setdefault(line["hypothesis"], line["post_hoc"])
    return {h.name for h in plan.hypotheses if marks.get(_identity(plan, h), True)}


def withdrawn(plan: Plan) -> list[str]:
    """Claims that this experiment registered, before it was scored, and no longer makes: they left its family."""
    claimed = {_identity(plan, hypothesis) for hypothesis in plan.hypotheses}
    splits = {split_scored(plan, variant.name) for variant in plan.variants}
    lines = [line for line in _registered(plan) if line["experiment"] == plan.experiment.name]
    mine = {line["hypothesis"]: line for line in lines if line["split"] in splits and not line["post_hoc"]}
    return [line["claim"] for identity, line in mine.items() if identity not in claimed]


def registration_digest(plan: Plan) -> str:
    """One digest of hypotheses, primary metric, seeds, family and its correction."""
    experiment = plan.experiment
    claims = sorted(hypothesis.digest for hypothesis in plan.hypotheses)
    family = [experiment.evaluate.correction, *sorted(variant.name for variant in plan.variants)]
    return digest([claims, experiment.evaluate.primary, list(experiment.seeds), family])


def enter(plan: Plan, trial: Trial) -> None:
    """Count one scoring of a test split. What the store gave again is the same scoring."""
    if trial.variant.experiment.evaluate.split != "test":
        return
    name, key = plan.experiment.name, trial.last.key
    entered = plan.workspace.once(("entered", name), lambda: _entered(plan, name))
    if key not in entered:
        entered.add(key)
        line = {"experiment": name, "trial": key, "variant": trial.variant.name}
        split = split_scored(plan, trial.variant.name)
        append_twice(_ledger(plan), [line | {"split": split, "time": time.time()}])


def _entered(plan: Plan, experiment: str) -> set[str]:
    """Keys of an experiment's trials in the ledger. Another process may add one of them again: `times_scored` counts
    keys, not lines."""
    return {line["trial"] for line in _scorings(plan) if line["experiment"] == experiment}


def times_scored(plan: Plan, variant: str, experiment: str | None = None) -> int:
    """How many trials, of one experiment or of any, this store saw scored on the split that a variant is tested on."""
    split = split_scored(plan, variant)
    lines = [line for line in _scorings(plan) if line["split"] == split]
    return len({line["trial"] for line in lines if experiment in (None, line["experiment"])})


def split_scored(plan: Plan, variant: str) -> str:
    """Digest of a variant's scored videos and texts, and of what is relevant among them."""
    found = scored(plan, variant)
    return digest([found["relevance"], sorted({found["texts"], found["videos"]})])


def scored(plan: Plan, variant: str) -> dict[str, str]:
    """Digests of the `texts` and the `videos` that a variant is scored on, by content, and of the `relevance` among
    them; whatever is read of them, and whatever encodes them."""
    rank = next(iter(plan.trials_of(variant)[0].last.inputs.values()))
    split, workspace = rank.payload.split, plan.workspace

    def content() -> dict[str, str]:
        paths = [video.path for video in split.videos]
        files = workspace.once(("files", *paths), lambda: workspace.digests.of(paths))
        return {"texts": digest([text.text for text in split.texts]), "videos": digest(files)}

    return {"relevance": rank.fields["relevance"], **workspace.once(("scored", id(split)), content)}


def _identity(plan: Plan, hypothesis: Hypothesis) -> str:
    return digest([plan.experiment.name, hypothesis.digest, split_scored(plan, hypothesis.variant.name)])


def _registered(plan: Plan) -> list[dict[str, Any]]:
    """What `register` wrote, oldest first."""
    return read_twice(_registrations(plan), "experiment", "hypothesis", "claim", "split", "post_hoc")


def _scorings(plan: Plan) -> list[dict[str, Any]]:
    """What `enter` wrote."""
    return read_twice(_ledger(plan), "experiment", "trial", "split")


def _registrations(plan: Plan) -> Path:
    return plan.workspace.store.root / "registrations.jsonl"


def _ledger(plan: Plan) -> Path:
    return plan.workspace.store.root / "ledger.jsonl"
