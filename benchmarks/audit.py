"""Intervals, verdicts and printed power where a test can fail: unequal clusters, tails, few that pay, seeds.

Each cell stands beside what it was with the methods that were replaced: a BCa interval beside a bare sign flip, a
guard that takes clusters as equal, "refuted" by the interval alone, and power by a normal law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rivals import bca_interval, equal_clusters, plainly_crossed
from benchmarks.worlds import (
    Floats,
    Labels,
    collapsing,
    held_by_few,
    large_win,
    lost_ranks,
    lost_whole,
    only_wins,
    other_shape,
    ranks,
    recall,
    recall_over_seeds,
    tails,
)
from core.measure.significance import (
    Comparison,
    Evidence,
    better,
    decide,
    equivalent,
    larger_gain,
    no_worse,
    paired_medians,
    paired_test,
    paired_tests,
    sign_flip,
)
from core.measure.significance.resampling import cluster_sums

LEVEL = 0.05
BLOCK = 250
Drawn = tuple[Floats, Labels | None, float]
Made = Callable[[np.random.Generator, int], Drawn]
SEEDS = (2, 3, 5, 10)
FEW_SEEDS = "seeds only large differences"


def blocks(runs: int) -> Iterator[tuple[np.random.Generator, int, int]]:
    """(generator, runs of the block, its number)"""
    for number, start in enumerate(range(0, runs, BLOCK)):
        yield np.random.default_rng([7, number]), min(BLOCK, runs - start), number


def said(found: Comparison) -> bool:
    """Whether the row says that it rests on few, or on a symmetry that is not there."""
    return any(FEW_SEEDS not in text for text in found.warning.split("; ") if text)


def cell(world: str, seeds: int, counts: NDArray[Any], runs: int) -> dict[str, Any]:
    """From the counts of (interval misses before, test rejects before, now, now without a word, rows with a word)."""
    names = ("interval_before", "test_before", "error", "unsaid", "warned")
    return {"world": world, "seeds": seeds} | {n: float(c) / runs for n, c in zip(names, counts, strict=True)}


# ------------------------------------------------------------------------------------------------ intervals


def one_seed(world: str, make: Made, runs: int, draws: int) -> dict[str, Any]:
    """How often interval and test reject the truth."""
    counts = np.zeros(5)
    for rng, size, number in blocks(runs):
        values, labels, truth = make(rng, size)
        found = paired_tests(values[:, None], labels, null=truth, draws=draws, seed=number)
        sums, sizes = cluster_sums(values, labels)
        low, high = bca_interval(sums, sizes, draws, number)
        flipped = sign_flip(values - truth, labels, draws=draws, seed=number) < LEVEL
        counts += _counted((low > truth) | (high < truth), flipped, found)
    return cell(world, 1, counts, runs)


def _counted(missed: NDArray[Any], rejected: NDArray[Any], found: Sequence[Comparison]) -> NDArray[Any]:
    wrong, told = (np.array(what) for what in zip(*((one.p < LEVEL, said(one)) for one in found), strict=True))
    return np.array([missed.sum(), rejected.sum(), wrong.sum(), (wrong & ~told).sum(), told.sum()])


def unequal_of_each_run(runs: int, draws: int) -> dict[str, Any]:
    """As `one_seed`, where each run draws its own sizes of clusters."""
    counts = np.zeros(5)
    for rng, size, number in blocks(runs):
        for _ in range(size):
            values, labels = large_win(rng)
            low, high = bca_interval(*cluster_sums(values[None], labels), draws, number)
            flipped = sign_flip(values[None], labels, draws=draws, seed=number) < LEVEL
            found = [paired_test(values, labels, draws=draws, seed=number)]
            counts += _counted((low > 0) | (high < 0), flipped, found)
    return cell("60 videos, the large ones win what the small lose", 1, counts, runs)


def over_queries(runs: int, draws: int) -> list[dict[str, Any]]:
    worlds: dict[str, Made] = {
        "R@1, n = 1,000, 15 % discordant": lambda g, n: (recall(g, n, 1000, 0.15), None, 0.0),
        "R@1, n = 300, 15 % discordant, 2 points": lambda g, n: (recall(g, n, 300, 0.15, 2.0), None, 2.0),
        "R@1, n = 300, 2 % discordant": lambda g, n: (recall(g, n, 300, 0.02), None, 0.0),
        "5 of 100 videos hold 80 captions": lambda g, n: (*held_by_few(g, n), 0.0),
        "only wins, 8 % of 100": lambda g, n: (only_wins(g, n, 100, 0.08), None, 8.0),
        "only wins, 3 % of 300": lambda g, n: (only_wins(g, n, 300, 0.03), None, 3.0),
        "only wins, 0.5 % of 300": lambda g, n: (only_wins(g, n, 300, 0.005), None, 0.5),
        "log-normal ranks, n = 300": lambda g, n: (ranks(g, n, 300), None, 0.0),
        "MnR, one mean, two shapes, n = 200": lambda g, n: (other_shape(g, n, 200), None, 0.0),
        "MnR, one mean, two shapes, n = 1,000": lambda g, n: (other_shape(g, n, 1000), None, 0.0),
        "MnR, one mean, shapes far apart, n = 200": lambda g, n: (other_shape(g, n, 200, 2.0), None, 0.0),
        "MnR, tails alike, n = 200": lambda g, n: (tails(g, n, 200, 1.8, 1.8), None, 0.0),
        "MnR, a long tail on one side, n = 200": lambda g, n: (tails(g, n, 200), None, 0.0),
        "MnR, a long tail on one side, n = 1,000": lambda g, n: (tails(g, n, 1000), None, 0.0),
    }
    found = [one_seed(world, make, runs, draws) for world, make in worlds.items()]
    return [*found, unequal_of_each_run(runs, draws)]


def over_seeds(runs: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Two seeds or more, the queries of each in the first worlds alike: `before` is the test without the correction."""

    def repeated(values: Floats, count: int) -> Floats:
        return np.repeat(values[:, None], count, axis=1)

    def lasting(g: np.random.Generator, n: int, s: int) -> Floats:
        fresh = np.stack([recall(g, n, 300, 0.03) for _ in range(s)], axis=1)
        return repeated(only_wins(g, n, 300, 0.03), s) + fresh

    worlds: dict[str, tuple[Callable[[np.random.Generator, int, int], Any], float]] = {
        "R@1, seed SD 0.95": (lambda g, n, s: recall_over_seeds(g, n, s, 0.95, 0.5, queries=300), 0.0),
        "only wins, 8 % of 100, of every seed": (lambda g, n, s: repeated(only_wins(g, n, 100, 0.08), s), 8.0),
        "only wins that last, 3 % of 300": (lasting, 3.0),
        "MnR, a long tail on one side, n = 200": (lambda g, n, s: repeated(tails(g, n, 200), s), 0.0),
    }
    found = []
    for (world, (make, truth)), count in ((item, s) for item in worlds.items() for s in seeds):
        counts = np.zeros(5)
        for rng, size, _ in blocks(runs):
            values = np.asarray(make(rng, size, count), dtype=np.float64)
            before = plainly_crossed(values, truth)
            counts += _counted(before, before, paired_tests(values, null=truth))
        found.append(cell(world, count, counts, runs))
    return found


