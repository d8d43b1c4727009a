"""What the text-gated block costs on a GPU over its bare dot products: with torch's operations, compiled, in Triton.

    python -m benchmarks.gpu_tib --out benchmarks/results/gpu_tib.json

All pairs of texts and videos, float32, one temperature; features are random, both sides made beforehand and on the GPU.
Times are the GPU's own, between events. Without CUDA it says so and writes nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import machine, publish, read_options, short, table, titles
from core import Side, TextFeatures, VideoFeatures, create
from plugins.layers.fused_gate import fused_cosines

TEMPERATURE = 0.1
PRODUCT = "bare product"


@dataclass(frozen=True)
class Size:
    texts: int = 1000
    videos: int = 1000
    frames: int = 12
    widths: tuple[int, ...] = (512, 128)
    rounds: int = 15
    repeats: int = 20


SMALL = Size(texts=40, videos=30, frames=4, widths=(32,), rounds=2, repeats=2)


def with_torch(values: Tensor, mask: Tensor, gram: Tensor, query: Tensor) -> Tensor:
    """Scores [B_v, B_t] as written down: softmax of the dot products, and the cosine by the Gram matrix."""
    dots = values @ query
    weights = (dots / TEMPERATURE).masked_fill(~mask[:, :, None], -torch.inf).softmax(1)
    return (weights * dots).sum(1) / (weights * (gram @ weights)).sum(1).sqrt()


def with_triton(values: Tensor, mask: Tensor, gram: Tensor, query: Tensor) -> Tensor | None:
    """The same product, and one pass over it; None where the kernel is not used."""
    dots = values @ query
    found = fused_cosines(dots, dots, mask, gram, [TEMPERATURE])
    return None if found is None else found[0]


def variants(size: Size, width: int, device: str, seed: int = 0) -> dict[str, Callable[[], Tensor | None]]:
    """What is timed, all of the same sides: the product [B_v, N, B_t], and four ways to the scores [B_v, B_t]."""
    draw = torch.Generator().manual_seed(seed)
    interaction = create("interaction", "tib", {}, temperature=TEMPERATURE)
    mask = torch.rand(size.videos, size.frames, generator=draw) < 0.9
    mask[:, 0] = True
    frames = torch.randn(size.videos, size.frames, width, generator=draw)
    sentence = torch.randn(size.texts, width, generator=draw)
    text: Side = interaction.text_side(TextFeatures(sentence=sentence).to(device))
    video: Side = interaction.video_side(VideoFeatures(frames=frames, frame_mask=mask).to(device))
    given = video["values"], video["mask"], video["gram"], text["vector"].T
    compiled = torch.compile(with_torch)
    return {
        PRODUCT: lambda: given[0] @ given[3],
        "torch": lambda: with_torch(*given),
        "torch.compile": lambda: compiled(*given),
        "triton": lambda: with_triton(*given),
        "tib.score": lambda: interaction.score(text, video).T,
    }


def milliseconds(call: Callable[[], object], repeats: int) -> float:
    """Of the GPU, a call."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / repeats


def alternate(calls: dict[str, Callable[[], object]], size: Size) -> dict[str, list[float]]:
    """Milliseconds a call of each, one a round: every round runs all of them, and starts with another one."""
    names = list(calls)
    for name in names:
        milliseconds(calls[name], size.repeats)  # not counted
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(size.rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            found[name].append(milliseconds(calls[name], size.repeats))
    return found


@torch.inference_mode()
def measure(size: Size, device: str = "cuda") -> dict[str, Any]:
    """Everything that is written as JSON."""
    rows = [row for width in size.widths for row in _rows(size, width, device)]
    return {"benchmark": "gpu_tib", "machine": {**machine(), **_gpu(device)}, "size": asdict(size), "scores": rows}


def _rows(size: Size, width: int, device: str) -> list[dict[str, Any]]:
    calls = variants(size, width, device)
    made = {name: scores for name, call in calls.items() if (scores := call()) is not None}
    times = alternate({name: calls[name] for name in made}, size)
    return [
        {
            "way": name,
            "width": width,
            "ms": statistics.median(times[name]),
            "over_product": _ratio(times[name], times[PRODUCT]),
            "largest_difference": None if name == PRODUCT else (scores - made["torch"]).abs().max().item(),
        }
        for name, scores in made.items()
    ]


def _ratio(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """Of times taken in the same round."""
    ratios = [one / other for one, other in zip(slower, faster, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def _gpu(device: str) -> dict[str, Any]:
    if device != "cuda":
        return {}
    found = torch.cuda.get_device_properties(0)
    return {
        "compute_capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "gpu_gib": found.total_memory / 2**30,
    }


def report(result: dict[str, Any]) -> str:
    size, on = result["size"], result["machine"]
    gpu = "compute capability {compute_capability}, {multiprocessors} multiprocessors".format_map(on)
    return f"""# The text-gated block on a GPU

{size["texts"]} texts x {size["videos"]} videos, {size["frames"]} frames, float32, one temperature; random features,
both sides made beforehand. A GPU of {gpu}; torch {on["torch"]}.
Median, smallest and largest of {size["rounds"]} rounds in alternation of {size["repeats"]} calls each.

{table(titles("way", "width", "ms", "over_product", "largest_difference"), [_cells(row) for row in result["scores"]])}

Largest difference: of scores, from those of torch's operations.
"""


def _cells(row: dict[str, Any]) -> list[object]:
    ratio = "{} ({}–{})".format(*(short(row["over_product"][name]) for name in ("median", "low", "high")))
    difference = row["largest_difference"]
    return [row["way"], row["width"], short(row["ms"]), ratio, "–" if difference is None else f"{difference:.1e}"]


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("gpu_tib", arguments)
    if not torch.cuda.is_available():
        print("gpu_tib: there is no CUDA here, and nothing was measured")
        return
    result = measure(SMALL if options.small else Size())
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
