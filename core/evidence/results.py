"""What an experiment found, as outputs are handed it: rows of the table, decisions on hypotheses, the whole result."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..contract.repository import GitState
from ..engine.plan import Plan
from ..errors import UserError, counted
from ..experiment.config import Experiment
from ..experiment.hypotheses import Hypothesis
from ..experiment.published import Published
from ..experiment.selection import Variant, baseline_of
from ..measure.significance import MOST_SEEDS, Comparison, Verdict, needed
from .hiding import Hide, hidden_in
from .trials import FailedTrial, Trial, runnable

if TYPE_CHECKING:
    from pandas import DataFrame

    from ..contract.components import Encoder
    from .rankings import Rankings

OUTCOMES = ("better", "worse", "n.s.")
VERDICTS = ("supported", "refuted", "not decided")


@dataclass(frozen=True)
class Refusal:
    """Why two variants are not compared.

    label    for a cell of the table
    reason   a clause with the place of either name, `{0}` and `{1}`, and the key that makes the difference
    failed   whether trials failed; without, the two might have been compared
    """

    label: str
    reason: str
    failed: bool = False

    def between(self, name: str, other: str) -> str:
        """The reason with both names."""
        return self.reason.format(name, other)


@dataclass(repr=False)
class Row:
    """One variant of the table: means over seeds, their spread, and comparisons with the baseline by metric.

    results, failed: its trials, one or the other for each seed; means are over those that have a result.
    selected_on: the split by whose results its weights were chosen; None where they were not.
    transductive: whether a query's scores depend on the other test queries.
    split: digest of the split that it scores.
    """

    variant: Variant
    results: list[Trial]
    failed: list[FailedTrial]
    selected_on: str | None = None
    transductive: bool = False
    split: str = ""
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    outcome: str = ""

    @property
    def name(self) -> str:
        return self.variant.name

    @property
    def is_baseline(self) -> bool:
        return self.variant.is_baseline

    @property
    def trials(self) -> list[Trial | FailedTrial]:
        return [*self.results, *self.failed]

    @property
    def whole(self) -> bool:
        """Whether every trial has a result."""
        return not self.failed

    @property
    def size(self) -> str:
        """What it ranks: `700 videos, 1,400 texts`."""
        stored = self.results[0].stored
        return f"{stored['videos']:,} videos, {stored['texts']:,} texts"

    @property
    def seeds(self) -> list[int]:
        """Those that have a result."""
        return [trial.seed for trial in self.results if trial.seed is not None]

    @property
    def failed_seeds(self) -> str:
        """`seed 3`, `seeds 1, 3`; "" where none failed, or nothing depends on a seed."""
        seeds = [str(trial.seed) for trial in self.failed if trial.seed is not None]
        return f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(seeds)}" if seeds else ""

    @property
    def selected_on_test(self) -> bool:
        """Whether that is the test split, as a recipe that repeats a paper may have it."""
        return self.selected_on == "test"

    @property
    def costs(self) -> dict[str, float]:
        """Mean over seeds of every cost that was measured of each."""
        first = self.results[0].costs if self.results else {}
        shared = [name for name in first if all(name in result.costs for result in self.results)]
        return {name: float(np.mean([result.costs[name] for result in self.results])) for name in shared}

    def values(self, name: str) -> list[float]:
        """The metric of each seed."""
        return [result.metrics[name] for result in self.results]

    def to_frame(self) -> DataFrame:
        """One row a seed, one column a metric, costs among them."""
        from pandas import DataFrame

        values = [trial.metrics | trial.costs for trial in self.results]
        return DataFrame(values, index=[trial.name for trial in self.results])

    def __repr__(self) -> str:
        return f"Row({self.name}: {counted(len(self.results), 'trial')}, {self.outcome or 'not compared'})"

    def _repr_html_(self) -> str:
        """The metrics of each seed, for a notebook."""
        return f"<p>{escape(repr(self))}</p>{self.to_frame().to_html(float_format='{:.2f}'.format)}"

    def mean(self, name: str) -> float:
        """Over seeds; nan where no trial has a result."""
        return float(np.mean(self.values(name))) if self.results else math.nan

    def spread(self, name: str) -> float:
        """Standard deviation over seeds; nan for one."""
        return float(np.std(self.values(name), ddof=1)) if len(self.results) > 1 else math.nan

    def per_query(self, name: str) -> NDArray[np.float64]:
        """[seeds, queries]"""
        return np.stack([np.asarray(result.tensors[name], dtype=np.float64) for result in self.results])


@dataclass(frozen=True)
class Decision:
    """A hypothesis with its verdict.

    times_scored: how often its split was scored in this store. earlier: tries of the same claim before, `name (seed 0)`
    """

    hypothesis: Hypothesis
    verdict: Verdict
    post_hoc: bool
    times_scored: int
    earlier: tuple[str, ...] = ()

    @property
    def lateness(self) -> str:
        """That it was claimed after the fact, and under which names it was tried before; "" for neither."""
        late = ["post hoc: claimed or changed after the split had been scored"] if self.post_hoc else []
        tries = [f"tried before as {', '.join(self.earlier)}"] if self.earlier else []
        return "; ".join([*late, *tries])

    @property
    def needs(self) -> str | None:
        """`about 12 seeds (5 now)`: what would decide it with 80 % power, if true gain and spreads are those seen.

        None where it is decided, where no test is asked, and where nothing varies.
        """
        need, comparison = needed(self.verdict), self.verdict.evidence.comparison
        if need is None or comparison is None:
            return None
        if need.seeds is not None:
            return f"about {need.seeds} seeds ({comparison.seeds} now)"
        videos = "far more videos" if need.clusters is None else f"about {_rounded_up(need.clusters):,} videos"
        not_enough = f": {MOST_SEEDS} seeds are not enough" if comparison.seeds > 1 else ""
        return f"{videos} ({comparison.n_clusters:,} now){not_enough}"

    def __repr__(self) -> str:
        mark = ", post hoc" if self.post_hoc else ""
        return f"Decision({self.hypothesis.name}: {self.verdict.verdict}{mark})"

    def _repr_html_(self) -> str:
        """Claim, verdict and reason, for a notebook."""
        told = {
            "hypothesis": self.hypothesis.name,
            "claim": str(self.hypothesis),
            "verdict": self.verdict.verdict,
            "reason": self.verdict.reason,
            "beware": self.lateness,
        }
        rows = "".join(f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in told.items() if text)
        return f"<table><tbody>{rows}</tbody></table>"

    def __str__(self) -> str:
        """`SUPPORTED: name: what was claimed (why)`, with a mark where it was claimed after the fact."""
        mark = f" [{self.lateness}]" if self.lateness else ""
        told = f"{self.hypothesis.name}: {self.hypothesis} ({self.verdict.reason})"
        return f"{self.verdict.verdict.upper()}: {told}{mark}"


def _rounded_up(count: int) -> int:
    """To two digits."""
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


@dataclass(repr=False)
class Result:
    """What an experiment found, in plain data and texts. Outputs are handed it with nothing in it that is to be hidden.

    rows, in the order of the file, hold the variants; experiment is the first baseline's configuration. decisions are
    one Holm family; incomparable are the hypotheses without a verdict, each with the reason; withdrawn the claims that
    were registered before scoring and are made no longer. refusals: why rows are not compared with their baseline, by
    name.
    published: numbers that the experiment names; they enter no test and no rank. skipped: {path: reason} of every video
    that was left out of a scored split. notes: how the numbers were made, what they cover, what to beware of; basis:
    the same in short, for a caption. facts: {name: fact} of data, encoder, training; data_and_encoders: those of
    all variants, as they are written.
    command computes the results again; rewrite lets the outputs write them again. version: digest of what the file
    resolves to. sources: {name: text} of the experiment file and those that it extends. packages, code: what it was
    computed with, as it is installed now; no code where the experiment is anonymous.
    """

    name: str
    file: str
    experiment: Experiment
    hypotheses: list[Hypothesis]
    rows: list[Row]
    registration: str
    version: str
    command: str
    rewrite: str
    question: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    code: GitState | None = None
    decisions: list[Decision] = field(default_factory=list)
    refusals: dict[str, Refusal] = field(default_factory=dict)
    incomparable: list[tuple[Hypothesis, str]] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    basis: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    data_and_encoders: list[str] = field(default_factory=list)
    _plan: Plan | None = field(default=None, repr=False)
    _hide: Hide = field(default=str, repr=False)

    def to_frame(self) -> DataFrame:
        """One row a variant: the mean of each metric over seeds, and how it compares with the baseline on the primary
        one (difference, its 95 % interval, corrected p, outcome).
        """
        from pandas import DataFrame

        rows = {row.name: {name: row.mean(name) for name in self.metrics} | self._compared(row) for row in self.rows}
        return DataFrame.from_dict(rows, orient="index")

    def _compared(self, row: Row) -> dict[str, object]:
        tested = row.comparisons.get(self.primary)
        numbers = (tested.difference, tested.low, tested.high, tested.p_corrected) if tested else (math.nan,) * 4
        return dict(zip(("difference", "low", "high", "p"), numbers, strict=True)) | {"outcome": row.outcome}

    def __repr__(self) -> str:
        return f"Result({self.name}: {counted(len(self.rows), 'variant')}. {self.in_short})"

    def _repr_html_(self) -> str:
        """The table and the decisions, for a notebook."""
        decided = "".join(f"<li>{escape(str(decision))}</li>" for decision in self.decisions)
        return f"{self.to_frame().to_html(float_format='{:.2f}'.format)}<ul>{decided}</ul>"

    def hidden_by(self, hide: Hide) -> Result:
        """The same with every text in it hidden, those too that are read only when they are asked for."""
        told = [item.name for item in fields(self) if not item.name.startswith("_")]
        return replace(self, **{name: hidden_in(getattr(self, name), hide) for name in told}, _hide=hide)

    def repeating(self, variant: Variant) -> dict[str, Any]:
        """A variant's resolved configuration as an experiment file with the seeds of this one."""
        return runnable(self.name, variant, list(self.experiment.seeds))

    def rankings(self, variant: str | None = None) -> Rankings:
        """What the texts of a variant's first trial pass through; None: of the best of those that re-rank.

        Raises UserError for a variant that is not there, and for results that are not in the store.
        """
        from .rankings import rankings

        return rankings(self._known_plan, variant, self._hide)

    def encoder(self) -> Encoder:
        """The encoder of the first trial, as trained where it was, on the CPU. Raises UserError where it fails."""
        from ..engine.loading import trained_encoder

        return trained_encoder(self._known_plan)

    @property
    def _known_plan(self) -> Plan:
        if self._plan is None:
            raise UserError(f"{self.name}: this result was not read from a store")
        return self._plan

    @property
    def primary(self) -> str:
        return self.experiment.evaluate.primary

    @property
    def correction(self) -> str:
        """That of the family of variants on `primary`, one of `CORRECTIONS`; hypotheses are a Holm family always."""
        return self.experiment.evaluate.correction

    @property
    def metrics(self) -> list[str]:
        """Columns, the primary first."""
        settings = self.experiment.evaluate
        columns = [f"{direction}/{name}" for direction in settings.directions for name in settings.metrics]
        columns += [f"t2v/{diagnostic}" for diagnostic in settings.diagnostics]
        return list(dict.fromkeys([self.primary, *columns]))

    @property
    def variants(self) -> list[Variant]:
        return [row.variant for row in self.rows]

    @property
    def baselines(self) -> list[Row]:
        """One on each of the data that are scored, in the order of the file."""
        return [row for row in self.rows if row.is_baseline]

    @property
    def baseline(self) -> Row:
        """The first of them."""
        return self.baselines[0]

    def baseline_of(self, row: Row) -> Row:
        """What a row is compared with: the baseline on its own data, where there is one."""
        name = baseline_of(row.variant, self.variants).name
        return next(other for other in self.baselines if other.name == name)

    @property
    def size(self) -> str:
        """`700 videos, 1,400 texts`; several where there are several baselines and they rank other numbers of them."""
        sizes = [row.size for row in self.baselines if row.results] or [row.size for row in self.rows if row.results]
        return " and ".join(dict.fromkeys(sizes[: len(self.baselines)]))

    @property
    def failed(self) -> list[FailedTrial]:
        """The trials that have no result."""
        return [failed for row in self.rows for failed in row.failed]

    @property
    def skipped(self) -> dict[str, str]:
        faults = [fault for row in self.rows for trial in row.results for fault in trial.items["skipped"].values()]
        return {path: reason for path, reason, _ in faults}

    @property
    def in_short(self) -> str:
        """Verdicts and outcomes counted, in one sentence."""
        verdicts: Counter[str] = Counter(decision.verdict.verdict for decision in self.decisions)
        outcomes: Counter[str] = Counter(
            "not compared: trials failed" if row.failed else row.outcome for row in self.rows if not row.is_baseline
        )
        parts = []
        if verdicts:
            told = ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name])
            parts.append(f"{counted(len(self.decisions), 'hypothesis', 'hypotheses')}: {told}.")
        if outcomes:
            names = [name for name in dict.fromkeys([*OUTCOMES, *outcomes]) if outcomes[name]]
            told = ", ".join(f"{outcomes[name]} {name}" for name in names)
            number = counted(sum(outcomes.values()), "variant")
            against = " and ".join(f"`{row.name}`" for row in self.baselines)
            parts.append(f"{number} against {against} on {self.primary}: {told.removesuffix('.')}.")
        return " ".join(parts)
