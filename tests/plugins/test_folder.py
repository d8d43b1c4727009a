"""The `folder` data set: what it reads, how it divides, and that every fault names its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import ConfigError, DataError, create


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for name in "abcdefghij":
        (tmp_path / f"{name}.mp4").touch()
    return tmp_path


def jsonl(folder: Path, *rows: dict[str, object] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / "list.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def csv(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text)
    return path


def prepare(path: Path, **fields: object):
    return create("dataset", "folder", path=str(path), **fields).prepare(path.parent)


def fault(path: Path, **fields: object) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        prepare(path, **fields)
    return str(caught.value)


def row(video: str, caption: str = "a dog", **more: object) -> dict[str, object]:
    return {"video": f"{video}.mp4", "caption": caption, **more}


def test_several_rows_of_one_video_are_several_captions(clips):
    rows = [row("a", "one", split="test"), row("b", "two", split="test"), row("a", "three", split="test")]
    test = prepare(jsonl(clips, *rows))["test"]
    assert [video.id for video in test.videos] == ["a.mp4", "b.mp4"]
    assert [(text.id, text.text, text.video) for text in test.texts] == [
        ("a.mp4-0", "one", 0), ("b.mp4-0", "two", 1), ("a.mp4-1", "three", 0),
    ]  # fmt: skip
    assert Path(test.videos[0].path) == clips / "a.mp4"


def test_csv_and_json_lines_say_the_same(clips):
    rows = [row("a", "a dog, running", split="test", id="x"), row("b", 'so "big"', split="test", id="y")]
    written = 'video,caption,split,id\na.mp4,"a dog, running",test,x\nb.mp4,"so ""big""",test,y\n'
    assert prepare(csv(clips, written)) == prepare(jsonl(clips, *rows))


def test_columns_may_have_other_names_and_paths_another_root(clips, tmp_path_factory):
    path = jsonl(tmp_path_factory.mktemp("lists"), {"clip": "a.mp4", "sentence": "a dog", "split": "test"})
    test = prepare(path, root=str(clips), columns={"video": "clip", "caption": "sentence"})["test"]
    assert test.texts[0].text == "a dog"
    assert Path(test.videos[0].path) == clips / "a.mp4"


def test_further_texts_are_gathered_over_the_rows_of_a_video(clips):
    rows = [row("a", "one", tags=["x", "y"], title="t"), row("a", "two", tags=["y", "z"], title="t")]
    path = jsonl(clips, *(line | {"split": "test"} for line in rows))
    test = prepare(path, texts=["tags", "title"])["test"]
    assert test.videos[0].texts == {"tags": ("x", "y", "z"), "title": ("t",)}
    dataset = create("dataset", "folder", path=str(path), texts=["tags"])
    assert dataset.video_texts(dataset.config) == ("tags",)


def test_a_caption_may_have_further_relevant_videos(clips):
    rows = [row("a", relevant=["b.mp4", "a.mp4"], split="test"), row("b", "two", split="test")]
    assert prepare(jsonl(clips, *rows))["test"].pairs == [(0, 0), (0, 1), (1, 1)]
    written = "video,caption,split,id,relevant\na.mp4,one,test,a,b; c\nb.mp4,two,test,b,\nc.mp4,three,test,c,\n"
    assert prepare(csv(clips, written))["test"].also_relevant == ((0, 1), (0, 2))


def test_videos_are_divided_by_seed_whatever_the_order_of_rows(clips):
    rows = [row(name, f"{name} {number}") for name in "abcdefghij" for number in range(2)]
    first = prepare(jsonl(clips, *rows))
    assert {name: len(split.videos) for name, split in first.items()} == {"train": 7, "val": 1, "test": 2}
    assert all(len(split.texts) == 2 * len(split.videos) for split in first.values())
    members = {name: {video.id for video in split.videos} for name, split in first.items()}
    turned = prepare(jsonl(clips, *rows[::-1]))
    assert members == {name: {video.id for video in split.videos} for name, split in turned.items()}
    others = [prepare(jsonl(clips, *rows), seed=seed)["test"] for seed in range(1, 6)]
    assert any({video.id for video in split.videos} != members["test"] for split in others)


