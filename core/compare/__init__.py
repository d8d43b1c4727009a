"""Systems compared from what they put out: score matrices, ranks, runs, trials; and printed numbers, from those alone.

`python -m core.compare A B [C …]`: A is the baseline. Nothing is trained or computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..metrics import DIRECTIONS, evaluate, metric, query_relevance, summarise
from ..significance import Comparison, correct, outcome, paired_medians, paired_tests
from . import inspection
from .pairing import Common, bring_together, in_one_order
from .printed import Printed, printed
from .relevance import Judgements, assumed_relevance, read_judgements
from .sources import Ranks, Scores, Source, Stored, Values, read_source

__all__ = ["Compared", "Line", "Printed", "compare_inputs", "printed"]


@dataclass(frozen=True)
class Line:
    """One input in one direction.

    value         of the metric, percent or rank
    comparison    with the first input, p corrected for all comparisons of the call; None for the first itself
    transductive  why its scores are taken to depend on the other queries; "" where nothing says so
    """

    name: str
    metric: str
    value: float
    comparison: Comparison | None
    transductive: str

    @property
    def outcome(self) -> str:
        """`baseline`; better, worse, n.s.; of a median, which has no test, by its interval."""
        if self.comparison is None:
            return "baseline"
        _, low, high = self.comparison.gain
        if np.isnan(self.comparison.p):
            return "better (interval)" if low > 0 else "worse (interval)" if high < 0 else "n.s. (interval)"
        return outcome(self.comparison)


@dataclass(frozen=True)
class Compared:
    """All lines, what was assumed, what was found out while reading, what to beware of; each text is a sentence."""

    lines: tuple[Line, ...]
    assumptions: tuple[str, ...]
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]


def compare_inputs(
    inputs: Sequence[str],
    *,
    rows: Sequence[str] = (),
    cols: Sequence[str] = (),
    relevance: str | None = None,
    name: str = "R1",
    direction: str = "t2v",
    store: str = "store",
    draws: int = 10_000,
    seed: int = 0,
) -> Compared:
    """Compare two or more inputs with the first. `direction`: t2v, v2t or both.

    rows, cols: files of text and video ids, one for all inputs or one for each. Raises UserError for inputs that cannot
    be read, that rank other queries, search other galleries, or need a relevance that is not given.
    """
    if "/" in name:
        raise DataError(f"--metric {name}: write {name.partition('/')[2]}, and the direction as --direction")
    if len(inputs) < 2:
        raise DataError("needs two inputs at least: the baseline, and what is compared with it")
    if len(set(inputs)) < len(inputs):
        raise DataError("an input is given twice: it has no difference from itself")
    files = zip(inputs, _for_each(rows, inputs, "--rows"), _for_each(cols, inputs, "--cols"), strict=True)
    read = [read_source(text, direction, texts, videos, store) for text, texts, videos in files]
    sources = dict(zip(_names(inputs, read), read, strict=True))
    _refuse_other_ties(sources)
    judged = Judged(sources, read_judgements(relevance) if relevance else None)
    found = [_Side(sources, judged, f"{one}/{name}") for one in (DIRECTIONS if direction == "both" else (direction,))]
    tested = {f"{side.name} {one}": made for side in found for one, made in side.comparisons(draws, seed).items()}
    corrected = correct(tested)
    lines = []
    for side in found:
        for one, values in side.values.items():
            made = corrected.get(f"{side.name} {one}")
            lines.append(Line(one, side.name, summarise(values, name), made, judged.transductive(one, side.name)))
    remarks = [line for s in sources.values() if isinstance(s, Scores) for line in s.given.remarks]
    assumptions = [*judged.assumptions, *(line for side in found for line in side.assumptions)]
    warnings = [line for side in found for line in judged.warnings(side.name)]
    warnings += [made.warning for made in tested.values() if made.warning]
    return Compared(tuple(lines), *(tuple(dict.fromkeys(some)) for some in (assumptions, remarks, warnings)))


class Judged:
    """The matrices among the inputs, in one order, with their relevance; and what else relevance is needed for."""

    def __init__(self, sources: dict[str, Source], judgements: Judgements | None):
        self.sources, self.judgements = sources, judgements
        self.assumptions: list[str] = []
        self._transductive: dict[tuple[str, str], str] = {}
        matrices = {name: source for name, source in sources.items() if isinstance(source, Scores)}
        self.common: Common | None = None
        if matrices:
            self.common = common = bring_together(matrices, _judged_items(matrices, judgements))
            told = ""
            if judgements is not None:
                self.relevance = judgements.relevance(common.text_ids, common.video_ids, common.shape)
                if judgements.matrix is not None:
                    told = f"{judgements.place}: its rows and columns are taken to stand in the order of the scores'."
            else:
                self.relevance, told = assumed_relevance(common)
            self.assumptions += [*common.assumptions, *filter(None, [told])]

    def read(self, shown: str, name: str) -> Values:
        """The per-query values of an input on `t2v/R1`."""
        source, (direction, _, short) = self.sources[shown], name.partition("/")
        if isinstance(source, Stored):
            return source.read(short, direction)
        if isinstance(source, Ranks):
            return self._with_clusters(source.read(short), direction)
        assert self.common is not None
        made = evaluate(self.common.values[shown], self.relevance, [short], [direction])
        queries, gallery = self.common.text_ids, self.common.video_ids
        if direction == "v2t":
            queries, gallery = gallery, queries
        searched = None if gallery is None else frozenset(gallery)
        return Values(made.per_query[direction][short], queries, searched, made.clusters[direction])

    def _with_clusters(self, values: Values, direction: str) -> Values:
        """Ranks with the clusters of their queries, where a relevance file tells them."""
        if self.judgements is None or self.common is not None or values.queries is None:
            return values
        at = 1 if direction == "t2v" else 0
        items = tuple(dict.fromkeys(pair[at] for pair in self.judgements.pairs))
        ids = (values.queries, items) if direction == "t2v" else (items, values.queries)
        found = self.judgements.relevance(*ids, (len(ids[0]), len(ids[1])))
        return Values(values.values, values.queries, clusters=query_relevance(found, direction).clusters())

    def transductive(self, shown: str, name: str) -> str:
        """Why an input's scores are taken to depend on the other queries; "" where nothing says so."""
        source, key = self.sources[shown], (shown, name)
        if isinstance(source, Stored):
            return f"score transform {', '.join(source.transforms)}" if source.transforms else ""
        if self.common is None or shown not in self.common.values:
            return ""
        if key not in self._transductive:
            self._transductive[key] = inspection.transductive(self.common.values[shown], name.partition("/")[0])
        return self._transductive[key]

    def warnings(self, name: str) -> list[str]:
        """What to beware of in the matrices, each by itself and in pairs, in one direction."""
        direction, lines = name.partition("/")[0], []
        matrices = self.common.values if self.common is not None else {}
        for shown, values in matrices.items():
            lines += [f"{shown}: {line}." for line in inspection.beware(values, self.relevance, direction)]
        for one, other in combinations(matrices, 2):
            found = inspection.beware_together(matrices[one], matrices[other], direction)
            lines += [f"{one} and {other} {line}." for line in found]
        marked = {shown: why for shown in self.sources if (why := self.transductive(shown, name))}
        lines += [f"{shown}, {direction}: transductive: {why}." for shown, why in marked.items()]
        if marked and len(marked) < len(self.sources):
            lines.append(
                f"{direction}: transductive scores, which look at the other queries, are compared with scores that do "
                "not: a difference may be the transform's, and one query at a time would not have it."
            )
        return lines


