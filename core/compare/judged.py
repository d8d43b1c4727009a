"""All inputs with their relevance: per-query values, and what is odd about the score matrices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from ..contract.transduction import transductive_trace
from ..errors import DataError
from ..measure.metrics import Relevance, evaluate, query_relevance
from . import inspection
from .pairing import Common, bring_together
from .relevance import Judgements, assumed_relevance
from .sources import Ranks, Scores, Source, Stored, Values


class Judged:
    """All inputs with their relevance, the matrices in one order. `assumptions`, `remarks`: sentences about it."""

    def __init__(self, sources: dict[str, Source], judgements: Judgements | None, directions: Sequence[str]):
        self.sources, self.judgements = sources, judgements
        self.assumptions: list[str] = []
        self.remarks: list[str] = []
        self._transductive: dict[tuple[str, str], str] = {}
        matrices = {name: source for name, source in sources.items() if isinstance(source, Scores)}
        self.common: Common | None = None
        if matrices:
            self.common = bring_together(matrices, _judged_items(matrices, judgements))
            self.relevance = self._relevance(self.common, directions)

    def _relevance(self, common: Common, directions: Sequence[str]) -> Relevance:
        self.assumptions += common.assumptions
        if self.judgements is None:
            relevance, assumption = assumed_relevance(common)
            if assumption:
                self.assumptions.append(assumption)
            return relevance
        relevance, strays = self.judgements.relevance(common.text_ids, common.video_ids, common.shape)
        for direction in directions:
            self.judgements.refuse_unanswered(relevance, direction, (common.text_ids, common.video_ids), strays)
        if strays:
            self.remarks.append(f"{self.judgements.place}: names {strays}, left out.")
        if self.judgements.matrix is not None:
            place = self.judgements.place
            self.assumptions.append(f"{place}: its rows and columns are taken to stand in the order of the scores'.")
        return relevance

    def read(self, input_name: str, name: str) -> Values:
        """The per-query values of an input on `t2v/R1`."""
        source, (direction, _, short) = self.sources[input_name], name.partition("/")
        if isinstance(source, Stored):
            return source.read(short, direction)
        if isinstance(source, Ranks):
            return self._with_clusters(source.read(short), direction)
        assert self.common is not None
        evaluation = evaluate(self.common.values[input_name], self.relevance, [short], [direction])
        queries, gallery = self.common.text_ids, self.common.video_ids
        if direction == "v2t":
            queries, gallery = gallery, queries
        searched = None if gallery is None else frozenset(gallery)
        single = bool((self.relevance.degree == 1).all())
        return Values(evaluation.per_query[direction][short], queries, searched, evaluation.clusters[direction], single)

    def _with_clusters(self, values: Values, direction: str) -> Values:
        """Ranks with the clusters of their queries, where a relevance file tells them."""
        judged = self.judgements
        if judged is None or self.common is not None:
            return values
        if judged.matrix is not None:
            relevance = judged.matrix
        elif values.queries is None:
            return values
        else:
            # the ranks name no gallery: it is taken to be all items of the file, in the order of the file
            if direction == "t2v":
                ids = (values.queries, tuple(dict.fromkeys(video for _, video in judged.pairs)))
            else:
                ids = (tuple(dict.fromkeys(text for text, _ in judged.pairs)), values.queries)
            relevance, strays = judged.relevance(*ids, (len(ids[0]), len(ids[1])))
            judged.refuse_unanswered(relevance, direction, ids, strays)
        asked = query_relevance(relevance, direction)
        if asked.shape[0] != values.values.size:
            raise DataError(f"{judged.place}: has {asked.shape[0]:,} queries, the ranks {values.values.size:,}")
        single = bool((relevance.degree == 1).all())
        return Values(values.values, values.queries, clusters=asked.clusters(), single=single)

    def transductive(self, input_name: str, name: str) -> str | None:
        """Why an input's scores are taken to depend on the other queries; None where nothing says so."""
        source, key = self.sources[input_name], (input_name, name)
        if isinstance(source, Stored):
            return f"score transform {', '.join(source.transforms)}" if source.transforms else None
        if self.common is None or input_name not in self.common.values:
            return None
        if key not in self._transductive:
            self._transductive[key] = transductive_trace(self.common.values[input_name], name.partition("/")[0])
        return self._transductive[key] or None

    def doubts(self, name: str) -> list[str]:
        """Why the comparison itself may be wrong, in one direction: matrices may not be what they are taken for."""
        direction, lines = name.partition("/")[0], []
        matrices = self.common.values if self.common is not None else {}
        for input_name, values in matrices.items():
            lines += [f"{input_name}: {line}." for line in inspection.doubts(values, self.relevance, direction)]
        for first, second in combinations(matrices, 2):
            if finding := inspection.transposed(matrices[first], matrices[second]):
                lines.append(f"{first} and {second} {finding}.")
        return lines

    def warnings(self, name: str) -> list[str]:
        """What else to beware of in the matrices, each by itself and in pairs, in one direction."""
        direction, lines = name.partition("/")[0], []
        matrices = self.common.values if self.common is not None else {}
        for input_name, values in matrices.items():
            lines += [f"{input_name}: {line}." for line in inspection.ties(values, direction)]
        for first, second in combinations(matrices, 2):
            if finding := inspection.rescaled(matrices[first], matrices[second], direction):
                lines.append(f"{first} and {second} {finding}.")
        marked = {input_name: why for input_name in self.sources if (why := self.transductive(input_name, name))}
        lines += [f"{input_name}, {direction}: transductive: {why}." for input_name, why in marked.items()]
        if marked and len(marked) < len(self.sources):
            lines.append(
                f"{direction}: transductive scores, which look at the other queries, are compared with scores that do "
                "not: a difference may be the transform's, and one query at a time would not have it."
            )
        return lines


def _judged_items(matrices: dict[str, Scores], judgements: Judgements | None) -> dict[str, tuple[str, ...]]:
    """Items {side: ids} that answer a query of an incomplete run: in the gallery although no run may list them."""
    items: dict[str, tuple[str, ...]] = {}
    pairs = judgements.pairs if judgements else ()
    for source in matrices.values():
        text_ids, video_ids = set(source.given.text_ids or ()), set(source.given.video_ids or ())
        if source.partial == "video":
            items["video"] = tuple(dict.fromkeys(video for text, video in pairs if text in text_ids))
        elif source.partial == "text":
            items["text"] = tuple(dict.fromkeys(text for text, video in pairs if video in video_ids))
    return items
