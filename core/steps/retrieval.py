"""Score, rank, evaluate: matrices of the first stage, counts, metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..components import Interaction, Shapes, Split, TrainedReranker
from ..config import Experiment
from ..errors import RunError
from ..features import TextFeatures, VideoFeatures
from ..index import completed, recall
from ..metrics import (
    RankCounts,
    Relevance,
    Reranking,
    per_query,
    query_relevance,
    rank_counts,
    relevant_scores,
    summarise,
)
from ..model import Model
from ..plugins import registry
from ..scoring import blocks, candidates_of, rerank, score_blocks
from ..scoring.memory import block_floats
from ..settings import Spec, plain
from ..store import Draft
from ..tensorfile import map_tensors
from .split import Kept, kept, read_features
from .step import Step, Workspace
from .transforms import transformed

FEATURES = ("text/", "video/", "skip/")
"""Inputs that are levels of a split, or say which of its videos were skipped."""
COUNTS = ("indptr", "above", "above_relevant", "tied", "tied_relevant")


@dataclass(frozen=True)
class ScoreSource:
    """What scoring reads beside its inputs; `config` is the interaction's, with its settings after training.

    bank: a split whose queries ask the gallery of `split`, in the place of its own, in this `direction`.
    """

    experiment: Experiment
    interaction: str
    config: Any
    shapes: Shapes
    split: Split
    direction: str = "t2v"
    seed: int = 0
    bank: Split | None = None

    @property
    def ids(self) -> tuple[list[str], list[str]]:
        """Ids of the texts and of the videos that are scored with each other."""
        asking = self.bank or self.split
        texts, videos = (asking, self.split) if self.direction == "t2v" else (self.split, asking)
        return [text.id for text in texts.texts], [video.id for video in videos.videos]


def feature_steps(inputs: Mapping[str, Step]) -> dict[str, Step]:
    """Those of a step's inputs that say what the rows of a split are."""
    return {name: step for name, step in inputs.items() if name.startswith(FEATURES)}


def loaded_model(workspace: Workspace, inputs: Mapping[str, Step], source: ScoreSource) -> tuple[Model, Interaction]:
    """The part of the model that one interaction needs, with its trained weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # buffers that are drawn are the same wherever they are not trained
        model = Model.of(source.experiment, [source.interaction], source.shapes)
    if "fit" in inputs:
        stored = workspace.read(inputs["fit"]).tensors()
        model.load_state_dict({name: stored[f"model.{name}"] for name in model.state_dict()})
    return model.to(workspace.device).eval(), model.interaction(source.interaction)


def score(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Scores [B_t, B_v] of one interaction over all pairs of a split, for each member's settings.

    They go into the files block by block: no matrix lies in memory.
    """
    source: ScoreSource = members[0].payload
    text, video = _sides(workspace, source, feature_steps(members[0].inputs))
    model, interaction = loaded_model(workspace, members[0].inputs, source)
    made = score_blocks(
        interaction,
        [member.payload.config for member in members],
        text,
        video,
        text_transform=model.text,
        video_transform=model.video,
        device=workspace.device,
        label=members[0].label,
    )
    layout = {"scores": ((len(text), len(video)), torch.float32)}
    matrices = [map_tensors(draft.folder / "tensors.safetensors", layout)["scores"] for draft in drafts]
    for columns, block in made:
        for member, matrix, values in zip(members, matrices, block, strict=True):
            refuse_non_finite(values, member.label, text.ids or ())
            matrix[:, columns] = values
    for member, draft in zip(members, drafts, strict=True):
        draft.info |= {"label": member.label}


def _sides(workspace: Workspace, source: ScoreSource, steps: Mapping[str, Step]) -> tuple[TextFeatures, VideoFeatures]:
    """The texts and videos that are scored with each other: those of a split, or on one side those of a bank."""
    if source.bank is None:
        return read_features(workspace, kept(workspace, source.split, steps), steps)
    texts_ask = source.direction == "t2v"
    asking = {name: step for name, step in steps.items() if name.startswith("text/" if texts_ask else "video/")}
    asked = {name: step for name, step in steps.items() if name not in asking}
    bank = read_features(workspace, kept(workspace, source.bank, asking), asking)
    gallery = read_features(workspace, kept(workspace, source.split, asked), asked)
    return (bank[0], gallery[1]) if texts_ask else (gallery[0], bank[1])


