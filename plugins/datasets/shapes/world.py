"""What is in a video: scenes of coloured things, told by symbols and drawn from one random stream a video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
LOOKS = tuple((shape, colour) for shape in SHAPES for colour in COLOURS)
SIZES = ("small", "medium", "large")
BACKGROUNDS = ("black", "white", "grey", "brown", "navy", "sand", "maroon", "olive")
TEXTURES = ("plain", "striped", "dotted", "checked")
MOTIONS = ("still", "left", "right", "up", "down")
ATTRIBUTES = ("shape", "colour", "size", "motion")
RELATIONS = ("above", "below", "left", "right")
SPANS = ("brief", "dominant", "sequence", "whole")
TWINS = ("attribute", "relation", "order", "direction")
SAID_OF_MOTION = ("still", "unsaid", "said")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
GRID = 3
"""Things stand in the cells of a GRID x GRID board; no two of a scene share a row or a column."""
WORDS_AT_MOST = 22
"""In a caption, so that 24 tokens hold it with its start and end."""
SAID_OF_ONE = ((0.8, 0.95, 0.7), (0.25, 0.8, 0.5), (0.0, 0.8, 0.0), (0.0, 0.8, 0.0), (0.0, 0.0, 0.0))
SAID_OF_TWO = ((0.4, 0.6, 0.4), (0.25, 0.0, 0.0))
"""Chances that a clause on one thing, or on two, names size, background and texture; by the clauses of its caption."""


@dataclass(frozen=True)
class Knobs:
    """Every knob of the difficulty, with its value; `shapes.Config` says what each does."""

    scenes: int
    length_skew: float
    span: dict[str, float]
    distractors: int
    twins: float
    twin_kind: dict[str, float]
    vague: float
    smallest: float
    noise: float
    palette_shift: float
    motion: str


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `row` 0 is at the top, `column` 0 at the left."""

    shape: str
    colour: str
    size: str
    motion: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """Things on a background for `frames` frames. `seed` draws what no caption speaks of: jitter, shade, noise."""

    background: str
    texture: str
    things: tuple[Thing, ...]
    frames: int
    seed: int


@dataclass(frozen=True)
class ClausePlan:
    """What a clause says of the scene in row `scene`: of which things which attributes, and what besides."""

    scene: int
    things: tuple[int, ...]
    said: tuple[tuple[str, ...], ...]
    relation: str | None
    background: bool
    texture: bool


@dataclass(frozen=True)
class CaptionPlan:
    """Clauses, whether their order is part of the claim, and which of the two wordings is used."""

    span: str
    vague: bool
    clauses: tuple[ClausePlan, ...]
    ordered: bool
    wording: int


@dataclass(frozen=True)
class Story:
    """A video before it is drawn. A plan holds no content, so that a twin is told in the words of its original."""

    id: str
    scenes: tuple[Scene, ...]
    captioned: tuple[int, ...]
    plans: tuple[CaptionPlan, ...]
    twin_of: str | None = None
    twin_kind: str | None = None


def tell(name: str, stream: Random, knobs: Knobs, frames: int, captions: int) -> Story:
    """A video of `frames` frames with `captions` caption plans."""
    lengths = scene_lengths(frames, knobs.scenes, knobs.length_skew)
    stream.shuffle(lengths)
    backgrounds = stream.sample(BACKGROUNDS, knobs.scenes)
    moving = knobs.motion != "still"
    scenes = tuple(_scene(stream, *given, moving) for given in zip(backgrounds, lengths, strict=True))
    captioned = tuple(sorted(stream.sample(range(knobs.scenes), knobs.scenes - knobs.distractors)))
    first = stream.randrange(2)
    plans = tuple(_plan(stream, scenes, captioned, knobs, (first + number) % 2) for number in range(captions))
    return Story(name, scenes, captioned, plans)


