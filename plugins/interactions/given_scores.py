"""Scores that others computed, looked up by the ids of texts and videos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor

from core import Interaction, Levels, RunError, Side, TextFeatures, VideoFeatures, setting


class GivenScores(Interaction):
    """Scores [B_t, B_v] from a file, looked up by id, so that fusion weights, score transforms and rerankers are
    ablated on other people's outputs as on one's own. It reads no level and has no parameters.

    The unit is the file's. The files enter the keys of what is computed from them by their content. Raises ValueError
    for a file that is not there or whose `content` is another; DataError for one that cannot be read as scores;
    RunError where rows or columns have no ids, or an id that is asked for is not among them.
    """

    name = "given_scores"

    @dataclass(frozen=True, kw_only=True)
    class Config:
        file: str = setting(doc="scores [texts, videos]: a .npy, .npz or .safetensors file; FILE:key of several arrays")
        rows: str | None = setting(None, "file of the text ids, one a line or a JSON list; null: they are in `file`")
        cols: str | None = setting(None, "file of the video ids")
        content: str = setting("", "digest of these files: filled in; where it is given, other files are refused")

        def __post_init__(self) -> None:
            found = _digest([path for path in (self.file, self.rows, self.cols) if path is not None])
            if self.content not in ("", found):
                raise ValueError(f"{self.file}: its content is {found}, not {self.content}, with the ids' files if any")
            object.__setattr__(self, "content", found)

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels()

    @classmethod
    def transductive(cls, config: Any, direction: str) -> str:
        return _trace(config.file, config.content, direction)

    def text_side(self, text: TextFeatures) -> Side:
        """row [B_t]"""
        return {"row": self._places("text", text.ids)}

    def video_side(self, video: VideoFeatures) -> Side:
        """column [B_v]"""
        return {"column": self._places("video", video.ids)}

    def score(self, text: Side, video: Side) -> Tensor:
        return self._values[text["row"][:, None], video["column"]]

    def score_lists(self, text: Side, video: Side) -> Tensor:
        return self._values[text["row"], video["column"][:, None]]

    def pair_floats(self, text: Side, video: Side) -> float:
        return 1.0

    @cached_property
    def _given(self) -> Any:
        from core import read_scores

        return read_scores(self.config.file, self.config.rows, self.config.cols)

    @cached_property
    def _values(self) -> Tensor:
        return torch.from_numpy(self._given.values)

    @cached_property
    def _known(self) -> dict[str, dict[str, int] | None]:
        """{side: {id: its row or column}}, None where the file names none."""
        ids: Mapping[str, Sequence[str] | None] = {"text": self._given.text_ids, "video": self._given.video_ids}
        return {side: None if names is None else {n: at for at, n in enumerate(names)} for side, names in ids.items()}

    def _places(self, side: str, ids: Sequence[str] | None) -> Tensor:
        known, file = self._known[side], self.config.file
        if ids is None:
            raise RunError(f"given_scores: the {side}s that are to be scored have no ids, and {file} is read by id")
        if known is None:
            field = "rows" if side == "text" else "cols"
            raise RunError(f"{file}: names no {side} ids; give a file of them as `{field}`, one a line")
        missing = [name for name in ids if name not in known]
        if missing:
            raise RunError(
                f"{file}: has no scores of {len(missing):,} of {len(ids):,} {side}s, such as {_some(missing)}; its own "
                f"{len(known):,} are called {_some(known)}"
            )
        return torch.tensor([known[name] for name in ids], dtype=torch.int64)


@lru_cache(maxsize=64)
def _trace(file: str, content: str, direction: str) -> str:
    """content: what tells that the file is still the one that was read."""
    from core import read_scores, transductive_trace

    return transductive_trace(read_scores(file).values, direction)


def _some(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in list(names)[:3])


def _digest(paths: Sequence[str]) -> str:
    return hashlib.sha256("".join(map(_file_digest, paths)).encode()).hexdigest()[:16]


def _file_digest(path: str) -> str:
    """Of a file, or of the file of `FILE:key`. Raises ValueError where it is not there."""
    name = path if os.path.isfile(path) else path.rpartition(":")[0]
    try:
        stat = os.stat(name)
        return _read_digest(os.path.abspath(name), stat.st_size, stat.st_mtime_ns)
    except OSError:
        raise ValueError(f"{path}: no such file; the path starts at the working directory") from None


@lru_cache(maxsize=64)
def _read_digest(path: str, size: int, changed: int) -> str:
    """size, changed: what tells that the file is still the one that was read."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
