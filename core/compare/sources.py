"""What can be compared: score matrices, rank files, TREC runs, trials of the store, MLflow runs of trials."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.inputs import ABSENT, no_file
from ..contract.score_files import PICKLES, SUFFIXES, GivenScores, read_ids, read_scores
from ..contract.store import Entry, Store, read_twice
from ..errors import DataError, nearest
from ..measure.metrics import RankCounts, metric, per_query


@dataclass(frozen=True, eq=False)
class Values:
    """What one input scored, query by query, on one metric in one direction.

    values [Q]; queries: their ids; gallery: ids of what is searched; clusters [Q]: queries with the same label are not
    independent. None where the input does not tell. single: whether each text has one video.
    """

    values: NDArray[np.float64]
    queries: tuple[str, ...] | None = None
    gallery: frozenset[str] | None = None
    clusters: NDArray[np.int64] | None = None
    single: bool = True


@dataclass(frozen=True, eq=False)
class Scores:
    """A score matrix, or a run as one. partial: the side, `text` or `video`, of which a run lists only the best."""

    given: GivenScores
    run: bool = False
    partial: str | None = None


@dataclass(frozen=True, eq=False)
class Ranks:
    """The rank of the first relevant item of each query, in one direction."""

    place: str
    ranks: NDArray[np.int64]
    queries: tuple[str, ...] | None

    def read(self, name: str) -> Values:
        """Raises DataError for a metric that needs all relevant items."""
        if metric(name).family not in ("R", "RSum", "MRR", "rank"):
            raise DataError(f"{self.place}: {name} needs the place of every relevant item; a file of ranks has one")
        ones = np.ones_like(self.ranks)
        counts = RankCounts(np.arange(self.ranks.size + 1), self.ranks - 1, np.zeros_like(ones), ones, ones)
        return Values(per_query(counts, name), self.queries)


@dataclass(frozen=True, eq=False)
class Stored:
    """The result of one trial in the store. content: digests of what it was scored on, where the ledger tells."""

    place: str
    entry: Entry
    content: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What varies in it, and the beginning of its key: `top_k=50 (0123abcd)`."""
        label = str(self.entry.info.get("label", "")).removeprefix("evaluate").strip(" []")
        return f"{label} ({self.entry.meta['key'][:8]})".strip()

    @property
    def ties(self) -> str:
        return str(self.entry.meta["fields"]["ties"])

    @property
    def split(self) -> str:
        return str(self.entry.meta["fields"]["split"])

    @property
    def selected_on_test(self) -> bool:
        """Whether its weights were chosen by their results on the test split; the label of a trained trial has a
        seed."""
        train = self.experiment["train"]
        return "· seed " in self.name and (train["keep"], train.get("select_on")) == ("best", "test")

    @property
    def transforms(self) -> tuple[str, ...]:
        """Names of its transductive score transforms."""
        specs = self.experiment["retrieve"].get("transforms") or {}
        return tuple(spec["name"] for spec in specs.values() if _transductive(**spec))

    @cached_property
    def experiment(self) -> dict[str, Any]:
        """Its resolved configuration."""
        return self.entry.json("trial.json")["experiment"]

    def read(self, name: str, direction: str) -> Values:
        """Raises DataError for a metric that was not stored with the trial."""
        tensors, items = self.entry.tensors(), self.entry.json("items.json")
        key = f"{direction}/{name}"
        if key not in tensors:
            stored = [tensor for tensor in tensors if not tensor.endswith("/clusters")]
            raise DataError(f"{self.place}: its result has no {key}.{nearest(key, stored)}")
        queries, gallery = items["texts"], items["videos"]
        if direction == "v2t":
            queries, gallery = gallery, queries
        if len(set(queries)) < len(queries):
            twice = next(query for query in queries if queries.count(query) > 1)
            raise DataError(f"{self.place}: the query `{twice}` stands there twice: not compared")
        clusters = tensors[f"{direction}/clusters"].numpy()
        values = tensors[key].numpy().astype(np.float64)
        single = len(np.unique(clusters)) == len(items["videos"])
        return Values(values, tuple(queries), frozenset(gallery), clusters, single)


Source = Scores | Ranks | Stored


def _transductive(name: str, **fields: Any) -> bool:
    """Whether a score transform looks at the other queries; one that is not installed here is not known to."""
    from ..contract.components import ScoreTransform
    from ..plugins import registry

    with suppress(KeyError, TypeError):
        component = registry().get("score_transform", name).component
        return issubclass(component, ScoreTransform) and component.transductive(component.Config(**fields))
    return False


