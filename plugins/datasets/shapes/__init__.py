"""`shapes`: procedural videos, real H.264 files, whose every difficulty is a field.

A video is a row of scenes: things (shape, colour, size, place, motion) on a background (colour, texture). A caption
claims something of one scene or of several; every video of the split of which the claim is true is relevant. What is
hard about retrieval here is chosen by knobs; a preset sets them all, a knob that is given wins over the preset.

Predicted effect of each knob as it grows, written before anything was measured:

| knob          | mean pooling                                | text-gated pooling against mean pooling               |
|---------------|---------------------------------------------|-------------------------------------------------------|
| scenes        | falls for one-scene captions                | gains for one-scene captions, loses for whole-video   |
| length_skew   | rises for `dominant`, falls for `brief`     | gains less for `dominant`, more for `brief`           |
| span          | brief < sequence < dominant < whole         | gains for brief, nothing or a loss for whole          |
| distractors   | falls: frames that no caption speaks of     | gains                                                 |
| twins         | falls towards half of R@1 at 0.5            | gains for an attribute of a small thing, at patches   |
| vague         | falls a little; several videos are right    | unchanged                                             |
| smallest      | rises                                       | patch level loses its lead over frame level           |
| noise         | falls slowly                                | unchanged                                             |
| palette_shift | falls: the encoder was trained without      | unchanged                                             |
| motion        | `unsaid` about nil; `said` falls            | needs temporal features; without them unchanged       |
| seconds       | about nil while every scene is sampled      | unchanged                                             |

Twins by kind: `order` and `direction` leave an order-blind model at chance between the two; `relation` does so to a
model that reads a frame as a bag of things; `attribute` is seen by any model that sees the thing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core import Dataset, Mixture, Split, setting

from .captions import VOCABULARY, answers, captions
from .files import missing_videos, write_videos
from .gallery import gallery
from .records import Record, make_records, make_split, read_records, write_records
from .world import SAID_OF_MOTION, SPANS, TWINS, Knobs, Story

__all__ = ["PRESETS", "VOCABULARY", "Config", "Shapes", "answers", "captions"]

# `msrvtt_like` was calibrated on 2026-11-21 and is frozen. Only the first stage was looked at: mean pooling of the
# shipped encoder's frames, nothing trained, on 1,000 validation videos (experiments/calibrate_msrvtt_like.yaml).
# Aimed at R@1/10/15/50 of 48/83/87/95, reached 35/82/86/95. R@1 is out of reach of this encoder: 41 with one scene a
# video and no nuisance. Captions of two scenes are rarer than in the first sketch (none), because the encoder's text
# side never met them and they cost more than they do on MSR-VTT.
PRESETS: dict[str, Knobs] = {
    "easy": Knobs(
        scenes=1, length_skew=0.0, span={"whole": 1.0}, distractors=0, twins=0.0, twin_kind={"attribute": 1.0},
        vague=0.0, smallest=0.16, noise=0.0, palette_shift=0.0, motion="still",
    ),
    "msrvtt_like": Knobs(
        scenes=3, length_skew=0.8, span={"brief": 0.05, "dominant": 0.95}, distractors=0, twins=0.0,
        twin_kind={"attribute": 1.0}, vague=0.1, smallest=0.11, noise=0.015, palette_shift=0.0, motion="unsaid",
    ),
    "partial": Knobs(
        scenes=3, length_skew=0.0, span={"brief": 0.5, "dominant": 0.5}, distractors=0, twins=0.0,
        twin_kind={"attribute": 1.0}, vague=0.0, smallest=0.11, noise=0.015, palette_shift=0.0, motion="unsaid",
    ),
    "temporal": Knobs(
        scenes=2, length_skew=0.0, span={"sequence": 1.0}, distractors=0, twins=0.5,
        twin_kind={"order": 0.5, "direction": 0.5}, vague=0.0, smallest=0.11, noise=0.015, palette_shift=0.0,
        motion="said",
    ),
    "control": Knobs(
        scenes=1, length_skew=0.0, span={"whole": 1.0}, distractors=0, twins=0.0, twin_kind={"attribute": 1.0},
        vague=0.1, smallest=0.11, noise=0.015, palette_shift=0.1, motion="unsaid",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Fields of `shapes`. A knob left out has the value of the preset."""

    preset: str = setting("msrvtt_like", "values of the knobs that are not given", choices=tuple(PRESETS))
    seed: int = setting(0, "another seed, other videos", ge=0)
    train_videos: int = setting(1500, "videos to train on; 0 leaves the split out", ge=0, le=10_000_000)
    val_videos: int = setting(300, "videos to choose an epoch on; 0 leaves the split out", ge=0, le=10_000_000)
    test_videos: int = setting(
        700, "videos to search, the gallery: more of them lower every recall", ge=0, le=10_000_000
    )
    captions_per_video: int = setting(
        2, "captions a video, in two wordings by turns; more: more to train on", ge=1, le=1000
    )
    seconds: float = setting(3.0, "length of a video; no effect while every scene gets sampled frames", gt=0)
    fps: int = setting(8, "frames a second; no effect while every scene gets sampled frames", ge=1, le=1000)
    resolution: int = setting(96, "side of the square frame in pixels, even", ge=32, le=8192)
    scenes: int | None = setting(None, "scenes a video; more: one-scene captions get harder", ge=1, le=6)
    length_skew: float | None = setting(
        None, "0: equal scenes, 0.5: of three, one has 2/3; helps `dominant`, hurts `brief`", ge=0, le=0.95
    )
    span: Mixture | None = setting(
        None, "mixture of what a caption covers, brief, dominant, sequence, whole; the less, the more gating gains"
    )
    distractors: int | None = setting(
        None, "how many of the scenes no caption speaks of; more: mean pooling falls", ge=0, le=5
    )
    twins: float | None = setting(
        None, "share of videos that repeat an earlier one but for one thing; 0.5: all in pairs, R@1 down", ge=0, le=0.5
    )
    twin_kind: Mixture | None = setting(
        None, "mixture of attribute, relation, order, direction: that thing; the last two need a sense of time"
    )
    vague: float | None = setting(
        None, "share of captions that say two facts only; several videos answer them", ge=0, le=1
    )
    smallest: float | None = setting(
        None, "small things over the side; below a patch, frames lose them before patches do", ge=0.04, le=0.2
    )
    noise: float | None = setting(None, "deviation of the pixel noise, 1 = 255; more: all falls slowly", ge=0, le=0.5)
    palette_shift: float | None = setting(
        None, "colours turned and paled, 1 = 30 degrees and a third; more: a frozen encoder falls", ge=0, le=1
    )
    motion: str | None = setting(
        None, "whether things move, and captions say so; `said` asks for temporal features", choices=SAID_OF_MOTION
    )

    def __post_init__(self) -> None:
        knobs = self.knobs
        for name, known in (("span", SPANS), ("twin_kind", TWINS)):
            _check_mixture(name, getattr(knobs, name), known)
        if knobs.distractors >= knobs.scenes:
            raise ValueError(f"distractors: {knobs.distractors} of {knobs.scenes} scenes leaves none for captions")
        if self.frames < knobs.scenes:
            raise ValueError(f"seconds: {self.seconds:g} at {self.fps} fps are {self.frames} frames, fewer than scenes")
        if self.resolution % 2:
            raise ValueError(f"resolution: H.264 needs an even side, got {self.resolution}")
        kinds = knobs.twin_kind if knobs.twins else {}
        if kinds.get("order") and not (knobs.span.get("sequence") and knobs.scenes - knobs.distractors > 1):
            raise ValueError("twin_kind: `order` needs captions of span `sequence` and two scenes to speak of")
        if kinds.get("direction") and knobs.motion != "said":
            raise ValueError("twin_kind: `direction` needs captions that speak of it, motion: said")

    @property
    def knobs(self) -> Knobs:
        """The preset's knobs with those given here."""
        given = {knob.name: getattr(self, knob.name) for knob in fields(Knobs)}
        return Knobs(**{**vars(PRESETS[self.preset]), **{name: v for name, v in given.items() if v is not None}})

    @property
    def frames(self) -> int:
        """Frames of a video."""
        return round(self.seconds * self.fps)