def medians(runs: int, draws: int) -> list[dict[str, Any]]:
    """How often the bootstrap interval of a difference of medians misses it, 1 rank and none apart."""
    found = []
    for queries, gap in ((200, 0.0), (1000, 0.0), (1000, 1.0)):
        missed = 0
        for rng, size, number in blocks(runs):
            for _ in range(size):
                arms = np.floor(np.exp(rng.normal(2.0, 1.0, size=(2, queries)))) + 1
                one = paired_medians(arms[0] + gap, arms[1], draws=draws, seed=number)
                missed += not one.low <= gap <= one.high
        found.append({"world": f"MdR, n = {queries:,}, {gap:g} apart", "error": missed / runs})
    return found


# ------------------------------------------------------------------------------------------------ verdicts


Claimed = Callable[[Floats, Labels | None], Evidence]


def verdict_cells(runs: int, draws: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Claims at their bound and losses that hide: how often each verdict is given where it is wrong."""
    options: dict[str, Any] = {"draws": draws}
    found = []
    for count in (1, *seeds):
        found += at_the_bound(runs, count, options)
        found.append(family_at_the_bound(max(1, runs // 5), count, options))
    for margin in (1.0, 3.0, 5.0):
        found.append(whole_videos(runs, margin, draws))
    found.append(few_ranks(runs, draws))
    found += [collapse(runs, count) for count in seeds]
    return found


def outcome_row(claim: str, world: str, seeds: int, verdict: str, before: float | None, error: float) -> dict[str, Any]:
    return {"claim": claim, "world": world, "seeds": seeds, "verdict": verdict, "before": before, "error": error}


def at_the_bound(runs: int, seeds: int, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Each kind of claim where the truth is its bound, seeds as seen; `before`, "refuted" was left to the interval."""
    kinds: dict[str, tuple[float, Claimed]] = {
        "better by 2": (2.0, lambda d, c: better(d, c, by=2, **options)),
        "larger gain by 2": (2.0, lambda d, c: larger_gain(d, np.zeros_like(d), c, by=2, **options)),
        "no worse, margin 4": (-4.0, lambda d, c: no_worse(d, c, margin=4, span=100, seeds_as_seen=True, **options)),
        "equivalent within 4": (4.0, lambda d, c: equivalent(d, c, within=4, span=100, seeds_as_seen=True, **options)),
    }
    found = []
    for kind, (gain, claim) in kinds.items():
        verdicts = {"supported": 0, "refuted": 0}
        opposed = 0
        for rng, size, _ in blocks(runs):
            for values in _with_gain(rng, size, gain, seeds, 0.95, 0.5):
                evidence = claim(values, None)
                verdict = decide({"one": evidence})["one"].verdict
                verdicts[verdict] = verdicts.get(verdict, 0) + 1
                opposed += _wholly_beyond(evidence)
        world = "R@1, n = 300, at the bound"
        found.append(
            outcome_row(kind, world, seeds, "supported", verdicts["supported"] / runs, verdicts["supported"] / runs)
        )
        found.append(outcome_row(kind, world, seeds, "refuted", opposed / runs, verdicts["refuted"] / runs))
    return found


def _wholly_beyond(evidence: Evidence) -> bool:
    """Whether the interval lies where the claim cannot be true."""
    assert evidence.comparison is not None
    _, low, high = evidence.comparison.gain
    if evidence.kind == "equivalent":
        return low > evidence.bound or high < -evidence.bound
    return high < (-evidence.bound if evidence.kind == "no_worse" else evidence.bound)


def family_at_the_bound(runs: int, seeds: int, options: dict[str, Any], size: int = 20) -> dict[str, Any]:
    """20 claims of a gain of 2, all at it: whether any is refuted."""
    before = now = 0
    for rng, count, _ in blocks(runs):
        for _ in range(count):
            claims = {
                str(i): better(d, by=2, **options) for i, d in enumerate(_with_gain(rng, size, 2.0, seeds, 0.95, 0.5))
            }
            before += any(map(_wholly_beyond, claims.values()))
            now += any(one.verdict == "refuted" for one in decide(claims).values())
    return outcome_row(f"{size} claims", "R@1, n = 300, at the bound", seeds, "any refuted", before / runs, now / runs)


def whole_videos(runs: int, margin: float, draws: int) -> dict[str, Any]:
    """Large videos lost whole, the mean loss is the margin."""
    before = now = 0.0
    for rng, size, number in blocks(runs):
        values, labels = lost_whole(rng, size, margin)
        flipped = sign_flip(values + margin, labels, "greater", draws, number)
        before += (np.maximum(flipped, equal_clusters(values.mean(axis=1), margin, 1000, 100)) < LEVEL).sum()
        now += sum(no_worse(one, labels, margin=margin, span=100, draws=draws).p < LEVEL for one in values)
    world = "5 % of 1,000 videos hold 80 captions, some lost whole"
    return outcome_row(f"no worse, margin {margin:g}", world, 1, "supported", float(before / runs), now / runs)


def few_ranks(runs: int, draws: int) -> dict[str, Any]:
    before = now = 0.0
    for rng, size, number in blocks(runs):
        values = lost_ranks(rng, size)
        before += (sign_flip(values - 2.0, alternative="less", draws=draws, seed=number) < LEVEL).sum()
        claims = (no_worse(v, margin=2, span=999, higher_is_better=False, draws=draws) for v in values)
        now += sum(one.p < LEVEL for one in claims)
    rates = float(before / runs), now / runs
    return outcome_row("no worse, margin 2", "MnR, 0.2 % lose 1,000 ranks", 1, "supported", *rates)


def collapse(runs: int, seeds: int) -> dict[str, Any]:
    before = now = 0
    for rng, size, _ in blocks(runs):
        for values in collapsing(rng, size, seeds):
            before += no_worse(values, margin=2, span=100, seeds_as_seen=True).p < LEVEL
            now += no_worse(values, margin=2, span=100).p < LEVEL
    world = "one training run in ten loses 20 points"
    return outcome_row("no worse, margin 2", world, seeds, "supported", before / runs, now / runs)


# ------------------------------------------------------------------------------------------------ power


def printed_power(runs: int, draws: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The share of new runs that find a true difference of the size that a row prints, which says 80 %."""
    cells = [(1, 0.0, 1.0), *((s, *w) for s in seeds for w in ((0.0, 1.0), (0.95, 0.5), (2.0, 0.2)))]
    found = []
    for count, seed_sd, persistent in cells:
        hits = np.zeros(2)
        for rng, size, number in blocks(runs):

            def tested(
                runs: int, gain: float, world: tuple[int, float, float] = (count, seed_sd, persistent)
            ) -> list[Comparison]:
                return paired_tests(_with_gain(rng, runs, gain, *world), draws=draws, seed=number)  # noqa: B023

            printed = [(_by_a_normal_law(one, count), one.detectable) for one in tested(size, 0.0)]
            for side, sizes in enumerate(np.array(printed).T):
                for alike in np.array_split(np.sort(sizes), 25):
                    gain = float(np.clip(np.median(alike), 0, 60 if count > 1 else 14.9)) if alike.size else 0.0
                    hits[side] += sum(one.p < LEVEL for one in tested(alike.size, gain)) if alike.size else 0
        world = {"seeds": count, "seed_sd": seed_sd, "persistent": persistent}
        found.append(world | {"before": float(hits[0] / runs), "measured": float(hits[1] / runs)})
    return found


def _with_gain(
    rng: np.random.Generator, runs: int, gain: float, seeds: int, seed_sd: float, persistent: float
) -> Floats:
    """R@1 of 300 queries [runs, seeds, queries] with that gain."""
    if seeds == 1:
        return recall(rng, runs, 300, 0.15, gain)[:, None]
    return np.asarray(recall_over_seeds(rng, runs, seeds, seed_sd, persistent, gain, 300), dtype=np.float64)


def _by_a_normal_law(found: Comparison, seeds: int) -> float:
    """The critical ratio of the test and 0.84, times the standard error."""
    if seeds == 1:
        return (1.959964 + 0.841621) * found.standard_error
    return (found.high - found.low) / 2 + 0.841621 * found.standard_error


def power_lost(runs: int, draws: int) -> list[dict[str, Any]]:
    """What asking the t corrected for skewness as well costs: power of the bare sign flip, and of both."""
    worlds: dict[str, Callable[[np.random.Generator, int], Floats]] = {
        "R@1, n = 1,000, 15 % discordant, 3 points": lambda g, n: recall(g, n, 1000, 0.15, 3.0),
        "R@1, n = 300, 15 % discordant, 6 points": lambda g, n: recall(g, n, 300, 0.15, 6.0),
        "R@1, n = 300, 3 % discordant, 2 points": lambda g, n: recall(g, n, 300, 0.03, 2.0),
        "normal, n = 40, 0.45 SD": lambda g, n: g.normal(0.45, 1, size=(n, 40)),
        "MnR, tails alike, n = 200, 9 ranks": lambda g, n: tails(g, n, 200, 1.8, 1.8) + 9.0,
    }
    found = []
    for world, make in worlds.items():
        hits = np.zeros(2)
        for rng, size, number in blocks(runs):
            values = make(rng, size)
            both = [one.p < LEVEL for one in paired_tests(values[:, None], draws=draws, seed=number)]
            hits += [(sign_flip(values, draws=draws, seed=number) < LEVEL).sum(), sum(both)]
        found.append({"world": world, "before": float(hits[0] / runs), "measured": float(hits[1] / runs)})
    return found


def run(runs: int, draws: int, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Every cell in `runs` runs, families of 20 claims in a fifth of them."""
    cells = {
        "intervals": over_queries(runs, draws) + over_seeds(runs, seeds),
        "medians": medians(runs, draws // 4),
        "verdicts": verdict_cells(runs, draws // 2, seeds),
        "printed": printed_power(runs, draws // 2, seeds),
        "lost": power_lost(runs, draws),
    }
    return {**cells, "runs": dict.fromkeys(cells, runs)}
