"""The typed schema of an experiment file, and checking resolved values against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...contract.optimisation import Optimisation
from ...contract.settings import Checker, Mixture, Spec, setting
from ...errors import Problem

MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Data:
    dataset: Spec = setting(doc="where videos and texts come from", kind="dataset")
    num_frames: int = setting(12, "frames decoded of each video", ge=1, le=MOST_FRAMES)
    sampler: str = setting(
        "uniform", "which frames: uniform in time, head (the first ones), or spread over the index from first to last"
    )
    frame_order: str = setting(
        "normal", "order that frames are read in; another is a diagnostic", choices=("normal", "shuffled", "reversed")
    )
    on_unreadable: str = setting("fail", "a video that cannot be read: end, or leave it out", choices=("fail", "skip"))
    short_videos: str = setting("fail", "one with fewer frames than num_frames: end, or mask", choices=("fail", "pad"))


@dataclass(frozen=True)
class LogitScale:
    init: float = setting(14.2857, "factor of the scores inside losses, at the start", gt=0)
    max: float = setting(100.0, "its upper limit", gt=0)


@dataclass(frozen=True)
class Model:
    interactions: dict[str, Spec] = setting(
        doc="what scores texts against videos, each under a name of yours", kind="interaction"
    )
    transforms: dict[str, Spec] = setting(
        factory=dict, doc="what changes features before they are scored, in order", kind="feature_transform"
    )
    losses: dict[str, Spec] = setting(
        factory=dict, doc="what training minimises, summed; without any, nothing is trained", kind="loss"
    )
    logit_scale: LogitScale = setting(LogitScale(), "the one scale of all losses")


@dataclass(frozen=True, kw_only=True)
class Train(Optimisation):
    encoder_learning_rate: float | None = setting(None, "peak for a trainable encoder; null: learning_rate", gt=0)
    select_on: str = setting(
        "val", "the split that `best` looks at; test repeats a paper: its rows get no verdict", choices=("val", "test")
    )
    num_frames: int | None = setting(
        None, "frames drawn of the decoded ones at each step; null: all", ge=1, le=MOST_FRAMES
    )
    sampler: str = setting("uniform", "how they are drawn", choices=("uniform", "random"))


@dataclass(frozen=True)
class Retrieve:
    first_stage: Mixture = setting(doc="the interaction, or mixture, that ranks the whole gallery")
    rerank: Spec | None = setting(None, "what gives candidates new scores; null: one stage", kind="reranker")
    candidates_from: str = setting(
        "each_side",
        "text_side: v2t ranks by the scores that texts gave their candidates, as EERCF's release does",
        choices=("each_side", "text_side"),
    )
    index: str = setting(
        "exact",
        "how candidates are found; faiss: approximately (an extra to install), its recall stands in the report",
        choices=("exact", "faiss"),
    )
    settings: dict[str, dict[str, Any]] = setting(
        factory=dict, doc="{interaction: {field: value}}, changed after training"
    )
    transforms: dict[str, Spec] = setting(
        factory=dict, doc="what changes the first stage's scores, in order", kind="score_transform"
    )


@dataclass(frozen=True)
class Evaluate:
    directions: tuple[str, ...] = setting(
        ("t2v", "v2t"), "who asks: texts search videos (t2v), videos search texts (v2t)", choices=("t2v", "v2t")
    )
    metrics: tuple[str, ...] = setting(("R1", "R5", "R10", "MdR", "MnR", "MRR"), "columns of the table")
    diagnostics: tuple[str, ...] = setting(
        (), "<interaction>.<what it can measure of a text and its own video>, in percent: further columns under t2v/"
    )
    primary: str = setting("t2v/R1", "the metric that decides")
    correction: str = setting(
        "holm",
        "of the variants' p on `primary`: against any false finding, or (for exploration) their share of the findings",
        choices=("holm", "benjamini_hochberg"),
    )
    split: str = setting("test", "the split that is scored", choices=("test", "val"))
    efficiency: bool = setting(False, "measure what retrieval and training cost, on this machine: `cost/…`")
    ties: str = setting(
        "expected",
        "rank among equal scores: expected, best or worst case",
        choices=("expected", "optimistic", "pessimistic"),
    )


@dataclass(frozen=True)
class Claim:
    """A published statement that an experiment puts to the test; docs/claims.md prints it."""

    text: str = setting(doc="the statement, in our words")
    source: str = setting(doc="paper and place")
    reported: str = setting("no figure", "the paper's figures for it, with their data set")
    fairness: str = setting("", "what was done to be fair to it here")


LONGEST_NAME = 200


@dataclass(frozen=True)
class Experiment:
    """One resolved configuration. The last six fields design the comparison; no step reads them, nor those of
    PROSE."""

    name: str = setting(doc="names the folder of its report and its experiment in MLflow")
    data: Data = setting(doc="videos and texts")
    encoder: dict[str, Spec] = setting(doc="the encoder, or encoders under names of yours", kind="encoder")
    model: Model = setting(doc="transforms, interactions, losses")
    retrieve: Retrieve = setting(doc="first stage and re-ranking")
    train: Train = setting(Train(), "the training loop")
    evaluate: Evaluate = setting(Evaluate(), "metrics")
    outputs: dict[str, Spec | None] = setting(
        factory=dict,
        doc="what shows, writes or sends the findings; null leaves out one that is there by default",
        kind="output",
    )
    anonymous: bool = setting(False, "keep user, host, folders and repository out of all outputs")
    references: tuple[str, ...] = setting((), "files of published numbers, printed beside the table, never tested")
    claim: Claim | None = setting(None, "the published statement that this experiment tests")
    seeds: tuple[int, ...] = setting((0,), "one trial of each variant a seed", ge=0, le=2**32 - 1)
    ablate: dict[str, Any] = setting(factory=dict, doc="{key: [values]}, a grid; or named grids")
    one_at_a_time: dict[str, Any] = setting(factory=dict, doc="{key: [values]}, each axis by itself")
    variants: dict[str, Any] = setting(factory=dict, doc="{name: {key: value}}")
    baseline: Any = setting(None, "a variant's name, or assignments that select one")
    hypotheses: dict[str, Any] = setting(factory=dict, doc="{name: claim}, written before the run")

    def __post_init__(self) -> None:
        if not 0 < len(self.name.encode()) <= LONGEST_NAME:
            raise ValueError(f"name: {len(self.name.encode())} bytes; a folder's name has 1 to {LONGEST_NAME}")


DESIGN = ("seeds", "ablate", "one_at_a_time", "variants", "baseline", "hypotheses")
"""Keys that design the comparison. A file that extends another replaces them whole: merged grids would multiply, and
inherited claims would join its family, unasked."""

PROSE = ("name", "outputs", "anonymous", "references", "claim")
"""Keys that say what a comparison is called, stands beside and where it goes; they change no result."""


MOVED = {
    "tracking": "is an output now: `outputs: {mlflow: {uri: …}}`; `outputs: {mlflow: null}` runs without MLflow",
    "export": "is an output now: `outputs: {export: {folder: …}}`",
}
"""Keys that files of earlier versions have, and what to write in their place."""


def check(values: Mapping[str, Any], components: Callable[..., Any] | None) -> tuple[Experiment | None, list[Problem]]:
    """The typed experiment of resolved values, or every fault found. `components` None: core schema only."""
    moved = [Problem(key, message) for key, message in MOVED.items() if key in values]
    if moved:
        return None, moved
    checker = Checker(components, Experiment)
    values = {key: value for key, value in values.items() if value is not None}
    encoder, outputs = values.get("encoder"), values.get("outputs")
    if isinstance(encoder, Mapping) and "name" in encoder:
        values["encoder"] = {"": encoder}
    if isinstance(outputs, Mapping):
        values["outputs"] = {key: _named(key, output) for key, output in outputs.items()}
    experiment = checker.build(Experiment, values, "")
    problems = checker.problems if experiment is None else list(_contradictions(experiment))
    return None if problems else experiment, problems


def _named(key: str, output: Any) -> Any:
    """An output is the one that its key names, where it says no other name."""
    return {"name": key, **output} if isinstance(output, Mapping) else output


def _contradictions(experiment: Experiment) -> Iterator[Problem]:
    """Faults that a field's own type and limits do not show."""
    if not experiment.encoder:
        yield Problem("encoder", "is needed and missing (the encoder, or encoders under names of yours)")
    if not experiment.seeds:
        yield Problem("seeds", "needs one seed at least")
    for seed in sorted(seed for seed, count in Counter(experiment.seeds).items() if count > 1):
        yield Problem("seeds", f"{seed} stands twice: the same trial is no second sample")
    for name in ("directions", "metrics"):
        listed = getattr(experiment.evaluate, name)
        if not listed:
            yield Problem(f"evaluate.{name}", "is empty: nothing would be measured; leave it out, or name one")
        for item, count in Counter(listed).items():
            if count > 1:
                yield Problem(f"evaluate.{name}", f"`{item}` stands twice")
    scale = experiment.model.logit_scale
    if scale.init > scale.max:
        yield Problem("model.logit_scale.init", f"must be at most `max` ({scale.max:g}), got {scale.init:g}")