def scene_lengths(frames: int, scenes: int, skew: float) -> list[int]:
    """Frames of each scene, longest first. At skew 0 all are equal; at s one has 1/n + s (1 - 1/n) of the video."""
    rest = (1 - skew) / scenes
    shares = [rest + skew, *[rest] * (scenes - 1)]
    lengths = [max(1, int(share * frames)) for share in shares]
    for row in range(frames - sum(lengths)):
        lengths[row % scenes] += 1
    lengths[0] -= sum(lengths) - frames
    return lengths


def _scene(stream: Random, background: str, frames: int, moving: bool) -> Scene:
    count = stream.choices((1, 2, 3), (20, 50, 30))[0]
    rows, columns = stream.sample(range(GRID), count), stream.sample(range(GRID), count)
    looks = stream.sample(LOOKS, count)
    sizes = stream.choices(SIZES, (30, 40, 30), k=count)
    motions = stream.choices(MOTIONS, (40, 15, 15, 15, 15), k=count) if moving else ["still"] * count
    things = tuple(
        Thing(shape, colour, size, motion, row, column)
        for (shape, colour), size, motion, row, column in zip(looks, sizes, motions, rows, columns, strict=True)
    )
    texture = stream.choices(TEXTURES, (40, 20, 20, 20))[0]
    return Scene(background, texture, things, frames, stream.getrandbits(32))


# ------------------------------------------------------------------------------------------------- what is said


def _plan(stream: Random, scenes: Sequence[Scene], captioned: Sequence[int], knobs: Knobs, wording: int) -> CaptionPlan:
    span = stream.choices(tuple(knobs.span), tuple(knobs.span.values()))[0]
    shuffled = stream.sample(captioned, len(captioned))
    if span == "brief":
        rows = [min(shuffled, key=lambda row: scenes[row].frames)]
    elif span == "dominant":
        rows = [max(shuffled, key=lambda row: scenes[row].frames)]
    elif span == "sequence":
        rows = sorted(shuffled[:2])
    else:
        rows = list(captioned)
    vague = stream.random() < knobs.vague
    write = _vague_clause if vague else _clause
    clauses = tuple(write(stream, scenes[row], row, len(rows), knobs.motion == "said") for row in rows)
    return CaptionPlan(span, vague, clauses, span == "sequence" and len(rows) > 1, wording)


def _clause(stream: Random, scene: Scene, row: int, clauses: int, say_motion: bool) -> ClausePlan:
    """Enough to tell the scene from most others, in WORDS_AT_MOST words: the more clauses, the less each says."""
    count = 2 if clauses <= 2 and len(scene.things) > 1 and stream.random() < 0.85 else 1
    rows = tuple(stream.sample(range(len(scene.things)), count))
    size_chance, ground_chance, texture_chance = (SAID_OF_ONE if count == 1 else SAID_OF_TWO)[min(clauses, 5) - 1]
    if say_motion and (count, clauses) == (2, 2):
        size_chance = 0.0
    said = []
    for place in range(count):
        size = ("size",) if stream.random() < size_chance else ()
        motion = ("motion",) if say_motion and clauses <= 2 and place == 0 else ()
        said.append(("shape", "colour", *size, *motion))
    relation = _relation_axis(stream, scene, rows) if count == 2 else None
    ground = stream.random() < ground_chance
    return ClausePlan(row, rows, tuple(said), relation, ground, ground and stream.random() < texture_chance)


def _vague_clause(stream: Random, scene: Scene, row: int, clauses: int, say_motion: bool) -> ClausePlan:
    """Two facts of the scene and no more: colour and shape, shape and background, or how two shapes stand."""
    rows = tuple(stream.sample(range(len(scene.things)), min(2, len(scene.things))))
    kind = stream.randrange(3)
    axis = _relation_axis(stream, scene, rows) if len(rows) == 2 else None
    if kind == 2 and axis and clauses <= 2:
        return ClausePlan(row, rows, (("shape",), ("shape",)), axis, False, False)
    if kind == 1 and clauses <= 4:
        return ClausePlan(row, rows[:1], (("shape",),), None, True, False)
    return ClausePlan(row, rows[:1], (("shape", "colour"),), None, False, False)


