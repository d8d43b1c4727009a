"""Progress of what lasts longer than a second: bars on a terminal; in a log lines that begin with the time.

What runs is a stack of tasks, outermost first. One thread shows them, so that a single long item is shown too.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .escaping import plain_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

PATIENCE = 1.0
"""Seconds after which a task is shown."""
MINUTE = 60.0
"""Seconds between the lines of a log on one task."""


@dataclass(eq=False)
class _Task:
    label: str
    total: int | None
    in_log: bool = False
    done: int = 0
    began: float = field(default_factory=time.monotonic)


class _Watch:
    """The tasks that run, and the thread that shows them while there are any."""

    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.logs = False
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, task: _Task) -> None:
        with self._lock:
            self.tasks.append(task)
            show = self._draw if sys.stderr.isatty() else self._write if self.logs else None
            if len(self.tasks) == 1 and show is not None:
                self._idle.clear()
                self._thread = threading.Thread(target=show, name="progress", daemon=True)
                self._thread.start()

    def end(self, task: _Task) -> None:
        with self._lock:
            self.tasks.remove(task)
            if self.tasks or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._idle.set()
        thread.join()

    def _running(self) -> list[_Task]:
        """Those that have lasted long enough to be shown."""
        with self._lock:
            return [task for task in self.tasks if time.monotonic() - task.began > PATIENCE]

    def _draw(self) -> None:
        """Bars, as long as they are true."""
        bars: Progress | None = None
        shown: dict[_Task, TaskID] = {}
        try:
            while not self._idle.wait(0.2):
                running = self._running()
                if running and bars is None:
                    bars = _bars()
                    bars.start()
                for task in [task for task in shown if task not in running]:
                    bars.remove_task(shown.pop(task))  # type: ignore[union-attr]
                for task in running:
                    if task not in shown:
                        shown[task] = bars.add_task(task.label, total=task.total)  # type: ignore[union-attr]
                    bars.update(shown[task], completed=task.done)  # type: ignore[union-attr]
                if bars is not None:
                    bars.refresh()
        finally:
            if bars is not None:
                bars.stop()

    def _write(self) -> None:
        """A line for each phase that lasts, and one a minute on what runs within."""
        written: dict[_Task, float] = {}
        while not self._idle.wait(0.2):
            now, running = time.monotonic(), self._running()
            for task in running:
                if task.in_log and task not in written:
                    log(task.label)
                    written[task] = now
                elif task is running[-1] and now - written.setdefault(task, task.began) >= MINUTE:
                    log(_so_far(task, now))
                    written[task] = now


_watch = _Watch()


@contextmanager
def logging() -> Iterator[None]:
    """Have a log get lines of progress, where standard error is no terminal."""
    before, _watch.logs = _watch.logs, True
    try:
        yield
    finally:
        _watch.logs = before


def log(text: str) -> None:
    """A line with the time, in a log; nothing on a terminal, where bars show what runs."""
    if _watch.logs and not sys.stderr.isatty():
        print(f"{time.strftime('%H:%M:%S')} {plain_line(text)}", file=sys.stderr, flush=True)


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items`; after a second show how many of them are done and how long the others will take: a bar where
    standard error is a terminal, a line a minute in the log of a command.

    >>> import core
    >>> [number**2 for number in core.progress([1, 2, 3], "square")]
    [1, 4, 9]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with _shown(_Task(label, total)) as task:
        for item in items:
            yield item
            task.done += 1


@contextmanager
def phase(label: str, in_log: bool = True) -> Iterator[None]:
    """Show what runs, after a second, where its end cannot be foreseen; `in_log`: in a log too."""
    with _shown(_Task(label, None, in_log=in_log)):
        yield


@contextmanager
def _shown(task: _Task) -> Iterator[_Task]:
    _watch.begin(task)
    try:
        yield task
    finally:
        _watch.end(task)


def _so_far(task: _Task, now: float) -> str:
    """`encode test videos: 120 of 700 in 3 min, about 15 min left`"""
    taken = now - task.began
    if not task.total:
        return f"{task.label}: {duration(taken)} so far"
    told = f"{task.label}: {task.done:,} of {task.total:,} in {duration(taken)}"
    return f"{told}, about {duration(taken * (task.total - task.done) / task.done)} left" if task.done else told


def duration(seconds: float) -> str:
    """`8 s`, `3 min`, `2 h 05 min`"""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    both = sys.stdout.isatty()  # what goes into a file must not be drawn above the bars
    return Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False, redirect_stdout=both)
