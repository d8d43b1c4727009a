"""Published numbers as data: read, checked, shown beside a table, and never part of a test or a rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..contract.inputs import looked_for
from ..contract.keys import join
from ..contract.settings import Checker, setting
from ..errors import ConfigError, Problem, UserError, nearest
from ..measure.metrics import DIRECTIONS, metric
from .config import Document, read_document

KNOWN = (
    "read from the table",
    "from the abstract",
    "on the authors' page",
    "quoted by a later paper",
    "told by reviews",
    "reproduced by others",
    "seen in public material",
)
"""How a printed number is known; the last: found in public, the place not written down."""

POST_PROCESSING = ("none", "dual softmax", "QB-Norm", "not stated")


@dataclass(frozen=True)
class Source:
    """Who prints a number, and how it is known here."""

    publication: str = setting(doc="paper, table or page")
    known: str = setting(doc="how its numbers are known", choices=KNOWN)
    note: str = setting("", "what to know of all its numbers")

    def __str__(self) -> str:
        return f"{self.publication} ({self.known})"


@dataclass(frozen=True)
class PublishedRow:
    """What one source prints of one system."""

    system: str = setting(doc="its name")
    backbone: str = setting(doc="visual backbone, or `not stated`")
    post_processing: str = setting(doc="what is done to the scores; all but `none` lift them", choices=POST_PROCESSING)
    source: str = setting(doc="one of `sources`")
    values: dict[str, float | int] = setting(doc="{t2v/R1: 48.1, …}, recalls in percent")  # dict[str, float]: a Mixture
    variation: str = setting("", "what is unlike the system as published: zero-shot, a step of an ablation")
    uncertain: tuple[str, ...] = setting((), "metrics whose value here may be wrong")
    note: str = setting("", "what to know of this row")

    @property
    def name(self) -> str:
        return ", ".join(part for part in (self.system, self.variation) if part)


@dataclass(frozen=True)
class Published:
    """One file: what is printed for one data set and protocol. Where sources disagree each has its own row."""

    dataset: str = setting(doc="its name")
    split: str = setting(doc="the scored split")
    protocol: str = setting(doc="what is trained on, what is a query")
    sources: dict[str, Source] = setting(doc="{name: {publication, known}}")
    rows: tuple[PublishedRow, ...] = setting(doc="one a system, backbone, post-processing and source")
    texts: int | None = setting(None, "texts in the split; null: not known", ge=1)
    videos: int | None = setting(None, "videos in the split; null: not known", ge=1)

    @property
    def title(self) -> str:
        """`MSR-VTT, 1k-A test, 1,000 texts, 1,000 videos`"""
        counts = {"texts": self.texts, "videos": self.videos}
        sizes = [f"{count:,} {name}" for name, count in counts.items() if count is not None]
        return ", ".join([self.dataset, self.split, *sizes])

    @property
    def metrics(self) -> list[str]:
        """Every metric that some row has, in the order of the file."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))


def read_published(document: Document, names: Iterable[str]) -> list[Published]:
    """The files that an experiment names under `references`.

    names: paths from the working directory. Raises ConfigError with every fault: a file that is missing at the
    experiment's key, what is wrong inside at the file's own key.
    """
    tables, problems = [], []
    for index, name in enumerate(names):
        try:
            tables.append(load_published(_located(name, f"references[{index}]", document.origin("references"))))
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    return tables


def load_published(path: str | Path) -> Published:
    """One file of published numbers. Raises ConfigError with every fault, each with the file and its key."""
    document = read_document(str(path))
    checker = Checker()
    published = checker.build(Published, document.values, "")
    problems = checker.problems or list(_contradictions(published))
    if problems:
        raise ConfigError(document.blame(problems))
    return published


def _located(name: str, key: str, writer: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    hint = nearest(path.name, [other.name for other in path.parent.glob("*.y*ml")])
    raise ConfigError(Problem(key, f"no such file: looked for {looked_for(path)}.{hint}", writer))


def _contradictions(published: Published) -> Iterator[Problem]:
    """Faults that a field's own type and limits do not show."""
    if not published.rows:
        yield Problem("rows", "needs one row at least")
    same = Counter(_identity(row) for row in published.rows)
    for index, row in enumerate(published.rows):
        key = f"rows[{index}]"
        if row.source not in published.sources:
            yield Problem(join(key, "source"), f"no source `{row.source}`.{nearest(row.source, published.sources)}")
        if not row.values:
            yield Problem(join(key, "values"), "needs one value at least")
        for name, value in row.values.items():
            yield from _value_faults(name, value, join(join(key, "values"), name))
        for name in row.uncertain:
            if name not in row.values:
                yield Problem(join(key, "uncertain"), f"the row has no value of `{name}`.{nearest(name, row.values)}")
        if same[_identity(row)] > 1:
            yield Problem(key, f"{row.name} stands twice from this source, with this backbone and post-processing")


def _identity(row: PublishedRow) -> tuple[str, ...]:
    return row.system, row.variation, row.backbone, row.post_processing, row.source


def _value_faults(name: str, value: float, key: str) -> Iterator[Problem]:
    if not name.startswith(tuple(f"{direction}/" for direction in DIRECTIONS)):
        yield Problem(key, f"has no direction; write t2v/{name} or v2t/{name}")
        return
    try:
        measure = metric(name)
    except UserError:
        yield Problem(key, "is no metric; write t2v/R1, v2t/MnR or the like")
        return
    top = 300.0 if measure.family == "RSum" else 100.0
    if measure.family == "rank" and value < 1:
        yield Problem(key, f"a rank is 1 at least, got {value:g}")
    elif measure.family != "rank" and not 0 <= value <= top:
        yield Problem(key, f"must be from 0 to {top:g}, got {value:g}")
