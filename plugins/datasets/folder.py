"""`folder`: one's own videos, listed in a JSON Lines or CSV file with one row a caption."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core import (
    ConfigError,
    DataError,
    Dataset,
    Problem,
    Split,
    Text,
    Video,
    no_file,
    setting,
    special_file,
    strict_json,
)

SPLITS = ("train", "val", "test")
COLUMNS = ("video", "caption", "id", "split", "relevant")
NEEDED = ("video", "caption")
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
FAULTS_SHOWN = 100


@dataclass(frozen=True)
class Config:
    """Fields of `folder`."""

    path: str = setting(doc="the list, .jsonl or .csv, one row a caption: video, caption[, id][, split][, relevant]")
    root: str | None = setting(None, "folder that video paths in the list start from; by default that of the list")
    columns: dict[str, str] = setting(factory=dict, doc="columns with another name in the list, {caption: sentence}")
    texts: tuple[str, ...] = setting((), "further columns whose texts belong to the video, [tags, title]")
    val: float = setting(0.1, "share of the videos (of train, if the list names splits) that become val", ge=0, le=0.9)
    test: float = setting(0.2, "share of the videos that become test where the list names no splits", ge=0, le=0.9)
    seed: int = setting(0, "another seed, another division of the videos", ge=0)

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise ValueError(f"columns: no `{unknown[0]}`. Known: {', '.join(COLUMNS)}")
        if self.val + self.test >= 1:
            raise ValueError(f"val and test: {self.val:g} + {self.test:g} of the videos leave none to train on")


@dataclass
class Row:
    """One line of the list: what its columns hold, by our names for them; `line` counts from 1."""

    line: int
    video: str
    caption: str
    id: str
    split: str | None
    relevant: tuple[str, ...]
    texts: dict[str, tuple[str, ...]]


@dataclass
class Faults:
    """Everything that is wrong with a list, each with its line."""

    file: Path
    found: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def add(self, line: int, message: str, once: bool = False) -> None:
        if not (once and message in self.told):
            self.found.append(f"{self.file}:{line}: {message}")
        self.told.add(message)

    def stop_if_any(self) -> None:
        if self.found:
            more = len(self.found) - FAULTS_SHOWN
            shown = [*self.found[:FAULTS_SHOWN], *([f"… and {more} more"] if more > 0 else [])]
            head = [f"{len(self.found)} problems in the list of videos:"] if len(self.found) > 1 else []
            raise DataError("\n".join(head + shown))


class Folder(Dataset):
    """Videos and captions from a file of one's own.

    Several rows of one video are several captions of it. `id` defaults to the video's path as written. `relevant`
    lists the ids of further videos that the caption is true of, a list in JSON, joined by `;` in CSV; they must be of
    its own split, and are left out where a division by `seed` puts them elsewhere. Without a `split` column the
    videos are divided by the fields `val`, `test` and `seed`; with one that names no `val`, the share `val` of the
    train videos becomes it, again by `seed`. Where a video falls does not depend on the order of the list.
    """

    name = "folder"
    Config = Config

    @classmethod
    def video_texts(cls, config: Any) -> tuple[str, ...]:
        return config.texts

    def prepare(self, folder: Path) -> dict[str, Split]:
        """Raises DataError with every fault of the list, its line and what would be right."""
        config = self.config
        file = Path(config.path)
        faults = Faults(file)
        rows = [row for line, cells in _cells(file, faults) if (row := _row(line, cells, config, faults))]
        if not rows and not faults.found:
            faults.add(1, "no rows; expected one a caption")
        root = Path(config.root) if config.root is not None else file.parent
        _check_videos(rows, root, faults)
        _check_captions(rows, faults)
        faults.stop_if_any()
        _divide(rows, config, faults)
        faults.stop_if_any()
        return {name: _split(of, root, config.texts) for name in SPLITS if (of := [r for r in rows if r.split == name])}


# --------------------------------------------------------------------------------------------------- reading rows

Cells = Mapping[str, Any]


def _cells(file: Path, faults: Faults) -> Iterator[tuple[int, Cells]]:
    """(line, {column: value}) of each row that can be read."""
    readers = {".jsonl": _json_rows, ".csv": _csv_rows}
    if file.suffix.lower() not in readers:
        raise ConfigError(Problem("data.dataset.path", f"{file}: expected a list that ends in {' or '.join(readers)}"))
    if wrong := no_file(file):
        raise ConfigError(Problem("data.dataset.path", f"{file}: cannot be read: it {wrong}"))
    try:
        content = file.read_bytes()
    except OSError as fault:
        raise ConfigError(Problem("data.dataset.path", f"{file}: cannot be read: {fault.strerror}")) from fault
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise DataError(
            f"{file}:{line}: byte 0x{content[fault.start]:02x} is not UTF-8; save the list as UTF-8"
        ) from None
    return readers[file.suffix.lower()](text, faults)


def _json_rows(text: str, faults: Faults) -> Iterator[tuple[int, Cells]]:
    for line, written in enumerate(text.split("\n"), 1):
        if not written.strip():
            continue
        try:
            cells = strict_json(written)
        except json.JSONDecodeError as fault:
            faults.add(line, f"not JSON: {fault.msg} at column {fault.colno}; expected one {{…}} a line")
            continue
        except ValueError as fault:
            faults.add(line, str(fault))
            continue
        if isinstance(cells, dict):
            yield line, cells
        else:
            faults.add(line, 'expected an object such as {"video": …, "caption": …}')


def _csv_rows(text: str, faults: Faults) -> Iterator[tuple[int, Cells]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    end = 0
    try:
        for values in reader:
            line, end = end + 1, reader.line_num
            if not values:
                continue
            if header is None:
                header = [name.strip() for name in values]
                twice = [name for name, count in Counter(header).items() if count > 1]
                if twice:
                    faults.add(line, f"column `{twice[0]}` stands there twice")
            elif len(values) != len(header):
                faults.add(line, f"{len(values)} values for {len(header)} columns; quote values that contain commas")
            else:
                yield line, dict(zip(header, values, strict=True))
    except csv.Error as fault:
        faults.add(end + 1, f"not CSV: {fault}")


def _row(line: int, cells: Cells, config: Config, faults: Faults) -> Row | None:
    """The row, or None and a fault for each thing that is wrong with it."""
    if _lacks_columns(line, cells, config, faults):
        return None
    before = len(faults.found)
    named = {name: config.columns.get(name, name) for name in COLUMNS}
    values: dict[str, Any] = {name: cells.get(column) for name, column in named.items()}
    for name in (*NEEDED, *(("split",) if named["split"] in cells else ())):
        if not isinstance(values[name], str) or not values[name].strip():
            faults.add(line, f"`{named[name]}` is {json.dumps(values[name])}; expected a text that is not empty")
        elif name == "split" and values["split"] not in SPLITS:
            faults.add(line, f"no split `{values['split']}`. Known: {', '.join(SPLITS)}")
    own = values["video"] if values["id"] in (None, "") else values["id"]
    if values["id"] is not None and (isinstance(own, bool) or not isinstance(own, str | int)):
        faults.add(line, f"`{named['id']}` is {json.dumps(own)}; expected a text or a whole number")
    relevant = _texts(line, named["relevant"], values["relevant"], faults, separator=";")
    texts = {column: _texts(line, column, cells.get(column), faults) for column in config.texts}
    if len(faults.found) > before:
        return None
    caption, name = values["caption"].strip(), str(own).strip()
    return Row(line, values["video"].strip(), caption, name, values["split"], relevant, texts)


def _lacks_columns(line: int, cells: Cells, config: Config, faults: Faults) -> bool:
    """Whether a column is missing that is needed or that a field names; the same fault is told once."""
    needed = {name: config.columns.get(name, name) for name in (*NEEDED, *config.columns)}
    missing = {column: name for name, column in needed.items() if column not in cells}
    missing |= {column: "texts" for column in config.texts if column not in cells}
    for column, name in missing.items():
        hint = f". If it has another name: columns: {{{name}: …}}" if column == name else ""
        faults.add(line, f"no column `{column}`. Columns here: {', '.join(map(str, cells))}{hint}", once=True)
    return bool(missing)


def _texts(line: int, column: str, value: Any, faults: Faults, separator: str | None = None) -> tuple[str, ...]:
    """The texts of a cell: one, or a list in JSON; empty ones are left out."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(separator) if separator else [value]
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        faults.add(line, f"`{column}` is {json.dumps(value)}; expected a text or a list of texts")
        return ()
    return tuple(item.strip() for item in value if item.strip())


