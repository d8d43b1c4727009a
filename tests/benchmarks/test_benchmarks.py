"""The benchmarks count what the papers count and what their code computes, and write what they say they write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import matching_cost, training_cost, training_input, training_step
from benchmarks.heads import Size, TokenWise
from benchmarks.measuring import Ratio, Seconds, alternate, multiply_adds, short, table
from core import LevelShape, TextFeatures, VideoFeatures, score
from core.engine.scoring.candidates import _Block

RESULTS = Path(matching_cost.__file__).parent / "results"
T, P, L, D, Q = 4, 9, 6, 32, 2
"""Frames, patches a frame, words, width and concepts of the small size."""


@pytest.fixture(scope="module", autouse=True)
def as_before() -> Iterator[None]:
    """The benchmarks use one thread and seed the global generator."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------------------ by the papers' rule


def test_the_published_factor_of_eercf_comes_out_data_set_by_data_set() -> None:
    found = {row["data_set"]: row for row in matching_cost.published()}
    assert found["MSR-VTT 1k"]["eercf"] == 512 + 50 / 1000 * (12 * 512 + 12 * 49 * 512)
    assert found["MSR-VTT 1k"]["token_wise"] == 32 * 12 * 512 + 32 * 512 + 12 * 512 + 512 + 2 * 32 * 12 == 220_416
    ratios = {name: round(row["ratio"], 1) for name, row in found.items()}
    assert ratios == {"MSR-VTT 1k": 13.9, "MSR-VTT 3k": 39.0, "VATEX": 20.5, "ActivityNet": 126.4}
    assert sum(row["ratio"] for row in found.values()) / 4 == pytest.approx(49.96, abs=0.005)


def test_the_published_count_of_glscl_is_two_dot_products_a_pair() -> None:
    assert 1000 * 1000 * matching_cost.rule_glscl(512) == pytest.approx(1.0e9, rel=0.03)
    assert matching_cost.rule_token_wise(32, 12, 512) / matching_cost.rule_glscl(512) == pytest.approx(215, abs=0.5)


def test_the_default_size_is_that_of_the_papers() -> None:
    size = Size()
    assert (size.frames, size.patches, size.words, size.width, size.concepts) == (12, 49, 32, 512, 8)


