"""What scores cost beside the least that they need: matrix products, a share of all pairs, reading, a decoder's passes.

    python -m benchmarks.scoring --out benchmarks/results/scoring.json

Features are random and of the papers' shapes, float32, on all threads. What is timed is engine.scoring as the runner
calls it, with both sides made beforehand or from features as they come; what it is held against runs in the same round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import heads
from benchmarks.heads import Head, Prepared
from benchmarks.matching_cost import EERCF_TWO, search
from benchmarks.measuring import (
    Ratio,
    Seconds,
    alternate,
    described,
    machine,
    multiply_adds,
    publish,
    read_options,
    short,
    table,
    titles,
)
from core import Interaction, LevelShape, Side, TextFeatures, Tokens, VideoFeatures, create, score
from core.engine.scoring import Sides, blocks, candidates_of, score_candidates

Call = Callable[[], object]
Heads = Mapping[str, Head]
Row = dict[str, Any]
FLOAT = 4
"""Bytes of a float32."""
CHUNK = 16
"""Texts at a time in the einsum form: their pooled vectors with 1,000 videos take 33 MB at width 512."""
MADE, RAW = "sides made", "raw features"


@dataclass(frozen=True)
class Size:
    """texts, videos: of all pairs. widths: of heads that read frames; the first is that of all else.

    few_texts: scored where all would take too long: by the einsum form, and by patches of all videos. few_videos: whose
    patches are scored with all texts. alone: queries that are asked one at a time. long_rounds: of calls that take
    seconds. at_least: seconds that a call is repeated for.
    """

    texts: int = 1000
    videos: int = 1000
    widths: tuple[int, ...] = (512, 128)
    frames: int = 12
    patches: int = 49
    words: int = 32
    concepts: int = 8
    top_k: int = 50
    few_texts: int = 100
    few_videos: int = 100
    alone: int = 5
    rounds: int = 5
    long_rounds: int = 3
    at_least: float = 0.2


SMALL = Size(30, 20, (32, 16), 4, 9, 6, 2, 5, few_texts=6, few_videos=7, alone=2, rounds=2, long_rounds=2, at_least=0)


class Bench:
    """Random features of one width and the heads over them."""

    def __init__(self, size: Size, width: int, patches: bool = False, seed: int = 0):
        self.size, self.width = size, width
        torch.manual_seed(seed)
        sentence, words = _random(size.texts, width), _random(size.texts, size.words, width)
        self.text = TextFeatures(sentence=sentence, words=words)
        axes: dict[str, tuple[int, ...]] = {"frames": (size.frames,), "temporal": (size.frames,)}
        axes |= {"patches": (size.frames, size.patches)} if patches else {}
        self.video = VideoFeatures(more={n: Tokens(_random(size.videos, *a, width)) for n, a in axes.items()})
        shared = {name: getattr(size, name) for name in ("frames", "patches", "words", "concepts")}
        self.interactions: dict[str, Interaction] = heads.interactions(heads.Size(**shared, width=width))
        for name, of, fields in (("own", "tib", {"temperature": 0.1}), ("soft", "weighted_similarity", {})):
            shapes = {"temporal": LevelShape(size.frames, width)}
            self.interactions[name] = create("interaction", of, shapes, level="temporal", **fields).eval()

    def raw(self, name: str) -> Head:
        """A head over features as they come."""
        interaction = self.interactions[name]
        levels = type(interaction).reads(interaction.config)
        return Head(interaction, self.text.only(levels.text), self.video.only(levels.video))

    def made(self, name: str) -> Head:
        """A head over sides that were made beforehand."""
        head = self.raw(name)
        text, video = ({name: Tokens(tensor) for name, tensor in side.items()} for side in _sides(head))
        return Head(Prepared(head.interaction), TextFeatures(more=text), VideoFeatures(more=video))


def _random(*shape: int) -> Tensor:
    """Vectors about 10 long, as CLIP's are."""
    return torch.randn(shape).mul_(10 / shape[-1] ** 0.5)


def _sides(head: Head) -> tuple[Side, Side]:
    return head.interaction.text_side(head.text), head.interaction.video_side(head.video)


def _score(*heads: Head) -> list[Tensor]:
    return [score(head.interaction, head.text, head.video) for head in heads]


