"""`python -m core.search`: a typed sentence is ranked as a text of the split is, by what the store holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.engine.plan import Plan
from core.errors import UserError
from core.evidence.rankings import Rankings, rankings
from core.plugins import registry
from core.search import main
from tests.engine import COUNTS, Lab, registered_toys
from tests.plugins.outputs.test_pictures import FUSION, MATCHER, Plugin

ROOT = Path(__file__).parents[2]
CHANGES: dict[str, Any] = {
    "model.interactions.gate": {"name": "toy_gate"},
    "retrieve.rerank": None,
    "seeds": [0, 1],
    "variants": {
        "one stage": {},
        "one trained stage": {"retrieve.first_stage": {"dot": 0.5, "linear": 1.0}},
        "fused": {"retrieve.rerank": FUSION},
        "untrained": {"retrieve.rerank": {"name": "score_fusion", "weights": {"dot": 1.0, "gate": 2.0}, "top_k": 3}},
        "listwise": {"retrieve.rerank": {"name": "toy_listwise", "top_k": 4}},
        "matched": {"retrieve.rerank": MATCHER},
        "fine-tuned": {"encoder.trainable": True, "retrieve.first_stage": "linear"},
        "fine-tuned and fused": {"encoder.trainable": True, "retrieve.rerank": FUSION},
        "banked": {"retrieve.transforms": {"bank": {"name": "qb_norm"}}},
        "dual": {"retrieve.transforms": {"dual": {"name": "dual_softmax"}}},
    },
    "baseline": "one stage",
}
FAITHFUL = [name for name in CHANGES["variants"] if name != "dual"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    plugin = Plugin()
    with registered_toys():
        registry().add_plugin(plugin, "gates", "1")
        lab = Lab(tmp_path_factory.mktemp("search"), {"train": 6, "val": 4, "test": 8})
        lab.run(CHANGES)
        yield lab
        registry().remove_plugin(plugin, "gates")


@pytest.fixture(scope="module")
def plan(lab: Lab) -> Plan:
    return lab.plan(CHANGES)


def ranked(rows: Rankings, text: int) -> tuple[list[str], np.ndarray]:
    """Ids of all videos in the end, best first, and their scores, nan where there is none."""
    best = rows.best(text, 100)
    return [video.video for video in best], np.array([np.nan if v.score is None else v.score for v in best])


def files(folder: Path) -> dict[str, int]:
    """{path: time of its last change} of all below a folder."""
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


# ------------------------------------------------------------------------------------------------ what is found


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("variant", FAITHFUL)
def test_the_caption_of_a_text_is_ranked_as_that_text_was(plan, variant, seed):
    stored = rankings(plan, variant, str, seed)
    for row in (0, 5, 11):
        order, scores = ranked(stored, row)
        found, new = ranked(stored.asked(stored.text(row)[1]), 0)
        assert found == order
        np.testing.assert_allclose(new, scores, atol=1e-5, rtol=1e-5)


def test_seeds_rank_by_their_own_weights(plan):
    caption = rankings(plan, "fine-tuned", str).text(3)[1]
    scores = [ranked(rankings(plan, "fine-tuned", str, seed).asked(caption), 0)[1] for seed in (0, 1, 0)]
    assert not np.allclose(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_first_stage_and_gates_stand_beside_what_is_found(plan):
    stored = rankings(plan, "fused", str)
    asked = stored.asked(stored.text(4)[1])
    order, scores = (tensor[0].tolist() for tensor in stored.stages[0].ranked(slice(4, 5)))
    for video in asked.best(0, 3):
        assert order[video.before - 1] == video.row
        assert video.first_stage == pytest.approx(scores[video.before - 1], abs=1e-5)
        (weights,) = video.gates
        (wanted,) = stored.gates(stored.stages[-1], 4, np.array([video.row]))[0]
        torch.testing.assert_close(weights.frames, wanted.frames)


def test_nothing_is_written_to_the_store_and_only_the_sentence_is_encoded(lab):
    plan = lab.plan(CHANGES)
    before = files(lab.store)
    for variant in ("fused", "matched", "fine-tuned and fused", "banked"):
        COUNTS.clear()
        ranked(rankings(plan, variant, str).asked("10 20 30"), 0)
        assert (COUNTS["videos"], COUNTS["texts"]) == (0, 1), variant
    assert files(lab.store) == before


def test_a_transform_that_looks_at_other_queries_is_left_out_and_that_is_said(lab, plan, capsys):
    caption = rankings(plan, "one stage", str).text(2)[1]
    without = ranked(rankings(plan, "one stage", str).asked(caption), 0)
    asked = rankings(plan, "dual", str).asked(caption)
    assert asked.left_out == ("dual_softmax",)
    assert ranked(asked, 0)[0] == without[0]
    np.testing.assert_allclose(ranked(asked, 0)[1], without[1])
    assert command(lab, caption, "--variant", "dual") == 0
    assert "Beware: dual_softmax looks at the other queries" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ the command


def command(lab: Lab, *words: str, changes: dict[str, Any] | None = None, store: Path | None = None) -> int:
    return main([str(lab.write(changes or CHANGES)), *words, "--store", str(store or lab.store)])


def test_the_table_has_ranks_scores_of_both_stages_and_weights(lab, plan, capsys):
    assert command(lab, "200 10 10", "--variant", "fused", "--seed", "1", "--top", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    asked = rankings(plan, "fused", str, 1).asked("200 10 10")
    assert lines[0] == "lab: fused · seed 1"
    assert lines[-4].split()[:5] == ["rank", "video", "first", "stage", "score"]
    for line, video in zip(lines[-3:], asked.best(0, 3), strict=True):
        weights = [f"{weight:.2f}".removeprefix("0") for weight in video.gates[0].frames.tolist()]
        first = [f"{video.first_stage:.4f},", "rank", str(video.before)]
        assert line.split() == [str(video.rank), video.video, *first, f"{video.score:.4f}", *weights]


def test_without_a_variant_the_best_that_re_ranks_is_asked_else_the_baseline(lab, capsys):
    assert command(lab, "200 10 10") == 0
    assert "Of the variants that re-rank, " in capsys.readouterr().out
    single = {**CHANGES, "variants": {name: CHANGES["variants"][name] for name in ("one trained stage", "one stage")}}
    assert command(lab, "200 10 10", changes=single) == 0
    out = capsys.readouterr().out
    assert out.startswith("lab: one stage · ")
    assert "No variant re-ranks: this is the baseline." in out
    assert "first stage" not in out


@pytest.mark.parametrize("kind", ["html", "png"])
def test_a_sheet_of_the_frames_is_drawn(lab, tmp_path, capsys, kind):
    words = ["--variant", "fused", "--top", "2", "--out", f"sheets/red.{kind}", "--runs", str(tmp_path)]
    assert command(lab, "200 10 10 <b>", *words) == 0
    file = tmp_path / "lab" / "sheets" / f"red.{kind}"
    assert f"Frames: {file}" in capsys.readouterr().out
    if kind == "png":
        assert Image.open(file).width > 100
    else:
        page = file.read_text()
        assert page.count("data:image/jpeg;base64,") == 2
        assert "gate: up to" in page
        assert "200 10 10 &lt;b&gt;" in page
        assert 'class="video right"' not in page
        assert "a right video" not in page


def told(capsys: Any) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["1 2 3", "--variant", "fusd"], 2, "--variant: there is no variant called `fusd`. Did you mean `fused`?"),
        (["1 2 3", "--seed", "7"], 2, "--seed: there is no seed 7; there are: 0, 1"),
        (["1 2 3", "--top", "0"], 2, "--top: must be 1 or more, got 0"),
        (["a", "red", "ring"], 2, "a sentence of several words stands in quotes"),
        ([" "], 1, "the sentence is empty"),
        (["red"], 1, "toy_encoder"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_message(lab, capsys, words, status, why):
    assert command(lab, *words) == status
    assert why in told(capsys)


def test_a_sheet_that_no_output_draws_is_refused(lab, capsys, tmp_path):
    assert command(lab, "1 2 3", "--out", str(tmp_path / "red.gif")) == 2
    assert "no output draws a `.gif`; name a .html or .png" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("variant", [[], ["--variant", "fused"]])
def test_a_store_without_results_is_told_the_command_and_is_not_made(lab, capsys, tmp_path, variant):
    assert command(lab, "1 2 3", *variant, store=tmp_path / "empty") == 1
    assert f"compute them by: python -m core.run {lab.folder / 'experiment.yaml'} --store" in told(capsys)
    assert not list(tmp_path.iterdir())


def test_weights_that_were_removed_are_told_the_command(toys_of_its_own, capsys):
    lab = toys_of_its_own
    for entry in lab.entries("fit"):
        lab.workspace().store.remove(entry.folder)
    assert command(lab, "1 2 3", changes={"seeds": [0]}) == 1
    assert "(fit " in (said := told(capsys))
    assert "compute them by: python -m core.run" in said


@pytest.fixture
def toys_of_its_own(lab: Lab, tmp_path: Path) -> Lab:
    own = Lab(tmp_path)
    own.run({"seeds": [0]})
    return own


def test_the_command_is_run_by_its_name():
    environment = {**os.environ, "COLUMNS": "80"}
    words = [sys.executable, "-m", "core.search", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert "usage: python -m core.search" in done.stdout


def test_an_empty_sentence_is_refused_from_python_too(plan):
    with pytest.raises(UserError, match="is empty"):
        rankings(plan, "fused", str).asked("\n")
