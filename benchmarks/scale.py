"""What a first stage costs as the gallery grows: milliseconds a query, memory, and how both grow.

    python -m benchmarks.scale --out benchmarks/results/scale.json

Galleries are random unit vectors in float16, mapped from a file. The bound is the time it takes to read the same bytes.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import (
    Ratio,
    alternate,
    described,
    machine,
    median_ms,
    publish,
    read_options,
    short,
    table,
)
from core.contract.tensorfile import map_tensors
from core.contract.terminal import progress
from core.engine.index import approximate, is_installed, recall
from core.engine.scoring import nearest


@dataclass(frozen=True)
class Size:
    """galleries: vectors. batch: queries at once. index_up_to: the largest gallery that an approximate index is built
    of. at_least: seconds that a call is repeated for."""

    galleries: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    width: int = 512
    batch: int = 64
    top_k: int = 50
    index_up_to: int = 100_000
    rounds: int = 5
    at_least: float = 0.1


SMALL = Size(galleries=(500, 2_000), width=32, batch=4, top_k=5, index_up_to=2_000, rounds=2, at_least=0.001)


def gallery(folder: Path, size: Size) -> Tensor:
    """Unit vectors [N, D] of the largest gallery, in a file: around random centres, as videos lie around topics."""
    count, generator = max(size.galleries), torch.Generator().manual_seed(0)
    vectors = map_tensors(folder / "gallery.safetensors", {"v": ((count, size.width), torch.float16)})["v"]
    centres = torch.randn(1000, size.width, generator=generator)
    for start in progress(range(0, count, 50_000), "write the gallery"):
        rows = min(50_000, count - start)
        own = torch.randint(1000, (rows,), generator=generator)
        made = centres[own] + 2 * torch.randn(rows, size.width, generator=generator)
        vectors[start : start + rows] = torch.nn.functional.normalize(made, dim=1)
    return vectors


def read_once(vectors: Tensor) -> Tensor:
    """Every byte is read: the least that looking through all of them takes."""
    return vectors.view(torch.float32).sum()


def measure(size: Size) -> dict[str, Any]:
    """Everything that is written as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        vectors = gallery(Path(folder), size)
        generator = torch.Generator().manual_seed(1)
        queries = vectors[torch.randint(len(vectors), (size.batch,), generator=generator)].float()
        queries += torch.randn(queries.shape, generator=generator) / size.width**0.5
        rows = [_row(size, queries, vectors[:count]) for count in size.galleries]
    result = {"benchmark": "scale", "machine": machine(), "size": asdict(size), "galleries": rows}
    return result | {"growth": _growth(rows)}


def _row(size: Size, queries: Tensor, vectors: Tensor) -> dict[str, Any]:
    one, search = queries[:1], partial(nearest, vectors=vectors, top_k=size.top_k)
    longest = 1.001  # float16 rounds unit vectors
    calls: dict[str, Callable[[], object]] = {
        "read": partial(read_once, vectors),
        "one": partial(search, one, longest=longest),
        "widened": partial(search, one),
        "batch": partial(search, queries),
        "product": partial(_product, queries, vectors[: min(len(vectors), 50_000)].float()),
    }
    memory = {name: peak_of(calls[name]) for name in ("one", "batch")}
    times = alternate(calls, size.rounds, size.at_least)
    products = len(vectors) / min(len(vectors), 50_000)
    row = {
        "gallery": len(vectors),
        "bytes": vectors.numel() * vectors.element_size(),
        "read_ms": median_ms(times["read"]),
        "one_ms": 1e3 * statistics.median(s.wall for s in times["one"]),
        "batch_ms_a_query": 1e3 * statistics.median(s.wall for s in times["batch"]) / size.batch,
        "one_to_reading": Ratio.of(times["one"], times["read"]),
        "widened_to_reading": Ratio.of(times["widened"], times["read"]),
        "batch_to_product": Ratio.of(times["batch"], times["product"]).median / products,
        "peak_bytes": max(memory.values()),
    }
    if is_installed() and len(vectors) <= size.index_up_to:
        row["index_recall"] = recall(approximate(queries, vectors, size.top_k), search(queries)[1])
    return row


def _product(queries: Tensor, vectors: Tensor) -> Tensor:
    return queries @ vectors.T


def _growth(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Exponents between the two largest galleries: 1 is linear."""
    last, before = rows[-1], rows[-2]
    step = math.log(last["gallery"] / before["gallery"])
    return {name: math.log(last[name] / before[name]) / step for name in ("one_ms", "batch_ms_a_query")}


# ------------------------------------------------------- memory


def peak_of(call: Callable[[], object]) -> int:
    """Bytes of a process's own memory, which pages of mapped files are not, that a call adds at its peak."""
    with _watched() as seen:
        call()
    return max(0, max(seen) - seen[0])


@contextmanager
def _watched() -> Iterator[list[int]]:
    seen, done = [_own_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            seen.append(_own_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
        seen.append(_own_bytes())


def _own_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status does not say RssAnon: this needs Linux")


# ------------------------------------------------------- tables


def report(result: dict[str, Any]) -> str:
    size, rows, growth = result["size"], result["galleries"], result["growth"]
    headings = [
        "gallery",
        "one query, ms",
        "times reading",
        "widened first",
        "batch, ms a query",
        "times its product",
        "peak, MiB",
        "index recall, %",
    ]
    cells = [
        [
            f"{row['gallery']:,}",
            short(row["one_ms"]),
            row["one_to_reading"].cells()[0],
            row["widened_to_reading"].cells()[0],
            short(row["batch_ms_a_query"]),
            short(row["batch_to_product"]),
            short(row["peak_bytes"] / 2**20),
            short(row.get("index_recall")),
        ]
        for row in rows
    ]
    return f"""# A first stage as the gallery grows

Unit vectors of width {size["width"]} in float16, mapped from a file, in the page cache; the {size["top_k"]} best,
exactly. One query, or {size["batch"]} at once; {size["rounds"]} rounds in alternation; {described(result)}.

{table(headings, cells)}

Times reading: over the time to read the same bytes once. Widened first: the same query without a bound of the vectors'
length, so that all are made float32. Times its product: over the matrix product with vectors that are float32 already.
Peak: own memory, beyond the page cache. Index: `retrieve.index: faiss`, up to {size["index_up_to"]:,} vectors.

Growth between the two largest: gallery^{growth["one_ms"]:.2f} for one query, ^{growth["batch_ms_a_query"]:.2f} a query
in a batch.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("scale", arguments)
    began = time.monotonic()
    result = measure(SMALL if options.small else Size())
    publish(result, report(result), options.out)
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
