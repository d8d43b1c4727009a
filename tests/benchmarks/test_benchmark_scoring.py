"""The benchmark of scores holds them against what it says it does, and writes what it found."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from benchmarks import scoring
from benchmarks.measuring import Seconds, multiply_adds
from benchmarks.scoring import FORMS, MADE, RAW, SMALL, Bench, Size
from core import score


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The small run, as written: JSON and tables."""
    out = tmp_path_factory.mktemp("results") / "scoring.json"
    with torch.random.fork_rng():
        scoring.main(["--small", "--out", str(out)])
    return json.loads(out.read_text()), out.with_suffix(".md").read_text()


@pytest.fixture(scope="module")
def bench() -> Bench:
    with torch.random.fork_rng(), torch.inference_mode():
        return Bench(SMALL, SMALL.widths[0], patches=True)


def test_the_default_size_is_the_one_that_targets_are_for() -> None:
    size = Size()
    assert (size.texts, size.videos, size.top_k, size.frames, size.patches) == (1000, 1000, 50, 12, 49)
    assert size.widths == (512, 128)


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.einsum])
@torch.inference_mode()
def test_the_einsum_form_gives_the_scores_of_the_interaction(name: str, bench: Bench) -> None:
    head, raw = bench.made(name), bench.raw(name)
    expected = score(raw.interaction, raw.text, raw.video)
    assert expected.std() > 0.01
    torch.testing.assert_close(scoring.einsum_form(name, head), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_pooled_vectors_are_formed_as_written_down(bench: Bench) -> None:
    head = bench.made("own")
    text, frames = head.text.structured("vector").values, head.video.structured("values").values
    found = scoring.einsum_form("own", head)
    for a, b in ((0, 0), (3, 7), (29, 19)):
        powers = [math.exp(text[a] @ frame / 0.1) for frame in frames[b]]
        pooled = sum(power * frame for power, frame in zip(powers, frames[b], strict=True)) / sum(powers)
        assert found[a, b].item() == pytest.approx((text[a] @ pooled / pooled.norm()).item(), abs=1e-5)


@torch.inference_mode()
def test_products_are_those_of_all_tokens_with_all_texts(bench: Bench) -> None:
    vectors = {"video": 1, "own": 4, "frame": 2 * 4, "global": 4, "soft": 4, "local": 2, "patch": 2 * 4 * 9}
    for name, count in vectors.items():
        assert multiply_adds(scoring.products(bench.made(name)))[0] == SMALL.texts * SMALL.videos * count * 32


def test_times_of_a_round_are_added_up_with_their_factors() -> None:
    times = {"a": [Seconds(1, 2), Seconds(3, 4)], "b": [Seconds(10, 20), Seconds(30, 40)], "c": [Seconds(7, 7)] * 2}
    assert scoring.combined(times, {"a": 1.0, "b": 0.5}) == [Seconds(6, 12), Seconds(18, 24)]


def test_a_target_is_reached_where_the_median_of_the_rounds_is_no_larger() -> None:
    taken, least = [Seconds(2, 4), Seconds(9, 9), Seconds(1, 1)], [Seconds(1, 1)] * 3
    reached = [scoring.row("x", 8, taken, least, target, scoring.Work(1, 1))["reached"] for target in (2.0, 1.9, None)]
    assert reached == [True, False, None]


def test_every_hot_path_has_its_ratio_its_target_and_its_two_numbers(small: Any) -> None:
    rows = {(row["what"], row["width"]): row for row in small[0]["scores"]}
    targets = {(what, width): row["target"] for (what, width), row in rows.items() if row["target"] is not None}
    assert targets == {
        ("tib", 32): 2.0,
        ("tib, patches", 32): 1.5,
        (f"two stages, {MADE}", 32): 2.0,
        (f"two stages, {RAW}", 32): 2.0,
        **{(f"one query, {what}, {kind}", 32): 4.0 for what in ("both stages", "patches") for kind in (MADE, RAW)},
        (f"GLSCL, {RAW}", 32): 3.0,
    }
    frames = {form.title for name, form in FORMS.items() if name != "patch"}
    assert {what for what, width in rows if width == 16} == frames
    for row in rows.values():
        assert 0 < row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
        assert row["reached"] == (None if row["target"] is None else row["ratio"]["median"] <= row["target"])
        assert min(row["ms"], row["multiply_adds"], row["bytes"]) > 0
    texts, videos, width, tokens = 30, 20, 32, 4 * 9
    assert rows["tib, patches", 32]["multiply_adds"] == texts * 7 * 2 * tokens * width
    assert rows[f"two stages, {MADE}", 32]["multiply_adds"] == texts * (videos + 5 * 2 * (4 + tokens)) * width
    assert rows[f"one query, patches, {RAW}", 32]["bytes"] == 4 * 5 * tokens * width
    # sentence; frames, their mask and Gram matrix; scores
    assert rows["tib", 32]["bytes"] == 4 * (texts * width + videos * (4 * width + 4 + 4 * 4) + texts * videos)


def test_the_einsum_form_is_compared_for_all_that_have_one_and_differs_by_rounding(small: Any) -> None:
    rows = small[0]["einsum"]
    found = {(row["what"], row["width"]) for row in rows}
    assert found == {(f.title, w) for n, f in FORMS.items() if f.einsum for w in (32, 16) if n != "patch" or w == 32}
    for row in rows:
        assert row["texts"] == 6
        assert row["videos"] == (7 if "patches" in row["what"] else 20)
        assert 0 < row["faster"]["low"] <= row["faster"]["high"]
        assert row["largest_difference"] < 1e-5


def test_the_tables_have_every_row_and_the_machine_is_said(small: Any) -> None:
    lines = [[cell.strip() for cell in line.split("|")] for line in small[1].splitlines()]
    for row in small[0]["scores"]:
        (line,) = [cells for cells in lines if cells[1:3] == [row["what"], str(row["width"])] and len(cells) == 11]
        assert line[7] == {True: "yes", False: "no", None: "–"}[row["reached"]]
    for row in small[0]["einsum"]:
        assert any(cells[1:4] == [row["what"], str(row["width"]), "6"] for cells in lines)
    assert small[0]["machine"]["threads"] == torch.get_num_threads()
    assert small[0]["size"] == json.loads(json.dumps(vars(SMALL)))
