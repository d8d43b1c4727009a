"""Compare systems by their outputs: score matrices, ranks, TREC runs, stored trials; or by printed numbers alone.

`python -m core.compare A B [C …]`: A is the baseline. Nothing is trained or computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..measure.metrics import DIRECTIONS, metric, summarise
from ..measure.significance import Comparison, correct, outcome, paired_medians, paired_tests
from .call import each_file, refuse_call, refuse_same, shown_names
from .counted import entered
from .judged import Judged
from .pairing import in_one_order
from .printed import Printed, printed
from .protocol import refuse_other_protocols
from .relevance import read_judgements
from .sources import Scores, Source, Values, read_source

__all__ = ["Compared", "Line", "Printed", "compare_inputs", "printed"]

LEAST_GROUPS = 6
"""Groups of independent queries that a test needs: with five the smallest two-sided p of the sign flip is .0625."""


@dataclass(frozen=True)
class Line:
    """One input in one direction.

    value         of the metric, percent or rank
    comparison    with the first input, p corrected for all comparisons of the call; None for the first itself
    transductive  why its scores are taken to depend on the other queries; "" where nothing says so
    size          of the comparison, in words: `670 videos (27,763 captions)`; "" for the first itself
    """

    name: str
    metric: str
    value: float
    comparison: Comparison | None
    transductive: str
    size: str

    @property
    def untested(self) -> str | None:
        """Why no result could have been significant: too few queries are independent. None where one could."""
        comparison = self.comparison
        if comparison is None or comparison.n_clusters >= LEAST_GROUPS:
            return None
        why = f"{comparison.n_queries:,} queries are too few to test"
        if comparison.n_clusters < comparison.n_queries:
            groups = "one group" if comparison.n_clusters == 1 else f"{comparison.n_clusters} groups"
            why = f"shared answers link the {comparison.n_queries:,} queries into {groups}, so nothing can be tested"
        if comparison.n_clusters == 1:
            return why
        # of the 2^n ways to flip n signs two reach the largest difference, one each way
        return f"{why} (no p is below {2.0 ** (1 - comparison.n_clusters):g})"

    @property
    def outcome(self) -> str:
        """`baseline`; better, worse, n.s., not tested; of a median, which has no test, by its interval."""
        if self.comparison is None:
            return "baseline"
        if self.untested:
            return "not tested"
        _, low, high = self.comparison.gain
        if not np.isnan(self.comparison.p):
            return outcome(self.comparison)
        if low > 0:
            return "better (interval)"
        return "worse (interval)" if high < 0 else "n.s. (interval)"


@dataclass(frozen=True)
class Compared:
    """The lines of the table, and sentences about them.

    doubts       why the comparison itself may be wrong
    assumptions  what was assumed, because no input says it
    remarks      what was noticed while reading
    warnings     what else to beware of
    """

    lines: tuple[Line, ...]
    doubts: tuple[str, ...]
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

    rows, cols: files of text and video ids, one for all inputs or one for each. Raises ConfigError for a call that is
    wrong whatever the files hold, DataError for inputs that cannot be read, that rank other queries, search other
    galleries, were scored by other rules, or need a relevance that is not given.
    """
    directions = DIRECTIONS if direction == "both" else (direction,)
    refuse_call(inputs, rows, cols, name, len(directions), draws, seed)
    files = zip(inputs, each_file(rows, inputs), each_file(cols, inputs), strict=True)
    read = [read_source(text, direction, texts, videos, store) for text, texts, videos in files]
    refuse_same(inputs, read)
    sources = dict(zip(shown_names(inputs, read), read, strict=True))
    refuse_other_protocols(sources)
    judged = Judged(sources, read_judgements(relevance) if relevance else None, directions)
    sides = [_Side(sources, judged, f"{direction}/{name}") for direction in directions]
    tested = {
        f"{side.name} {input_name}": comparison
        for side in sides
        for input_name, comparison in side.comparisons(draws, seed).items()
    }
    corrected = correct(tested)
    lines = [
        side.line(input_name, corrected.get(f"{side.name} {input_name}"), judged.transductive(input_name, side.name))
        for side in sides
        for input_name in side.values
    ]
    doubts = [line for side in sides for line in judged.doubts(side.name)]
    remarks = [line for s in sources.values() if isinstance(s, Scores) for line in s.given.remarks] + judged.remarks
    baseline, *others = sources.values()
    if remark := entered(baseline, others, [side.name for side in sides], store):
        remarks.append(remark)
    assumptions = [*judged.assumptions, *(line for side in sides for line in side.assumptions)]
    warnings = [line for side in sides for line in judged.warnings(side.name)]
    warnings += [line.comparison.warning for line in lines if line.comparison and not line.untested]
    sentences = (tuple(dict.fromkeys(filter(None, some))) for some in (doubts, assumptions, remarks, warnings))
    return Compared(tuple(lines), *sentences)


class _Side:
    """All inputs on one metric of one direction, in one order of queries."""

    def __init__(self, sources: dict[str, Source], judged: Judged, name: str):
        self.name = name
        read = {input_name: judged.read(input_name, name) for input_name in sources}
        self.values, first, nameless = in_one_order(read)
        self.assumptions = []
        if nameless and not all(isinstance(source, Scores) for source in sources.values()):
            assumption = f"{', '.join(nameless)}: no ids of queries: query i is taken to be the same everywhere."
            self.assumptions.append(assumption)
        clustered = [values for values in read.values() if values.clusters is not None]
        if not clustered:
            self.assumptions.append("Each query is taken to stand alone: no relevance says which share a video.")
        self.clusters = self._clusters(first, clustered)
        self.single = not clustered or clustered[0].single

    def _clusters(self, first: Values, clustered: list[Values]) -> np.ndarray | None:
        """Labels of the queries, in the common order, from the first input that knows them."""
        if not clustered:
            return None
        clusters, queries = clustered[0].clusters, clustered[0].queries
        if queries is not None and first.queries is not None:
            place = {query: row for row, query in enumerate(queries)}
            clusters = clusters[[place[query] for query in first.queries]]  # type: ignore[index]
        return clusters

    def line(self, input_name: str, comparison: Comparison | None, transductive: str | None) -> Line:
        """The line of one input; `comparison`: with the first, None for the first itself."""
        return Line(
            name=input_name,
            metric=self.name,
            value=summarise(self.values[input_name], self.name),
            comparison=comparison,
            transductive=transductive or "",
            size=comparison.size(self.name, single=self.single) if comparison else "",
        )

    def comparisons(self, draws: int, seed: int) -> dict[str, Comparison]:
        """Every input but the first, with the first."""
        (_, baseline), *others = self.values.items()
        higher = metric(self.name).higher_is_better
        if metric(self.name).summary == "median":
            return {
                name: paired_medians(values, baseline, self.clusters, higher_is_better=higher, draws=draws, seed=seed)
                for name, values in others
            }
        differences = np.stack([values - baseline for _, values in others])[:, None]
        comparisons = paired_tests(differences, self.clusters, higher_is_better=higher, draws=draws, seed=seed)
        return {name: comparison.on(self.name) for (name, _), comparison in zip(others, comparisons, strict=True)}
