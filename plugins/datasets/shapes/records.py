"""What is kept of a split beside its videos: one plain record a video, from which the Split is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from core import Split, Text, Video

from .captions import Caption, Clause, captions, relevant
from .files import write_text
from .world import CaptionPlan, Story

GENERATOR = "generator.json"
Record = dict[str, Any]
"""id, file, scenes, captioned, twin_of, twin_kind, captions [{span, text, ordered, clauses, videos}]: plain JSON data.

`videos` are the rows, in the split, of every video of which the caption is true, its own among them.
"""


def make_records(split: str, stories: Sequence[Story]) -> list[Record]:
    """Everything that is known of the videos of a split."""
    told = [captions(story) for story in stories]
    found = iter(relevant([caption for of_one in told for caption in of_one], stories))
    return [
        {
            "id": story.id,
            "file": f"{split}/{story.id}.mp4",
            "scenes": [{**vars(scene), "things": [vars(thing) for thing in scene.things]} for scene in story.scenes],
            "captioned": story.captioned,
            "twin_of": story.twin_of,
            "twin_kind": story.twin_kind,
            "captions": [_caption(*said, next(found)) for said in zip(story.plans, of_one, strict=True)],
        }
        for story, of_one in zip(stories, told, strict=True)
    ]


def _caption(plan: CaptionPlan, caption: Caption, videos: list[int]) -> dict[str, Any]:
    clauses = [_clause(clause) for clause in caption.clauses]
    said = {"text": caption.text, "ordered": caption.ordered, "clauses": clauses}
    return {"span": plan.span, "vague": plan.vague, **said, "videos": videos}


def _clause(clause: Clause) -> dict[str, Any]:
    return {**vars(clause), "mentions": [vars(mention) for mention in clause.mentions]}


def make_split(folder: Path, records: Sequence[Record]) -> Split:
    """The Split of a list of records whose files stand under `folder`."""
    videos = tuple(Video(record["id"], str(folder / record["file"])) for record in records)
    texts: list[Text] = []
    also: list[tuple[int, int]] = []
    for row, record in enumerate(records):
        for place, caption in enumerate(record["captions"]):
            also += [(len(texts), video) for video in caption["videos"] if video != row]
            texts.append(Text(f"{record['id']}-{place}", caption["text"], row))
    return Split(videos, tuple(texts), tuple(also))


def read_records(folder: Path, generator: Mapping[str, Any]) -> dict[str, list[Record]] | None:
    """The records of each split that this very generator left in `folder`, to the bit; None for others."""
    try:
        kept = json.loads((folder / GENERATOR).read_text(encoding="utf-8"))
        if kept["generator"] != generator:
            return None
        contents = {name: (folder / file).read_bytes() for name, file in kept["attributes"].items()}
        if any(crc32(content) != kept["crc32"][name] for name, content in contents.items()):
            return None
        return {name: [json.loads(line) for line in content.splitlines()] for name, content in contents.items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_records(folder: Path, generator: Mapping[str, Any], records: Mapping[str, Sequence[Record]]) -> None:
    """attributes-<split>.jsonl for each split, then generator.json, which vouches for them."""
    files = {name: f"attributes-{name}.jsonl" for name in records}
    contents = {name: "".join(json.dumps(record) + "\n" for record in kept) for name, kept in records.items()}
    for name, content in contents.items():
        write_text(folder / files[name], content)
    sums = {name: crc32(content.encode()) for name, content in contents.items()}
    write_text(folder / GENERATOR, json.dumps({"generator": generator, "attributes": files, "crc32": sums}, indent=1))