# ------------------------------------------------------------------------------------------------ matching


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The small run, as written: JSON and tables. Candidates are scored a video at a time, as formulas count them."""
    out = tmp_path_factory.mktemp("results") / "deep" / "matching.json"
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_Block, "scores", _Block.one_by_one)
        matching_cost.main(["--small", "--out", str(out)])
    return json.loads(out.read_text()), out.with_suffix(".md").read_text()


def system(result: dict[str, Any], name: str, gallery: int = 40, top_k: int | None = None) -> dict[str, Any]:
    rows = [r for r in result["systems"] if (r["system"], r["gallery"], r["top_k"]) == (name, gallery, top_k)]
    assert len(rows) == 1
    return rows[0]


def gated(tokens: int, levels: int = 2) -> int:
    """Frames of the text-gated block: dot products with values, and with a gate of another level, and the Gram matrix
    with the weights."""
    return levels * tokens * D + tokens * tokens


ALL_PAIRS = {
    "token-wise (X-CLIP, DRL)": L * T * D + L + T,
    "mean pooling (CLIP4Clip)": D,
    "EERCF, all pairs": D + gated(T) + 2 * T * P * D,  # patches: more tokens than width, so that a sum is formed
    "GLSCL, all pairs": Q * D + gated(T, 1),
}
FINE = {
    "EERCF, two stages": (D, gated(T) + 2 * T * P * D),
    "frames alone, two stages": (D, gated(T)),
    "GLSCL, two stages": (Q * D, gated(T, 1)),
}


@pytest.mark.parametrize(("name", "expected"), ALL_PAIRS.items())
def test_all_pairs_need_what_their_formula_says(matching: Any, name: str, expected: int) -> None:
    assert system(matching[0], name)["counted"] == expected


@pytest.mark.parametrize("top_k", [5, 10])
@pytest.mark.parametrize("name", FINE)
def test_two_stages_need_the_first_for_all_and_the_second_for_candidates(matching: Any, name: str, top_k: int) -> None:
    first, fine = FINE[name]
    row = system(matching[0], name, top_k=top_k)
    assert row["counted"] == pytest.approx(first + top_k / 40 * fine, rel=1e-3)
    rival = ALL_PAIRS["token-wise (X-CLIP, DRL)"]
    assert row["fewer_counted"] == pytest.approx(rival / row["counted"], rel=1e-3)


def test_the_rule_is_applied_to_the_size_that_is_measured(matching: Any) -> None:
    rival = L * T * D + L * D + T * D + D + 2 * L * T
    row = system(matching[0], "EERCF, two stages", top_k=10)
    assert row["by_rule"] == D + 10 / 40 * (T * D + T * P * D)
    assert row["fewer_by_rule"] == pytest.approx(rival / row["by_rule"], rel=1e-3)
    assert system(matching[0], "GLSCL, all pairs")["by_rule"] == 2 * D
    assert system(matching[0], "GLSCL, two stages", top_k=10)["by_rule"] is None


def test_two_stages_give_the_candidates_the_scores_of_all_pairs(matching: Any) -> None:
    rows = matching[0]["gains"]
    assert {(row["system"], row["gallery"]) for row in rows} == {
        ("EERCF, two stages", 40),
        ("GLSCL, two stages", 40),
        ("GLSCL, two stages", 100),
    }
    assert all(row["largest_difference"] < 1e-5 for row in rows)


def test_patches_are_measured_only_where_they_are_kept(matching: Any) -> None:
    large = {row["system"] for row in matching[0]["systems"] if row["gallery"] == 100}
    assert {"token-wise (X-CLIP, DRL)", "frames alone, two stages"} <= large
    assert not any("EERCF" in name for name in large)


def test_times_and_sides_of_matching_are_written(matching: Any) -> None:
    result, text = matching
    assert list(result) == ["benchmark", "machine", "size", "published", "systems", "gains", "sides"]
    assert result["machine"]["threads"] == 1
    for row in result["systems"] + result["gains"]:
        for ratio in (row["faster_batch"], row["faster_alone"]):
            assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
            assert ratio["cpu"] > 0
    sides = {row["head"]: row for row in result["sides"]}
    assert sides["video"]["video_bytes"] == 4 * D
    assert sides["patch"]["video_bytes"] == T * P * (4 * D + 1)  # values in float32, and the mask
    assert sides["local"]["video_bytes"] == 4 * Q * D
    assert all(row["video_ms"] > 0 for row in sides.values())
    assert text.count("| EERCF, two stages") == 2 * 3  # two K in each of three tables


def test_the_shipped_results_are_of_this_layout_and_count_what_the_formulas_say(matching: Any) -> None:
    shipped = json.loads((RESULTS / "matching_cost.json").read_text())
    for part in ("systems", "gains", "sides"):
        assert [*shipped[part][0]] == [*matching[0][part][0]]
    assert shipped["published"] == matching[0]["published"]
    row = system(shipped, "EERCF, two stages", gallery=1000, top_k=50)
    fine = (2 * 12 * 512 + 12 * 12) + 2 * 588 * 512
    assert row["counted"] == pytest.approx(512 + 50 / 1000 * fine, rel=0.03)  # lists of candidates are padded
    assert row["fewer_by_rule"] == pytest.approx(13.9, abs=0.05)
    all_pairs = system(shipped, "GLSCL, all pairs", gallery=5000)
    assert all_pairs["counted"] == pytest.approx(8 * 512 + 12 * 512 + 12 * 12, rel=1e-3)
    assert all(row["largest_difference"] < 1e-5 for row in shipped["gains"])


def test_the_token_wise_head_is_that_of_its_formula() -> None:
    torch.manual_seed(1)
    head = TokenWise(TokenWise.Config(), {"frames": LevelShape(3, 5)})
    words, frames = torch.randn(2, 4, 5), torch.randn(6, 3, 5)
    found = score(head, TextFeatures(words=words), VideoFeatures(frames=frames))
    for a in range(2):
        for b in range(6):
            w = (words[a] / words[a].norm(dim=1, keepdim=True)).double()
            f = (frames[b] / frames[b].norm(dim=1, keepdim=True)).double()
            of_words = head.weigh_words(w.float()).flatten().double().softmax(0)
            of_frames = head.weigh_frames(f.float()).flatten().double().softmax(0)
            by_word = sum(of_words[i] * max(w[i] @ f[j] for j in range(3)) for i in range(4))
            by_frame = sum(of_frames[j] * max(w[i] @ f[j] for i in range(4)) for j in range(3))
            assert found[a, b].item() == pytest.approx(((by_word + by_frame) / 2).item(), abs=1e-5)


# ------------------------------------------------------------------------------------------------ training


def count(variant: str) -> float:
    return training_step.measure(variant, training_step.SIZES["small"])["multiply_adds"]


def test_training_the_encoder_takes_three_times_its_forward_pass_and_frozen_features_none_of_it() -> None:
    found = {variant: count(variant) for variant in training_cost.VARIANTS}
    # Backward takes twice the forward pass, less the first layer's gradient to pixels; encoding gives patches besides.
    assert 2.3 < (found["fine_tuning"] - found["frozen"]) / found["encoding"] < 3
    assert found["frozen"] < 0.05 * found["fine_tuning"]


def test_a_frozen_step_needs_what_its_formula_says() -> None:
    frames, width, batch = 2, 128, 4
    block = 12 * frames * width * width + 2 * frames * frames * width  # four maps, the inner 4 D, and attention
    assert count("frozen") == pytest.approx(3 * (2 * block + batch * width), rel=0.03)


def test_a_step_is_timed_and_its_memory_found() -> None:
    found = training_step.measure("frozen", training_step.SIZES["small"])
    assert found["wall"] > 0
    assert found["cpu"] > 0
    assert found["cached_bytes"] == 4 * 128 * (1 + 2)
    if Path("/proc/self/clear_refs").exists():
        assert 0 <= found["peak_bytes"] < 2**30


def test_memory_growth_sees_what_is_allocated_and_freed_again() -> None:
    grown = training_step.memory_growth(lambda: torch.ones(2**24).sum())
    assert grown is None or 60 * 2**20 < grown < 120 * 2**20


@pytest.mark.slow
def test_the_training_benchmark_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "training.json"
    training_cost.main(["--small", "--out", str(out)])
    result = json.loads(out.read_text())
    assert list(result) == ["benchmark", "machine", "size", "measured", "reading"]
    shipped = json.loads((RESULTS / "training_cost.json").read_text())
    assert [*shipped["measured"][0]] == [*result["measured"][0]]
    rows = {row["variant"]: row for row in result["measured"]}
    assert list(rows) == ["fine_tuning", "frozen", "reranker", "encoding"]
    assert rows["fine_tuning"]["fewer_multiply_adds"] == 1
    assert rows["frozen"]["fewer_multiply_adds"] > 10
    assert rows["frozen"]["faster"]["cpu"] > 1
    assert "frozen features, mean pooling" in out.with_suffix(".md").read_text()
    for row in result["reading"]["steps"]:
        assert 0 < row["read_ms"] < row["step_ms"]
        assert row["of_step"] == pytest.approx(row["read_ms"] / row["step_ms"], rel=1e-2)
        assert row["copy_bytes_per_second"] == pytest.approx(1e3 * row["read_bytes"] / row["copy_ms"], rel=1e-2)


@pytest.mark.parametrize(
    ("variant", "tokens", "item"), [("pooled", 12, 4), ("patches", 588, 4), ("patches_half", 588, 2)]
)
def test_a_step_must_read_the_levels_and_masks_of_its_batch(variant: str, tokens: int, item: int) -> None:
    found = training_input.measure(variant, training_input.SIZES["small"])
    assert found["read_bytes"] == 4 * (512 * (tokens * item + 4) + 12)  # and a sentence in float32
    assert 0 < found["read"] < found["step"]
    assert found["copy"] > 0


@pytest.mark.slow
def test_a_variant_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        training_cost.run("frozen", "nowhere")


# ------------------------------------------------------------------------------------------------ measuring


def test_multiply_adds_sees_attention_that_is_fused_on_the_cpu() -> None:
    query = torch.randn(2, 4, 7, 8, requires_grad=True)

    def step() -> None:
        torch.nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()

    forward = 2 * (2 * 4) * 7 * 7 * 8
    assert multiply_adds(step)[0] == 3 * forward
    layer = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 5, 8)
    with torch.inference_mode():
        assert multiply_adds(lambda: layer(x, x, x))[0] == 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)


def test_a_ratio_compares_times_of_the_same_round() -> None:
    slow = [Seconds(2.0, 1.0), Seconds(30.0, 1.0), Seconds(4.0, 3.0)]
    fast = [Seconds(1.0, 0.5), Seconds(10.0, 0.25), Seconds(1.0, 1.0)]
    assert Ratio.of(slow, fast) == Ratio(median=3.0, low=2.0, high=4.0, cpu=3.0)


def test_every_round_runs_all_and_starts_with_another() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    found = alternate(calls, rounds=3, at_least=0.0)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_numbers_are_short_and_tables_are_aligned() -> None:
    values = [None, 0, 0.01234, 1.0, 13.89, 126.4, 999.7, 15872, 1.0e9]
    written = ["–", "0", "0.0123", "1.00", "13.9", "126", "1.00k", "15.9k", "1.00G"]
    assert [short(value) for value in values] == written
    lines = table(["name", "x"], [["a", "1"], ["long", "100"]]).splitlines()
    assert lines == ["| name |   x |", "|------|----:|", "| a    |   1 |", "| long | 100 |"]