class _Side:
    """All inputs on one metric of one direction, in one order of queries."""

    def __init__(self, sources: dict[str, Source], judged: Judged, name: str):
        self.name = name
        read = {shown: judged.read(shown, name) for shown in sources}
        self.values, first, nameless = in_one_order(read)
        self.assumptions = []
        if nameless and not all(isinstance(source, Scores) for source in sources.values()):
            told = f"{', '.join(nameless)}: no ids of queries: query i is taken to be the same everywhere."
            self.assumptions.append(told)
        known = [one for one in read.values() if one.clusters is not None]
        if not known:
            self.assumptions.append("Each query is taken to stand alone: no relevance says which share a video.")
        self.clusters = self._clusters(first, known)

    def _clusters(self, first: Values, known: list[Values]) -> np.ndarray | None:
        """Labels of the queries, in the common order, from the first input that knows them."""
        if not known:
            return None
        clusters, queries = known[0].clusters, known[0].queries
        if queries is not None and first.queries is not None:
            place = {query: row for row, query in enumerate(queries)}
            clusters = clusters[[place[query] for query in first.queries]]  # type: ignore[index]
        return clusters

    def comparisons(self, draws: int, seed: int) -> dict[str, Comparison]:
        """Every input but the first, with the first."""
        (_, baseline), *others = self.values.items()
        higher = metric(self.name).higher_is_better
        if metric(self.name).summary == "median":
            return {
                name: paired_medians(values, baseline, self.clusters, higher_is_better=higher, seed=seed)
                for name, values in others
            }
        differences = np.stack([values - baseline for _, values in others])[:, None]
        made = paired_tests(differences, self.clusters, higher_is_better=higher, draws=draws, seed=seed)
        return {name: one for (name, _), one in zip(others, made, strict=True)}


def _judged_items(matrices: dict[str, Scores], judgements: Judgements | None) -> dict[str, tuple[str, ...]]:
    """Items {side: ids} that answer a query of an incomplete run: in the gallery although no run may list them."""
    found: dict[str, tuple[str, ...]] = {}
    pairs = judgements.pairs if judgements else ()
    for source in matrices.values():
        text_ids, video_ids = set(source.given.text_ids or ()), set(source.given.video_ids or ())
        if source.partial == "video":
            found["video"] = tuple(dict.fromkeys(v for t, v in pairs if t in text_ids))
        elif source.partial == "text":
            found["text"] = tuple(dict.fromkeys(t for t, v in pairs if v in video_ids))
    return found


def _names(inputs: Sequence[str], sources: Sequence[Source]) -> list[str]:
    """What a trial calls itself; of a path the last part, or all of it where two are the same."""
    short = [
        source.name if isinstance(source, Stored) else Path(text).name
        for text, source in zip(inputs, sources, strict=True)
    ]
    return [text if short.count(name) > 1 else name for text, name in zip(inputs, short, strict=True)]


def _for_each(files: Sequence[str], inputs: Sequence[str], option: str) -> list[str | None]:
    if len(files) not in (0, 1, len(inputs)):
        raise DataError(f"{option}: give it once for all inputs, or once for each of the {len(inputs)}")
    return [files[0] if len(files) == 1 else files[at] if files else None for at in range(len(inputs))]


def _refuse_other_ties(sources: dict[str, Source]) -> None:
    rules = {name: source.ties if isinstance(source, Stored) else "expected" for name, source in sources.items()}
    if len(set(rules.values())) > 1:
        told = ", ".join(f"{name} {rule}" for name, rule in rules.items())
        raise DataError(f"ties are broken by other rules ({told}): not compared; set evaluate.ties and run again")
