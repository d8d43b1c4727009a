"""What may not be compared: each reason alone, told with both names and the key; and what must not be refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import Split, hookimpl, setting
from core.contract.store import Entry
from core.evidence.findings import Result, findings
from core.plugins import registry
from plugins.outputs.report import markdown
from tests.engine import FRAMES, Lab, ToyVideos, write_pictures, write_videos

PLAIN = {"retrieve.rerank": None, "evaluate.directions": ["t2v"]}
CLAIM = {"moved": {"better": "there", "than": "here"}}


class Widened(ToyVideos):
    """Toy videos, of which the first also answers the last text."""

    name = "toy_widened"

    @dataclass(frozen=True)
    class Config(ToyVideos.Config):
        also: bool = setting(True, "whether it does")

    def prepare(self, folder: Path) -> dict[str, Split]:
        splits = super().prepare(folder)
        return {n: replace(s, also_relevant=((len(s.texts) - 1, 0),) * self.config.also) for n, s in splits.items()}


class WidenedPlugin:
    @hookimpl
    def register_datasets(self, register: Any) -> None:
        register(Widened)


@pytest.fixture
def widened() -> Iterator[None]:
    plugin = WidenedPlugin()
    registry().add_plugin(plugin, "widened", "1")
    yield
    registry().remove_plugin(plugin, "widened")


def compared(lab: Lab, there: dict[str, Any], **more: Any) -> Result:
    return lab.result(PLAIN | {"variants": {"here": {}, "there": there}, "hypotheses": CLAIM} | more)


def refused(result: Result) -> tuple[str, str]:
    """(outcome of the row, reason of the hypothesis), after everything that must hold of a refusal."""
    here, there = result.rows
    assert (here.comparisons, there.comparisons, result.decisions) == ({}, {}, [])
    assert there.mean("t2v/R1") >= 0
    ((_, reason),) = result.incomparable
    told = markdown(result)
    assert f"Not compared, because {reason}: there." in told
    assert f"Not decided, because {reason}: moved: there is better than here on t2v/R1" in told
    assert f"| {there.outcome} |" in told
    return there.outcome, reason


def moved_to(lab: Lab, folder: str, **options: Any) -> dict[str, Any]:
    """The variant that reads other toy videos."""
    write_videos(lab.folder / folder, {"train": 6, "val": 4, "test": 5}, **options)
    return {"data.dataset.root": str(lab.folder / folder)}


def test_other_texts(lab: Lab) -> None:
    write_videos(lab.folder / "wider", {"train": 6, "val": 4, "test": 7}, seed=1)
    found = compared(lab, {"data.dataset.root": str(lab.folder / "wider")})
    reason = "there ranks 14 texts, of which 10 are among the 10 in here (data.dataset)"
    assert refused(found) == ("other queries: not compared", reason)


def test_other_videos(lab: Lab) -> None:
    there = moved_to(lab, "crowded")
    listed = lab.folder / "crowded" / "captions.json"
    splits = json.loads(listed.read_text())
    splits["test"].append(["v9", []])
    listed.write_text(json.dumps(splits))
    write_pictures(lab.folder / "crowded" / "test" / "v9", np.zeros((FRAMES, 3), dtype=int))
    reason = "there ranks 6 videos, of which 5 are among the 5 in here (data.dataset)"
    assert refused(compared(lab, there)) == ("other gallery: not compared", reason)


def test_where_videos_ask_they_are_the_queries(lab: Lab) -> None:
    write_videos(lab.folder / "wider", {"train": 6, "val": 4, "test": 7}, seed=1)
    there = {"data.dataset.root": str(lab.folder / "wider")}
    found = compared(lab, there, **{"evaluate.primary": "v2t/R1", "hypotheses": {}})
    reason = "there ranks 7 videos, of which 5 are among the 5 in here (data.dataset)"
    assert found.rows[1].outcome == "other queries: not compared"
    assert f"Not compared, because {reason}: there." in markdown(found)


def test_other_texts_or_videos_with_the_same_ids(lab: Lab) -> None:
    reworded = moved_to(lab, "reworded")
    listed = lab.folder / "reworded" / "captions.json"
    splits = json.loads(listed.read_text())
    splits["test"][2][1][0] = "1 2 3"
    listed.write_text(json.dumps(splits))
    reason = "the texts of there bear the ids of those of here and are others (data.dataset)"
    assert refused(compared(lab, reworded)) == ("other queries: not compared", reason)
    repainted = moved_to(lab, "repainted")
    Image.new("RGB", (4, 4), (1, 2, 3)).save(lab.folder / "repainted" / "test" / "v2" / "0.png")
    reason = "the videos of there bear the ids of those of here and are others (data.dataset)"
    assert refused(compared(lab, repainted)) == ("other gallery: not compared", reason)


def test_the_same_texts_in_another_order(lab: Lab) -> None:
    there = moved_to(lab, "turned")
    listed = lab.folder / "turned" / "captions.json"
    listed.write_text(json.dumps({name: items[::-1] for name, items in json.loads(listed.read_text()).items()}))
    reason = "there ranks its 10 texts in another order than they stand in here (data.dataset)"
    assert refused(compared(lab, there)) == ("other queries: not compared", reason)


def test_videos_that_were_left_out(lab: Lab) -> None:
    there = {**moved_to(lab, "torn"), "data.on_unreadable": "skip"}
    for picture in (lab.folder / "torn" / "test" / "v1").iterdir():
        picture.write_bytes(b"")
    reason = "there ranks 8 texts, of which 8 are among the 10 in here (data.dataset and data.on_unreadable)"
    assert refused(compared(lab, there)) == ("other queries: not compared", reason)


def test_other_relevance(lab: Lab, widened: None) -> None:
    dataset = {"name": "toy_widened", "root": str(lab.videos)}
    found = compared(lab, {"data.dataset.also": False}, **{"data.dataset": dataset})
    reason = "other videos answer the texts of there than those of here (data.dataset)"
    assert refused(found) == ("other relevance: not compared", reason)


def test_another_rule_for_ties(lab: Lab) -> None:
    reason = "evaluate.ties is optimistic in there and expected in here"
    assert refused(compared(lab, {"evaluate.ties": "optimistic"})) == ("other ties: not compared", reason)


def test_another_split(lab: Lab) -> None:
    reason = "evaluate.split is val in there and test in here"
    assert refused(compared(lab, {"evaluate.split": "val"})) == ("other split: not compared", reason)


def test_a_gain_is_refused_where_one_of_its_four_arms_is_scored_otherwise(lab: Lab) -> None:
    arms = {"plain": {}, "tied": {"evaluate.ties": "optimistic"}}
    arms |= {name: {"model.interactions.dot.power": power} for name, power in (("flat", 0.5), ("steep", 2.0))}
    gains = {"larger_gain": {"of": "plain", "over": "flat"}, "than": {"of": "tied", "over": "steep"}}
    found = lab.result(PLAIN | {"variants": arms, "hypotheses": {"grows": gains}})
    assert found.decisions == []
    assert [why for _, why in found.incomparable] == ["evaluate.ties is expected in plain and optimistic in tied"]


def test_costs_of_other_galleries_are_refused_and_those_under_other_rules_are_not(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_of = Entry.json

    def measured(entry: Entry, file: str = "result.json") -> Any:
        found = json_of(entry, file)
        return found | {"costs": {"cost/latency_ms": 3.0}} if file == "result.json" else found

    write_videos(lab.folder / "wider", {"train": 6, "val": 4, "test": 7}, seed=1)
    root = {"data.dataset.root": str(lab.folder / "wider")}
    arms = {"here": {}, "there": root, "tied": {"evaluate.ties": "optimistic"}}
    plan = lab.run(PLAIN | {"variants": arms, "hypotheses": {"h": {"better": "there", "than": "here"}}})
    monkeypatch.setattr(Entry, "json", measured)
    (made,) = plan.hypotheses
    here, there, tied = plan.variants
    costs = replace(made, kind="cheaper", metric="cost/latency_ms", bound=2.0)
    claims = [replace(costs, name="wide", arms=(there, here)), replace(costs, name="ties", arms=(tied, here))]
    found = findings(replace(plan, hypotheses=claims))
    assert [claim.hypothesis.name for claim in found.decisions] == ["ties"]
    assert [why for _, why in found.incomparable] == [
        "there ranks 14 texts, of which 10 are among the 10 in here (data.dataset)"
    ]


# ------------------------------------------------------------------------------------------------ what is not


def test_variants_that_read_other_things_of_the_same_videos_are_compared(lab: Lab) -> None:
    levels = {
        "tags": {"name": "toy_dot", "level": "tags"},
        "patches": {"name": "toy_dot", "level": "patches"},
        "dot": {"name": "toy_dot"},
    }
    variants = {
        "frames": {},
        "patches": {"retrieve.first_stage": "patches"},
        "tags": {"retrieve.first_stage": "tags"},
        "both": {"retrieve.first_stage": {"tags": 1.0, "dot": 1.0}},
        "fewer": {"data.num_frames": 2},
        "shuffled": {"data.frame_order": "shuffled"},
    }
    changes = {"data.dataset.tags": True, "model.interactions": levels, "model.losses": {}, "variants": variants}
    found = lab.result(PLAIN | changes)
    assert found.refusals == {}
    assert [row.comparisons["t2v/R1"].family for row in found.rows[1:]] == [5] * 5


def test_scores_that_others_computed_are_compared_with_ones_own_on_the_same_videos(lab: Lab) -> None:
    file = lab.folder / "theirs.npz"
    texts = [f"v{video}-{number}" for video in range(5) for number in range(2)]
    scores = np.random.default_rng(0).normal(size=(10, 5))
    np.savez(file, scores=scores, text_ids=np.array(texts), video_ids=np.array([f"v{video}" for video in range(5)]))
    interactions = {"dot": {"name": "toy_dot"}, "theirs": {"name": "given_scores", "file": f"{file}:scores"}}
    stages = {"ours": {}, "theirs": {"retrieve.first_stage": "theirs"}}
    stages |= {"mixed": {"retrieve.first_stage": {"theirs": 1.0, "dot": 1.0}}}
    changes = {"model.interactions": interactions, "model.losses": {}, "variants": stages}
    found = lab.result(PLAIN | changes)
    assert found.refusals == {}
    assert {row.comparisons["t2v/R1"].n_queries for row in found.rows[1:]} == {10}
