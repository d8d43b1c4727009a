"""Claims that cannot come out, whatever is measured: told before a run, from what is known before it.

Each check reads a claim and the split that it is about, and gives a clause for what makes it vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.components import Split
from ..experiment.hypotheses import Hypothesis
from ..experiment.selection import Variant, flat_configuration
from ..measure.metrics import COSTS, Metric, metric
from ..measure.significance import detectable_difference
from .plan import Plan, PlannedTrial

LEAST_CLUSTERS = 6
"""The signs of five differences can be flipped in 32 ways: the smallest two-sided p is .0625."""
DISCORDANCE = 0.15
LEAST_SHOWN = 10.0
"""Points: two epochs are seldom further apart."""


@dataclass(frozen=True)
class Asked:
    """A claim with what its metric asks of which split."""

    plan: Plan
    hypothesis: Hypothesis
    split: Split

    @property
    def metric(self) -> Metric:
        return metric(self.hypothesis.metric)

    @property
    def direction(self) -> str:
        return self.hypothesis.metric.partition("/")[0]

    @property
    def queries(self) -> int:
        return len(self.split.texts if self.direction == "t2v" else self.split.videos)

    @property
    def gallery(self) -> int:
        return len(self.split.videos if self.direction == "t2v" else self.split.texts)

    @cached_property
    def clusters(self) -> int:
        return len(cluster_sizes(self.split, self.direction))


def cluster_sizes(split: Split, direction: str) -> NDArray[np.int64]:
    """Queries of each unit of the test, [units]: of each video that captions were written for, whatever else answers
    them; a video that is asked for stands for itself."""
    if direction == "v2t":
        return np.ones(len(split.videos), dtype=np.int64)
    captions = np.bincount([text.video for text in split.texts])
    return captions[captions > 0]


Check = Callable[[Asked], Iterator[str]]


def foreseen(plan: Plan) -> dict[str, list[str]]:
    """{hypothesis: why it cannot come out}, of those that cannot; empty where the data set is not made yet."""
    if not plan.trials:
        return {}
    reasons_by_name = {h.name: [why for check in CHECKS for why in check(_asked(plan, h))] for h in plan.hypotheses}
    return {name: reasons for name, reasons in reasons_by_name.items() if reasons}


def _asked(plan: Plan, hypothesis: Hypothesis) -> Asked:
    return Asked(plan, hypothesis, _scored(plan, hypothesis.variant))


def _scored(plan: Plan, variant: Variant) -> Split:
    return plan.trials_of(variant)[0].split


# ------------------------------------------------------------------------------------------------ checks


def _too_few(asked: Asked) -> Iterator[str]:
    """Fewer independent queries than any test needs."""
    if asked.hypothesis.metric not in COSTS and asked.clusters < LEAST_CLUSTERS:
        smallest = 2.0 ** (1 - asked.clusters)
        yield f"{asked.clusters} independent queries are too few: no p is below {smallest:g}; {LEAST_CLUSTERS} at least"


def _below_a_step(asked: Asked) -> Iterator[str]:
    """A margin that one query of one trial would break."""
    if asked.metric.family != "R" or asked.hypothesis.kind not in ("no_worse", "equivalent"):
        return
    step = 100 / asked.queries
    if asked.hypothesis.bound < step:
        yield f"a bound of {asked.hypothesis.bound:g} is less than one of {asked.queries:,} queries, {step:.3g} points"


def _whole_gallery(asked: Asked) -> Iterator[str]:
    """R@K where K takes everything: each arm has 100."""
    if asked.metric.family == "R" and asked.metric.cutoff >= asked.gallery:
        side = "videos" if asked.direction == "t2v" else "texts"
        yield f"{asked.metric.name} looks at all {asked.gallery:,} {side}: it is 100 for every arm"


def _equal_arms(asked: Asked) -> Iterator[str]:
    """Arms that rank alike by construction: the gain over one of the other is 0."""
    if asked.hypothesis.metric in COSTS:
        return
    arms = asked.hypothesis.arms  # two, or for `larger_gain` four: each gain is that of one over the next
    for arm, other in zip(arms[::2], arms[1::2], strict=True):
        if _ranks(asked, arm) == _ranks(asked, other):
            yield f"{arm.name} and {other.name} rank by the same scores"
        elif _effective(asked, arm) == _effective(asked, other):
            reason = "re-ranking one candidate moves none, and there are no more than the whole gallery"
            yield f"{arm.name} and {other.name} rank alike by construction: {reason}"


def _ranks(asked: Asked, variant: Variant) -> list[list[str]]:
    return [[step.key for step in trial.last.inputs.values()] for trial in asked.plan.trials_of(variant)]


def _effective(asked: Asked, variant: Variant) -> Mapping[str, Any]:
    """A configuration without a re-ranking that can move nothing, and with no more candidates than there are.

    Of a trained reranker, whose weight is chosen on another gallery, candidates are left as they are.
    """
    values = flat_configuration(variant)
    depth = values.get("retrieve.rerank.top_k")
    if depth == 1:
        values = {key: value for key, value in values.items() if not key.startswith("retrieve.rerank")}
        return values | {"retrieve.rerank": None}
    if depth is not None and not any(key.startswith("retrieve.rerank.alphas") for key in values):
        both = values["retrieve.candidates_from"] == "text_side"
        there = max(asked.gallery, asked.queries) if both else asked.gallery
        values["retrieve.rerank.top_k"] = min(depth, there)
    return values


def _no_room(asked: Asked) -> Iterator[str]:
    """A baseline so high that nothing can exceed it by enough, or as low as chance, as far as is known of it."""
    kind, bound, other = asked.hypothesis.kind, asked.hypothesis.bound, asked.hypothesis.other
    if asked.metric.family != "R" or (record := _known_value(asked.plan, other, asked.hypothesis.metric)) is None:
        return
    value, source = record
    chance = 100 * min(1.0, asked.metric.cutoff / asked.gallery)
    if kind == "better" and value + bound >= 100:
        yield f"{other.name} is at the ceiling: {value:.1f} ({source})"
    elif kind in ("no_worse", "equivalent") and value <= chance:
        yield f"{other.name} is at chance: {value:.1f} ({source}), where anything is as good"


def _known_value(plan: Plan, variant: Variant, name: str) -> tuple[float, str] | None:
    """What the store knows a variant to score on a metric: on the scored split, else on the one it was chosen on."""
    store, trials = plan.workspace.store, plan.trials_of(variant)
    tested = [store.read("evaluate", t.last.key).json()["metrics"] for t in trials if t.last.ready(store)]
    values = [metrics[name] for metrics in tested if name in metrics]
    if values:
        return float(np.mean(values)), "an earlier result"
    if name != variant.experiment.evaluate.primary:
        return None
    chosen = [value for trial in trials for value in _validated(plan, trial)]
    return (float(np.mean(chosen)), f"on {variant.experiment.train.select_on}") if chosen else None


def _validated(plan: Plan, trial: PlannedTrial) -> Iterator[float]:
    """The best validation result of a trial's fit, where it is there."""
    store = plan.workspace.store
    for step in trial.last.walk():
        if step.name == "fit" and step.ready(store):
            history = store.read("fit", step.key).json("history.json")
            seen = [record["validation"] for record in history if "validation" in record]
            if seen:
                yield max(seen)


CHECKS: tuple[Check, ...] = (_too_few, _below_a_step, _whole_gallery, _equal_arms, _no_room)


# ------------------------------------------------------------------------------------------------ epochs


def epoch_difference(videos: int) -> float:
    """The smallest difference between two epochs, in points of R@k, that a split of so many videos shows."""
    return min(100.0, detectable_difference(videos, DISCORDANCE))


def small_validation(plan: Plan) -> list[str]:
    """Sentences on splits that epochs are chosen on and that are too small to tell them apart."""
    sentences = []
    for variant in plan.variants:
        train = variant.experiment.train
        fitted = any(step.name == "fit" for step in plan.trials_of(variant)[0].last.walk())
        split = plan.workspace.splits(variant.experiment.data.dataset).get(train.select_on)
        if not fitted or train.keep != "best" or split is None:
            continue
        points = epoch_difference(len(split.videos))
        if points > LEAST_SHOWN:
            sentences.append(
                f"{train.select_on} is too small to tell epochs apart: {len(split.videos)} videos show a difference of "
                f"{points:.0f} points, where {DISCORDANCE:.0%} of the queries differ; train.keep: best takes one by "
                "luck"
            )
    return list(dict.fromkeys(sentences))
