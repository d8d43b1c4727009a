"""Captions: what they claim, how they are worded, and which videos answer them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .world import ATTRIBUTES, CaptionPlan, ClausePlan, Scene, Story, Thing, relation_along

WORDS: dict[str, tuple[str, str]] = {
    "small": ("small", "tiny"),
    "large": ("large", "big"),
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "cross": ("cross", "plus"),
    "ring": ("ring", "hoop"),
    "cyan": ("cyan", "turquoise"),
    "purple": ("purple", "violet"),
    "grey": ("grey", "silver"),
    "sand": ("sand", "beige"),
    "striped": ("striped", "lined"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "chequered"),
}
"""Symbols whose two wordings differ; every other symbol is its own word."""

RELATION_WORDS = {
    "above": ("above", "over"),
    "below": ("below", "under"),
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
}
MOTION_WORDS = ("moving {}", "that goes {}")
JOIN = {"within": ("with", "and"), "scenes": ("and", "also"), "ordered": ("then", "before")}


@dataclass(frozen=True)
class Mention:
    """A thing as a clause speaks of it; None where it says nothing."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None
    motion: str | None = None

    def fits(self, thing: Thing) -> bool:
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
            and self.motion in (None, thing.motion)
        )


@dataclass(frozen=True)
class Clause:
    """A claim about one scene: it has these things, distinct ones, the first standing so to the second."""

    mentions: tuple[Mention, ...]
    relation: str | None = None
    background: str | None = None
    texture: str | None = None


@dataclass(frozen=True)
class Caption:
    """A claim about a video: each clause is true of a scene; if `ordered`, of a later one than the clause before."""

    clauses: tuple[Clause, ...]
    ordered: bool
    text: str


def captions(story: Story) -> list[Caption]:
    """The captions that the plans of a story make of its scenes."""
    return [_caption(plan, story.scenes) for plan in story.plans]


def _caption(plan: CaptionPlan, scenes: Sequence[Scene]) -> Caption:
    clauses = tuple(_clause(part, scenes[part.scene]) for part in plan.clauses)
    return Caption(clauses, plan.ordered, _text(clauses, plan.ordered, plan.wording))


def _clause(plan: ClausePlan, scene: Scene) -> Clause:
    things = [scene.things[row] for row in plan.things]
    mentions = tuple(
        Mention(**{name: getattr(thing, name) for name in said if getattr(thing, name) != "still"})
        for thing, said in zip(things, plan.said, strict=True)
    )
    relation = relation_along(plan.relation, things[0], things[1]) if plan.relation else None
    texture = scene.texture if plan.texture and scene.texture != "plain" else None
    return Clause(mentions, relation, scene.background if plan.background else None, texture)


# ------------------------------------------------------------------------------------------------------ wording


def _text(clauses: Sequence[Clause], ordered: bool, wording: int) -> str:
    join = JOIN["ordered" if ordered else "scenes"][wording]
    return f" {join} ".join(_clause_text(clause, wording, len(clauses)) for clause in clauses)


def _clause_text(clause: Clause, wording: int, clauses: int) -> str:
    """One clause of a caption of `clauses`; several are put more briefly, more than three without articles."""
    form = wording if clauses == 1 else 0
    parts = [_mention_text(mention, wording, MOTION_WORDS[form]) for mention in clause.mentions]
    if clauses <= 3:
        parts = [_with_article(part) for part in parts]
    link = RELATION_WORDS[clause.relation][form] if clause.relation else JOIN["within"][wording]
    said = f" {link} ".join(parts)
    if clause.background is None:
        return said
    ground = " ".join(_word(symbol, wording) for symbol in (clause.texture, clause.background) if symbol)
    if clauses > 1:
        return f"{said} on {ground}"
    ground = _with_article(f"{ground} background")
    return f"{said} on {ground}" if wording == 0 else f"on {ground} we see {said}"


def _mention_text(mention: Mention, wording: int, motion_words: str) -> str:
    named = [_word(symbol, wording) for symbol in (mention.size, mention.colour, mention.shape) if symbol]
    return " ".join([*named, *([motion_words.format(mention.motion)] if mention.motion else [])])