def refuse_non_finite(scores: Tensor, label: str, ids: Sequence[str]) -> None:
    bad = (~torch.isfinite(scores)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise RunError(f"{label}: a score of query `{ids[bad[0]]}` is NaN or infinite ({len(bad)} queries have such)")


class FirstStage:
    """The first stage's scores: mixed as they are read, in blocks of queries, from matrices that stay in their files.

    Score transforms look at the whole matrix, as it is asked in one direction (None: the step's own field): where there
    are any it is in memory.
    """

    def __init__(self, workspace: Workspace, step: Step, weights: Mapping[str, float], direction: str | None = None):
        def stored(name: str) -> Tensor:
            return workspace.read(step.inputs[name]).tensors()["scores"]

        def asked(scores: Tensor) -> Tensor:
            return scores if (direction or step.fields["direction"]) == "t2v" else scores.T

        self._matrices = [(weight, stored(f"first_stage/{name}")) for name, weight in weights.items()]
        transforms = step.payload.experiment.retrieve.transforms
        if transforms:
            banks = [asked(stored(f"bank/{n}")) if f"bank/{n}" in step.inputs else None for n in weights]
            stages = [(weight, asked(m), bank) for (weight, m), bank in zip(self._matrices, banks, strict=True)]
            self._matrices = [(1.0, asked(transformed(transforms, stages)))]
        self.index = workspace.read(step.inputs["index"]).tensors() if "index" in step.inputs else {}

    def rows(self, direction: str, part: slice = slice(None)) -> Tensor:
        """[queries of the part, gallery]"""
        scores = sum(weight * (m[part] if direction == "t2v" else m[:, part].T) for weight, m in self._matrices)
        assert isinstance(scores, Tensor)
        return scores.contiguous()

    def blocks(self, direction: str) -> Iterator[tuple[slice, Tensor]]:
        """(queries, their scores [queries, gallery])"""
        queries, gallery = self._matrices[0][1].shape[:: 1 if direction == "t2v" else -1]
        for part in blocks(queries, block_floats() // (8 * max(1, gallery))):
            yield part, self.rows(direction, part)

    def candidates(self, direction: str, top_k: int) -> tuple[Tensor, Tensor]:
        """Each query's candidates [Q, K], the best or those that the index found, and their scores [Q, K]."""
        chosen, known = [], []
        for part, scores in self.blocks(direction):
            found = self.index.get("found")
            best = candidates_of(scores, top_k) if found is None else completed(found[part, :top_k], scores)
            chosen.append(best)
            known.append(scores.gather(1, best))
        return torch.cat(chosen), torch.cat(known)


def first_stage(workspace: Workspace, step: Step, ranking: Mapping[str, Any] | None = None) -> Tensor:
    """The first stage's whole matrix [Q, gallery]. `ranking` holds the weights and the direction; None: the step's own
    fields do."""
    ranking = ranking or step.fields
    direction = ranking["direction"]
    return FirstStage(workspace, step, ranking["first_stage"], direction).rows(direction)


def rank(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Rank counts of one direction, after each member's re-ranking where there is any.

    The first stage is read, ranked and searched for candidates once for all members.
    """
    step = members[0]
    rows, stage = _rows_of(workspace, step), FirstStage(workspace, step, step.fields["first_stage"])
    asked, ranked = step.fields["direction"], step.fields["ranked"]
    relevance, ids = query_relevance(rows.relevance, ranked), {"t2v": rows.text_ids, "v2t": rows.video_ids}
    specs = [member.payload.experiment.retrieve.rerank for member in members]
    counted, own = [], []
    for part, scores in stage.blocks(ranked):
        counted.append(rank_counts(scores.numpy(), relevance, part.start, ids[ranked]))
        own.append(relevant_scores(scores.numpy(), relevance, part.start))
    first = RankCounts.join(counted)
    if any(specs):
        most = max(spec.fields.top_k for spec in specs if spec)
        candidates, known = stage.candidates(asked, most)
        reranking = Reranking(first, np.concatenate(own), relevance, candidates, known, items_ask=asked != ranked)
        hits = _hits(query_relevance(rows.relevance, asked), candidates.numpy())
    for member, draft, spec in zip(members, drafts, specs, strict=True):
        counts = first
        if spec is not None:
            top_k = spec.fields.top_k
            new = rerank_candidates(workspace, member, rows, spec, candidates[:, :top_k], known[:, :top_k])
            counts = reranking.counts(new.numpy(), ids[asked])
            draft.info["ceiling"] = 100 * float(hits[:, :top_k].any(1).mean())  # no re-ranking can give a higher R1
            if stage.index:
                draft.info["index_recall"] = recall(candidates[:, :top_k], stage.index["exact"][:, :top_k])
        draft.save({name: torch.from_numpy(getattr(counts, name)) for name in COUNTS})
        draft.info |= {"label": member.label}


def _hits(relevance: Relevance, candidates: NDArray) -> NDArray[np.bool_]:
    """Which candidates [Q, K] are relevant."""
    rows = np.repeat(np.arange(len(candidates)), candidates.shape[1])
    return (relevance.pairs(rows, candidates.ravel()) >= 0).reshape(candidates.shape)


def _rows_of(workspace: Workspace, rank: Step) -> Kept:
    """The rows that a rank step ranks, found once a process."""
    steps = feature_steps(rank.inputs)
    key = ("kept", id(rank.payload.split), *sorted(step.key for step in steps.values()))
    return workspace.once(key, lambda: kept(workspace, rank.payload.split, steps))


def rerank_candidates(
    workspace: Workspace, step: Step, rows: Kept, spec: Spec, candidates: Tensor, first_stage: Tensor
) -> Tensor:
    """New scores [Q, K] of the candidates [Q, K], from their scores by the first stage and by other interactions."""
    top_k, source = candidates.shape[1], step.payload
    pair_scores = {
        name.removeprefix("candidates/"): workspace.read(s).tensors()["scores"][:, :top_k]
        for name, s in step.inputs.items()
        if name.startswith("candidates/")
    }
    pair_scores["first_stage"] = first_stage.float()
    if "match" in step.inputs:
        reranker = fitted_reranker(workspace, step.inputs["fit_reranker"], source.experiment, source.shapes)
        return reranker.fuse(workspace.read(step.inputs["match"]).tensors()["scores"][:, :top_k], pair_scores)
    reranker = registry().make("reranker", spec, source.shapes)
    text, video = TextFeatures(), VideoFeatures()
    if any(reranker.reads(spec.fields)):
        text, video = read_features(workspace, rows, feature_steps(step.inputs))
    return rerank(reranker, text, video, candidates, pair_scores, videos_ask=step.fields["direction"] == "v2t")


def fitted_reranker(workspace: Workspace, fit: Step, experiment: Experiment, shapes: Shapes) -> TrainedReranker:
    """The experiment's reranker with trained weights, in evaluation mode; `alpha` as chosen where it was left open."""
    spec, entry = experiment.retrieve.rerank, workspace.read(fit)
    assert spec is not None
    if spec.fields.alpha is None:
        spec = Spec(spec.name, replace(spec.fields, alpha=entry.json("chosen.json")["alpha"]))
    reranker = registry().make("reranker", spec, shapes)
    stored = entry.tensors()
    reranker.load_state_dict({name: stored[f"reranker.{name}"] for name in reranker.state_dict()})
    return reranker.to(workspace.device).eval()


def evaluate(workspace: Workspace, members: list[Step], drafts: list[Draft]) -> None:
    """Metrics as `result.json`, per-query values as tensors `<direction>/<metric>`, and the video of each query."""
    for step, draft in zip(members, drafts, strict=True):
        rows = _rows_of(workspace, next(iter(step.inputs.values())))
        tensors, facts = _per_query(workspace, step)
        metrics = {name: summarise(values.numpy(), name) for name, values in tensors.items()}
        units = {"t2v": rows.own, "v2t": torch.arange(len(rows.videos))}  # the unit is the video, whoever is relevant
        measured = dict.fromkeys(name.partition("/")[0] for name in tensors)
        draft.save(tensors | {f"{direction}/clusters": units[direction] for direction in measured})
        costs = {"costs": workspace.read(step.inputs["efficiency"]).json()} if "efficiency" in step.inputs else {}
        counted = {"texts": len(rows.texts), "videos": len(rows.videos)}
        draft.json({"metrics": metrics, **facts, **costs, **counted})
        draft.json({"experiment": plain(step.payload.experiment), "seed": step.payload.seed}, "trial.json")
        draft.json({"texts": rows.text_ids, "videos": rows.video_ids, "skipped": rows.skipped}, "items.json")
        draft.info |= {"label": step.label}


def _per_query(workspace: Workspace, step: Step) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Values {`<direction>/<metric>`: [Q] float64} of each query, and of each direction that re-ranks the ceiling, and
    the recall of the index where there is one."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, dict[str, float]] = {"ceilings": {}, "index_recalls": {}}
    for direction in step.fields["directions"]:
        entry = workspace.read(step.inputs[direction])
        stored = entry.tensors()
        counts = RankCounts(**{name: stored[name].numpy() for name in COUNTS})
        for fact, values in facts.items():
            if fact[:-1] in entry.info:
                values[direction] = entry.info[fact[:-1]]
        for name in step.fields["metrics"]:
            found = per_query(counts, name, step.fields["ties"])
            tensors[f"{direction}/{name}"] = torch.from_numpy(np.ascontiguousarray(found))
    for diagnostic in step.fields.get("diagnostics", ()):
        name, _, measure = diagnostic.rpartition(".")
        tensors[f"t2v/{diagnostic}"] = workspace.read(step.inputs[f"diagnose/{name}"]).tensors()[measure].double()
    return tensors, facts