def _check_mixture(name: str, weights: Mixture, known: Sequence[str]) -> None:
    unknown = [part for part in weights if part not in known]
    if unknown:
        raise ValueError(f"{name}: no `{unknown[0]}`. Known: {', '.join(known)}")
    if min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"{name}: weights must be 0 or more, one of them above 0")


class Shapes(Dataset):
    """Synthetic videos: scenes of coloured things, with captions that are checked against every video of their split.

    Beside the videos stand `attributes-<split>.jsonl`, what is in each and which videos answer each caption,
    `generator.json`, what made them, and `manifest.jsonl`, the files that were drawn.
    """

    name = "shapes"
    Config = Config

    def prepare(self, folder: Path) -> dict[str, Split]:
        """Draws what `folder` does not hold yet. Raises RunError where a file cannot be written."""
        records = read_records(folder, self._generator())
        if records is None:
            stories = {name: self.stories(name) for name in ("train", "val", "test")}
            records = {name: make_records(name, told) for name, told in stories.items() if told}
            write_records(folder, self._generator(), records)
        write_videos(folder, self._jobs(records))
        return {name: make_split(folder, kept) for name, kept in records.items()}

    def ready(self, folder: Path) -> bool:
        records = read_records(folder, self._generator())
        return records is not None and not missing_videos(folder, self._jobs(records))

    def stories(self, split: str) -> list[Story]:
        """What is in each video of a split, without drawing it."""
        config = self.config
        count = {"train": config.train_videos, "val": config.val_videos, "test": config.test_videos}[split]
        return gallery(split, count, config.knobs, config.seed, config.frames, config.captions_per_video)

    def _jobs(self, records: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
        config, knobs = self.config, self.config.knobs
        look = {"smallest": knobs.smallest, "noise": knobs.noise, "palette_shift": knobs.palette_shift}
        common = {"side": config.resolution, "fps": config.fps, **look}
        return {record["file"]: {"scenes": record["scenes"], **common} for kept in records.values() for record in kept}

    def _generator(self) -> dict[str, Any]:
        """What the records of a folder depend on: the fields and the source of this package."""
        sources = b"\0".join(source.read_bytes() for source in sorted(Path(__file__).parent.glob("*.py")))
        return {"source": hashlib.sha256(sources).hexdigest()[:16], **vars(self.config)}