class Work(NamedTuple):
    """What must be done and moved at least: matrix products; inputs read once, scores of all pairs written once."""

    multiply_adds: int
    bytes: int

    @classmethod
    def of(cls, count: int, *heads: Head) -> Work:
        read = sum(side.item_floats * len(side) for head in heads for side in (head.text, head.video))
        return cls(count, FLOAT * (read + sum(len(head.text) * len(head.video) for head in heads)))


def row(
    what: str, width: int, times: Sequence[Seconds], least: Sequence[Seconds], target: float | None, work: Work
) -> Row:
    ratio, ms = Ratio.of(times, least), 1e3 * statistics.median(seconds.wall for seconds in times)
    reached = None if target is None else ratio.median <= target
    compared = {"ms": ms, "ratio": ratio, "target": target, "reached": reached}
    return {"what": what, "width": width, **compared, **work._asdict()}


def combined(times: Mapping[str, Sequence[Seconds]], factors: Mapping[str, float]) -> list[Seconds]:
    """Times of one round's calls, added up with factors."""
    rounds = zip(*(times[name] for name in factors), strict=True)
    parts = [list(zip(factors.values(), seconds, strict=True)) for seconds in rounds]
    return [Seconds(sum(f * s.wall for f, s in one), sum(f * s.cpu for f, s in one)) for one in parts]


# ------------------------------------------------------------------------------------------------ all pairs


def gated(text: Side, video: Side, config: Any) -> Tensor:
    """Scores [B_t, B_v] with a pooled vector for each pair."""
    dots = torch.einsum("ad,bnd->abn", text["vector"] * text.get("length", 1), video.get("gate", video["values"]))
    pooled = torch.einsum("abn,bnd->abd", torch.softmax(dots / config.temperature, 2), video["values"])
    return torch.einsum("ad,abd->ab", text["vector"], pooled / pooled.norm(dim=2, keepdim=True))


def soft_maxima(text: Side, video: Side, config: Any) -> Tensor:
    dots = torch.einsum("ad,bnd->abn", text["vector"], video["values"])
    return torch.einsum("abn,abn->ab", dots, torch.softmax(dots / config.temperature, 2))


def by_concept(text: Side, video: Side, config: Any) -> Tensor:
    both = [side["vector"].unflatten(1, (config.queries, -1)) for side in (text, video)]
    return torch.einsum("aqd,bqd->abq", *both).sum(2)


class Form(NamedTuple):
    """What a head is called, its scores as published programs form them, and the target over its products."""

    title: str
    einsum: Callable[[Side, Side, Any], Tensor] | None = None
    target: float | None = None


FORMS = {
    "video": Form("mean_pooling"),
    "own": Form("tib", gated, target=2.0),
    "frame": Form("tib, gate from another level", gated),
    "global": Form("tib, un-normalised (GLSCL)", gated),
    "soft": Form("weighted_similarity", soft_maxima),
    "local": Form("learnable_queries", by_concept),
    "patch": Form("tib, patches", gated, target=1.5),
}


def einsum_form(name: str, head: Head) -> Tensor:
    """Scores [B_t, B_v] of a head whose sides are made, of so few texts at a time that pooled vectors fit."""
    form, (text, video) = FORMS[name].einsum, _sides(head)
    assert form is not None
    parts = ({key: tensor[rows] for key, tensor in text.items()} for rows in blocks(len(head.text), CHUNK))
    return torch.cat([form(part, video, head.interaction.config) for part in parts])


def products(head: Head) -> Call:
    """The matrix products that the scores of made sides need, all tokens with all texts, into memory that is there.

    Patches are pooled: two products a video.
    """
    text, video = _sides(head)
    query, tokens = text["vector"], [video[name] for name in ("values", "gate", "vector") if name in video]
    if head.interaction.config.level == "patches":
        dots, sums = query.new_empty(tokens[0].shape[1], len(query)), torch.empty_like(query)
        each = [one for values in tokens[0] for one in ((values, query.T, dots), (dots.T, values, sums))]
    else:
        into = query.new_empty(tokens[0].shape[:-1].numel(), len(query))
        each = [(values.flatten(0, -2), query.T, into) for values in tokens]
    return partial(_each, _multiply, each)


def _multiply(left: Tensor, right: Tensor, into: Tensor) -> None:
    torch.mm(left, right, out=into)


