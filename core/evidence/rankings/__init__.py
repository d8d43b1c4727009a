"""The rankings that the texts of one trial pass through, from coarse to fine, with what the texts attend to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from ...contract.store import Gone
from ...engine.plan import Plan, PlannedTrial
from ...engine.steps.decode import reordered
from ...engine.steps.split import Kept, kept
from ...engine.steps.step import Step, Workspace
from ...engine.video import Clip, Sampling, read_clip
from ...errors import UserError
from ...experiment.config.schema import Data
from ...measure.metrics import Relevance
from ..naming import named
from .choice import KEYS, chosen_rows, chosen_trial, lacking, reranks
from .gates import Gate, Gates
from .sentence import asked
from .stages import Stage, stages

__all__ = ["Found", "Gate", "Rankings", "Stage", "rankings", "reranks"]


@dataclass(frozen=True)
class Found:
    """A video that a text finds. row: among the videos. rank: in the end, from 1; before: by the first stage.

    first_stage: its score there. score: in the end; None where it was not re-ranked. gates: what the text attends to
    in it, by every interaction that says so.
    """

    row: int
    video: str
    rank: int
    before: int
    first_stage: float
    score: float | None
    gates: list[Gate]


@dataclass(frozen=True)
class Rankings:
    """Texts, videos and stages of one trial. Q texts, B_v videos, each by its row in the scored split.

    name: of experiment and trial. reason: why it is this one; None where it was asked for. sentence: one that somebody
    typed, which is then the only text; None where the texts are those of the split. left_out: names of score transforms
    that cannot serve it.
    Scores and candidates are read from the store, none is computed again where it holds them; the frames of videos are
    decoded anew.
    """

    name: str
    variant: str
    reason: str | None
    _plan: Plan = field(repr=False)
    _trial: PlannedTrial = field(repr=False)
    _workspace: Workspace = field(repr=False)
    _rank: Step = field(repr=False)
    _rows: Kept = field(repr=False)
    _hide: Callable[[str], str] = field(default=str, repr=False)
    sentence: str | None = None
    left_out: tuple[str, ...] = ()

    @cached_property
    def stages(self) -> list[Stage]:
        """The first ranks all videos. Raises StoreError where scores were removed from the store."""
        return stages(self._workspace, self._rank, self._rows)

    def asked(self, sentence: str) -> Rankings:
        """The same trial, asked a sentence in the place of its texts: nothing is trained, nothing written to the store.

        Its video is not known, so that none is relevant. Raises UserError for an empty sentence, for what a component
        makes of it, and for what the store lacks.
        """
        if not sentence.strip():
            raise UserError("the sentence is empty: type what a video should show, as 'a red ring'")
        try:
            workspace, rank, rows, left_out = asked(self._plan.workspace, self._trial, sentence, self._rows)
            told = self._hide(sentence)
            its = replace(self, _workspace=workspace, _rank=rank, _rows=rows, sentence=told, left_out=tuple(left_out))
            its.stages  # noqa: B018  # what lacks is told now
            return its
        except Gone as gone:
            raise lacking(self._plan, f"what `{self.variant}` ranks by ({gone.step} {gone.key})") from None

    def of(self, variant: str, key: str) -> Rankings:
        """The rankings of another variant of the experiment, which `key` names."""
        return rankings(self._plan, variant, self._hide, keys=(key, key))

    @property
    def ids(self) -> tuple[list[str], list[str]]:
        """Of the texts and of the videos."""
        texts, videos = self._rows.text_ids, self._rows.video_ids
        return [self._hide(name) for name in texts], [self._hide(name) for name in videos]

    @property
    def sizes(self) -> tuple[int, int]:
        """(Q, B_v)"""
        return len(self._rows.texts), len(self._rows.videos)

    @property
    def data(self) -> str:
        """`Test split of shapes: 1,400 texts, 700 videos.`, without the texts where a sentence is asked."""
        settings = self._rank.payload.experiment
        texts, videos = self.sizes
        split = settings.evaluate.split.capitalize()
        told = f"{texts:,} texts, {videos:,} videos" if self.sentence is None else f"{videos:,} videos"
        return f"{split} split of {self._hide(named(settings.data.dataset))}: {told}."

    def first_right(self, stage: int) -> NDArray[np.int64]:
        """The place, from 1, of the best placed relevant video of each text at a stage, [Q]."""
        return self.stages[stage].first_right(self._relevance)

    def relevant(self, text: int) -> NDArray[np.int64]:
        """Rows of the videos that answer a text; none for a sentence."""
        return self._relevance.rows(text) if self.sentence is None else np.empty(0, np.int64)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the texts with these ids. Raises UserError for one that is not there, with the nearest."""
        return chosen_rows(ids, self._rows)

    def text(self, row: int) -> tuple[str, str]:
        """(id, caption) of a text."""
        text = self._rows.split.texts[int(self._rows.texts[row])]
        return self._hide(text.id), self._hide(text.text)

    def namesakes(self, row: int) -> list[str]:
        """Ids of the other texts with the caption of this one."""
        texts = [self._rows.split.texts[place] for place in self._rows.texts.tolist()]
        same = (text for place, text in enumerate(texts) if text.text == texts[row].text and place != row)
        return [self._hide(text.id) for text in same]

    def video(self, row: int) -> str:
        """The id of a video."""
        return self._hide(self._rows.split.videos[int(self._rows.videos[row])].id)

    def gates(self, stage: Stage, text: int, videos: NDArray[np.int64]) -> list[list[Gate]]:
        """For each of some videos [P] what a text attends to in it, by interactions that came in at this stage."""
        return self._gates.of(stage.added, text, torch.from_numpy(videos))

    def best(self, text: int, top: int) -> list[Found]:
        """The `top` best videos of a text at the last stage, best first."""
        last, part = self.stages[-1], slice(text, text + 1)
        first = last if last.candidates is None else self.stages[0]
        order, scores = (tensor[0].numpy() for tensor in last.ranked(part))
        first_order, first_scores = (tensor[0].numpy() for tensor in first.ranked(part))
        before, videos = np.argsort(first_order), order[:top]
        names = dict.fromkeys(name for stage in self.stages for name in stage.added)
        gates = self._gates.of(names, text, torch.from_numpy(videos))
        return [
            Found(
                row=int(video),
                video=self.video(int(video)),
                rank=place + 1,
                before=int(before[video]) + 1,
                first_stage=float(first_scores[before[video]]),
                score=None if np.isnan(scores[place]) else float(scores[place]),
                gates=gates[place],
            )
            for place, video in enumerate(videos)
        ]

    def clip(self, row: int, height: int) -> Clip:
        """The frames of a video that the encoder was given, in the order that it was given them, `height` pixels on the
        shorter side. Raises VideoError for a video that cannot be read any more."""
        data: Data = self._rank.payload.experiment.data
        path = self._rows.split.videos[int(self._rows.videos[row])].path
        clip = read_clip(path, Sampling(data.num_frames, data.sampler, height, data.short_videos))
        return reordered(clip, data.frame_order, self._workspace.digests.of([path])[0])

    @cached_property
    def _relevance(self) -> Relevance:
        return self._rows.relevance

    @cached_property
    def _gates(self) -> Gates:
        return Gates(self._workspace, self._rank, self._rows)


