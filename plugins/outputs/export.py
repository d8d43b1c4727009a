"""The encoder of an experiment as a model folder, which replaces nothing but an earlier export."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core import ConfigError, Encoder, Output, Problem, RunError, UserError, setting
from core.outputs import (
    FailedTrial,
    Result,
    checked,
    checksum,
    failure_of,
    follow_umask,
    read_text,
    with_check,
    write_atomically,
)

MARK = "exported.json"
"""The file in a model folder that says which files an export wrote, with their checksums."""


class Export(Output):
    """The encoder of the first trial, as trained where it was, written to a folder that `encoder.model` can name."""

    name = "export"

    @dataclass(frozen=True)
    class Config:
        folder: str = setting(doc="where the model goes; a new folder, or that of an earlier export")

    def __init__(self, config: Config):
        """Raises ConfigError for a folder that holds something else than an earlier export."""
        super().__init__(config)
        if reason := _in_the_way(Path(config.folder)):
            message = f"{reason}, and an export replaces nothing else than an earlier export; name a new folder"
            raise ConfigError(Problem("folder", f"{config.folder} {message}"))

    def finished(self, result: Result, folder: Path) -> list[str]:
        place, first = self.config.folder, result.rows[0].trials[0]
        if isinstance(first, FailedTrial):
            return [f"Encoder: not written to {place}: {first.name} failed"]
        export(result.encoder(), Path(place))
        return [f"Encoder: {place}"]


def _in_the_way(folder: Path) -> str | None:
    """What stands in the way of writing a model folder; None where nothing does."""
    if not folder.exists() and not folder.is_symlink():
        return None
    if not folder.is_dir():
        return "is no folder"
    exported = _exported(folder)
    if not exported and any(folder.iterdir()):
        return f"holds files that no export wrote (there is no {MARK})"
    changed = [name for name, sums in exported.items() if (folder / name).exists() and _sum(folder / name) not in sums]
    return f"holds files that were changed since they were exported ({', '.join(changed)})" if changed else None


def _exported(folder: Path) -> dict[str, list[int]]:
    """{file: checksums} of what an earlier export wrote there, two where it was cut short; nothing where it cannot be
    told."""
    try:
        files = checked(read_text(folder / MARK))["files"]
        sums_by_name = {str(name): list(map(int, sums)) for name, sums in files.items()}
        return {name: sums for name, sums in sums_by_name.items() if _is_within(Path(name))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_within(name: Path) -> bool:
    """Whether a name leads to nothing outside the folder."""
    return not name.is_absolute() and ".." not in name.parts


def _sum(path: Path) -> int | None:
    try:
        return checksum(path)
    except OSError:
        return None


def export(encoder: Encoder, folder: Path) -> None:
    """Write an encoder to a folder.

    Raises UserError where a file of somebody else's has come there since the run began, or the encoder fails.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        draft = Path(scratch) / folder.name
        try:
            encoder.export(draft)
        except (UserError, OSError):
            raise
        except (Exception, SystemExit) as fault:  # a plugin may fail in any way
            raise RunError(f"export: {folder} could not be written: {failure_of(fault)}") from None
        _put_in_place(draft, folder)


def _put_in_place(draft: Path, folder: Path) -> None:
    """Move an export's files to where the last one's are, and say there that they are ours."""
    files = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    sums = {path.relative_to(draft).as_posix(): [checksum(path)] for path in files}
    before = _exported(folder)
    strangers = [name for name in sums if name not in before and (folder / name).exists()]
    reason = f"holds {', '.join(strangers)}, which no export wrote" if strangers else _in_the_way(folder)
    if reason:
        raise UserError(f"export: {folder} {reason}; it was left as it is. Name a new folder")
    folder.mkdir(exist_ok=True)
    for name in before.keys() - sums.keys():
        (folder / name).unlink(missing_ok=True)
    either = {name: before.get(name, []) + new for name, new in sums.items()}
    write_atomically(folder / MARK, with_check({"files": either}))
    for name in sums:
        follow_umask(draft / name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(draft / name, folder / name)
    write_atomically(folder / MARK, with_check({"files": sums}))