def _each(call: Callable[..., object], arguments: Sequence[Sequence[Any]]) -> None:
    for given in arguments:
        call(*given)


def all_pairs(bench: Bench, made: Heads) -> tuple[list[Row], list[Row]]:
    """Heads against their products; and, with few texts, the einsum form against the heads."""
    size, counts, calls = bench.size, dict[str, int](), dict[str, Call]()
    few = {name: head.of(slice(0, size.few_texts), len(head.video)) for name, head in made.items()}
    for name, head in made.items():
        calls |= {name: partial(_score, head), f"{name}, products": products(head)}
        counts[name], _ = multiply_adds(calls[f"{name}, products"])
        if FORMS[name].einsum:
            calls |= {
                f"{name}, few": partial(_score, few[name]),
                f"{name}, einsum": partial(einsum_form, name, few[name]),
            }
    times = alternate(calls, size.rounds, size.at_least)
    scores, einsums = [], []
    for name, head in made.items():
        form, work = FORMS[name], Work.of(counts[name], head)
        target = form.target if bench.width == size.widths[0] else None
        scores.append(row(form.title, bench.width, times[name], times[f"{name}, products"], target, work))
        if form.einsum:
            faster = Ratio.of(times[f"{name}, einsum"], times[f"{name}, few"])
            far = (_score(few[name])[0] - einsum_form(name, few[name])).abs().max().item()
            of = {"what": form.title, "width": bench.width, "texts": len(few[name].text), "videos": len(head.video)}
            einsums.append({**of, "faster": faster, "largest_difference": far})
    return scores, einsums


# ------------------------------------------------------------------------------------------------ candidates, GLSCL


def _first_stage(there: Heads, top_k: int) -> Tensor:
    return candidates_of(_score(there["video"])[0], top_k)


def _two_stages(size: Size, texts: int) -> int:
    """Multiply-adds: one product of vectors for each video, two of all tokens for each candidate."""
    return texts * size.widths[0] * (size.videos + size.top_k * 2 * size.frames * (1 + size.patches))


def two_stages(bench: Bench, kinds: Mapping[str, dict[str, Head]]) -> list[Row]:
    """EERCF on candidates against its first stage and a share, K of N, of all pairs.

    Patches of all videos are scored with few texts; what a text costs is taken as often as there are texts.
    """
    size, calls, rows = bench.size, dict[str, Call](), []
    for kind, there in kinds.items():
        calls[kind] = partial(search, EERCF_TWO, size.top_k, there)
        calls[f"first, {kind}"] = partial(_first_stage, there, size.top_k)
        calls[f"frame, {kind}"] = partial(_score, there["frame"])
        calls[f"patch, {kind}"] = partial(_score, there["patch"].of(slice(0, size.few_texts), size.videos))
    times = alternate(calls, size.long_rounds, size.at_least)
    part, more = size.top_k / size.videos, size.texts / size.few_texts - 1
    for kind, there in kinds.items():
        share = {f"first, {kind}": 1.0, f"frame, {kind}": part, f"patch, {kind}": part}
        share[f"patch, {MADE}"] = share.get(f"patch, {MADE}", 0.0) + part * more
        work = Work.of(_two_stages(size, size.texts), *there.values())
        rows.append(row(f"two stages, {kind}", bench.width, times[kind], combined(times, share), 2.0, work))
    return rows


def one_query(bench: Bench, kinds: Mapping[str, dict[str, Head]]) -> list[Row]:
    """Queries one at a time, each with its own candidates, against reading the patches of these once."""
    size, calls, rows = bench.size, dict[str, Call](), []
    for kind, there in kinds.items():
        alone = [{n: head.of(slice(q, q + 1), size.videos) for n, head in there.items()} for q in range(size.alone)]
        chosen = [_first_stage(one, size.top_k)[0] for one in alone]
        patches = there["patch"].video.structured("values" if kind == MADE else "patches").values
        calls[f"both stages, {kind}"] = partial(
            _each, partial(search, EERCF_TWO, size.top_k), [(one,) for one in alone]
        )
        calls[f"patches, {kind}"] = partial(_each, _score_patches, list(zip(alone, chosen, strict=True)))
        calls[f"read, {kind}"] = partial(_each, _read, [(patches, columns) for columns in chosen])
    times = alternate(calls, size.long_rounds, size.at_least)
    for kind, there in kinds.items():
        floats = {name: head.video.item_floats for name, head in there.items()}
        patches_alone = size.top_k * floats["patch"]
        both = size.videos * floats["video"] + size.top_k * floats["frame"] + patches_alone
        needs = {
            "both stages": Work(_two_stages(size, 1), FLOAT * both),
            "patches": Work(2 * size.top_k * size.frames * size.patches * bench.width, FLOAT * patches_alone),
        }
        for what, work in needs.items():
            taken, read = (combined(times, {f"{name}, {kind}": 1 / size.alone}) for name in (what, "read"))
            rows.append(row(f"one query, {what}, {kind}", bench.width, taken, read, 4.0, work))
    return rows


