"""A sentence in the place of the texts: what ranks it, computed by a trial's own steps beside the store.

Levels of videos, trained weights and scores of a bank are those of the store. Only the steps that read the sentence are
new; what they give lies in a folder for the time of the process.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from weakref import finalize

import torch

from ...contract.components import Encoder, Split, Text
from ...contract.settings import Spec
from ...contract.store import Entry, FileDigests, Store
from ...engine.failures import plugin_faults_told
from ...engine.plan import PlannedTrial
from ...engine.steps.rank import RankInputs, rank_step
from ...engine.steps.seeded import SeededVariant
from ...engine.steps.split import Kept, RetrievalSource, kept
from ...engine.steps.step import Step, Workspace
from ...experiment.config import Experiment
from ...plugins import registry

SENTENCE = "sentence"
"""The id of the only text, and the name of its split."""


class Beside(Workspace):
    """A workspace that writes into a folder of its own, and reads what is not there from another one's store."""

    def __init__(self, behind: Workspace):
        folder = tempfile.mkdtemp(prefix="sentence-")
        super().__init__(Store(Path(folder) / "store"), behind.device, behind.workers)
        finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._behind, self._known = behind, dict(behind._known)
        self.weights = behind.weights  # of the same encoders

    @property
    def digests(self) -> FileDigests:
        return self._behind.digests

    def splits(self, spec: Spec) -> dict[str, Split]:
        return self._behind.splits(spec)

    def encoder(self, spec: Spec) -> Encoder:
        return self._behind.encoder(spec)

    def read(self, step: Step) -> Entry:
        return super().read(step) if self.store.has(step.name, step.key) else self._behind.read(step)


class AskedVariant(SeededVariant):
    """One variant with one seed that scores a split of one sentence and all videos."""

    def __init__(self, workspace: Workspace, experiment: Experiment, seed: int, asked: Split):
        super().__init__(workspace, experiment, seed)
        self._asked = asked

    @property
    def scored_split(self) -> str:
        return SENTENCE

    def split(self, name: str) -> Split:
        return self._asked if name == SENTENCE else super().split(name)


class Asked(NamedTuple):
    """What a sentence is ranked by. left_out: names of score transforms that cannot serve a single query."""

    workspace: Workspace
    rank: Step[RankInputs]
    rows: Kept
    left_out: tuple[str, ...]


def asked(workspace: Workspace, trial: PlannedTrial, sentence: str, rows: Kept) -> Asked:
    """A trial's rank step for a sentence in the place of its texts; all that it reads is there, none of it new in the
    store. Weights are computed on the CPU.

    rows: those that the trial ranks. Raises Gone where the store lacks what a step needs, and RunError for what a
    component raises.
    """
    text = Text(SENTENCE, sentence, int(rows.videos[0]))  # of any video that can be read: nothing asks which
    split = Split(trial.split.videos, (text,))
    beside, experiment = Beside(workspace), trial.variant.experiment
    seed = experiment.seeds[0] if trial.seed is None else trial.seed
    rank = rank_step(AskedVariant(beside, experiment, seed, split), "t2v")
    beside.device = torch.device("cpu")  # after the keys, which tell what the trial was computed on
    stored = {(step.name, step.key) for step in trial.last.walk()}
    for step in rank.walk():
        if step is rank or (step.name, step.key) in stored or beside.store.has(step.name, step.key):
            continue
        with plugin_faults_told(step.label), beside.store.write(step.name, step.key, step.fields) as draft:
            step.compute(beside, [_alone(step)], [draft])
    left_out = tuple(spec.name for spec in experiment.retrieve.transforms.values() if _looks_at_others(spec))
    return Asked(beside, _alone(rank), kept(beside, split, rank.inputs.features.values()), left_out)


def _alone(step: Step) -> Step:
    """The step without the score transforms that look at other queries, which a single one does not have."""
    if not isinstance(step.payload, RetrievalSource):
        return step
    experiment = step.payload.experiment
    transforms = {name: spec for name, spec in experiment.retrieve.transforms.items() if not _looks_at_others(spec)}
    retrieve = replace(experiment.retrieve, transforms=transforms)
    return replace(step, payload=replace(step.payload, experiment=replace(experiment, retrieve=retrieve)))


def _looks_at_others(spec: Spec) -> bool:
    return registry().component("score_transform", spec).transductive(spec.fields)
