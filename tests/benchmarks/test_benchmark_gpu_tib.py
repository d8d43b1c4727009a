"""gpu_tib compares ways to the same scores, and writes nothing without a GPU."""

import json
import math
from itertools import count

import pytest
import torch

from benchmarks import gpu_tib
from benchmarks.gpu_tib import SMALL, Size, with_torch

GPU = {"compute_capability": "9.0", "multiprocessors": 100, "gpu_gib": 64.0}


def test_without_cuda_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu_tib.main(["--small", "--out", str(tmp_path / "out.json")])
    assert "no CUDA" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_size_is_the_one_that_is_asked_for():
    assert Size().widths == (512, 128)
    assert (Size().texts, Size().videos, Size().frames) == (1000, 1000, 12)


def test_torch_computes_the_definition():
    draw = torch.Generator().manual_seed(0)
    values = torch.nn.functional.normalize(torch.randn(3, 5, 8, generator=draw, dtype=torch.float64), dim=-1)
    query = torch.nn.functional.normalize(torch.randn(8, 4, generator=draw, dtype=torch.float64), dim=0)
    mask = torch.rand(3, 5, generator=draw) < 0.7
    mask[:, 0] = True
    found = with_torch(values, mask, values @ values.mT, query)
    for b in range(3):
        for q in range(4):
            kept = [j for j in range(5) if mask[b, j]]
            powers = [math.exp(values[b, j] @ query[:, q] / 0.1) for j in kept]
            pooled = sum(power * values[b, j] for power, j in zip(powers, kept, strict=True))
            assert found[b, q].item() == pytest.approx((pooled @ query[:, q] / pooled.norm()).item(), rel=1e-9)


def test_ratios_are_of_the_same_round_and_ways_that_are_not_there_are_left_out(monkeypatch):
    ticks = count(1)
    monkeypatch.setattr(gpu_tib, "milliseconds", lambda call, repeats: float(next(ticks)))
    monkeypatch.setattr(torch, "compile", lambda function: function)
    result = gpu_tib.measure(SMALL, "cpu")
    rows = {row["way"]: row for row in result["scores"]}
    assert list(rows) == ["bare product", "torch", "torch.compile", "tib.score"]  # no kernel on the CPU
    # four not counted, then 5 6 7 8, then, beginning with the second, 9 10 11 and 12 for the product
    assert rows["torch"]["over_product"] == {"median": (6 / 5 + 9 / 12) / 2, "low": 9 / 12, "high": 6 / 5}
    assert rows["bare product"]["over_product"] == {"median": 1, "low": 1, "high": 1}
    assert rows["tib.score"]["ms"] == (8 + 11) / 2
    assert rows["tib.score"]["largest_difference"] < 1e-5
    text = gpu_tib.report({**result, "machine": {**result["machine"], **GPU}})
    assert "| tib.score     |    32 | 9.50 |  1.26 (0.917–1.60) |" in text


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_a_gpu_all_ways_give_the_same_scores_and_are_written(tmp_path):
    out = tmp_path / "gpu_tib.json"
    gpu_tib.main(["--small", "--out", str(out)])
    rows = {row["way"]: row for row in json.loads(out.read_text())["scores"]}
    assert {"bare product", "torch", "torch.compile", "triton", "tib.score"} == set(rows)
    assert all(row["ms"] > 0 for row in rows.values())
    assert all(row["largest_difference"] < 1e-5 for way, row in rows.items() if way != "bare product")
    assert "compute capability" in out.with_suffix(".md").read_text()
