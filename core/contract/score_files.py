"""Score matrices that others computed: read from a file, checked, with the ids of their texts and videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, nearest
from .inputs import ABSENT, no_file, regular_file, strict_json

SUFFIXES = (".npy", ".npz", ".safetensors")
PICKLES = (".pt", ".pth", ".pkl", ".pickle")
"""Can run code when they are read, and are not."""
IDS = ("text_ids", "video_ids")
"""Names under which a .npz (arrays of text) or a .safetensors file (JSON lists in its metadata) may hold the ids."""


@dataclass(frozen=True, eq=False)
class GivenScores:
    """Scores [B_t, B_v] float32 or float64, finite, higher is better.

    text_ids, video_ids   of rows and columns, without repetition; None where nothing names them
    own                   [B_t] the column that each text was written for, where the file's form tells; else None
    remarks               what was found out or done while reading, each a sentence

    >>> import core, numpy
    >>> core.GivenScores(numpy.eye(2), text_ids=("a-0", "b-0"), video_ids=("a", "b")).values.shape
    (2, 2)
    """

    values: NDArray[Any]
    text_ids: tuple[str, ...] | None = None
    video_ids: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    own: NDArray[np.int64] | None = None


def read_scores(path: str | Path, rows: str | Path | None = None, cols: str | Path | None = None) -> GivenScores:
    """Read a score matrix [texts, videos] from .npy, .npz or .safetensors; of several arrays name one: `FILE.npz:key`.

    A dump [videos, captions, videos], captions padded with rows of -inf, becomes one row a caption. `rows` and `cols`
    are files of ids, one a line or a JSON list, and go before the ids in the file itself. Nothing is unpickled.
    Raises DataError for what cannot be read, NaN and infinite scores (with the row), ids that repeat or do not fit.

    >>> import core
    >>> try:
    ...     core.read_scores("/no/such/scores.npy")
    ... except core.DataError as fault:
    ...     print(fault)
    /no/such/scores.npy: no such file.
    """
    file, key = _split_key(str(path))
    arrays, held = _read_safetensors(file) if file.suffix == ".safetensors" else _read_numpy(file)
    name, array = _choose(file, key, arrays)
    values, own, remarks = _as_matrix(name, array)
    ids = []
    for kind, id_file, count in (("text", rows, len(values)), ("video", cols, values.shape[1])):
        names = read_ids(id_file) if id_file else held.get(f"{kind}_ids")
        if names is not None:
            _check_ids(str(id_file or file), kind, names, count)
        ids.append(names)
    _check_finite(name, values, ids[0])
    return GivenScores(values, ids[0], ids[1], remarks, own)


def read_ids(path: str | Path) -> tuple[str, ...]:
    """The ids in a file: one a line, or a JSON list. Raises DataError where it is neither, or an id is empty."""
    file = regular_file(path, "a list of ids")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise DataError(f"{file}: cannot be read as a list of ids: {fault}") from None
    if text.lstrip().startswith("["):
        return _json_ids(str(file), text)
    ids = tuple(line.strip() for line in text.splitlines())
    if not all(ids):
        raise DataError(f"{file}: line {ids.index('') + 1} is empty; ids stand one a line")
    return ids


def _json_ids(place: str, text: str) -> tuple[str, ...]:
    try:
        entries = strict_json(text)
    except ValueError as fault:
        raise DataError(f"{place}: not a JSON list of ids: {fault}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, str | int) and str(entry) for entry in entries):
        raise DataError(f"{place}: not a JSON list of ids: each must be a text or a whole number")
    return tuple(str(entry) for entry in entries)


def _split_key(path: str) -> tuple[Path, str | None]:
    """`FILE.npz:key` -> (FILE.npz, key). Raises DataError for a file that is not there or of another kind."""
    file, key = Path(path), None
    if not file.exists() and ":" in path:
        head, _, tail = path.rpartition(":")
        if Path(head).suffix in (".npz", ".safetensors"):
            file, key = Path(head), tail
    wrong = no_file(file)
    if wrong not in ("", ABSENT):
        raise DataError(f"{file}: {wrong}; scores are read from a file")
    if wrong:
        siblings = file.parent.glob("*") if file.parent.is_dir() else ()
        beside = [sibling.name for sibling in siblings if sibling.suffix in SUFFIXES]
        raise DataError(f"{file}: no such file.{nearest(file.name, beside)}")
    if file.suffix not in SUFFIXES:
        raise DataError(
            f"{file}: scores are read from {', '.join(SUFFIXES)}, not from `{file.suffix}`; numpy.save writes the "
            "first. Pickles (.pt, .pkl) can run code when they are read, and are not"
        )
    return file, key


def _read_numpy(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    """(arrays by name, ids by their name of IDS); the one of a .npy file is called ""."""
    try:
        with file.open("rb") as handle:
            loaded = np.load(handle, allow_pickle=False)
            arrays = {name: loaded[name] for name in loaded.files} if hasattr(loaded, "files") else {"": loaded}
    except Exception as fault:  # a zip's, a header's, an array's: NumPy raises many kinds
        why = "it holds Python objects (a pickle), which can run code when read" if "pickle" in str(fault) else fault
        raise DataError(f"{file}: cannot be read: {why}; save plain numbers with numpy.save or numpy.savez") from None
    held = {name: tuple(map(str, arrays.pop(name).ravel().tolist())) for name in IDS if name in arrays}
    return arrays, held


def _read_safetensors(file: Path) -> tuple[dict[str, NDArray[Any]], dict[str, tuple[str, ...]]]:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            metadata = handle.metadata() or {}
    except (SafetensorError, OSError) as fault:
        raise DataError(f"{file}: cannot be read as safetensors: {fault}") from None
    held = {name: _json_ids(f"{file}: metadata `{name}`", metadata[name]) for name in IDS if name in metadata}
    small = {
        name: t.float() if t.is_floating_point() and t.dtype != torch.float64 else t for name, t in tensors.items()
    }
    return {name: tensor.numpy() for name, tensor in small.items()}, held


def _choose(file: Path, key: str | None, arrays: dict[str, NDArray[Any]]) -> tuple[str, NDArray[Any]]:
    """(name for messages, the array) that `key` names, or that is the only one."""
    if key is None and len(arrays) == 1:
        return str(file), next(iter(arrays.values()))
    if key is not None and key in arrays:
        return f"{file}:{key}", arrays[key]
    if key is not None:
        raise DataError(f"{file}: holds no array `{key}`.{nearest(key, arrays)}")
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
    example = next(iter(arrays), "key")
    raise DataError(f"{file}: holds {len(arrays)} arrays ({shapes or 'none'}); name one, as in {file}:{example}")


def _as_matrix(name: str, array: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64] | None, tuple[str, ...]]:
    """(scores [texts, videos], own column of each text, remarks) of an array as it was stored."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name}: holds {array.dtype}, not real numbers")
    values = array if array.dtype in (np.float32, np.float64) else array.astype(_wide(array))
    if values.ndim == 3 and values.shape[0] == values.shape[2] and values.size:
        padding = np.isneginf(values).all(axis=2)
        own = np.nonzero(~padding)[0]
        if not own.size:
            raise DataError(f"{name}: every row is -inf: no caption is left")
        remark = (
            f"{name}: {list(values.shape)} read as [videos, captions, videos]: {own.size:,} captions of "
            f"{len(values):,} videos, {int(padding.sum()):,} rows of padding left out."
        )
        return values[~padding], own, (remark,)
    if values.ndim != 2 or not values.size:
        hint = "; ranks are read from a text file, one integer a line" if values.ndim == 1 else ""
        raise DataError(
            f"{name}: has shape {list(values.shape)}; expected scores [texts, videos], or [videos, captions, videos] "
            f"padded with -inf{hint}"
        )
    return values, None, ()


def _wide(array: NDArray[Any]) -> type[np.floating[Any]]:
    """A float type that holds the values exactly: float32 for half precision, else float64."""
    return np.float32 if array.dtype == np.float16 else np.float64


def _check_finite(name: str, values: NDArray[Any], ids: Sequence[str] | None) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        row = int(bad[0])
        column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
        called = f" (`{ids[row]}`)" if ids is not None else ""
        raise DataError(
            f"{name}: row {row}{called}: the score of column {column} is {values[row, column]}, which has no rank "
            f"({bad.size:,} of {len(values):,} rows hold such scores)"
        )


def _check_ids(place: str, kind: str, ids: Sequence[str], count: int) -> None:
    if len(ids) != count:
        raise DataError(f"{place}: {len(ids):,} {kind} ids for {count:,} {kind}s")
    first: dict[str, int] = {}
    for row, item in enumerate(ids):
        if first.setdefault(item, row) != row:
            raise DataError(f"{place}: {kind} id `{item}` stands twice, as number {first[item] + 1} and {row + 1}")
