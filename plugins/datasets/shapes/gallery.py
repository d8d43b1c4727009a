"""The stories of a split, twins among them."""

from __future__ import annotations

from random import Random

from .captions import answers, captions
from .world import Knobs, Story, tell, twin

ORIGINALS_TRIED = 40


def gallery(split: str, count: int, knobs: Knobs, seed: int, frames: int, captions_per_video: int) -> list[Story]:
    """`count` videos of `frames` frames each. A video depends on (seed, split, its row) and, a twin, on earlier ones:
    a longer split begins with the videos of a shorter one.
    """
    stories: list[Story] = []
    without_twin: list[Story] = []
    for row in range(count):
        stream, name = Random(f"{seed}/{split}/{row}"), f"{split}-{row:05d}"
        story = _twin_of_one(without_twin, name, knobs, stream) if stream.random() < knobs.twins else None
        if story is None:
            story = tell(name, stream, knobs, frames, captions_per_video)
            without_twin.append(story)
        stories.append(story)
    return stories


def _twin_of_one(originals: list[Story], name: str, knobs: Knobs, stream: Random) -> Story | None:
    """A twin of one of the originals, which leaves the list; None where none of those tried can have such a twin."""
    kind = stream.choices(tuple(knobs.twin_kind), tuple(knobs.twin_kind.values()))[0]
    for original in stream.sample(originals, min(len(originals), ORIGINALS_TRIED)):
        made = twin(kind, original, name, stream)
        if made is not None and told_apart(made, original):
            originals.remove(original)
            return made
    return None


def told_apart(one: Story, other: Story) -> bool:
    """Whether the first caption of each is false of the other."""
    return not answers(captions(one)[0], other) and not answers(captions(other)[0], one)
