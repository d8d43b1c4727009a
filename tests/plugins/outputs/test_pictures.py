"""Pictures from coarse to fine: they show what the matrices say, compute nothing again, and tell what lacks."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core import Interaction, Levels, LevelShape, Side, TextFeatures, VideoFeatures, hookimpl, setting
from core.engine.plan import Plan, add_trials, read_plan
from core.engine.video import Clip
from core.errors import UserError
from core.evidence.rankings import rankings
from core.outputs import Gate
from core.plugins import registry
from core.run import main
from plugins.outputs.pictures.drawing import BARS, GAP, STRIP, drawn, strip
from plugins.outputs.pictures.html import whole_page
from plugins.outputs.pictures.pages import HEIGHT, Page, Pictures, Row, Shown, pages
from tests.engine import COUNTS, FRAMES, WIDTH, Lab, ToyEncoder, registered_toys

WEIGHTS = {"dot": 0.5, "linear": 1.0, "gate": 2.0}
TOP_K = 3


class ToyGate(Interaction):
    """Sum of the dot products of sentence and tokens, each token weighted by their softmax."""

    name = "toy_gate"

    @dataclass(frozen=True)
    class Config:
        level: str = setting("frames", "video level")

    @classmethod
    def reads(cls, config: Any) -> Levels:
        return Levels(("sentence",), (config.level,))

    def text_side(self, text: TextFeatures) -> Side:
        return {"vector": text.level("sentence").values[:, 0]}

    def video_side(self, video: VideoFeatures) -> Side:
        return {"values": video.level(self.config.level).values}

    def score(self, text: Side, video: Side) -> Tensor:
        dots = torch.einsum("td,vnd->tvn", text["vector"], video["values"])
        return (dots * dots.softmax(2)).sum(2)

    def token_weights(self, text: Side, video: Side) -> Side:
        return {self.config.level: torch.einsum("pd,pnd->pn", text["vector"], video["values"]).softmax(1)}


class SquareEncoder(ToyEncoder):
    """Four patches a frame, which differ."""

    name = "toy_square"

    def __init__(self, config: Any):
        super().__init__(config)
        self.shapes = {**self.shapes, "patches": LevelShape(4, WIDTH)}

    def forward_video(self, frames: Tensor, mask: Tensor, levels: Any) -> VideoFeatures:
        values = super().forward_video(frames, mask, levels).level("frames").values
        patches = torch.stack([values, -values, 2 * values, -2 * values], dim=2)
        return VideoFeatures(frames=values, frame_mask=mask, patches=patches)


class Plugin:
    @hookimpl
    def register_interactions(self, register: Any) -> None:
        register(ToyGate)

    @hookimpl
    def register_encoders(self, register: Any) -> None:
        register(SquareEncoder)


@pytest.fixture(scope="module")
def registered() -> Iterator[None]:
    plugin = Plugin()
    with registered_toys():
        registry().add_plugin(plugin, "gates", "1")
        yield
        registry().remove_plugin(plugin, "gates")


FUSION = {"name": "score_fusion", "weights": WEIGHTS, "top_k": TOP_K}
MATCHER = {
    "name": "toy_matcher",
    "top_k": TOP_K,
    "alpha": 0.5,
    "train": {
        "losses": {"match": {"name": "toy_matching", "of": "rerank"}},
        "epochs": 1,
        "batch_size": 4,
        "learning_rate": 0.05,
        "negatives": 2,
        "pool": 3,
    },
}
CHANGES: dict[str, Any] = {
    "model.interactions.gate": {"name": "toy_gate"},
    "retrieve.rerank": None,
    "seeds": [0],
    "variants": {
        "one stage": {},
        "mixed": {"retrieve.first_stage": WEIGHTS},
        "fused": {"retrieve.rerank": FUSION},
        "still": {"retrieve.rerank": {**FUSION, "top_k": 1}},
        "listwise": {"retrieve.rerank": {"name": "toy_listwise", "top_k": 4}},
        "trained": {"retrieve.rerank": MATCHER},
    },
    "baseline": "one stage",
}


@pytest.fixture(scope="module")
def lab(registered: None, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    made = Lab(tmp_path_factory.mktemp("pictures"), {"train": 6, "val": 4, "test": 8})
    made.run(CHANGES)
    return made


@pytest.fixture(scope="module")
def plan(lab: Lab) -> Plan:
    return lab.plan(CHANGES)


@pytest.fixture(scope="module")
def matrices(plan: Plan) -> dict[str, np.ndarray]:
    """{interaction: scores [texts, videos]}, as the store has them."""
    rank = plan.trials_of("mixed")[0].last.inputs["t2v"]
    stored = {name: plan.workspace.read(rank.inputs[f"first_stage/{name}"]).tensors() for name in WEIGHTS}
    return {name: tensors["scores"].double().numpy() for name, tensors in stored.items()}


MIXED = [{"dot": 0.5}, {"dot": 0.5, "linear": 1.0}, WEIGHTS]
FUSED = [{"dot": 1.0}, *MIXED[1:]]
"""The mixture of each stage of these variants."""


def brute(row: dict[str, np.ndarray], mixtures: list[dict[str, float]], top_k: int) -> list[list[tuple[int, float]]]:
    """For each stage the videos of one query, best first, with their scores; nan where there is none."""
    candidates, found = list(range(len(row["dot"]))), []
    for mixture in mixtures:
        scores = {v: sum(weight * row[name][v] for name, weight in mixture.items()) for v in candidates}
        rest = [(video, math.nan) for video, _ in found[0][top_k:]] if found else []
        found.append(sorted(scores.items(), key=lambda pair: -pair[1]) + rest)
        candidates = [video for video, _ in found[0][:top_k]]
    return found


def pictures_of(
    plan: Plan, variant: str | None = None, queries: Sequence[str] = (), most_changed: int = 6, top: int = 5
) -> Pictures:
    return pages(rankings(plan, variant, str), queries, most_changed, top)


# ------------------------------------------------------------------------------------------------ what is shown


@pytest.mark.parametrize(("variant", "mixtures", "top_k"), [("mixed", MIXED, 8), ("fused", FUSED, TOP_K)])
def test_strips_stand_in_the_order_that_the_matrices_give(plan, matrices, variant, mixtures, top_k):
    ids = [f"v{video}-{caption}" for video in range(8) for caption in range(2)]
    made = pictures_of(plan, variant, ids, top=8)
    assert [page.query for page in made.pages] == ids
    for query, page in enumerate(made.pages):
        row = {name: matrix[query] for name, matrix in matrices.items()}
        expected = brute(row, mixtures, top_k)
        assert len(page.rows) == len(expected) == 3
        for stage, (shown, wanted) in enumerate(zip(page.rows, expected, strict=True)):
            order = [video for video, _ in wanted]
            assert [item.video for item in shown.shown] == [f"v{video}" for video in order]
            assert [item.rank for item in shown.shown] == list(range(1, 9))
            scores = [math.nan if item.score is None else item.score for item in shown.shown]
            np.testing.assert_allclose(scores, [score for _, score in wanted], rtol=1e-5)
            assert [item.right for item in shown.shown] == [video == query // 2 for video in order]
            assert shown.first_right == order.index(query // 2) + 1
            before = [None if not stage else [v for v, _ in expected[stage - 1]].index(video) + 1 for video in order]
            assert [item.before for item in shown.shown] == before


def test_a_trained_reranker_is_shown_with_its_own_scores(plan, matrices):
    matching = plan.workspace.read(plan.trials_of("trained")[0].last.inputs["t2v"].inputs["match"]).tensors()["scores"]
    for query in (0, 7, 13):
        (page,) = pictures_of(plan, "trained", [f"v{query // 2}-{query % 2}"], top=TOP_K).pages
        order = sorted(range(8), key=lambda video: -matrices["dot"][query, video])[:TOP_K]
        new = {v: 0.5 * matrices["dot"][query, v] + m for v, m in zip(order, matching[query].tolist(), strict=True)}
        shown = page.rows[1].shown[:TOP_K]
        assert [item.video for item in shown] == [f"v{v}" for v in sorted(new, key=lambda v: -new[v])]
        np.testing.assert_allclose([item.score for item in shown], sorted(new.values(), reverse=True), rtol=1e-5)


def test_each_stage_says_what_came_in(plan):
    named = {variant: [row.stage for row in pictures_of(plan, variant, ["v0-0"]).pages[0].rows] for variant in NAMES}
    assert named == NAMES


NAMES = {
    "one stage": ["first stage: dot"],
    "mixed": ["first stage: 0.5 dot", "+ linear", "+ 2 gate"],
    "fused": ["first stage: dot", "best 3 re-ranked by 0.5 dot + linear", "+ 2 gate"],
    "listwise": ["first stage: dot", "best 4 re-ranked by toy_listwise"],
    "trained": ["first stage: dot", "best 3 re-ranked by toy_matcher"],
}


def test_the_right_video_is_shown_below_where_it_is_not_among_the_best(plan, matrices):
    places = (matrices["dot"] > matrices["dot"][np.arange(16), np.arange(16) // 2, None]).sum(1) + 1
    query = int(places.argmax())
    (page,) = pictures_of(plan, "one stage", [f"v{query // 2}-{query % 2}"], top=2).pages
    assert places[query] > 2
    assert [(item.rank, item.right) for item in page.rows[0].shown] == [(1, False), (2, False), (places[query], True)]


def test_the_frames_are_those_of_the_video(plan, lab):
    (page,) = pictures_of(plan, "one stage", ["v3-1"], top=8).pages
    for shown in page.rows[0].shown:
        files = [lab.videos / "test" / shown.video / f"{frame}.png" for frame in range(FRAMES)]
        assert shown.clip.frames.shape == (FRAMES, HEIGHT, HEIGHT, 3)
        assert [tuple(f[0, 0]) for f in shown.clip.frames] == [Image.open(file).getpixel((0, 0)) for file in files]


def test_frames_stand_in_the_order_that_the_encoder_saw(lab):
    plan = lab.run({"data.frame_order": "reversed", "retrieve.rerank": None})
    (page,) = pictures_of(plan, queries=["v3-1"], top=1).pages
    shown = page.rows[0].shown[0]
    last = Image.open(lab.videos / "test" / shown.video / f"{FRAMES - 1}.png")
    assert tuple(shown.clip.frames[0, 0, 0]) == last.getpixel((0, 0))


def test_pictures_need_no_device_that_the_results_were_computed_on(lab):
    elsewhere = read_plan(str(lab.write(CHANGES)), [], replace(lab.workspace(), device=torch.device("meta")))
    add_trials(elsewhere)
    assert pictures_of(elsewhere, "fused", ["v2-0"]).pages[0].rows[2].shown[0].gates[0].frames.sum() == pytest.approx(1)


def test_nothing_that_the_store_holds_is_computed_again(plan):
    COUNTS.clear()
    pictures_of(plan, "fused", most_changed=2)
    assert not COUNTS


# ------------------------------------------------------------------------------------------------ which queries


def ranks(matrices: dict[str, np.ndarray]) -> np.ndarray:
    """[2, texts]: the place of the right video at the first and at the last stage of `fused`."""
    made = []
    for query in range(16):
        stages = brute({name: matrix[query] for name, matrix in matrices.items()}, [FUSED[0], FUSED[-1]], TOP_K)
        made.append([[video for video, _ in stage].index(query // 2) + 1 for stage in stages])
    return np.array(made).T


def test_the_most_changed_queries_are_those_whose_rank_changed_by_the_largest_factor(plan, matrices):
    first, last = ranks(matrices)
    factor = [max(a, b) / min(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    wanted = sorted((q for q in range(16) if factor[q] > 1), key=lambda q: -factor[q])[:3]
    made = pictures_of(plan, "fused", most_changed=3)
    assert [page.query for page in made.pages] == [f"v{query // 2}-{query % 2}" for query in wanted]
    assert [page.rows[-1].first_right for page in made.pages] == [last[query] for query in wanted]


def test_the_choice_is_held_against_all_queries(plan, matrices):
    first, last = ranks(matrices)
    up, down, same = (sum(moved) for moved in (last < first, last > first, last == first))
    said = f"higher at the last stage than at the first for {up}, lower for {down}, and where it was for {same}"
    assert said in " ".join(pictures_of(plan, "fused", most_changed=1).notes)


def test_by_default_the_best_variant_that_can_change_an_order_is_shown(plan):
    metrics = {
        v: plan.workspace.read(plan.trials_of(v)[0].last).json()["metrics"]["t2v/R1"] for v in CHANGES["variants"]
    }
    moving = {name: metrics[name] for name in ("fused", "listwise", "trained")}
    best = max(moving, key=lambda name: moving[name])
    assert metrics["still"] >= moving[best]  # it would be chosen, but re-ranks one candidate
    made = pictures_of(plan, queries=["v0-0"])
    assert made.title.startswith(f"lab: {best} · ")
    assert f"Of the variants that re-rank, {best} is the best by t2v/R1" in made.notes[1]


# ------------------------------------------------------------------------------------------------ gates


def test_gates_are_shown_where_they_come_in_and_their_weights_sum_to_one(plan):
    (page,) = pictures_of(plan, "fused", ["v2-0"]).pages
    assert [[len(shown.gates) for shown in row.shown] for row in page.rows[:2]] == [[0] * 5] * 2
    rank = plan.trials_of("fused")[0].last.inputs["t2v"]
    sentence = plan.workspace.read(rank.inputs["candidates/gate"].inputs["text/sentence"]).tensors()["values"][4]
    frames = plan.workspace.read(rank.inputs["candidates/gate"].inputs["video/frames"]).tensors()["values"]
    for shown in page.rows[2].shown:
        (gate,) = shown.gates
        dots = [
            math.fsum(a * b for a, b in zip(sentence.tolist(), f, strict=True))
            for f in frames[int(shown.video[1:])].tolist()
        ]
        wanted = [math.exp(dot) / sum(map(math.exp, dots)) for dot in dots]
        assert (gate.interaction, gate.patches) == ("gate", None)
        assert gate.frames.tolist() == pytest.approx(wanted, rel=1e-4)
        assert float(gate.frames.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("encoder", "placed"), [("toy_encoder", False), ("toy_square", True)])
def test_patches_have_a_place_where_they_fill_a_square(lab, encoder, placed):
    changes = {
        "encoder": {"name": encoder},
        "model.interactions.gate": {"name": "toy_gate", "level": "patches"},
        "retrieve.first_stage": "gate",
        "retrieve.rerank": None,
        "model.losses": None,
    }
    plan = lab.run(changes)
    (page,) = pictures_of(plan, queries=["v2-0"]).pages
    rank = plan.trials[0].last.inputs["t2v"]
    sides = [plan.workspace.read(rank.inputs[name]).tensors()["values"] for name in ("text/sentence", "video/patches")]
    for shown in page.rows[0].shown:
        (gate,) = shown.gates
        weights = (sides[1][int(shown.video[1:])] @ sides[0][4]).flatten().softmax(0).view(FRAMES, -1)
        torch.testing.assert_close(gate.frames, weights.sum(1))
        if placed:
            torch.testing.assert_close(gate.patches, weights.view(FRAMES, 2, 2))
        assert (gate.patches is not None) == placed


# ------------------------------------------------------------------------------------------------ drawing


def shown(frames: int = 3, size: tuple[int, int] = (HEIGHT, HEIGHT), valid: int | None = None, **more: Any) -> Shown:
    """Grey frames, the valid ones of level 50, 60, …"""
    pixels = np.stack([np.full((*size, 3), 50 + 10 * frame, np.uint8) for frame in range(frames)])
    mask = np.arange(frames) < (frames if valid is None else valid)
    return Shown("v1", 1, 0.5, True, 3, Clip(pixels, mask), **more)


def test_a_strip_has_the_valid_frames_side_by_side():
    pixels = np.asarray(strip(shown(valid=2)))
    assert pixels.shape == (HEIGHT, 2 * HEIGHT + GAP, 3)
    assert (pixels[:, :HEIGHT] == 50).all()
    assert (pixels[:, HEIGHT + GAP :] == 60).all()


def test_a_strip_of_many_or_wide_frames_shows_evenly_spread_ones():
    pixels = np.asarray(strip(shown(frames=20, size=(HEIGHT, 2 * HEIGHT))))
    assert pixels.shape[1] <= STRIP
    levels = [int(pixels[0, start, 0]) for start in range(0, pixels.shape[1], 2 * HEIGHT + GAP)]
    assert levels == [50 + 10 * frame for frame in (1, 5, 8, 11, 15, 18)]


def test_bars_are_as_high_as_the_weights_and_stand_under_their_frames():
    gate = Gate("frame", torch.tensor([0.1, 0.6, 0.3]))
    pixels = np.asarray(strip(shown(gates=[gate])))
    assert pixels.shape[0] == HEIGHT + GAP + BARS
    bars = pixels[HEIGHT + GAP :, [30, 94, 158]]
    heights = (bars == (0xD5, 0x5E, 0x00)).all(-1).sum(0)
    np.testing.assert_allclose(heights / heights.max(), [1 / 6, 1, 1 / 2], atol=0.06)


def test_padding_has_neither_a_frame_nor_a_bar():
    gate = Gate("frame", torch.tensor([0.25, 0.75, 0.0]))
    pixels = np.asarray(strip(shown(valid=2, gates=[gate])))
    bars = (pixels[HEIGHT + GAP :, [30, 94]] == (0xD5, 0x5E, 0x00)).all(-1).sum(0)
    assert pixels.shape[1] == 2 * HEIGHT + GAP
    np.testing.assert_allclose(bars / bars.max(), [1 / 3, 1], atol=0.06)


def test_patches_are_seen_in_their_place_as_far_as_they_weigh():
    weights = torch.zeros(3, 2, 2)
    weights[1, 0, 1], weights[2, 1, 0] = 0.8, 0.2
    wide, half = HEIGHT + 20, HEIGHT // 2
    pixels = np.asarray(strip(shown(size=(HEIGHT, wide), gates=[Gate("patch", weights.sum((1, 2)), weights)])))

    def pale(level: int, seen: float = 0.0) -> float:
        return seen * level + (1 - seen) * (0.5 * level + 0.5 * 255)

    expected = np.full((HEIGHT, 3 * wide + 2 * GAP), 255.0)
    for frame in range(3):
        expected[:, frame * (wide + GAP) :][:, :wide] = pale(50 + 10 * frame)
    expected[:half, wide + GAP + 10 + half :][:, :half] = pale(60, 1.0)
    expected[half:, 2 * (wide + GAP) + 10 :][:, :half] = pale(70, 0.25)
    grey = pixels[:HEIGHT].max(2) == pixels[:HEIGHT].min(2)
    np.testing.assert_allclose(pixels[:HEIGHT, :, 0][grey], expected[grey], atol=1.5)
    edges = np.zeros_like(grey)
    for top, left in ((0, wide + GAP + 10 + half), (half, 2 * (wide + GAP) + 10)):
        edges[top : top + half, left : left + half] = True
        edges[top + 1 : top + half - 1, left + 1 : left + half - 1] = False
    np.testing.assert_array_equal(~grey, edges)


def test_the_picture_of_a_query_holds_every_strip():
    row = Row("first stage: dot", 1, [shown(), replace(shown(), score=None, right=False)])
    picture = np.asarray(drawn(Page("t1", "a caption " * 30, "rank 1", [row, row])))
    for level in (50, 60, 70):
        assert (picture == level).all(-1).sum() >= 4 * HEIGHT * HEIGHT


# ------------------------------------------------------------------------------------------------ the page


class Links(HTMLParser):
    """Everything that a page would load or lead to, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        for name, value in attributes:
            {"src": self.sources, "href": self.links, "id": self.ids}.get(name, []).append(value or "")

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_no_other_file(plan):
    made = pictures_of(plan, "fused", ["v0-0", "v5-1"])
    text = whole_page(made)
    found = Links(text)
    assert "url(" not in text
    assert "@import" not in text
    assert {link.removeprefix("#") for link in found.links} == set(found.ids) == {"q1", "q2"}
    strips = [shown for page in made.pages for row in page.rows for shown in row.shown]
    assert len(found.sources) == len(strips)
    for source, item in zip(found.sources, strips, strict=True):
        kind, _, data = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        image = Image.open(BytesIO(b64decode(data)))
        assert image.size == strip(item).size
        assert abs(np.asarray(image).astype(int)[5, 5] - item.clip.frames[0, 0, 0]).max() < 12


