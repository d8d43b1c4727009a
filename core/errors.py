"""The errors that a user can meet: what is wrong, where (file, full key), what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class UserError(Exception):
    """Something that the person at the keyboard can put right. Ends the command with `exit_code`.

    >>> import core
    >>> try:
    ...     core.evaluate([[0.5, 0.1, 0.3]])
    ... except core.UserError as fault:
    ...     print(type(fault).__name__, fault.exit_code)
    DataError 1
    """

    exit_code = 1


@dataclass(frozen=True, order=True)
class Problem:
    """One fault of a configuration: the full dotted key, what is wrong, the file that wrote it.

    >>> import core
    >>> print(core.Problem("train.epochs", "must be at least 1, got 0", "lab.yaml"))
    lab.yaml: train.epochs: must be at least 1, got 0
    """

    key: str
    message: str
    file: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.file, self.key) if part)
        return f"{place}: {self.message}" if place else self.message


class ConfigError(UserError):
    """All faults found in a configuration, together, before anything runs. Exit code 2.

    >>> import core
    >>> try:
    ...     core.create("interaction", "tibb")
    ... except core.ConfigError as fault:
    ...     print(fault.problems[0].message)
    no interaction named `tibb`. Did you mean `tib`?
    """

    exit_code = 2

    def __init__(self, problems: Sequence[Problem] | Problem):
        faults = [problems] if isinstance(problems, Problem) else list(problems)
        self.problems = list(dict.fromkeys(faults))
        head = "" if len(self.problems) == 1 else f"{len(self.problems)} problems in the configuration:\n"
        super().__init__(head + "\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class DataError(UserError):
    """Input files that are missing, unreadable or contradict each other.

    >>> import core
    >>> try:
    ...     core.evaluate([[0.9, 0.1], [0.2, 0.8]], relevance=[(0, 0), (1, 2)])
    ... except core.DataError as fault:
    ...     print(fault)
    relevance: pair 1 has column 2, outside 0..1
    """


class RunError(UserError):
    """A step that failed while running. What was computed before stays in the store.

    >>> import core
    >>> try:
    ...     core.evaluate([[0.9, float("nan")], [0.2, 0.8]])
    ... except core.RunError as fault:
    ...     print(fault)
    query row 0: the score of item 1 is nan, which has no rank (1 of the 2 query rows from 0 on hold such scores)
    """


class _OfVideo(UserError):
    """A fault met with one video: `path`, `reason` and, where known, `fix`."""

    def __init__(self, path: object, reason: str, fix: str = ""):
        self.path, self.reason, self.fix = str(path), reason, fix
        super().__init__(f"{path}: {reason}" + (f". {fix}" if fix else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.reason, self.fix)


class VideoError(_OfVideo, DataError):
    """A video that cannot be read, or not read correctly, because of what the file holds.

    >>> import core
    >>> try:
    ...     raise core.VideoError("videos/a.mp4", "holds no picture", "Download it again")
    ... except core.DataError as fault:
    ...     print(fault)
    videos/a.mp4: holds no picture. Download it again
    """


class ReadingError(_OfVideo, RunError):
    """A video that could not be read as things are: too little memory or time, a disk that fails, no permission.

    It says nothing of the file, so nothing may be concluded from it.
    """


class StoreError(UserError):
    """A store entry that is damaged or cannot be written.

    >>> import core
    >>> try:
    ...     core.load("3f2a", store="/no/such/store")
    ... except core.StoreError as fault:
    ...     print(fault)
    /no/such/store: no trial with a key that begins with `3f2a`; `python -m core.store` lists them
    """


def nearest(word: str, candidates: Iterable[str]) -> str:
    """' Did you mean …?' for a misspelt word, else the known words; '' where there are none."""
    names = sorted(str(name) for name in candidates)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f" Did you mean `{close[0]}`?"
    return f" Known: {', '.join(names)}." if names else ""


LONGEST_SHOWN = 300


def show(value: object) -> str:
    """A value as YAML has it, with its type where the two are easily confused; a long one by its beginning."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 64:
        return brief(value)
    words = {str: "a text", int: "a whole number", float: "a number"}.get(type(value))
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number within that is too long to print, a list within itself
        return f"a {type(value).__name__}"
    text = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return f"{text} ({words})" if words else text


def brief(number: float) -> str:
    """A number; one that is longer than any that counts something, by its length."""
    if isinstance(number, int) and number.bit_length() > 64:
        return f"a whole number of {int(number.bit_length() * 0.30103) + 1:,} digits"
    return str(number)


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 video`, `1,200 videos`."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