def _score_patches(there: Heads, columns: Tensor) -> None:
    head, rows = there["patch"], torch.zeros_like(columns)
    sides = Sides(head.interaction, head.text, head.video)
    score_candidates(sides, [head.interaction.config], rows, columns)


def _read(values: Tensor, columns: Tensor) -> None:
    for video in columns.tolist():
        values[video].sum()


def glscl(bench: Bench) -> Row:
    """All pairs of both heads from raw features against the decoder's passes over texts and videos."""
    both = [bench.raw("local"), bench.raw("global")]
    calls: dict[str, Call] = {"scores": partial(_score, *both), "passes": partial(_sides, both[0])}
    work = Work.of(multiply_adds(calls["scores"])[0], *both)
    times = alternate(calls, bench.size.long_rounds, bench.size.at_least)
    return row(f"GLSCL, {RAW}", bench.width, times["scores"], times["passes"], 3.0, work)


# ------------------------------------------------------------------------------------------------ results


@torch.inference_mode()
def measure(size: Size) -> dict[str, Any]:
    """Everything that is written as JSON."""
    found = []
    for width in size.widths:
        bench = Bench(size, width)
        found.append(all_pairs(bench, {name: bench.made(name) for name in FORMS if name != "patch"}))
    bench = Bench(size, size.widths[0], patches=True)
    names = (*EERCF_TWO.first, *EERCF_TWO.fine)
    kinds = {MADE: {name: bench.made(name) for name in names}, RAW: {name: bench.raw(name) for name in names}}
    found.append(all_pairs(bench, {"patch": kinds[MADE]["patch"].of(slice(0, size.texts), size.few_videos)}))
    scores, einsums = ([row for rows in every for row in rows] for every in zip(*found, strict=True))
    scores += [*two_stages(bench, kinds), *one_query(bench, kinds), glscl(bench)]
    return {"benchmark": "scoring", "machine": machine(), "size": asdict(size), "scores": scores, "einsum": einsums}


def report(result: Mapping[str, Any]) -> str:
    """The tables."""
    size, said = result["size"], {True: "yes", False: "no", None: "–"}
    scores = [
        [r["what"], r["width"], short(r["ms"]), *r["ratio"].cells(), short(r["target"]), said[r["reached"]]]
        + [short(r[name]) for name in Work._fields]
        for r in result["scores"]
    ]
    einsums = [
        [*list(r.values())[:4], *r["faster"].cells(), f"{r['largest_difference']:.1e}"] for r in result["einsum"]
    ]
    return f"""# What scores cost beside the least that they need

{size["texts"]} texts, {size["videos"]} videos, {size["frames"]} frames of {size["patches"]} patches (all pairs of
patches: {size["few_videos"]} videos), float32; {described(result)}.
{size["rounds"]} rounds in alternation, {size["long_rounds"]} of two stages, one query and GLSCL.

How many times the cost of: all pairs: the products of all tokens with all texts, into memory that is there. Two stages
at K = {size["top_k"]}: the first stage and K / N of all pairs of frames and patches (patches from
{size["few_texts"]} texts). One query: reading its candidates' patches. GLSCL: its decoder's passes.
Median, smallest and largest by the clock, and the median by processor time; then what must be done, and moved.

{table([*titles("what", "width", "ms", "ratio"), "by processor", *titles("target", "reached", *Work._fields)], scores)}

## Against the einsum form

Scores as published programs form them, with a pooled vector for each pair: how many times faster engine.scoring is, and
the largest difference.

{table([*titles("what", "width", "texts", "videos", "faster"), "by processor", "difference"], einsums)}"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("scoring", arguments)
    result = measure(SMALL if options.small else Size())
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