def test_the_page_says_ranks_scores_and_marks():
    gate = Gate("frame", torch.tensor([0.1, 0.7, 0.2]))
    row = Row("dot", 1, [shown(gates=[gate]), replace(shown(), rank=7, score=None, right=False, before=None)])
    text = whole_page(Pictures("title", [], [Page("t<1>", "who <b>runs</b>?", "rank 1", [row])]))
    found = Links(text.partition("<section")[2])
    for words in ("who <b>runs</b>?", "t<1>", "1 right", "score 0.500, was 3", "not re-ranked", "frame: up to 0.70"):
        assert words in found.words
    assert found.words.count(" right") == 1  # of the first video


def test_the_legend_names_only_what_is_there():
    def said(gates: list[Gate]) -> str:
        row = Row("first stage: dot", 1, [shown(gates=gates)])
        return Links(whole_page(Pictures("title", [], [Page("t", "caption", "rank 1", [row])]))).words

    assert "weighs" not in said([])
    assert "patches" not in said([Gate("frame", torch.ones(3) / 3)])
    assert "patches" in said([Gate("patch", torch.ones(3) / 3, torch.ones(3, 2, 2) / 12)])


# ------------------------------------------------------------------------------------------------ the command


def command(lab: Lab, runs: Path, *more: str, changes: dict[str, Any] | None = None) -> int:
    """The command that has the pictures made from the store, with these settings of them."""
    places = ["--store", str(lab.store), "--runs", str(runs)]
    return main([str(lab.write(changes or CHANGES)), *more, *places, "--stored", "--only", "pictures"])


