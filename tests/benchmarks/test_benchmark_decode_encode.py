"""The decoding benchmark compares readers that give the same frames, and its parts of the encode step add up."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from benchmarks import decode_encode, readers
from benchmarks.readers import FLOOR, OURS, READERS, write_scenes
from core.engine.video import Sampling, read_clip
from tests.videos import decoded


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The small run as written: JSON and tables."""
    out = tmp_path_factory.mktemp("results") / "decode_encode.json"
    decode_encode.main(["--small", "--out", str(out)])
    return json.loads(out.read_text()), out.with_suffix(".md").read_text()


def test_scenes_have_the_size_and_length_asked_for_grain_in_each_and_cuts_between(tmp_path: Path) -> None:
    frames, times = decoded(write_scenes(tmp_path / "scenes.mp4", 64, 48, 4, 0))
    assert frames.shape == (100, 48, 64, 3)
    np.testing.assert_allclose(np.diff(times), 1 / 25)
    changes = np.abs(np.diff(frames.astype(int), axis=0)).mean((1, 2, 3))
    assert changes.argmax() == 74
    assert np.median(changes) > 0


def test_ten_seconds_are_repeated_in_a_longer_video(tmp_path: Path) -> None:
    frames, _ = decoded(write_scenes(tmp_path / "scenes.mp4", 32, 24, 21, 0))
    assert len(frames) == 525
    assert (
        np.abs(frames[500:510].astype(int) - frames[:10]).mean()
        < 10
        < np.abs(frames[500].astype(int) - frames[100]).mean()
    )


@pytest.mark.parametrize("name", [name for name in READERS if name not in (OURS, FLOOR)])
@pytest.mark.parametrize("size", [None, 16])
def test_every_reader_gives_the_frames_that_core_gives(tmp_path: Path, name: str, size: int | None) -> None:
    path = write_scenes(tmp_path / "scenes.mp4", 32, 24, 3, 0)
    read, package = READERS[name]
    if not readers.works(package, path, read):
        assert package == "torchcodec", f"{package} is a dependency"
        pytest.skip("torchcodec is not installed")
    sampling = Sampling(5, size=size)
    np.testing.assert_array_equal(read(path, sampling).frames, read_clip(path, sampling).frames)


def test_a_reader_whose_package_is_missing_or_does_not_load_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_scenes(tmp_path / "scenes.mp4", 32, 24, 1, 0)

    def unloaded(*_: object) -> Any:
        raise OSError("libavutil.so is missing")

    assert readers.works("decord", path, read_clip)
    assert not readers.works("no_such_package", path, read_clip)
    assert not readers.works("decord", path, unloaded)
    monkeypatch.setattr(decode_encode, "works", lambda package, *_: package == "decord")
    kind = decode_encode.Kind(32, 24, 1, 2, (0,))
    rows = decode_encode._decode(decode_encode.SMALL, kind, [path, path])
    missing = {row["reader"] for row in rows if row["faster"] is None}
    assert missing == {"PyAV, in order", "torchcodec, seeking", FLOOR}


def test_bytes_that_a_video_must_cost_are_those_of_its_size(small: Any) -> None:
    (row,) = small[0]["must"]
    assert row["decoded"] == pytest.approx(18 * 32 * 24 * 1.5, rel=1e-3)  # the later of 2 samples is frame 18 of 25
    assert row["sampled"] == 2 * 32 * 24 * 3
    assert row["clip"] == 2 * 21 * 16 * 3
    assert 100 < row["file"] < 25 * 32 * 24


def test_every_reader_is_compared_with_core_for_each_number_of_workers(small: Any) -> None:
    rows = small[0]["decode"]
    assert [(row["reader"], row["workers"]) for row in rows] == [(name, w) for name in READERS for w in (0, 1)]
    for row in rows:
        assert row["a_second"] is None or row["a_second"] > 0
        assert row["reader"] != OURS or row["faster"]["median"] == 1
    assert 0 < small[0]["transfer_ms"] < 1000


def test_the_parts_of_the_encode_step_add_up_to_all_of_it(small: Any) -> None:
    rows = small[0]["encode"]
    assert [(row["encoder"], row["workers"]) for row in rows] == [
        (name, workers) for name in ("nothing", "shapes-clip") for workers in (0, 1)
    ]
    for row in rows:
        assert sum(row[part] for part in decode_encode.PARTS) == pytest.approx(row["all"], rel=0.01)
        assert row["share"] == pytest.approx((row["decode"] + row["forward"]) / row["all"], rel=0.01)
        assert all(row[part] > 0 for part in decode_encode.PARTS)
        assert ("scale" in row) == (row["workers"] == 0)
        assert row["multiply_adds"] == 0 or row["encoder"] == "shapes-clip"


def test_a_slow_part_is_counted_under_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scenes(tmp_path / "scenes.mp4", 32, 24, 1, 0)
    encoder = decode_encode._encoder("nothing")
    crop = encoder.prepare_frames

    def slowly(frames: Tensor) -> Tensor:
        time.sleep(0.2)
        return crop(frames)

    monkeypatch.setattr(encoder, "prepare_frames", slowly)
    found = decode_encode._parts(decode_encode.SMALL, encoder, [path, path], 0)
    assert 0.2 < found["prepare"] < 0.3
    assert found["all"] - found["prepare"] < 0.2


def test_the_tables_say_every_row(small: Any) -> None:
    text = small[1]
    assert all(f": {name}" in text for name in READERS)
    assert "| shapes-clip |" in text
    assert text.count("%") >= 4
