"""The files of `shapes`: the same bytes again, taken up where they stopped, made anew where they are damaged."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from core import RunError
from plugins.datasets.shapes import PRESETS, captions, files, render

from .stories import SMALL, decoded, digests, shapes, stories


def finished(folder: Path) -> int:
    manifest = folder / files.MANIFEST
    return len([line for line in manifest.read_text().splitlines() if line]) if manifest.exists() else 0


def test_the_same_configuration_gives_the_same_bytes(drawn, tmp_path):
    splits = shapes(**SMALL).prepare(tmp_path)
    assert digests(tmp_path) == digests(drawn)
    assert {name: len(split.videos) for name, split in splits.items()} == {"train": 3, "val": 2, "test": 4}
    assert len(digests(drawn)) == 9


def test_videos_can_be_read_and_have_the_length_asked_for(drawn):
    for path in drawn.rglob("*.mp4"):
        assert decoded(path).shape == (6, 48, 48, 3)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 6)


def test_a_second_call_draws_nothing_and_says_the_same(drawn):
    dataset, before = shapes(**SMALL), {path: path.stat().st_mtime_ns for path in drawn.rglob("*")}
    assert dataset.ready(drawn)
    splits = dataset.prepare(drawn)
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*")} == before
    assert all(Path(video.path).is_file() for split in splits.values() for video in split.videos)
    assert not shapes(**SMALL, seed=1).ready(drawn)


def test_a_lost_or_damaged_file_is_drawn_again(tmp_path):
    dataset = shapes(**SMALL)
    splits = dataset.prepare(tmp_path)
    before = digests(tmp_path)
    lost, damaged = (Path(video.path) for video in splits["test"].videos[:2])
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert not dataset.ready(tmp_path)
    assert dataset.prepare(tmp_path) == splits
    assert digests(tmp_path) == before


def flip(path: Path, at: float = 0.5, keep_time: bool = False) -> None:
    """One bit of a file, as a disk may lose it."""
    content, state = bytearray(path.read_bytes()), path.stat()
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_video_with_one_flipped_bit_is_drawn_again(drawn, tmp_path, keep_time):
    folder = shutil.copytree(drawn, tmp_path / "set")
    assert shapes(**SMALL).ready(folder)
    flip(folder / "test" / "test-00001.mp4", keep_time=keep_time)
    assert digests(folder) != digests(drawn)
    files._crc32.cache_clear()  # what a new process knows
    assert not shapes(**SMALL).ready(folder)
    shapes(**SMALL).prepare(folder)
    assert digests(folder) == digests(drawn)
    assert shapes(**SMALL).ready(folder)


@pytest.mark.parametrize("file", ["attributes-test.jsonl", "generator.json", files.MANIFEST])
def test_what_is_written_of_the_videos_is_made_anew_where_any_bit_is_flipped(drawn, tmp_path, file):
    dataset = shapes(**SMALL)
    splits = dataset.prepare(shutil.copytree(drawn, tmp_path / "whole"))
    names = {name: [text.text for text in split.texts] for name, split in splits.items()}
    for at in np.linspace(0, 0.999, 12):
        folder = shutil.copytree(drawn, tmp_path / f"at-{at:.3f}")
        flip(folder / file, at)
        made = dataset.prepare(folder)
        assert {name: [text.text for text in split.texts] for name, split in made.items()} == names
        assert {name: split.pairs for name, split in made.items()} == {n: split.pairs for n, split in splits.items()}
        assert digests(folder) == digests(drawn)
        assert dataset.ready(folder)


def test_a_set_whose_manifest_has_no_checksums_is_drawn_again_to_the_same_bytes(drawn, tmp_path):
    folder = shutil.copytree(drawn, tmp_path / "set")
    lines = [json.loads(line) for line in (folder / files.MANIFEST).read_text().splitlines() if line]
    for line in lines:
        del line["crc32"]
    (folder / files.MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not shapes(**SMALL).ready(folder)
    shapes(**SMALL).prepare(folder)
    assert digests(folder) == digests(drawn)


def test_the_files_of_a_large_set_are_verified_in_well_under_a_second(tmp_path):
    jobs = {f"test/{number}.mp4": {"number": number} for number in range(2500)}
    (tmp_path / "test").mkdir()
    content, lines = os.urandom(15_000), []
    for path, job in files.missing_videos(tmp_path, jobs).items():
        (tmp_path / path).write_bytes(content)
        lines.append({"file": path, "job": job, "bytes": len(content), "crc32": zlib.crc32(content)})
    (tmp_path / files.MANIFEST).write_text("".join(json.dumps(line) + "\n" for line in lines))
    started = time.process_time()
    assert not files.missing_videos(tmp_path, jobs)
    assert time.process_time() - started < 0.8


def test_a_killed_call_is_taken_up_where_it_stopped(tmp_path):
    fields = {**SMALL, "train_videos": 120, "resolution": 96}
    program = (
        f"from core import create; create('dataset', 'shapes', **{fields!r}).prepare(__import__('pathlib').Path('.'))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    deadline = time.monotonic() + 60
    while finished(tmp_path) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with open(tmp_path / files.MANIFEST, "a") as manifest:
        manifest.write('{"file": "train/tr')
    kept = finished(tmp_path) - 1
    times = {path: path.stat().st_mtime_ns for path in list(tmp_path.rglob("train-0000[0-4].mp4"))}
    assert 5 <= kept < 126
    (tmp_path / "train" / ".train-00119.mp4.1.part").write_bytes(b"half")
    shapes(**fields).prepare(tmp_path)
    assert not list(tmp_path.rglob("*.part"))
    assert len(times) == 5
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert len(digests(tmp_path)) == 126
    assert shapes(**fields).ready(tmp_path)


def test_an_enlarged_split_begins_with_the_same_videos():
    for preset in PRESETS:
        assert stories(80, preset=preset)[:50] == stories(50, preset=preset)
    assert stories(5) != stories(5, seed=1)
    assert [story.scenes for story in shapes().stories("val")[:5]] != [story.scenes for story in stories(5)]


def test_a_split_of_no_videos_is_left_out(tmp_path):
    assert set(shapes(**{**SMALL, "train_videos": 0, "val_videos": 0}).prepare(tmp_path)) == {"test"}


def test_a_video_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "test" / "test-00000.mp4").mkdir(parents=True)
    with pytest.raises(RunError, match=r"test-00000.mp4: could not be drawn: IsADirectoryError"):
        shapes(**SMALL).prepare(tmp_path)


def test_the_drawing_program_imports_nothing_of_this_project():
    imported = {
        name
        for node in ast.walk(ast.parse(Path(render.__file__).read_text()))
        for name in (
            [item.name for item in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "")]
        )
    }
    assert not {name for name in imported if name and name.split(".")[0] in ("core", "plugins", "torch")}


def test_records_tell_what_is_in_each_video(drawn):
    lines = [json.loads(line) for line in (drawn / "attributes-test.jsonl").read_text().splitlines()]
    for line, story in zip(lines, shapes(**SMALL).stories("test"), strict=True):
        assert line["id"] == story.id
        assert [scene["background"] for scene in line["scenes"]] == [scene.background for scene in story.scenes]
        assert [said["text"] for said in line["captions"]] == [caption.text for caption in captions(story)]