def read_source(
    text: str, direction: str, rows: str | None = None, cols: str | None = None, store: str = "store"
) -> Source:
    """Read one input. `rows`, `cols`: files of text and video ids; `direction`: that of a run or of ranks.

    Raises DataError for what is none of the things that can be compared.
    """
    if text.startswith("store:"):
        return _trial(text.removeprefix("store:"), store)
    path = Path(text)
    wrong = no_file(path)
    if wrong not in ("", ABSENT):
        raise DataError(f"{text}: {wrong}; an input is a file, a trial or an MLflow run")
    matrix = path.suffix in SUFFIXES + PICKLES or re.search(r"\.(npz|safetensors):", path.name)
    if matrix:
        return Scores(read_scores(text, rows, cols))
    if not wrong:
        return _lines(path, direction, rows if direction == "t2v" else cols)
    if re.fullmatch("[0-9a-f]{16}", text):
        return _trial(text, store)
    if re.fullmatch("[0-9a-f]{32}", text):
        from ..outputs import trial_named

        if key := trial_named(text):
            return _trial(key, store)
    raise DataError(
        f"{text}: no such file, and neither the digest of a trial (16 hex digits) nor the id of an MLflow run (32)"
    )


def _lines(path: Path, direction: str, ids: str | None) -> Source:
    """A TREC run or a file of ranks."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise DataError(f"{path}: neither text nor one of {', '.join(SUFFIXES)}") from None
    widths = {len(line) for line in lines}
    if widths == {6}:
        if direction == "both":
            raise DataError(f"{path}: a TREC run has one direction: give --direction t2v or v2t")
        return _run(path, lines, direction)
    if widths != {1}:
        raise DataError(
            f"{path}: expected a rank on each line, or a TREC run (query Q0 item rank score tag), found lines of "
            f"{' and '.join(map(str, sorted(widths))) or 'no'} words"
        )
    if direction == "both":
        raise DataError(f"{path}: a file of ranks has one direction: give --direction t2v or v2t")
    for number, (word,) in enumerate(lines, 1):
        if not re.fullmatch("[1-9][0-9]{0,17}", word):
            raise DataError(f"{path}: rank {number} is `{word[:40]}`; ranks are whole numbers, the best is 1")
    queries = read_ids(ids) if ids else None
    if queries is not None and len(queries) != len(lines):
        raise DataError(f"{ids}: {len(queries):,} ids for the {len(lines):,} ranks of {path}")
    if queries is not None and len(set(queries)) < len(queries):
        raise DataError(f"{ids}: an id stands twice: {next(query for query in queries if queries.count(query) > 1)}")
    return Ranks(str(path), np.array([int(word) for (word,) in lines], dtype=np.int64), queries)


def _run(path: Path, lines: Sequence[Sequence[str]], direction: str) -> Scores:
    """A TREC run as a matrix of scores' places: as in trec_eval the score counts and the printed rank does not."""
    listed: dict[str, dict[str, float]] = {}
    for number, (query, _, item, _, score, _) in enumerate(lines, 1):
        scores = listed.setdefault(query, {})
        if item in scores:
            raise DataError(f"{path}: line {number}: query `{query}` lists `{item}` a second time")
        try:
            scores[item] = float(score)
        except ValueError:
            raise DataError(f"{path}: line {number}: `{score}` is no score") from None
        if not math.isfinite(scores[item]):
            raise DataError(f"{path}: line {number}: query `{query}`: the score {score} has no rank")
    items = {item: column for column, item in enumerate(dict.fromkeys(i for scores in listed.values() for i in scores))}
    values = np.zeros((len(listed), len(items)))
    for row, scores in enumerate(listed.values()):
        # the place of each score among the different ones, from 1, the lowest; what is not listed keeps 0
        places = np.unique(list(scores.values()), return_inverse=True)[1] + 1
        values[row, [items[item] for item in scores]] = places
    depth = min(len(scores) for scores in listed.values())
    remarks: tuple[str, ...] = ()
    if depth < len(items):
        remarks = (f"{path}: lists as few as {depth} items for a query; all others share the last place.",)
    if direction == "t2v":
        searched, matrix = "video", GivenScores(values, tuple(listed), tuple(items), remarks)
    else:
        searched, matrix = "text", GivenScores(values.T, tuple(items), tuple(listed), remarks)
    return Scores(matrix, run=True, partial=searched if depth < len(items) else None)


def _trial(key: str, root: str) -> Stored:
    if not re.fullmatch("[0-9a-f]{16}", key):
        raise DataError(f"store:{key}: a trial is named by the 16 hex digits of its result")
    if not Path(root).is_dir():
        raise DataError(f"store:{key}: there is no store at {root}: give --store")
    store = Store(root)
    if not store.has("evaluate", key):
        trials = [entry for entry in store.entries() if entry.meta["step"] == "evaluate"]
        recent = "; ".join(f"{entry.meta['key']} {entry.info.get('label', '')}".strip() for entry in trials[-5:])
        raise DataError(
            f"store:{key}: {root} holds no result of that trial; of its {len(trials)} trials the last are: {recent}"
        )
    ledger = read_twice(store.root / "ledger.jsonl", "split", "trial")
    content = frozenset(line["split"] for line in ledger if line["trial"] == key)
    return Stored(f"store:{key}", store.read("evaluate", key), content)