def test_the_command_writes_a_page_and_a_picture_of_each_query(lab, tmp_path, capsys):
    chosen = ["variant=fused", "queries=[v1-0, v6-1]"]
    assert command(lab, tmp_path, *(f"outputs.pictures.{word}" for word in [*chosen, "png=true"])) == 0
    folder = tmp_path / "lab"
    assert sorted(path.name for path in folder.iterdir()) == ["pictures", "pictures.html", "registration.json"]
    assert sorted(path.name for path in (folder / "pictures").iterdir()) == ["01-v1-0.png", "02-v6-1.png"]
    assert capsys.readouterr().out == f"Pictures: {folder / 'pictures.html'}\n"
    assert Image.open(folder / "pictures" / "01-v1-0.png").width > STRIP // 4
    assert "lab: fused" in (folder / "pictures.html").read_text()


def fault(lab: Lab, capsys: Any, folder: Path, *settings: str, changes: dict[str, Any] | None = None) -> str:
    """What the command says where it fails."""
    assert command(lab, folder, *(f"outputs.pictures.{one}" for one in settings), changes=changes) == 1
    assert not list(folder.rglob("pictures*"))
    return capsys.readouterr().err


def test_an_unknown_query_is_told_the_nearest(lab, capsys, tmp_path):
    said = fault(lab, capsys, tmp_path, "queries=[v1-7]")
    assert "no text `v1-7`" in said
    assert "`v1-0`" in said