def _word(symbol: str, wording: int) -> str:
    return WORDS[symbol][wording] if symbol in WORDS else symbol


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _vocabulary() -> tuple[str, ...]:
    from . import world

    symbols = (*world.SHAPES, *world.COLOURS, *world.SIZES, *world.BACKGROUNDS, *world.TEXTURES[1:], *world.MOTIONS[1:])
    phrases = [_word(symbol, wording) for symbol in symbols for wording in (0, 1)]
    phrases += [words for pair in (*RELATION_WORDS.values(), *JOIN.values()) for words in pair]
    phrases += [words.format("") for words in MOTION_WORDS]
    return tuple(sorted({word for phrase in (*phrases, "a an on background we see") for word in phrase.split()}))


VOCABULARY: tuple[str, ...] = _vocabulary()
"""Every word that can stand in a caption, sorted."""


# ---------------------------------------------------------------------------------------------------- relevance


def holds(clause: Clause, scene: Scene) -> bool:
    """Whether the claim is true of the scene."""
    if clause.background not in (None, scene.background) or clause.texture not in (None, scene.texture):
        return False
    first, *others = clause.mentions
    found = [thing for thing in scene.things if first.fits(thing)]
    if not others or not found:
        return bool(found)
    return any(
        one is not two and others[0].fits(two) and _stands(clause.relation, one, two)
        for one in found
        for two in scene.things
    )


def _stands(relation: str | None, one: Thing, two: Thing) -> bool:
    return relation is None or relation in {relation_along(axis, one, two) for axis in ("vertical", "horizontal")}


def answers(caption: Caption, story: Story) -> bool:
    """Whether the video answers the caption: the oracle that relevance is made of."""
    if not caption.ordered:
        return all(any(holds(clause, scene) for scene in story.scenes) for clause in caption.clauses)
    scenes = iter(story.scenes)
    return all(any(holds(clause, scene) for scene in scenes) for clause in caption.clauses)


def relevant(asked: Sequence[Caption], stories: Sequence[Story]) -> list[list[int]]:
    """For each caption the rows of every video that answers it, ascending: `answers`, through an index of facts."""
    spots = _Spots(asked, stories)
    found = []
    for caption in asked:
        rows = set.intersection(*({row for row, _ in spots.of(clause)} for clause in caption.clauses))
        found.append(sorted(row for row in rows if not caption.ordered or answers(caption, stories[row])))
    return found


Names = tuple[str, ...]


class _Spots:
    """Where a clause is true, as (video row, scene row). It looks up what each mention and the background say."""

    def __init__(self, asked: Sequence[Caption], stories: Sequence[Story]):
        self.stories = stories
        self.known: dict[Clause, set[tuple[int, int]]] = {}
        self.index: dict[tuple[Names, Names], set[tuple[int, int]]] = defaultdict(set)
        clauses = {clause for caption in asked for clause in caption.clauses}
        of_things = {names for clause in clauses for mention in clause.mentions for names, _ in [_said(mention)]}
        of_scenes = {_said(clause)[0] for clause in clauses}
        for row, story in enumerate(stories):
            for place, scene in enumerate(story.scenes):
                for item, every in [(scene, of_scenes), *((thing, of_things) for thing in scene.things)]:
                    for names in every:
                        self.index[names, tuple(getattr(item, name) for name in names)].add((row, place))

    def of(self, clause: Clause) -> set[tuple[int, int]]:
        if clause not in self.known:
            facts = [_said(clause), *(_said(mention) for mention in clause.mentions)]
            spots = set.intersection(*sorted((self.index.get(fact, set()) for fact in facts), key=len))
            if len(clause.mentions) > 1:
                spots = {(row, place) for row, place in spots if holds(clause, self.stories[row].scenes[place])}
            self.known[clause] = spots
        return self.known[clause]


def _said(claim: Mention | Clause) -> tuple[Names, Names]:
    """(names, values) of what a claim says of a thing, or of a scene's background: a key of the index."""
    every = ATTRIBUTES if isinstance(claim, Mention) else ("background", "texture")
    names = tuple(name for name in every if getattr(claim, name) is not None)
    return names, tuple(getattr(claim, name) for name in names)
