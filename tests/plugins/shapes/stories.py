"""Small sets of `shapes`, drawn or only told, and an oracle that says what is true of a video."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import pytest

from core import create
from plugins.datasets.shapes import Shapes
from plugins.datasets.shapes.captions import Caption, Clause
from plugins.datasets.shapes.world import Scene, Story, Thing

SMALL = {"train_videos": 3, "val_videos": 2, "test_videos": 4, "seconds": 1.0, "resolution": 48, "fps": 6}
UNTWINNED = {"attribute": 1.0}


def shapes(**fields: object) -> Shapes:
    return create("dataset", "shapes", **fields)


def stories(count: int = 150, **fields: object) -> list[Story]:
    return shapes(test_videos=count, **fields).stories("test")


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.mp4"))
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    shapes(**SMALL).prepare(folder)
    return folder


def thing_facts(thing: Thing) -> set[tuple[str, str]]:
    return {("shape", thing.shape), ("colour", thing.colour), ("size", thing.size), ("motion", thing.motion)}


def stands(one: Thing, relation: str, other: Thing) -> bool:
    upright, level = {"up", "down"}, {"left", "right"}
    crossing = upright if relation in ("above", "below") else level
    if {one.motion, other.motion} & crossing:
        return False
    return {
        "above": one.row < other.row, "below": one.row > other.row,
        "left": one.column < other.column, "right": one.column > other.column,
    }[relation]  # fmt: skip


def true_of_scene(clause: Clause, scene: Scene) -> bool:
    """Written anew from the definition, over every choice of things."""
    if clause.background and clause.background != scene.background:
        return False
    if clause.texture and clause.texture != scene.texture:
        return False
    claims = [{item for item in vars(mention).items() if item[1]} for mention in clause.mentions]
    facts = [thing_facts(thing) for thing in scene.things]
    if len(claims) == 1:
        return any(claims[0] <= fact for fact in facts)
    return any(
        first != second
        and claims[0] <= facts[first]
        and claims[1] <= facts[second]
        and (not clause.relation or stands(scene.things[first], clause.relation, scene.things[second]))
        for first in range(len(facts))
        for second in range(len(facts))
    )


def true_of_video(caption: Caption, story: Story) -> bool:
    true = [[true_of_scene(clause, scene) for scene in story.scenes] for clause in caption.clauses]
    if not caption.ordered:
        return all(any(row) for row in true)
    first, second = true
    return any(first[one] and second[two] for two in range(len(second)) for one in range(two))


def twins(kind: str, **fields: object) -> list[tuple[Story, Story]]:
    common = {"scenes": 2, "distractors": 0, "span": "sequence", "motion": "said", "vague": 0.0}
    told = stories(120, **{**common, "twins": 0.5, "twin_kind": kind, **fields})
    by_id = {story.id: story for story in told}
    return [(by_id[story.twin_of], story) for story in told if story.twin_of]


def plain(story: Story) -> list[dict[str, object]]:
    return [{**vars(scene), "things": [vars(thing) for thing in scene.things]} for scene in story.scenes]