def rankings(
    plan: Plan,
    variant: str | None,
    hide: Callable[[str], str],
    seed: int | None = None,
    keys: tuple[str, str] = KEYS,
) -> Rankings:
    """Of a variant's first trial, by name, or that of a seed; None: the best by the primary metric of those that
    re-rank.

    The trials of the plan are laid out, where its data are there; weights are computed on the CPU wherever it ran.
    keys: where name and seed come from. Raises UserError for a variant or seed that is not there, and for results that
    are not in the store.
    """
    trial, reason = chosen_trial(plan, variant, seed, keys)
    workspace, rank = replace(plan.workspace, device=torch.device("cpu")), _rank(trial)
    try:
        rows = kept(workspace, rank.payload.split, rank.inputs.features.values())
    except Gone as gone:
        raise lacking(plan, f"what `{trial.variant.name}` ranks by ({gone.step} {gone.key})") from None
    told = None if reason is None else hide(reason)
    name = hide(f"{plan.experiment.name}: {trial.name}")
    return Rankings(name, hide(trial.variant.name), told, plan, trial, workspace, rank, rows, hide)


def _rank(trial: PlannedTrial) -> Step:
    if "t2v" not in trial.ranks:
        raise UserError(f"{trial.variant.name}: t2v was not evaluated: add it to `evaluate.directions` and run again")
    return trial.ranks["t2v"]
