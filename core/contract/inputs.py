"""Files that a user names: seen before they are opened, read without waiting for ever, JSON without double keys."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError

Done = TypeVar("Done")
Tick = Callable[[str], None]
"""Told, with a path, whenever some of it was read."""

STALLED = 60.0
"""Seconds without a byte after which a file is given up: a disk that spins up takes some, a share that died all."""
BLOCK = 1 << 20
SETTINGS = 1 << 16
"""Bytes of the largest JSON file that is taken for one of settings, which people edit; vocabularies are larger."""
ABSENT, FOLDER = "does not exist", "is a folder"
_KINDS = (
    (stat.S_ISDIR, FOLDER),
    (stat.S_ISFIFO, "is a named pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)
_ABSENT = {
    errno.ENOENT: ABSENT,
    errno.ENOTDIR: "lies below a file, not below a folder",
    errno.ELOOP: "is a loop of links",
    errno.ENAMETOOLONG: "has a name that is too long for a file",
}


def no_file(path: str | Path) -> str:
    """Why there is no regular file at `path`, links followed, as `is a named pipe`; "" where there is one.

    Nothing is opened: to open a pipe waits for who writes into it, a device may never end.

    >>> import core
    >>> core.no_file("/"), core.no_file("/no/such/file")
    ('is a folder', 'does not exist')
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as fault:
        return _ABSENT.get(fault.errno or 0, f"cannot be reached: {fault.strerror}")
    except ValueError:
        return "is no path"
    return "" if stat.S_ISREG(mode) else next((words for test, words in _KINDS if test(mode)), "is no file")


def special_file(path: str | Path) -> str:
    """`no_file` of what is there and neither a file nor a folder; "" for a file, a folder, and nothing at all.

    >>> import core
    >>> core.special_file("/dev/null"), core.special_file("/")
    ('is a device', '')
    """
    reason = no_file(path)
    return "" if reason in (FOLDER, ABSENT) else reason


def looked_for(path: Path) -> str:
    """The path and, where something other than a file stands there, what it is."""
    wrong = no_file(path)
    return f"{path}, which {wrong}" if wrong and wrong != ABSENT else str(path)


def regular_file(path: str | Path, expected: str = "a file") -> Path:
    """The path. Raises DataError, before anything is opened, where no regular file stands there."""
    if wrong := no_file(path):
        raise DataError(f"{path}: {wrong}; expected {expected}")
    return Path(path)


def check_folder(folder: Path) -> None:
    """Raises DataError where something in a folder of files is neither file nor folder, or a settings file (JSON) has
    a key twice."""
    for path in sorted(folder.iterdir()):
        if wrong := special_file(path):
            raise DataError(f"{path}: {wrong}; expected a file")
        if path.suffix == ".json" and not no_file(path) and path.stat().st_size <= SETTINGS:
            try:
                strict_json(path.read_text(encoding="utf-8"))
            except RepeatedKey as fault:
                raise DataError(f"{path}: line {fault.line}: {fault}") from None
            except (OSError, ValueError):
                continue  # whoever needs it says what is wrong


def is_absent(fault: OSError) -> bool:
    """Whether an error says that there is no such file, not that it cannot be had now."""
    return fault.errno in _ABSENT


def content_digest(path: Path, tick: Tick) -> str:
    """sha256 of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
            tick(str(path))
    return digest.hexdigest()


def watched(work: Callable[[Tick], Done]) -> Done:
    """What `work` gives, in a thread of its own. It calls its argument with each path that it begins or reads on.

    Raises DataError naming the last path where it makes no such call for STALLED seconds: no code can end a call that
    waits for a dead disk, so the thread is left behind.
    """
    outcome: list[Done] = []
    faults: list[BaseException] = []
    told = [(time.monotonic(), "")]
    ended = threading.Event()

    def tick(path: str) -> None:
        told[0] = time.monotonic(), path

    def run() -> None:
        try:
            outcome.append(work(tick))
        except BaseException as fault:
            faults.append(fault)
        ended.set()

    threading.Thread(target=run, daemon=True, name="watched").start()
    while not ended.wait(min(1.0, STALLED / 4)):
        since, path = told[0]
        if time.monotonic() - since > STALLED:
            raise DataError(
                f"{path}: gave no byte for {STALLED:g} s and was given up. Is the disk or share that it lies on alive? "
                "What was computed is kept; the same command resumes"
            )
    if faults:
        raise faults[0]
    return outcome[0]


# --------------------------------------------------------------------------------------------------------- JSON


class RepeatedKey(ValueError):
    """An object of a JSON text has a key twice, of which a reader would silently take one. `line` counts from 1."""

    def __init__(self, line: int, key: str):
        self.line, self.key = line, key
        super().__init__(f"the key `{key}` stands twice in one object")


def strict_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, RepeatedKey where an object has a key twice.

    >>> import core
    >>> try:
    ...     core.strict_json('{"a": 1, "a": 2}')
    ... except ValueError as fault:
    ...     print(fault)
    the key `a` stands twice in one object
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            raise _repeated(text)
        return content

    return json.loads(text, object_pairs_hook=once)


def _repeated(text: str) -> RepeatedKey:
    """The first key that stands twice in one object of a text that is JSON up to there."""
    objects: list[set[str] | None] = []
    for token in re.finditer(r'("(?:[^"\\]|\\.)*")(\s*:)?|[{}\[\]]', text):
        if token[0] in "{[":
            objects.append(set() if token[0] == "{" else None)
        elif token[0] in "}]":
            objects.pop()
        elif token[2] and (keys := objects[-1]) is not None:
            key = json.loads(token[1])
            if key in keys:
                return RepeatedKey(text.count("\n", 0, token.start()) + 1, key)
            keys.add(key)
    raise AssertionError("no key stands twice")
