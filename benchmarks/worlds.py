"""Worlds in which the truth is known: differences of two arms, drawn anew for each run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def recall(rng: np.random.Generator, runs: int, queries: int, discordance: float, gain: float = 0.0) -> Floats:
    """R@k differences in points [runs, queries] of two arms; exactly one answers the share `discordance` of queries."""
    wins, losses = ((discordance + sign * gain / 100) / 2 for sign in (1, -1))
    drawn = rng.random((runs, queries))
    return 100.0 * (drawn < wins) - 100.0 * (drawn > 1 - losses)


def ranks(rng: np.random.Generator, runs: int, queries: int) -> Floats:
    """Differences of log-normal ranks, heavy-tailed, [runs, queries]."""
    first, second = rng.lognormal(1.5, 1.5, size=(2, runs, queries))
    return first - second


def captions(rng: np.random.Generator, runs: int, sizes: Labels) -> tuple[Floats, Labels]:
    """Differences [runs, captions] that share a part within each video, and the video of each caption."""
    labels = np.repeat(np.arange(sizes.size), sizes)
    shared = rng.normal(0, 0.5, size=(runs, sizes.size))[:, labels]
    return shared + rng.normal(0, 1, size=shared.shape), labels


def recall_over_seeds(
    rng: np.random.Generator,
    runs: int,
    seeds: int,
    seed_sd: float,
    persistent: float,
    gain: float = 0.0,
    queries: int = 600,
    discordance: float = 0.15,
) -> NDArray[np.float32]:
    """R@1 differences in points [runs, seeds, queries] of two arms, trained with each seed.

    A query is a hit where a normal variable is positive: a part shared by the arms, a part of the arm that persists
    over its seeds (its share is `persistent`), a part of the seed; seeds shift the recall of an arm by `seed_sd`
    points, the arms differ by `gain` points.
    """
    normal, slope = rng.standard_normal, 100 * stats.norm.pdf(0)
    own = 1 - np.cos(discordance * np.pi)
    shared = np.sqrt(1 - own) * normal((runs, 1, queries), dtype=np.float32)
    found = np.zeros((runs, seeds, queries), dtype=np.float32)
    for arm in (1, -1):
        level = normal((runs, seeds, 1)) * seed_sd / slope + arm * gain / 2 / slope
        lasting = np.sqrt(own * persistent) * normal((runs, 1, queries), dtype=np.float32)
        fresh = np.sqrt(own * (1 - persistent)) * normal((runs, seeds, queries), dtype=np.float32)
        found += 100 * arm * (shared + lasting + fresh + level > 0)
    return found


# ------------------------------------------------------------------------------------------------ skewed and unequal


def held_by_few(rng: np.random.Generator, runs: int) -> tuple[Floats, Labels]:
    """100 videos, five of which hold 80 captions, the others one: recall that goes with the video, no difference."""
    labels = np.repeat(np.arange(100), np.where(np.arange(100) < 5, 80, 1))
    lean = rng.uniform(0.1, 0.9, size=(runs, 100))[:, labels]
    drawn = rng.random(lean.shape)
    return 100.0 * (drawn < 0.3 * lean) - 100.0 * (drawn > 1 - 0.3 * (1 - lean)), labels


def large_win(rng: np.random.Generator, videos: int = 60) -> tuple[Floats, Labels]:
    """One run in which videos with 20 captions, one in ten, win 20 points and those with two lose what they win."""
    large = rng.random(videos) < 0.1
    labels = np.repeat(np.arange(videos), np.where(large, 20, 2))
    effect = np.where(large, 20.0, -20.0 * 0.1 * 20 / (0.9 * 2)) + rng.normal(0, 5, size=videos)
    return effect[labels] + rng.normal(0, 40, size=labels.size), labels


def only_wins(rng: np.random.Generator, runs: int, queries: int, share: float) -> Floats:
    """R@k of a variant that answers all that the baseline answers and the share of the queries beside it."""
    return 100.0 * (rng.random((runs, queries)) < share)


def other_shape(rng: np.random.Generator, runs: int, queries: int, spread: float = 1.5) -> Floats:
    """Log-normal ranks against exponential ones of the same mean."""
    ranks = np.exp(1 + spread * rng.standard_normal((runs, queries)))
    return ranks - rng.exponential(np.exp(1 + spread**2 / 2), size=ranks.shape)


def tails(rng: np.random.Generator, runs: int, queries: int, first: float = 1.6, second: float = 1.9) -> Floats:
    """Differences of ranks as retrievers have them, in a gallery of 1,000: most are 0 or small, few are hundreds.

    Log-ranks of the arms go together by 0.85 and spread by `first` and `second`; the mean difference is 0.
    """
    population = np.random.default_rng(5).standard_normal((3, 200_000))
    both, own = np.sqrt(0.85), np.sqrt(0.15)
    arms = [
        np.clip(np.floor(np.exp(1 + spread * (both * population[0] + own * population[i]))), 1, 1000)
        for i, spread in ((1, first), (2, second))
    ]
    differences = arms[0] - arms[1]
    return np.asarray((differences - differences.mean())[rng.integers(differences.size, size=(runs, queries))])


# ------------------------------------------------------------------------------------------------ losses that hide


def lost_whole(rng: np.random.Generator, runs: int, margin: float) -> tuple[Floats, Labels]:
    """1,000 videos, 5 % of them with 80 captions, others with one; the large are lost whole as often as makes the mean
    loss the margin."""
    sizes = np.where(np.arange(1000) < 50, 80, 1)
    labels = np.repeat(np.arange(1000), sizes)
    chance = margin / 100 * sizes.sum() / 4000
    lost = (rng.random((runs, 1000)) < chance) & (sizes == 80)
    return -100.0 * lost[:, labels], labels


def lost_ranks(rng: np.random.Generator, runs: int, queries: int = 500) -> Floats:
    """Ranks that move by little, but for one query in 500, which loses 1,000: the mean loss is 2."""
    moved = rng.integers(-1, 2, size=(runs, queries)).astype(np.float64)
    return moved + 1000.0 * (rng.random(moved.shape) < 0.002)


def collapsing(rng: np.random.Generator, runs: int, seeds: int, queries: int = 300) -> NDArray[np.float32]:
    """R@1 differences over seeds whose mean is -2: one run in ten loses 20 points."""
    calm = recall_over_seeds(rng, runs, seeds, 0.5, 0.5, queries=queries)
    return np.asarray(calm - np.float32(20) * (rng.random((runs, seeds, 1)) < 0.1))