def test_an_unknown_variant_is_told_the_nearest(lab, capsys, tmp_path):
    said = fault(lab, capsys, tmp_path, "variant=fusd")
    assert "error: output `pictures` (retrieval-ablations): outputs.pictures.variant: " in said
    assert "`fusd`. Did you mean `fused`?" in said


def test_a_variant_that_moves_nothing_has_no_most_changed_queries(lab, capsys, tmp_path):
    said = fault(lab, capsys, tmp_path, "variant=still")
    assert "leaves the first right video" in said
    assert "outputs.pictures.queries" in said


def test_pictures_that_nobody_asked_for_and_that_cannot_be_made_are_a_line_and_no_fault(lab, capsys, tmp_path):
    still = {**CHANGES, "variants": {name: CHANGES["variants"][name] for name in ("one stage", "still")}}
    assert command(lab, tmp_path, changes=still) == 0
    assert "No pictures of single queries: `still` leaves the first right video" in capsys.readouterr().out
    assert not list(tmp_path.rglob("pictures*"))


@pytest.mark.parametrize("variant", [None, "fused"])
def test_a_split_that_is_not_scored_is_told_the_command(lab, variant):
    plan = lab.plan({**CHANGES, "evaluate.split": "val"})
    with pytest.raises(UserError, match=r"on the val split; compute them by: python -m core\.run") as caught:
        pictures_of(plan, variant)
    assert str(lab.folder / "experiment.yaml") in str(caught.value)


