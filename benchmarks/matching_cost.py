"""What matching a query with a gallery costs: by the papers' own rule, counted, and measured.

    python -m benchmarks.matching_cost --out benchmarks/results/matching_cost.json

Features are random and of the papers' shapes. What one side gives by itself is made beforehand and reported apart;
what is timed is engine.scoring as the runner calls it: scores of all pairs, choice of candidates, their new scores.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.heads import Head, Size, prepare
from benchmarks.measuring import (
    Ratio,
    alternate,
    described,
    machine,
    median_ms,
    multiply_adds,
    publish,
    read_options,
    short,
    table,
    titles,
)
from core import create, rerank, score
from core.engine.scoring import Sides, candidates_of, pair_rows, score_candidates

SMALL = Size(
    galleries=(40, 100),
    patch_gallery=40,
    top_k=(5, 10),
    queries=6,
    alone=2,
    rounds=2,
    at_least=0.001,
    frames=4,
    patches=9,
    words=6,
    width=32,
    concepts=2,
)


# ------------------------------------------------------- the papers' rule, in multiply-adds a pair


def rule_token_wise(words: int, frames: int, width: int) -> float:
    """X-CLIP and DRL as EERCF counts them: words with frames, both with a vector of the other side, and their sums."""
    return words * frames * width + (words + frames) * width + width + 2 * words * frames


def rule_eercf(width: int, tokens: int, gallery: int, top_k: int) -> float:
    """One dot product a video, and one for each frame and patch of the recalled ones, spread over the gallery."""
    return width + top_k / gallery * tokens * width


def rule_glscl(width: int) -> float:
    """One dot product for the global and one for the local score: 1.0 G for 1000 x 1000 pairs."""
    return 2 * width


DATA_SETS = {
    "MSR-VTT 1k": (1000, 12, 32),
    "MSR-VTT 3k": (2990, 12, 32),
    "VATEX": (1500, 12, 32),
    "ActivityNet": (4917, 64, 64),
}
"""Gallery, frames and words of the data sets that EERCF counts for; 49 patches a frame, 50 candidates, width 512."""


def published() -> list[dict[str, Any]]:
    """EERCF's rule on its four data sets; the mean of the ratios is its "nearly 50 times"."""
    rows = []
    for name, (gallery, frames, words) in DATA_SETS.items():
        own, rival = rule_eercf(512, frames * (1 + 49), gallery, 50), rule_token_wise(words, frames, 512)
        rows.append({"data_set": name, "gallery": gallery, "eercf": own, "token_wise": rival, "ratio": rival / own})
    return rows


# ------------------------------------------------------- systems


@dataclass(frozen=True)
class System:
    """Heads scored over all pairs, and heads scored on the candidates alone; a pair's scores are added up.

    rule: (size, gallery, candidates) -> what its paper counts a pair.
    """

    name: str
    first: tuple[str, ...]
    fine: tuple[str, ...] = ()
    rule: Callable[[Size, int, int], float] | None = None


def _eercf(size: Size, gallery: int, top_k: int) -> float:
    return rule_eercf(size.width, size.frames * (1 + size.patches), gallery, top_k)


RIVAL = System(
    "token-wise (X-CLIP, DRL)", ("token-wise",), (), lambda s, n, k: rule_token_wise(s.words, s.frames, s.width)
)
MEAN = System("mean pooling (CLIP4Clip)", ("video",), (), lambda s, n, k: s.width)
EERCF = System("EERCF, all pairs", ("video", "frame", "patch"), (), lambda s, n, k: _eercf(s, n, n))
EERCF_TWO = System("EERCF, two stages", ("video",), ("frame", "patch"), _eercf)
FRAMES_TWO = System(
    "frames alone, two stages", ("video",), ("frame",), lambda s, n, k: rule_eercf(s.width, s.frames, n, k)
)
GLSCL = System("GLSCL, all pairs", ("local", "global"), (), lambda s, n, k: rule_glscl(s.width))
GLSCL_TWO = System("GLSCL, two stages", ("local",), ("global",))
SYSTEMS = (RIVAL, MEAN, EERCF, EERCF_TWO, FRAMES_TWO, GLSCL, GLSCL_TWO)
ALL_PAIRS = {EERCF_TWO.name: EERCF.name, GLSCL_TWO.name: GLSCL.name}
"""What a two-stage system would be without candidates."""


