"""`--dry-run`: what a plan would compute, what the store has, how long it took before, and what the test could show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..contract.components import Split
from ..contract.store import Entry
from ..experiment.config import Experiment
from ..experiment.hypotheses import GUARDED
from ..measure.significance import detectable_difference, effective_number, smallest_margin
from .failures import known_failure
from .foreseen import cluster_sizes, foreseen, small_validation
from .plan import Plan
from .steps.seeded import SeededVariant
from .steps.step import Step
from .video import Sampling

DISCORDANCES = (0.05, 0.10, 0.15, 0.25)
SEED_SDS = (0.5, 1.0, 2.0)


def show_plan(plan: Plan) -> None:
    """Print variants, hypotheses, steps and the smallest differences that the test set could show."""
    experiment = plan.experiment
    seeds = ", ".join(map(str, experiment.seeds))
    print(f"{experiment.name}: {len(plan.variants)} variants, seeds {seeds}")
    for variant in plan.variants:
        trials = plan.trials_of(variant)
        done = sum(trial.last.ready(plan.workspace.store) for trial in trials)
        state = f"  {done} of {len(trials)} trials are in the store" if trials else ""
        untrained = "  (nothing to train: one trial)" if trials and trials[0].seed is None else ""
        print(f"  {variant.name}{'  [baseline]' if variant.is_baseline else ''}{state}{untrained}")
        for trial in trials:
            if failure := known_failure(plan.workspace.store, trial):
                print(f"    {trial.name} failed before: {failure}")
    vain = foreseen(plan)
    for hypothesis in plan.hypotheses:
        print(f"hypothesis {hypothesis.name}: {hypothesis}")
        for reason in vain.get(hypothesis.name, []):
            print(f"  cannot come out: {reason}")
    if not plan.trials:
        print("The data set is not made yet: every step would be computed, after it.")
        return
    _show_steps(plan)
    _show_power(plan)
    for sentence in small_validation(plan):
        print(f"Beware: {sentence}.")


def _show_steps(plan: Plan) -> None:
    new = plan.new_steps()
    entries = plan.workspace.store.entries()
    print(f"{len(new)} of {len(plan.steps)} steps would be computed:")
    total: Counter[str] = Counter(step.name for step in plan.steps.values())
    missing: Counter[str] = Counter(step.name for step in new)
    for name, count in total.items():
        expected = _expected(entries, name, missing[name])
        print(f"  {name:<11} {missing[name]:>4} new, {count - missing[name]:>4} there{expected}")
    for (label, partly), count in Counter((step.label.split(" [")[0], _extension(plan, step)) for step in new).items():
        print(f"    new: {label}{f' ({count} times)' if count > 1 else ''}{partly}")


def _extension(plan: Plan, step: Step) -> str:
    """What is said of a step whose output is there in part."""
    if step.top_k_stored is None or not plan.workspace.store.has(step.name, step.key):
        return ""
    return f", beyond the candidates that are there, up to {step.top_k_stored}"


def _expected(entries: list[Entry], name: str, count: int) -> str:
    """Time and disk that `count` steps would take, by the mean of those in the store."""
    like = [entry for entry in entries if entry.meta["step"] == name]
    if not count or not like:
        return ""
    seconds = count * sum(entry.meta["seconds"] for entry in like) / len(like)
    size = count * sum(entry.bytes for entry in like) / len(like) / 2**20
    return f"; about {seconds:.0f} s and {size:.1f} MiB, as before"


def _show_power(plan: Plan) -> None:
    """Of each of the data that are scored."""
    for baseline in plan.baselines:
        trial = plan.trials_of(baseline)[0]
        if len(plan.baselines) > 1:
            print(f"Where `{baseline.name}` is the baseline:")
        _show_power_on(plan, trial.split, baseline.experiment)
    _show_margins(plan)


def _show_power_on(plan: Plan, split: Split, experiment: Experiment) -> None:
    direction = experiment.evaluate.primary.partition("/")[0]
    units = effective_number(cluster_sizes(split, direction))
    print(f"{experiment.evaluate.split} split: {len(split.videos)} videos, {len(split.texts)} texts")
    print(f"{direction} queries count as {units:.0f} independent ones of equal size (the unit of the test)")
    differences = ", ".join(f"{detectable_difference(units, d):.1f} points at {100 * d:.0f} %" for d in DISCORDANCES)
    smallest = f"Smallest difference in {direction} recall seen with 80 % power"
    print(f"{smallest}, by the share of queries that differ: {differences}")
    seeds = _seeds(plan)
    if seeds > 1:
        least = [f"{detectable_difference(units, 0.15, seeds, sd):.1f} points at {sd:g}" for sd in SEED_SDS]
        print(
            f"With {seeds} seeds and 15 %, by the standard deviation of the difference over seeds: {', '.join(least)}"
        )


def _seeds(plan: Plan) -> int:
    return max(sum(trial.seed is not None for trial in plan.trials_of(variant)) for variant in plan.variants)


def _show_margins(plan: Plan) -> None:
    """Claims whose bound is so narrow that no result could show them."""
    seeds = _seeds(plan)
    for claim in plan.hypotheses:
        split = plan.trials_of(claim.variant)[0].split
        span = claim.span(len(split.texts), len(split.videos)) if claim.kind in GUARDED else None
        if span is None:
            continue
        sizes = cluster_sizes(split, claim.metric.partition("/")[0])
        own = seeds if any(trial.seed is not None for arm in claim.arms for trial in plan.trials_of(arm)) else 1
        least = smallest_margin(sizes, span, seeds=own, seeds_as_seen=claim.seeds_as_seen)
        if claim.bound < least:
            narrow = f"no bound below {least:.3g}" if least < span else "no bound"
            seen = "; `seeds: as seen` claims less" if own > 1 and not claim.seeds_as_seen else ""
            print(f"hypothesis {claim.name}: {narrow} can be shown here, whatever the result{seen}")


def videos_of(plan: Plan) -> Iterator[tuple[list[str], Sampling]]:
    """The files of every split that some variant reads, with how it reads them; each once."""
    seen = set()
    for variant in plan.variants:
        trial = SeededVariant(plan.workspace, variant.experiment, seed=0)
        data = variant.experiment.data
        sampling = Sampling(data.num_frames, data.sampler, trial.main.frame_size, data.short_videos)
        for split in trial.splits.values():
            paths = [video.path for video in split.videos]
            if (key := (tuple(paths), sampling)) not in seen:
                seen.add(key)
                yield paths, sampling
