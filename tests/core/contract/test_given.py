"""Score matrices from files: what is read, what is recognised, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.contract.score_files import read_ids, read_scores
from core.errors import DataError

MATRIX = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4]], dtype=np.float32)
IDS = {"text_ids": json.dumps(["t0", "t1"]), "video_ids": json.dumps(["a", "b", "c"])}


def saved(folder: Path, array: np.ndarray, name: str = "scores.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_a_npy_file_is_read_as_floats_of_the_same_values(tmp_path, dtype):
    stored = (MATRIX * 10).round().astype(dtype)
    found = read_scores(saved(tmp_path, stored))
    assert found.values.dtype in (np.float32, np.float64)
    assert found.values.tolist() == stored.tolist()
    assert (found.text_ids, found.video_ids, found.own, found.remarks) == (None, None, None, ())


def test_of_a_npz_file_the_only_array_is_taken_and_its_ids_with_it(tmp_path):
    np.savez(tmp_path / "s.npz", sim=MATRIX, text_ids=np.array(["t0", "t1"]), video_ids=np.array(["a", "b", "c"]))
    found = read_scores(tmp_path / "s.npz")
    assert found.values.tolist() == MATRIX.tolist()
    assert (found.text_ids, found.video_ids) == (("t0", "t1"), ("a", "b", "c"))


def test_of_several_arrays_one_must_be_named(tmp_path):
    np.savez(tmp_path / "s.npz", sim=MATRIX, other=MATRIX + 1)
    assert read_scores(f"{tmp_path}/s.npz:other").values.tolist() == (MATRIX + 1).tolist()
    with pytest.raises(
        DataError, match=r"holds 2 arrays \(sim \[2, 3\], other \[2, 3\]\); name one, as in .*s.npz:sim"
    ):
        read_scores(tmp_path / "s.npz")
    with pytest.raises(DataError, match=r"holds no array `othr`. Did you mean `other`"):
        read_scores(f"{tmp_path}/s.npz:othr")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32])
def test_a_safetensors_file_is_read_with_the_ids_of_its_metadata(tmp_path, dtype):
    stored = torch.tensor([[4, 1, 2], [0, 3, 5]]).to(dtype)
    save_file({"scores": stored}, tmp_path / "s.safetensors", IDS)
    found = read_scores(tmp_path / "s.safetensors")
    assert found.values.tolist() == [[4, 1, 2], [0, 3, 5]]
    assert (found.text_ids, found.video_ids) == (("t0", "t1"), ("a", "b", "c"))


def test_id_files_go_before_the_ids_in_the_file(tmp_path):
    save_file({"scores": torch.from_numpy(MATRIX)}, tmp_path / "s.safetensors", IDS)
    (tmp_path / "rows.txt").write_text("x\ny\n")
    (tmp_path / "cols.json").write_text('["p", 7, "r"]')
    found = read_scores(tmp_path / "s.safetensors", tmp_path / "rows.txt", tmp_path / "cols.json")
    assert (found.text_ids, found.video_ids) == (("x", "y"), ("p", "7", "r"))


def test_a_padded_dump_of_several_captions_a_video_becomes_one_row_a_caption(tmp_path):
    dump = np.full((3, 2, 3), -np.inf)
    captions = {(0, 0): [9, 1, 2], (0, 1): [8, 3, 1], (1, 0): [0, 7, 4], (2, 0): [1, 2, 6], (2, 1): [5, 0, 4]}
    for place, row in captions.items():
        dump[place] = row
    found = read_scores(saved(tmp_path, dump))
    assert found.values.tolist() == list(captions.values())
    assert found.own is not None
    assert found.own.tolist() == [0, 0, 1, 2, 2]
    assert "5 captions of 3 videos, 1 rows of padding left out" in found.remarks[0]


def test_a_dump_with_one_infinite_score_in_a_caption_is_refused_not_taken_for_padding(tmp_path):
    dump = np.ones((2, 2, 2))
    dump[1, 0, 1] = -np.inf
    with pytest.raises(DataError, match="row 2: the score of column 1 is -inf"):
        read_scores(saved(tmp_path, dump))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_without_a_rank_are_refused_with_row_and_id(tmp_path, bad):
    matrix = MATRIX.copy()
    matrix[1, 2] = bad
    (tmp_path / "rows.txt").write_text("x\ny\n")
    path = saved(tmp_path, matrix)
    with pytest.raises(DataError, match=r"row 1 \(`y`\): the score of column 2 is -?(nan|inf).*1 of 2 rows"):
        read_scores(path, tmp_path / "rows.txt")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros(4), "ranks are read from a text file, one integer a line"),
        (np.zeros((2, 3, 4)), r"has shape \[2, 3, 4\]; expected scores \[texts, videos\]"),
        (np.zeros((0, 3)), r"has shape \[0, 3\]"),
        (np.full((2, 1, 2), -np.inf), "no caption is left"),
        (np.array([["a", "b"]]), "not real numbers"),
        (np.eye(2, dtype=bool), "holds bool, not real numbers"),
    ],
)
def test_what_is_no_score_matrix_is_refused(tmp_path, array, told):
    with pytest.raises(DataError, match=told):
        read_scores(saved(tmp_path, array))


def test_pickles_are_refused_unread(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    np.save(tmp_path / "s.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "s.npz", scores=np.array([Bomb()], dtype=object))
    torch.save(torch.ones(2), tmp_path / "s.pt")
    for name in ("s.npy", "s.npz"):
        with pytest.raises(DataError, match="Python objects"):
            read_scores(tmp_path / name)
    with pytest.raises(DataError, match=r"not from `\.pt`"):
        read_scores(tmp_path / "s.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["s.npy", "s.npz", "s.safetensors"])
def test_a_damaged_file_is_told_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"not what the suffix says")
    with pytest.raises(DataError, match=f"{name}: cannot be read"):
        read_scores(tmp_path / name)


def test_a_folder_is_told_as_one(tmp_path):
    (tmp_path / "s.npy").mkdir()
    with pytest.raises(DataError, match=r"s\.npy: is a folder; scores are read from a file"):
        read_scores(tmp_path / "s.npy")


def test_a_missing_file_is_told_with_the_nearest_one(tmp_path):
    saved(tmp_path, MATRIX, "scores.npy")
    with pytest.raises(DataError, match=r"no such file. Did you mean `scores.npy`"):
        read_scores(tmp_path / "score.npy")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x\n", "1 text ids for 2 texts"),
        ("x\nx\n", "text id `x` stands twice, as number 1 and 2"),
        ("x\n\n", "line 2 is empty"),
        ('["x", null]', "each must be a text or a whole number"),
        ('["x", ', "not a JSON list"),
    ],
)
def test_ids_that_do_not_fit_are_refused(tmp_path, text, told):
    path = saved(tmp_path, MATRIX)
    (tmp_path / "rows.txt").write_text(text)
    with pytest.raises(DataError, match=told):
        read_scores(path, rows=tmp_path / "rows.txt")


def test_a_missing_id_file_is_told(tmp_path):
    with pytest.raises(DataError, match=r"none.txt: does not exist; expected a list of ids"):
        read_ids(tmp_path / "none.txt")
