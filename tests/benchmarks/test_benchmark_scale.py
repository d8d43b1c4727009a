"""The scale benchmark measures what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks import scale


def test_the_small_run_writes_a_row_a_gallery(tmp_path: Path) -> None:
    scale.main(["--small", "--out", str(tmp_path / "scale.json")])
    found = json.loads((tmp_path / "scale.json").read_text())
    assert [row["gallery"] for row in found["galleries"]] == list(scale.SMALL.galleries)
    for row in found["galleries"]:
        assert row["bytes"] == row["gallery"] * 32 * 2
        assert row["one_ms"] > 0
        assert 0 <= row["index_recall"] <= 100
    assert set(found["growth"]) == {"one_ms", "batch_ms_a_query"}
    assert "| 2,000 " in (tmp_path / "scale.md").read_text()


def test_the_gallery_is_unit_vectors_in_a_file(tmp_path: Path) -> None:
    vectors = scale.gallery(tmp_path, scale.SMALL)
    assert (tmp_path / "gallery.safetensors").stat().st_size > vectors.numel() * 2
    torch.testing.assert_close(vectors.float().norm(dim=1), torch.ones(2000), rtol=0, atol=1e-3)
    assert scale.read_once(vectors).isfinite()


def test_the_peak_is_what_a_call_allocates_and_touches() -> None:
    kept = []

    def takes() -> None:
        kept.append(np.ones(64 * 2**20, np.uint8))
        kept.clear()
        torch.arange(2_000_000).sort()

    assert 60 * 2**20 < scale.peak_of(takes) < 200 * 2**20
    assert scale.peak_of(lambda: None) < 16 * 2**20