class Found(NamedTuple):
    """scores [Q, K] of the candidates [Q, K], or [Q, N] of all where there are no candidates."""

    scores: Tensor
    candidates: Tensor | None = None


def search(system: System, top_k: int, heads: dict[str, Head]) -> Found:
    """The scores that rank the videos for each query, through the functions that the runner calls."""
    used = [heads[name] for name in system.first]
    stage = torch.stack([score(head.interaction, head.text, head.video) for head in used]).sum(0)
    if not system.fine:
        return Found(stage)
    chosen = candidates_of(stage, top_k)
    scores, pairs = {"first_stage": stage.gather(1, chosen)}, pair_rows(chosen)
    for name in system.fine:
        head = heads[name]
        sides = Sides(head.interaction, head.text, head.video)
        made = score_candidates(sides, [head.interaction.config], *pairs)
        scores[name] = made[0].view_as(chosen)
    return Found(rerank(_fusion(tuple(scores)), head.text, head.video, chosen, scores), chosen)


@cache
def _fusion(names: tuple[str, ...]) -> Any:
    return create("reranker", "score_fusion", {}, weights=dict.fromkeys(names, 1.0))


# ------------------------------------------------------- measuring


class Case(NamedTuple):
    """A system, and how many candidates it has (0: none)."""

    system: System
    top_k: int


def cases(size: Size, gallery: int) -> list[Case]:
    there = [s for s in SYSTEMS if gallery <= size.patch_gallery or "patch" not in s.first + s.fine]
    return [Case(s, k) for s in there for k in (size.top_k if s.fine else (0,)) if k <= gallery]


def measure(size: Size, seed: int = 0) -> dict[str, Any]:
    """Everything that is written as JSON."""
    heads, sides = prepare(size, seed)
    galleries = [Gallery(size, heads, videos) for videos in size.galleries]
    return {
        "benchmark": "matching_cost",
        "machine": machine(),
        "size": asdict(size),
        "published": published(),
        "systems": [gallery.against_rival(case) for gallery in galleries for case in gallery.counted],
        "gains": [
            gallery.against_all_pairs(case)
            for gallery in galleries
            for case in gallery.counted
            if case.system.name in ALL_PAIRS
        ],
        "sides": sides,
    }


class Gallery:
    """One gallery: every case measured in alternation, first for a batch of queries, then for one at a time."""

    def __init__(self, size: Size, heads: dict[str, Head], videos: int):
        self.size, self.videos = size, videos
        there = {name: head for name, head in heads.items() if len(head.video) >= videos}
        batch = {name: head.of(slice(0, size.queries), videos) for name, head in there.items()}
        single = [{n: head.of(slice(q, q + 1), videos) for n, head in there.items()} for q in range(size.alone)]
        calls = {case: partial(search, *case, batch) for case in cases(size, videos)}
        counts = {case: multiply_adds(call) for case, call in calls.items()}
        self.found = {case: found for case, (_, found) in counts.items()}
        self.counted = {case: count / (size.queries * videos) for case, (count, _) in counts.items()}
        self.batch = alternate(calls, size.rounds, size.at_least)
        self.alone = alternate({case: partial(_each, case, single) for case in calls}, size.rounds, size.at_least)

    def against_rival(self, case: Case) -> dict[str, Any]:
        """What a case needs, and how many times less than the token-wise head."""
        rival, rule = Case(RIVAL, 0), self._rule(case)
        return {
            **self._label(case),
            "by_rule": rule,
            "counted": self.counted[case],
            "batch_ms": median_ms(self.batch[case]) / self.size.queries,
            "alone_ms": median_ms(self.alone[case]) / self.size.alone,
            "fewer_by_rule": rule and (self._rule(rival) or 0) / rule,
            **self._gain(rival, case),
        }

    def against_all_pairs(self, case: Case) -> dict[str, Any]:
        """How many times less a two-stage case needs than scoring all pairs; how far the candidates' scores differ."""
        whole = next(other for other in self.counted if other.system.name == ALL_PAIRS[case.system.name])
        scores, candidates = self.found[case]
        assert candidates is not None
        difference = (self.found[whole].scores.gather(1, candidates) - scores).abs().max().item()
        return {**self._label(case), **self._gain(whole, case), "largest_difference": difference}

    def _label(self, case: Case) -> dict[str, Any]:
        return {"system": case.system.name, "gallery": self.videos, "top_k": case.top_k or None}

    def _rule(self, case: Case) -> float | None:
        return case.system.rule(self.size, self.videos, case.top_k) if case.system.rule else None

    def _gain(self, of: Case, over: Case) -> dict[str, Any]:
        return {
            "fewer_counted": self.counted[of] / self.counted[over],
            "faster_batch": Ratio.of(self.batch[of], self.batch[over]),
            "faster_alone": Ratio.of(self.alone[of], self.alone[over]),
        }