@pytest.mark.parametrize("variant", [None, "fused"])
def test_a_store_without_even_the_data_is_told_the_command(lab, variant):
    plan = read_plan(str(lab.write(CHANGES)), [], lab.workspace())
    with pytest.raises(UserError, match="on the test split; compute them by: python"):
        pictures_of(plan, variant)


def test_the_command_that_is_told_has_the_overrides(lab):
    given = ["evaluate.metrics=[R1, R10]", "ablate[train.epochs]=null"]
    plan = read_plan(str(lab.write(CHANGES)), given, lab.workspace())
    add_trials(plan)
    with pytest.raises(UserError) as caught:
        pictures_of(plan, "fused")
    told = f""" 'evaluate.metrics=["R1", "R10"]' 'ablate[train.epochs]=null' --store {lab.store}"""
    assert str(caught.value).endswith(told)


def test_overrides_find_what_a_run_with_them_left(lab, tmp_path):
    asked = ["train.epochs=2", "outputs.pictures.queries=[v0-0]"]
    assert command(lab, tmp_path, *asked, changes={**CHANGES, "train.epochs": 1}) == 0


@pytest.mark.parametrize("setting", ["most_changed", "top"])
def test_fewer_than_one_is_refused(lab, setting, capsys, tmp_path):
    assert command(lab, tmp_path, f"outputs.pictures.{setting}=0") == 2
    told = capsys.readouterr().err
    assert f"command line: outputs.pictures.{setting}: " in told
    assert "at least 1" in told


def test_a_direction_that_was_not_evaluated_is_told(lab):
    plan = lab.run({"retrieve.rerank": None, "evaluate.directions": ["v2t"], "evaluate.primary": "v2t/R1"})
    with pytest.raises(UserError, match=r"add it to `evaluate\.directions`"):
        pictures_of(plan, queries=["v0-0"])
