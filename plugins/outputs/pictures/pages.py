"""What the pictures show: queries, the best videos of each stage, where the right one stands, and what is attended to.

Scores and candidates are read from the store, none is computed again where it holds them; the frames of the videos that
are shown are decoded anew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from core.config.schema import Data
from core.errors import UserError
from core.plan import Plan, Trial
from core.steps.encoding import reordered
from core.steps.retrieval import feature_steps
from core.steps.split import Kept, kept
from core.steps.step import Step, Workspace
from core.terminal import progress
from core.video import Clip, Sampling, read_clip

from .choice import chosen_rows, chosen_trial, most_changed_rows
from .gates import Gate, Gates
from .stages import Stage, stages

HEIGHT = 60
"""Pixels of a shown frame's shorter side."""


@dataclass(frozen=True)
class Shown:
    """A video at one stage. rank: from 1. score: None where the stage gave none. before: its rank one stage earlier;
    None at the first."""

    video: str
    rank: int
    score: float | None
    right: bool
    before: int | None
    clip: Clip
    gates: list[Gate] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """A stage of one query: its best videos, and the best placed right one where it is not among them."""

    stage: str
    first_right: int
    shown: list[Shown]


@dataclass(frozen=True)
class Page:
    """One query from coarse to fine."""

    query: str
    caption: str
    rows: list[Row]


@dataclass(frozen=True)
class Pictures:
    """Pages of one trial. notes: what they were made of and how their queries were chosen."""

    title: str
    notes: list[str]
    pages: list[Page]


def pages(
    plan: Plan, variant: str | None = None, queries: Sequence[str] = (), most_changed: int = 6, top: int = 5
) -> Pictures:
    """Pictures of a variant's first trial, by name; None: the best by the primary metric of those that re-rank.

    queries: ids of texts; () for the `most_changed` whose first relevant video changed its rank most from the first to
    the last stage, by the ratio of the ranks. top: videos of each stage.
    The trials of the plan are laid out, where its data are there; weights are computed on the CPU wherever it ran.
    Raises UserError for a variant or text that is not there, results that are not in the store, and for `most_changed`
    where no rank changed; VideoError for a video that cannot be read any more.
    """
    trial, why = chosen_trial(plan, variant)
    workspace, rank = replace(plan.workspace, device=torch.device("cpu")), _rank(trial)
    rows = kept(workspace, rank.payload.split, feature_steps(rank.inputs))
    passed = stages(workspace, rank, rows)
    places = [passed[0].first_right(rows.relevance), passed[-1].first_right(rows.relevance)]
    chosen = chosen_rows(queries, rows) if queries else most_changed_rows(places[0], places[1], most_changed, trial)
    reader = _Reader(workspace, rank, rows, passed, top)
    notes = [_data(trial, rows), why, _moved(passed, *places), _told(queries, len(chosen))]
    made = [reader.page(query) for query in progress(chosen, "read what queries find")]
    return Pictures(f"{plan.experiment.name}: {trial.name}", [note for note in notes if note], made)


def _rank(trial: Trial) -> Step:
    if "t2v" not in trial.last.inputs:
        raise UserError(f"{trial.variant.name}: t2v was not evaluated: add it to `evaluate.directions` and run again")
    return trial.last.inputs["t2v"]


# ------------------------------------------------------------------------------------------------ what is read


class _Reader:
    """Makes the pages of a trial. What is read once for all of them is kept."""

    def __init__(self, workspace: Workspace, rank: Step, rows: Kept, passed: Sequence[Stage], top: int):
        self._workspace, self._rows, self._passed, self._top = workspace, rows, passed, top
        self._data: Data = rank.payload.experiment.data
        self._gates = Gates(workspace, rank, rows)
        self._clips: dict[int, Clip] = {}

    def page(self, query: int) -> Page:
        text, right = self._rows.split.texts[int(self._rows.texts[query])], self._rows.relevance.rows(query)
        made: list[Row] = []
        places: NDArray[np.int64] | None = None
        for stage in self._passed:
            order, scores = (tensor[0].numpy() for tensor in stage.ranked(slice(query, query + 1)))
            first = int(np.isin(order, right).argmax())
            at = list(range(min(self._top, len(order))))
            at += [] if first in at else [first]
            gates = self._gates.of(stage.added, query, torch.from_numpy(order[at]))
            shown = [
                Shown(
                    video=self._rows.split.videos[int(self._rows.videos[order[place]])].id,
                    rank=place + 1,
                    score=None if math.isnan(scores[place]) else float(scores[place]),
                    right=bool(np.isin(order[place], right)),
                    before=None if places is None else int(places[order[place]]) + 1,
                    clip=self._clip(int(order[place])),
                    gates=offered,
                )
                for place, offered in zip(at, gates, strict=True)
            ]
            made.append(Row(stage.name, first + 1, shown))
            places = np.argsort(order)
        return Page(text.id, text.text, made)

    def _clip(self, video: int) -> Clip:
        """The frames that the encoder was given, small, in the order that it was given them."""
        if video not in self._clips:
            path, data = self._rows.split.videos[int(self._rows.videos[video])].path, self._data
            clip = read_clip(path, Sampling(data.num_frames, data.sampler, HEIGHT, data.short_videos))
            self._clips[video] = reordered(clip, data.frame_order, self._workspace.digests.of([path])[0])
        return self._clips[video]


# ------------------------------------------------------------------------------------------------ what is said


def _data(trial: Trial, rows: Kept) -> str:
    settings = trial.variant.experiment
    sizes = f"{len(rows.texts):,} texts, {len(rows.videos):,} videos"
    return f"{settings.evaluate.split.capitalize()} split of {settings.data.dataset.name}: {sizes}."


def _moved(passed: Sequence[Stage], first: NDArray[np.int64], last: NDArray[np.int64]) -> str:
    """How the first relevant video moved over all queries: what a choice of queries must be held against."""
    if len(passed) == 1:
        return "One stage ranks all videos."
    up, down = int((last < first).sum()), int((last > first).sum())
    return (
        f"Of all {len(first):,} texts the first right video stands higher at the last stage than at the first for "
        f"{up:,}, lower for {down:,}, and where it was for {len(first) - up - down:,}."
    )


def _told(queries: Sequence[str], count: int) -> str:
    """How the queries were chosen."""
    if queries:
        return f"Shown: {count} chosen texts."
    return f"Shown: the {count} texts for which its rank changed by the largest factor, up or down."