# ----------------------------------------------------------------------------------------------- checks over rows


def _check_videos(rows: Sequence[Row], root: Path, faults: Faults) -> None:
    """One path an id, one id a path, one split a video, and every path there."""
    by_id: dict[str, Row] = {}
    by_path: dict[str, Row] = {}
    for row in rows:
        path = os.path.abspath(root / row.video)
        same_id, same_path = by_id.setdefault(row.id, row), by_path.setdefault(path, row)
        if same_path is row:
            _check_path(row, root, faults)
        if os.path.abspath(root / same_id.video) != path:
            faults.add(
                row.line, f"id `{row.id}` stands for {row.video} here and for {same_id.video} in line {same_id.line}"
            )
        elif same_path.id != row.id:
            faults.add(
                row.line, f"{row.video} has the id `{row.id}` here and `{same_path.id}` in line {same_path.line}"
            )
        elif same_id.split != row.split:
            faults.add(
                row.line, f"video `{row.id}` is in {row.split} here and in {same_id.split} in line {same_id.line}"
            )


def _check_path(row: Row, root: Path, faults: Faults) -> None:
    path = root / row.video
    if wrong := special_file(path):
        faults.add(row.line, f"{path} {wrong}, not a video")
    elif not path.exists():
        start = "" if Path(row.video).is_absolute() else f"; paths start from {root}, the field `root` changes that"
        faults.add(row.line, f"no video {path}{start}")
    elif path.is_dir() and not any(item.suffix.lower() in FRAME_SUFFIXES for item in path.iterdir()):
        faults.add(row.line, f"folder {path} holds no frames ({', '.join(FRAME_SUFFIXES)})")


