"""Pictures of one variant against another, of a variant with one stage, and of a typed sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
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
from plugins.outputs.pictures.against import against, gains_and_losses
from plugins.outputs.pictures.drawing import drawn, strip
from plugins.outputs.pictures.html import whole_page
from plugins.outputs.pictures.pages import Page, Pictures, Row, found, pages
from tests.engine import Lab, registered_toys
from tests.plugins.outputs.test_pictures import FUSION, Links, Plugin, command, shown

CHANGES: dict[str, Any] = {
    "model.interactions.gate": {"name": "toy_gate"},
    "retrieve.rerank": None,
    "seeds": [0],
    "variants": {
        "dot": {},
        "gate": {"retrieve.first_stage": "gate"},
        "fused": {"retrieve.rerank": FUSION},
        "on val": {"evaluate.split": "val"},
    },
    "baseline": "dot",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    plugin = Plugin()
    with registered_toys():
        registry().add_plugin(plugin, "gates", "1")
        lab = Lab(tmp_path_factory.mktemp("compared"), {"train": 6, "val": 4, "test": 8})
        _say_the_same(lab.videos / "captions.json")
        lab.run(CHANGES)
        yield lab
        registry().remove_plugin(plugin, "gates")


def _say_the_same(file: Path) -> None:
    """Give the first captions of two videos of the test split the same words."""
    listed = json.loads(file.read_text())
    listed["test"][5][1][0] = listed["test"][2][1][0]
    file.write_text(json.dumps(listed))


@pytest.fixture(scope="module")
def plan(lab: Lab) -> Plan:
    return lab.plan(CHANGES)


def compared(plan: Plan, variant: str, other: str, *queries: str, count: int = 6) -> Pictures:
    first = rankings(plan, variant, str)
    return against(first, first.of(other, "outputs.pictures.against"), queries, count, 2)


# ------------------------------------------------------------------------------------------------ against another


def test_gains_and_losses_stand_in_turn_the_largest_factors_first():
    before, after = np.array([8, 1, 4, 2, 5, 1]), np.array([1, 2, 1, 8, 5, 6])
    assert gains_and_losses(before, after, 6) == [0, 5, 2, 3, 1]
    assert gains_and_losses(before, after, 3) == [0, 5, 2]
    assert gains_and_losses(after, np.ones(6, int), 9) == [3, 5, 4, 1]  # gains alone


def test_two_variants_of_one_stage_are_shown_side_by_side(plan):
    made = compared(plan, "gate", "dot", count=4)
    mine, others = rankings(plan, "gate", str), rankings(plan, "dot", str)
    rows = mine.rows_of([page.query for page in made.pages])
    before, after = others.first_right(-1), mine.first_right(-1)
    assert rows == gains_and_losses(before, after, 4)
    for row, page in zip(rows, made.pages, strict=True):
        assert [stage.stage for stage in page.rows] == ["dot · first stage: dot", "gate · first stage: gate"]
        assert [stage.first_right for stage in page.rows] == [before[row], after[row]]
        kind = "gain" if after[row] < before[row] else "loss"
        assert page.movement.startswith(
            f"{kind}: dot ranks the first right video {before[row]} (first stage: dot); "
            f"gate ranks the first right video {after[row]} (first stage: gate)"
        )
    up, down = int((after < before).sum()), int((after > before).sum())
    assert f"than dot for {up}, lower for {down}, and the same for {16 - up - down}." in " ".join(made.notes)


def test_a_variant_of_several_stages_says_the_rank_in_each_of_them(plan):
    (page,) = compared(plan, "fused", "gate", "v3-1").pages
    ranks = [row.first_right for row in page.rows[1:]]
    words = "(first stage: dot), then {} (best 3 re-ranked by 0.5 dot + linear), then {} (+ 2 gate)"
    assert f"fused ranks the first right video {ranks[0]} {words.format(*ranks[1:])}" in page.movement


def test_variants_that_rank_alike_or_other_videos_are_not_compared(plan):
    with pytest.raises(UserError, match="give the first right video of every query the same rank"):
        compared(plan, "dot", "dot")
    with pytest.raises(UserError, match="`dot` and `on val` rank other texts or videos"):
        compared(plan, "dot", "on val")


def test_the_command_compares_and_tells_the_key_of_an_unknown_variant(lab, tmp_path, capsys):
    words = ["outputs.pictures.variant=gate", "outputs.pictures.against=dot"]
    assert command(lab, tmp_path, *words, changes=CHANGES) == 0
    assert "lab: gate · seeds: none against dot · seeds: none" in (tmp_path / "lab" / "pictures.html").read_text()
    assert command(lab, tmp_path, "outputs.pictures.against=dott", changes=CHANGES) == 1
    assert "outputs.pictures.against: there is no variant called `dott`" in capsys.readouterr().err


def test_long_words_of_a_picture_stand_on_several_lines():
    row = Row("first stage: dot", 1, [shown()])
    short, long = (drawn(Page("t", "caption", words, [row])).height for words in ("rank 1", "rank 1 and so on " * 20))
    assert long > short


# ------------------------------------------------------------------------------------------------ one stage


def test_a_variant_of_one_stage_shows_the_texts_whose_right_video_stands_lowest(plan):
    made = pages(rankings(plan, "dot", str), most_changed=3, top=2)
    ranks = rankings(plan, "dot", str).first_right(0)
    assert [page.rows[0].first_right for page in made.pages] == sorted(ranks, reverse=True)[:3]
    assert "Shown: the 3 texts whose first right video stands lowest." in made.notes


def test_the_texts_that_can_be_asked_for_are_listed(plan):
    made = pages(rankings(plan, "fused", str), ["v1-0"])
    assert made.notes[-1] == "16 texts can be asked for by outputs.pictures.queries, by id: v0-0, v0-1, v1-0, …"


def test_equal_captions_are_told_apart_by_their_ids(plan):
    made = pages(rankings(plan, "dot", str), ["v2-0", "v5-0", "v1-0"])
    first, second, other = made.pages
    assert first.caption == second.caption
    assert first.movement.endswith("; the same sentence: v5-0")
    assert second.movement.endswith("; the same sentence: v2-0")
    assert "the same sentence" not in other.movement
    listed = Links(whole_page(made).partition("<ol>")[2].partition("</ol>")[0]).words
    assert f"{first.caption} v2-0: " in listed
    assert f"{first.caption} v5-0: " in listed


# ------------------------------------------------------------------------------------------------ a sentence


def test_a_sentence_is_shown_at_its_last_stage_with_all_that_it_weighs(plan):
    asked = rankings(plan, "fused", str).asked("10 200 30")
    made = found(asked, top=3)
    (page,) = made.pages
    assert (page.caption, [row.first_right for row in page.rows]) == ("10 200 30", [None])
    assert page.rows[0].stage == "first stage: dot, then best 3 re-ranked by 0.5 dot + linear, then + 2 gate"
    for item, best in zip(page.rows[0].shown, asked.best(0, 3), strict=True):
        assert (item.video, item.rank, item.score, item.before) == (best.video, best.rank, best.score, best.before)
        assert [gate.interaction for gate in item.gates] == ["gate"]
    assert made.notes == ["Test split of toy_videos: 8 videos."]


def test_frames_that_a_sentence_finds_keep_their_colours_whatever_patches_weigh(plan, monkeypatch):
    asked = rankings(plan, "fused", str).asked("10 200 30")
    (best,) = asked.best(0, 1)
    placed = [replace(gate, patches=torch.ones(3, 2, 2) / 12) for gate in best.gates]
    monkeypatch.setattr(Rankings, "best", lambda *_: [replace(best, gates=placed)])
    (item,) = found(asked, 1).pages[0].rows[0].shown
    assert (np.asarray(strip(item))[5, 5] == item.clip.frames[0, 0, 0]).all()


def test_the_output_draws_a_sentence_where_its_settings_hold_one(lab, tmp_path):
    words = ["variant=fused", "sentence=10 200 30", "top=2", "png=true"]
    assert command(lab, tmp_path, *(f"outputs.pictures.{word}" for word in words), changes=CHANGES) == 0
    page = (tmp_path / "lab" / "pictures.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert "10 200 30" in page
    assert Image.open(tmp_path / "lab" / "pictures" / "01-sentence.png").width > 100


def test_a_sentence_stands_alone_in_the_settings(lab, tmp_path, capsys):
    words = ["outputs.pictures.sentence=a ring", "outputs.pictures.against=dot"]
    assert command(lab, tmp_path, *words, changes=CHANGES) == 2
    assert "outputs.pictures.sentence: a sentence is asked alone: leave out `against`" in capsys.readouterr().err
