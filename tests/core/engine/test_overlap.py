"""Videos that are the same bytes, in two splits or in one, are told before a table rests on them."""

from __future__ import annotations

import shutil

import pytest

from core.contract.store import FileDigests
from core.engine.overlap import shared_files
from tests.core.test_run import command
from tests.engine import Lab

ZERO_SHOT = {"retrieve.rerank": None, "model.losses": {}, "model.interactions": {"dot": {"name": "toy_dot"}}}


def copy(lab: Lab, one: str, other: str) -> None:
    """The video `other` becomes the same as `one`, file by file."""
    shutil.rmtree(lab.videos / other)
    shutil.copytree(lab.videos / one, lab.videos / other)


def test_splits_of_different_videos_are_told_nothing_of(lab: Lab) -> None:
    assert shared_files(lab.plan()) == []


def test_videos_of_test_that_were_trained_on_are_told_with_their_names(lab: Lab) -> None:
    for number in range(4):
        copy(lab, f"train/v{number + 1}", f"test/v{number}")
    told = "4 videos of test are the same as in train, to the byte: v0 = v1, v1 = v2, v2 = v3, …"
    assert shared_files(lab.plan()) == [told]
    assert f"Beware: {told}." in lab.result().notes


def test_a_file_that_is_there_twice_in_one_split_is_a_tie_that_is_told(lab: Lab) -> None:
    copy(lab, "test/v0", "test/v3")
    assert shared_files(lab.plan()) == [
        "1 video of test is the same as another of test, to the byte, and no score tells them apart: v3 = v0"
    ]


def test_videos_to_choose_an_epoch_on_count_where_they_are_read(lab: Lab) -> None:
    copy(lab, "val/v0", "test/v3")
    assert shared_files(lab.plan()) == []
    assert shared_files(lab.plan({"train.keep": "best"})) == [
        "1 video of test is the same as in val, to the byte: v3 = v0"
    ]


def test_missing_videos_are_not_the_same_video(lab: Lab) -> None:
    for name in ("test/v0", "test/v1", "train/v0"):
        shutil.rmtree(lab.videos / name)
    assert shared_files(lab.plan()) == []


def test_no_file_is_read_that_no_step_reads(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(lab, "train/v0", "test/v0")
    asked: list[str] = []
    of = FileDigests.of
    monkeypatch.setattr(FileDigests, "of", lambda self, paths: asked.extend(paths) or of(self, paths))
    assert shared_files(lab.plan(ZERO_SHOT)) == []
    assert asked
    assert not [path for path in asked if "/train/" in path]


def test_the_command_warns_before_it_computes(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    copy(lab, "train/v0", "test/v0")
    assert command(lab, **{"model.interactions.dot": {"name": "toy_broken"}}) == 1
    assert "warning: 1 video of test is the same as in train, to the byte: v0 = v0" in capsys.readouterr().err
    assert command(lab) == 0
    assert "the same as in train" in (lab.folder / "runs" / "lab" / "report.md").read_text()