def _each(case: Case, single: Sequence[dict[str, Head]]) -> None:
    for heads in single:
        search(*case, heads)


# ------------------------------------------------------- tables


def report(result: dict[str, Any]) -> str:
    size = result["size"]
    mean = statistics.mean(row["ratio"] for row in result["published"])
    ratios = ", ".join(f"{row['data_set']} {row['ratio']:.1f}" for row in result["published"])
    shapes = "{frames} frames, {patches} patches a frame, {words} words, width {width}".format(**size)
    return f"""# What matching costs

{shapes}, float32; random features, both sides made beforehand.
{size["queries"]} queries at once (batch) or one at a time (alone); {size["rounds"]} rounds in alternation;
{described(result)}. Patches are kept of {size["patch_gallery"]} videos: EERCF is not measured where there are more.

## Against the token-wise head

How many times fewer multiply-adds, by the papers' rule and as counted, and how many times faster than the token-wise
head in the same gallery: median of the rounds, smallest and largest, and the median by processor time.

{_ratios(result["systems"], "fewer_by_rule", "fewer_counted")}

The papers' rule at 50 candidates: {ratios}; mean {mean:.1f}.

## Two stages against all pairs of the same heads

{_ratios(result["gains"], "fewer_counted")}

## Absolute

Multiply-adds a pair (query, video); processor's milliseconds a query.

{_values(result["systems"], ["system", "gallery", "top_k"], ["by_rule", "counted", "batch_ms", "alone_ms"])}

## Made once

Multiply-adds and processor's milliseconds of what one side gives by itself.

{_values(result["sides"], ["head"], [name for name in result["sides"][0] if name != "head"])}
"""


def _ratios(rows: list[dict[str, Any]], *fewer: str) -> str:
    headings = [
        *titles("system", "gallery", "top_k", *fewer),
        "faster, batch",
        "by processor",
        "faster, alone",
        "by processor",
    ]
    times = [[*row["faster_batch"].cells(), *row["faster_alone"].cells()] for row in rows]
    labels = [[row["system"], row["gallery"], row["top_k"] or "–"] for row in rows]
    cells = [
        [*label, *(short(row[n]) for n in fewer), *time] for label, row, time in zip(labels, rows, times, strict=True)
    ]
    return table(headings, cells)


def _values(rows: list[dict[str, Any]], labels: list[str], names: list[str]) -> str:
    cells = [[*(row[name] or "–" for name in labels), *(short(row[name]) for name in names)] for row in rows]
    return table(titles(*labels, *names), cells)


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("matching_cost", arguments)
    torch.set_num_threads(1)
    result = measure(SMALL if options.small else Size())
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
