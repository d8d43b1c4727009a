"""The rankings that the texts of one trial pass through, from coarse to fine, with what the texts attend to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ...engine.plan import Plan, PlannedTrial
from ...engine.steps.decode import reordered
from ...engine.steps.split import Kept, kept
from ...engine.steps.step import Step, Workspace
from ...engine.video import Clip, Sampling, read_clip
from ...errors import UserError
from ...experiment.config.schema import Data
from ..naming import named
from .choice import chosen_rows, chosen_trial
from .gates import Gate, Gates
from .stages import Stage, stages

__all__ = ["Gate", "Rankings", "Stage", "rankings"]


@dataclass(frozen=True)
class Rankings:
    """Texts, videos and stages of one trial. Q texts, B_v videos, each by its row in the scored split.

    name: of experiment and trial. reason: why it is this one; None where it was asked for. stages: the first ranks all
    videos.
    Scores and candidates are read from the store, none is computed again where it holds them; the frames of videos are
    decoded anew.
    """

    name: str
    variant: str
    reason: str | None
    stages: list[Stage]
    _workspace: Workspace
    _rank: Step
    _rows: Kept
    _hide: Callable[[str], str] = field(default=str)

    @property
    def sizes(self) -> tuple[int, int]:
        """(Q, B_v)"""
        return len(self._rows.texts), len(self._rows.videos)

    @property
    def data(self) -> str:
        """`Test split of shapes: 1,400 texts, 700 videos.`"""
        settings = self._rank.payload.experiment
        texts, videos = self.sizes
        split = settings.evaluate.split.capitalize()
        return f"{split} split of {self._hide(named(settings.data.dataset))}: {texts:,} texts, {videos:,} videos."

    def first_right(self, stage: int) -> NDArray[np.int64]:
        """The place, from 1, of the best placed relevant video of each text at a stage, [Q]."""
        return self.stages[stage].first_right(self._rows.relevance)

    def relevant(self, text: int) -> NDArray[np.int64]:
        """Rows of the videos that answer a text."""
        return self._rows.relevance.rows(text)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the texts with these ids. Raises UserError for one that is not there, with the nearest."""
        return chosen_rows(ids, self._rows)

    def text(self, row: int) -> tuple[str, str]:
        """(id, caption) of a text."""
        text = self._rows.split.texts[int(self._rows.texts[row])]
        return self._hide(text.id), self._hide(text.text)

    def video(self, row: int) -> str:
        """The id of a video."""
        return self._hide(self._rows.split.videos[int(self._rows.videos[row])].id)

    def gates(self, stage: Stage, text: int, videos: NDArray[np.int64]) -> list[list[Gate]]:
        """For each of some videos [P] what a text attends to in it, by interactions that came in at this stage."""
        return self._gates.of(stage.added, text, torch.from_numpy(videos))

    def clip(self, row: int, height: int) -> Clip:
        """The frames of a video that the encoder was given, in the order that it was given them, `height` pixels on the
        shorter side. Raises VideoError for a video that cannot be read any more."""
        data: Data = self._rank.payload.experiment.data
        path = self._rows.split.videos[int(self._rows.videos[row])].path
        clip = read_clip(path, Sampling(data.num_frames, data.sampler, height, data.short_videos))
        return reordered(clip, data.frame_order, self._workspace.digests.of([path])[0])

    @cached_property
    def _gates(self) -> Gates:
        return Gates(self._workspace, self._rank, self._rows)


def rankings(plan: Plan, variant: str | None, hide: Callable[[str], str]) -> Rankings:
    """Of a variant's first trial, by name; None: the best by the primary metric of those that re-rank.

    The trials of the plan are laid out, where its data are there; weights are computed on the CPU wherever it ran.
    Raises UserError for a variant that is not there, and for results that are not in the store.
    """
    trial, reason = chosen_trial(plan, variant)
    workspace, rank = replace(plan.workspace, device=torch.device("cpu")), _rank(trial)
    rows = kept(workspace, rank.payload.split, rank.inputs.features.values())
    told = None if reason is None else hide(reason)
    name = hide(f"{plan.experiment.name}: {trial.name}")
    return Rankings(name, hide(trial.variant.name), told, stages(workspace, rank, rows), workspace, rank, rows, hide)


def _rank(trial: PlannedTrial) -> Step:
    if "t2v" not in trial.ranks:
        raise UserError(f"{trial.variant.name}: t2v was not evaluated: add it to `evaluate.directions` and run again")
    return trial.ranks["t2v"]