def _check_captions(rows: Sequence[Row], faults: Faults) -> None:
    """No caption of a video twice, and `relevant` names videos of the caption's own split."""
    split_of = {row.id: row.split for row in rows}
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        before = first.setdefault((row.id, row.caption), row)
        if before is not row:
            faults.add(row.line, f"the same caption of `{row.id}` as in line {before.line}; remove one")
        for video in row.relevant:
            if video not in split_of:
                faults.add(row.line, f"relevant: no video with the id `{video}`")
            elif split_of[video] != row.split:
                faults.add(row.line, f"relevant: `{video}` is in {split_of[video]}, the caption in {row.split}")


# --------------------------------------------------------------------------------------------------------- splits


def _divide(rows: Sequence[Row], config: Config, faults: Faults) -> None:
    """Give each row without a split one, and cut `val` from train where there is none."""
    without = [row for row in rows if row.split is None]
    if without and len(without) < len(rows):
        for row in without:
            faults.add(row.line, f"no split, which other rows have. Known: {', '.join(SPLITS)}")
    elif without:
        _cut(rows, {"test": config.test, "val": config.val}, config.seed, faults)
    elif not any(row.split == "val" for row in rows):
        _cut([row for row in rows if row.split == "train"], {"val": config.val}, config.seed, faults)


def _cut(rows: Sequence[Row], shares: Mapping[str, float], seed: int, faults: Faults) -> None:
    """Put a share of the videos, at least one, in each of the splits named, and the others in train."""
    videos = sorted({row.id for row in rows}, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    if not videos:
        return
    given = [name for name, share in shares.items() if share for _ in range(max(1, round(share * len(videos))))]
    if len(given) >= len(videos):
        faults.add(1, f"too few videos, {len(videos)}, for train, {', '.join(shares)}; set {' and '.join(shares)} to 0")
        return
    split_of = dict(zip(videos, [*given, *["train"] * (len(videos) - len(given))], strict=True))
    for row in rows:
        row.split = split_of[row.id]


def _split(rows: Sequence[Row], root: Path, names: Sequence[str]) -> Split:
    """The Split of its rows: videos in the order in which they are first named."""
    of_video: dict[str, list[Row]] = {}
    for row in rows:
        of_video.setdefault(row.id, []).append(row)
    place = {name: index for index, name in enumerate(of_video)}
    videos = tuple(Video(name, str(root / own[0].video), _gathered(own, names)) for name, own in of_video.items())
    number: Counter[str] = Counter()
    texts: list[Text] = []
    also: list[tuple[int, int]] = []
    for index, row in enumerate(rows):
        texts.append(Text(f"{row.id}-{number[row.id]}", row.caption, place[row.id]))
        number[row.id] += 1
        also += [(index, place[video]) for video in dict.fromkeys(row.relevant) if video in place and video != row.id]
    return Split(videos, tuple(texts), tuple(also))


def _gathered(rows: Sequence[Row], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(dict.fromkeys(text for row in rows for text in row.texts[name])) for name in names}
