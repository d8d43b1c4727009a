"""Multiply-adds counted, seconds and bytes measured, of anything that can be called."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

Result = TypeVar("Result")

SECONDS, AT_MOST = 5.0, 200
"""For how long calls are repeated, and how many at most are timed."""
WATCH = 0.01
"""Seconds between two looks at a process's memory."""


def multiply_adds(call: Callable[[], Result]) -> tuple[int, Result]:
    """Multiply-adds of one call, those of matrix products, convolutions and attention, forward and backward; and what
    the call gives.

    Not counted: what is done element by element (normalising, softmax, sums of products written without a matrix
    product, an optimiser's step), sorting and gathering, and what a kernel of a plugin's own does on a GPU.
    """
    from torch.utils.flop_counter import FlopCounterMode  # which imports Triton where that is installed

    counter = FlopCounterMode(display=False, custom_mapping=VECTORS)
    counter.mod_tracker = _NoModules()
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the counter sees nothing of attention that is fused on the CPU
    try:
        with sdpa_kernel(SDPBackend.MATH), counter:
            result = call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2, result


def _product_with_vector(matrix: Sequence[int], vector: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _added_product(bias: Sequence[int], matrix: Sequence[int], vector: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * matrix[0] * matrix[1]


def _dot(vector: Sequence[int], other: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * vector[0]


VECTORS = {torch.ops.aten.mv: _product_with_vector, torch.ops.aten.addmv: _added_product, torch.ops.aten.dot: _dot}


class _NoModules(ModuleTracker):
    """Counts nothing module by module: the hooks for that fail in inference mode where a module is called with a
    parameter, such as learned queries."""

    def __enter__(self) -> _NoModules:
        return self

    def __exit__(self, *_: Any) -> None:
        return


def call_times(calls: Sequence[Callable[[], object]], at_least: int, warm_up: int) -> list[float]:
    """Seconds of calls, one after another and again from the first, after so many that are not timed: `at_least`, and
    up to AT_MOST within SECONDS."""
    for number in range(warm_up):
        calls[number % len(calls)]()
    times: list[float] = []
    while len(times) < at_least or (len(times) < AT_MOST and sum(times) < SECONDS):
        began = time.perf_counter()
        calls[len(times) % len(calls)]()
        times.append(time.perf_counter() - began)
    return times


class TensorBytes(TorchDispatchMode):
    """Counts, within it, the bytes of tensors that are there beside the known ones; `peak` is the most there were.

    On any device. What an operation takes and gives back inside its own kernel is not seen.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()):
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in tensors:
            self._note(tensor.untyped_storage(), 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:
            result = func.decompose(*args, **kwargs)
        if result is NotImplemented:
            result = func(*args, **kwargs)
            for leaf in tree_leaves((args, kwargs, result)):
                if isinstance(leaf, Tensor):
                    self._note(leaf.untyped_storage(), leaf.untyped_storage().nbytes())
        return result

    def _note(self, storage: torch.UntypedStorage, size: int) -> None:
        if (key := storage._cdata) not in self._alive:
            self._alive[key] = weakref.ref(storage, lambda _: self._gone(key, size))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int, size: int) -> None:
        del self._alive[key]
        self.now -= size


@dataclass
class Growth:
    """How many bytes a process took beyond what it had; None where the system does not tell."""

    peak: int | None = None


@contextmanager
def memory_growth(device: torch.device) -> Iterator[Growth]:
    """Within it the memory of a process is watched: on a GPU what torch has handed out, else its own pages (Linux),
    which those of mapped files are not. `peak` is there afterwards."""
    growth = Growth()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield growth
        growth.peak = torch.cuda.max_memory_allocated(device) - before
        return
    own, done = _own_bytes(), threading.Event()
    if own is None:
        yield growth
        return
    growth.peak = 0

    def watch() -> None:
        last = False
        while not last:
            last = done.wait(WATCH)
            growth.peak = max(growth.peak or 0, (_own_bytes() or 0) - own)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield growth
    finally:
        done.set()
        thread.join()


def _own_bytes(status: Path = Path("/proc/self/status")) -> int | None:
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), None)