def test_val_is_cut_from_train_where_the_list_names_none(clips):
    rows = [row(name, split="test" if name < "c" else "train") for name in "abcdefghij"]
    splits = prepare(jsonl(clips, *rows), val=0.25)
    assert {name: len(split.videos) for name, split in splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert set(prepare(jsonl(clips, *rows), val=0.0)) == {"train", "test"}
    assert set(prepare(jsonl(clips, row("a", split="test")))) == {"test"}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['{"video": "a.mp4", "caption": }'], ":1: not JSON: Expecting value at column 31"),
        ([row("b"), "[1]"], ":2: expected an object"),
        ([row("b"), {"video": "a.mp4", "text": "a dog"}], ":2: no column `caption`. Columns here: video, text."),
        ([row("b"), row("a", " ")], ':2: `caption` is " "; expected a text that is not empty'),
        ([{"video": 3, "caption": "x"}], ":1: `video` is 3"),
        ([row("b"), row("missing")], ":2: no video"),
        ([row("a", id="x"), row("b", id="x")], ":2: id `x` stands for b.mp4 here and for a.mp4 in line 1"),
        ([row("a", id="x"), row("a", "two", id="y")], ":2: a.mp4 has the id `y` here and `x` in line 1"),
        ([row("a", split="test"), row("a", "two", split="train")], ":2: video `a.mp4` is in train here and in test in"),
        ([row("a", split="dev")], ":1: no split `dev`. Known: train, val, test"),
        ([row("a", split="")], ":1: `split` is"),
        ([row("a", split="test"), row("b")], ":2: no split, which other rows have"),
        ([row("a"), row("b"), row("a")], ":3: the same caption of `a.mp4` as in line 1"),
        ([row("a", id=True)], ":1: `id` is true"),
        ([row("a", relevant=["zz"])], ":1: relevant: no video with the id `zz`"),
        ([row("a", relevant=[1])], ":1: `relevant` is [1]"),
        ([row("a", split="test", relevant=["b.mp4"]), row("b", split="val")], ":1: relevant: `b.mp4` is in val"),
        ([row("a"), row("b")], ":1: too few videos, 2, for train, test, val"),
        ([], ":1: no rows"),
    ],
)
def test_a_fault_names_its_line(clips, lines, expected):
    assert f"list.jsonl{expected}" in fault(jsonl(clips, *lines))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "video,text\na.mp4,x\nb.mp4,y\n",
            ":2: no column `caption`. Columns here: video, text. If it has another name",
        ),
        ("video,caption\na.mp4,a dog, running\n", ":2: 3 values for 2 columns"),
        ("video,video\na.mp4,x\n", ":1: column `video` stands there twice"),
        ('video,caption\na.mp4,"two\nlines"\nmissing.mp4,x\n', ":4: no video"),
        ('video,caption\na.mp4,"open\n', ":2: not CSV"),
    ],
)
def test_a_fault_of_csv_names_its_line(clips, written, expected):
    assert f"list.csv{expected}" in fault(csv(clips, written))


def test_a_missing_column_is_told_once(clips):
    assert fault(csv(clips, "video,text\na.mp4,x\nb.mp4,y\n")).count("no column") == 1


def test_all_faults_are_told_together(clips):
    told = fault(jsonl(clips, row("a", ""), row("gone"), "{", row("b", split="dev"), row("c"), row("c")))
    assert told.startswith("5 problems")
    assert [f":{line}:" in told for line in range(1, 7)] == [True, True, True, True, False, True]


def test_a_long_list_of_faults_is_cut_short(clips):
    assert fault(jsonl(clips, *(row(f"gone{number}") for number in range(150)))).endswith("… and 50 more")


def test_files_that_cannot_be_read(clips):
    assert fault(clips / "none.jsonl").startswith("data.dataset.path: ")
    assert "cannot be read" in fault(clips / "none.jsonl")
    assert ".jsonl or .csv" in fault(clips / "list.txt")
    latin = clips / "list.csv"
    latin.write_bytes("video,caption\na.mp4,caf\u00e9\n".encode("latin-1"))
    assert "list.csv:2: byte 0xe9 is not UTF-8" in fault(latin)


def test_a_folder_of_frames_is_a_video(clips):
    (clips / "frames.mp4").mkdir()
    assert "holds no frames" in fault(jsonl(clips, row("frames", split="test")))
    (clips / "frames.mp4" / "0.jpg").touch()
    assert len(prepare(jsonl(clips, row("frames", split="test")))["test"].videos) == 1


def test_fields_that_contradict_themselves_are_refused(clips):
    with pytest.raises(ConfigError, match="Known: video, caption"):
        create("dataset", "folder", path="x.csv", columns={"vidoe": "clip"})
    with pytest.raises(ConfigError, match="leave none to train on"):
        create("dataset", "folder", path="x.csv", val=0.5, test=0.5)
