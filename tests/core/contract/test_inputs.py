"""What is no file is refused before it is opened, at every door, within seconds; JSON with a key twice is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core import create, read_scores
from core.compare.relevance import read_judgements
from core.compare.sources import read_source
from core.contract.inputs import RepeatedKey, regular_file, strict_json, watched
from core.contract.score_files import read_ids
from core.contract.store import MISSING, FileDigests
from core.engine.video import Sampling, read_clip
from core.errors import ConfigError, DataError, UserError
from core.experiment.config import read_document
from core.experiment.published import read_published
from tests.core.experiments import edited, write
from tests.engine import Lab, write_pictures

CLIP = Path(__file__).parents[3] / "checkpoints" / "shapes-clip"
TOLD = {
    "pipe": "is a named pipe",
    "socket": "is a socket",
    "device": "is a device",
    "loop": "is a loop of links",
    "folder": "is a folder",
}


def place(path: Path, kind: str) -> Path:
    """Something at `path` that is no file."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket may be short only
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    else:
        path.mkdir()
    return path


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Ends a test after five seconds, also one that waits for a pipe or reads a device without end."""

    def late(*_: object) -> None:
        raise TimeoutError("the file was opened")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def images(folder: Path, kind: str) -> None:
    write_pictures(folder / "v", np.array([[1, 2, 3]] * 3))
    (folder / "v" / "1.png").unlink()
    place(folder / "v" / "1.png", kind)
    read_clip(folder / "v", Sampling(3))


def listed(folder: Path, kind: str) -> None:
    place(folder / "a.mp4", kind)
    (folder / "list.jsonl").write_text(json.dumps({"video": "a.mp4", "caption": "a dog", "split": "test"}) + "\n")
    create("dataset", "folder", path=str(folder / "list.jsonl")).prepare(folder)


def list_of_videos(suffix: str) -> Callable[[Path, str], object]:
    def door(folder: Path, kind: str) -> None:
        create("dataset", "folder", path=str(place(folder / f"list{suffix}", kind))).prepare(folder)

    return door


def extended(folder: Path, kind: str) -> None:
    place(folder / "base.yaml", kind)
    (folder / "own.yaml").write_text("extends: base.yaml\n")
    read_document(str(folder / "own.yaml"))


def referenced(folder: Path, kind: str) -> None:
    place(folder / "numbers.yaml", kind)
    read_published(read_document(str(write(folder, edited({})))), [str(folder / "numbers.yaml")])


def score_file(suffix: str) -> Callable[[Path, str], object]:
    return lambda folder, kind: read_scores(place(folder / f"scores{suffix}", kind))


def ids_of_rows(folder: Path, kind: str) -> None:
    np.save(folder / "scores.npy", np.eye(3))
    read_source(str(folder / "scores.npy"), "t2v", str(place(folder / "rows.txt", kind)))


DOORS: dict[str, Callable[[Path, str], object]] = {
    "video": lambda folder, kind: read_clip(place(folder / "a.mp4", kind), Sampling(3)),
    "image of a video": images,
    "video of a list": listed,
    "list.jsonl": list_of_videos(".jsonl"),
    "list.csv": list_of_videos(".csv"),
    "experiment": lambda folder, kind: read_document(str(place(folder / "own.yaml", kind))),
    "extends": extended,
    "references": referenced,
    "scores.npy": score_file(".npy"),
    "scores.npz": score_file(".npz"),
    "scores.safetensors": score_file(".safetensors"),
    "ids": lambda folder, kind: read_ids(place(folder / "ids.txt", kind)),
    "ids of an input": ids_of_rows,
    "ranks": lambda folder, kind: read_source(str(place(folder / "ranks.txt", kind)), "t2v"),
    "relevance": lambda folder, kind: read_judgements(str(place(folder / "pairs.tsv", kind))),
    "relevance.npz": lambda folder, kind: read_judgements(str(place(folder / "pairs.npz", kind))),
    "any": lambda folder, kind: regular_file(place(folder / "x", kind)),
}


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_file_is_named_and_not_opened(tmp_path: Path, door: str, kind: str) -> None:
    with pytest.raises(UserError) as fault:
        DOORS[door](tmp_path, kind)
    videos = kind == "folder" and door in ("video", "video of a list")
    assert ("folder" if videos else TOLD[kind]) in str(fault.value)
    assert str(tmp_path) in str(fault.value)


@pytest.mark.parametrize("kind", [kind for kind in TOLD if kind != "folder"])
def test_what_is_no_file_has_the_digest_of_a_missing_one_and_is_not_read(tmp_path: Path, kind: str) -> None:
    assert FileDigests(tmp_path).of([str(place(tmp_path / "a.mp4", kind))]) == [MISSING]


@pytest.mark.parametrize("kind", TOLD)
def test_a_folder_of_images_has_the_digest_of_its_files_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "0.png").write_bytes(b"picture")
    before = FileDigests(tmp_path).of([str(tmp_path / "v")])
    place(tmp_path / "v" / "1.png", kind)
    assert FileDigests(tmp_path).of([str(tmp_path / "v")]) == before


@pytest.mark.parametrize("kind", [kind for kind in TOLD if kind != "folder"])
@pytest.mark.parametrize("name", ["", "config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_model_is_a_folder_of_files(lab: Lab, name: str, kind: str) -> None:
    folder = lab.folder / "clip"
    if name:
        shutil.copytree(CLIP, folder)
        (folder / name).unlink(missing_ok=True)
    path = place(folder / name, kind)
    with pytest.raises(ConfigError) as fault:
        lab.plan({"encoder": {"name": "clip", "model": str(folder)}, "model.interactions.dot.level": "frames"})
    assert f"{path}: {TOLD[kind]}" in str(fault.value)


@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("field", ["file", "rows", "cols"])
def test_scores_and_ids_of_an_interaction_that_are_no_files_are_not_opened(
    tmp_path: Path, field: str, kind: str
) -> None:
    np.save(tmp_path / "real.npy", np.eye(3))
    fields = {"file": str(tmp_path / "real.npy"), field: str(place(tmp_path / "x.npy", kind))}
    with pytest.raises(UserError, match=str(tmp_path / "x.npy")):
        create("interaction", "given_scores", **fields)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.eye(3))
    (tmp_path / "link.npy").symlink_to("real.npy")
    assert read_scores(tmp_path / "link.npy").values.shape == (3, 3)


# --------------------------------------------------------------------------------------------------------- JSON


def test_a_line_that_gives_a_key_twice_is_refused_with_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "list.jsonl").write_text(
        '{"video": "a.mp4", "caption": "a dog", "split": "test"}\n'
        '{"video": "a.mp4", "caption": "a cat", "split": "test", "caption": "a cow"}\n'
    )
    with pytest.raises(DataError) as fault:
        create("dataset", "folder", path=str(tmp_path / "list.jsonl")).prepare(tmp_path)
    assert str(fault.value) == f"{tmp_path / 'list.jsonl'}:2: the key `caption` stands twice in one object"


def test_a_setting_of_a_model_that_stands_twice_is_refused_with_line_and_key(lab: Lab) -> None:
    folder = shutil.copytree(CLIP, lab.folder / "clip")
    written = (folder / "config.json").read_text()
    (folder / "config.json").write_text(written.replace("{", '{\n  "projection_dim": 4,', 1))
    line = next(n for n, text in enumerate(written.splitlines(), 1) if text.startswith('  "projection_dim"')) + 1
    with pytest.raises(ConfigError, match=rf"config.json: line {line}: the key `projection_dim` stands twice"):
        lab.plan({"encoder": {"name": "clip", "model": str(folder)}, "model.interactions.dot.level": "frames"})


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ('{"a": 1, "a": 1}', 1, "a"),
        ('{\n"a": {"b": 1},\n"b": [{"c": 1, "d": "}{\\"c\\": 2"},\n {"c": 2,\n "c": 3}]}', 5, "c"),
        ('{"x": {"a": 1}, "a": 2,\n "\\u0061": 3}', 2, "a"),
        ('["a", "a", {"a": ["b:", "b:"], "b:": "a",\n\n"b:": 0}]', 3, "b:"),
    ],
)
def test_a_key_that_stands_twice_is_found_in_its_line(text: str, line: int, key: str) -> None:
    with pytest.raises(RepeatedKey) as fault:
        strict_json(text)
    assert (fault.value.line, fault.value.key) == (line, key)


def test_the_same_key_in_several_objects_is_read_as_ever() -> None:
    text = '[{"a": {"a": 1}}, {"a": ["a", "a"]}]'
    assert strict_json(text) == json.loads(text)


# ------------------------------------------------------------------------------------------------------- waiting


def test_what_work_raises_is_raised_where_it_is_waited_for() -> None:
    def work(tick: object) -> None:
        raise DataError("of the work")

    with pytest.raises(DataError, match="of the work"):
        watched(work)


def test_work_that_never_says_that_it_moves_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.contract.inputs.STALLED", 0.2)
    never = threading.Event()
    with pytest.raises(DataError, match=r"a\.mp4: gave no byte for 0\.2 s"):
        watched(lambda tick: (tick("a.mp4"), never.wait()))
    never.set()