def _relation_axis(stream: Random, scene: Scene, rows: Sequence[int]) -> str | None:
    first, second = (scene.things[row] for row in rows)
    axes = [axis for axis in ("vertical", "horizontal") if relation_along(axis, first, second)]
    return stream.choice(axes) if axes else None


def relation_along(axis: str, first: Thing, second: Thing) -> str | None:
    """How `first` stands to `second`; None where either moves along that axis."""
    crossing = ("up", "down") if axis == "vertical" else ("left", "right")
    if first.motion in crossing or second.motion in crossing:
        return None
    if axis == "vertical":
        return "above" if first.row < second.row else "below"
    return "left" if first.column < second.column else "right"


# ------------------------------------------------------------------------------------------------------- twins


def twin(kind: str, original: Story, name: str, stream: Random) -> Story | None:
    """`original` with one thing changed that its first caption speaks of; None where it speaks of no such thing."""
    change = {"attribute": _other_attribute, "relation": _swapped, "order": _reordered, "direction": _turned}[kind]
    changed = change(original, stream)
    return None if changed is None else replace(changed, id=name, twin_of=original.id, twin_kind=kind)


def _other_attribute(story: Story, stream: Random) -> Story | None:
    clause = stream.choice(story.plans[0].clauses)
    place = stream.randrange(len(clause.things))
    attribute = stream.choice([name for name in clause.said[place] if name != "motion"])
    row = clause.things[place]
    thing = story.scenes[clause.scene].things[row]
    values = {"shape": SHAPES, "colour": COLOURS, "size": SIZES}[attribute]
    other: Any = {attribute: stream.choice([value for value in values if value != getattr(thing, attribute)])}
    return _with_things(story, clause.scene, {row: replace(thing, **other)})


def _swapped(story: Story, stream: Random) -> Story | None:
    clauses = [clause for clause in story.plans[0].clauses if clause.relation]
    if not clauses:
        return None
    clause = stream.choice(clauses)
    (one, first), (two, second) = ((row, story.scenes[clause.scene].things[row]) for row in clause.things)
    first, second = (
        replace(first, row=second.row, column=second.column),
        replace(second, row=first.row, column=first.column),
    )
    return _with_things(story, clause.scene, {one: first, two: second})


def _reordered(story: Story, stream: Random) -> Story | None:
    """Two scenes change places; each is told as before, so that the captions have the same words in another order."""
    if not story.plans[0].ordered:
        return None
    one, two = (clause.scene for clause in story.plans[0].clauses)
    place = {one: two, two: one}
    scenes = tuple(story.scenes[place.get(row, row)] for row in range(len(story.scenes)))
    return replace(story, scenes=scenes, plans=tuple(_moved(plan, place) for plan in story.plans))


def _moved(plan: CaptionPlan, place: dict[int, int]) -> CaptionPlan:
    clauses = (replace(clause, scene=place.get(clause.scene, clause.scene)) for clause in plan.clauses)
    return replace(plan, clauses=tuple(sorted(clauses, key=lambda clause: clause.scene)))


def _turned(story: Story, stream: Random) -> Story | None:
    moving = [
        (clause.scene, row)
        for clause in story.plans[0].clauses
        for row, said in zip(clause.things, clause.said, strict=True)
        if "motion" in said and story.scenes[clause.scene].things[row].motion != "still"
    ]
    if not moving:
        return None
    scene, row = stream.choice(moving)
    thing = story.scenes[scene].things[row]
    return _with_things(story, scene, {row: replace(thing, motion=OPPOSITE[thing.motion])})


def _with_things(story: Story, row: int, changed: dict[int, Thing]) -> Story:
    scenes = list(story.scenes)
    things = tuple(changed.get(place, thing) for place, thing in enumerate(scenes[row].things))
    scenes[row] = replace(scenes[row], things=things)
    return replace(story, scenes=tuple(scenes))
