"""What MLflow is to hold of one trial: name, params, metrics, tags, data, files. Knows no MLflow."""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.outputs import (
    FailedTrial,
    Failure,
    Fit,
    Result,
    Row,
    Trial,
    Variant,
    metric,
    short_key,
    short_value,
    split_key,
)

from ..axes import keys_of
from ..numbers import interval, p_value
from .server import DataInput

NOT_APPLICABLE = "-"
LONGEST_NAME = 240
"""Of a metric, param or hypothesis; MLflow takes 250, with what stands before it."""
FAILURE = "failure"
"""The tag that says why a trial failed. One that succeeds when it is tried again is another run."""
LONGEST_TAG = 500
"""Of a reason, which may be any text; the artifact failure.txt has it whole."""
MARKS = {"better": "▲", "worse": "▼", "n.s.": "—"}


@dataclass(frozen=True)
class TrialRecord:
    """Everything that MLflow holds of one trial, of one that failed too."""

    result: Result
    row: Row
    trial: Trial | FailedTrial

    @property
    def failure(self) -> Failure | None:
        return self.trial.failure if isinstance(self.trial, FailedTrial) else None

    @property
    def status(self) -> str:
        return "FAILED" if self.failure else "FINISHED"

    @property
    def identity(self) -> tuple[str, str]:
        return self.trial.key, self.trial.variant

    @property
    def seed(self) -> str:
        return NOT_APPLICABLE if self.trial.seed is None else str(self.trial.seed)

    @property
    def name(self) -> str:
        """What differs: `top_k=50 partial · seed 0`."""
        seed = "" if self.trial.seed is None else f" · seed {self.seed}"
        return run_name(self.row.variant, self.result.variants) + seed

    @cached_property
    def fits(self) -> dict[str, Fit]:
        """None of a trial that failed: they may be what did."""
        fits = {} if isinstance(self.trial, FailedTrial) else self.trial.fits
        return {name: fit for name, fit in fits.items() if fit is not None}

    @property
    def ended(self) -> int:
        """When its result was stored, or it failed, in milliseconds."""
        return int(1000 * self.trial.ended)

    @property
    def started(self) -> int:
        """So long before `ended` as its training took."""
        return self.ended - int(1000 * sum(fit.seconds for fit in self.fits.values()))

    @property
    def current_tags(self) -> dict[str, str]:
        """Tags that may change: how it fared depends on the other variants."""
        tested = self.row.comparisons.get(self.result.primary)
        difference = f"{tested.difference:+.2f} ({interval(tested)})" if tested else NOT_APPLICABLE
        if self.failure:
            told = {"outcome": "failed", "difference": NOT_APPLICABLE, FAILURE: str(self.failure)[:LONGEST_TAG]}
            return {"role": "trial", **told}
        return {"role": "trial", "outcome": outcome(self.row, self.result.primary), "difference": difference}

    @property
    def tags(self) -> dict[str, str]:
        return {
            "file_version": self.result.version,
            "trial_key": self.trial.key,
            "variant": self.trial.variant,
            "seed": self.seed,
            "data": self.row.split,
        }

    @property
    def params(self) -> dict[str, str]:
        """Only what varies."""
        keys = param_keys(self.result)
        return {name: param_value(self.row.variant, key) if key else self.seed for key, name in keys.items()}

    @property
    def data(self) -> list[DataInput]:
        """The split that was scored and, where something was trained, the one that it was trained on."""
        return [
            DataInput(
                name=f"{used.dataset} {used.split}",
                digest=used.digest,
                context=used.split,
                source=used.source,
                profile=json.dumps({"videos": used.videos, "texts": used.texts}),
            )
            for used in self.trial.data
        ]

    @property
    def points(self) -> list[tuple[str, float, int]]:
        """(name, value, step): the metrics at step 0, the training curve by epoch. What is not finite is left out."""
        if isinstance(self.trial, FailedTrial):
            return []
        points = [(name, value, 0) for name, value in (self.trial.metrics | self.trial.costs).items()]
        points += [(f"{direction}/ceiling", value, 0) for direction, value in self.trial.ceilings.items()]
        points += [(f"{direction}/index_recall", value, 0) for direction, value in self.trial.index_recalls.items()]
        for prefix, fit in self.fits.items():
            for record in fit.history:
                curve = {name: value for name, value in record.items() if name != "epoch"}
                points += [(self._curve(prefix, name), value, int(record["epoch"])) for name, value in curve.items()]
        if "rerank" in self.fits and self.fits["rerank"].alpha is not None:
            points.append(("rerank/alpha", self.fits["rerank"].alpha, 0))
        return [(allowed(name), rounded(value), step) for name, value, step in points if math.isfinite(value)]

    def _curve(self, prefix: str, name: str) -> str:
        if name != "validation":
            return f"{prefix}/{name}"
        return f"{'' if prefix == 'train' else f'{prefix}/'}validation/{self.result.primary}"

    @property
    def files(self) -> dict[str, str]:
        """Artifacts by path: a file that repeats the trial, values query by query, videos that were left out; of a
        trial that failed the traceback."""
        files = {"config.yaml": as_yaml(self.trial.configuration)}
        if isinstance(self.trial, FailedTrial):
            return files | {"failure.txt": f"{self.trial.failure}\n\n{self.trial.failure.traceback}\n"}
        for direction in self.trial.directions:
            files[f"per_query/{direction}.csv"] = per_query(self.trial, direction)
        skipped = self.trial.items["skipped"]
        return files | ({"skipped.json": json.dumps(skipped, indent=1)} if skipped else {})


def rounded(value: float) -> float:
    """Two decimals, or as many as show four digits: MLflow's page prints all that it is given."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return round(value, max(2, 3 - size))


def outcome(row: Row, primary: str) -> str:
    """`▲ better p=0.030`; p is corrected for the family."""
    if row.outcome not in MARKS:
        return row.outcome
    p = p_value(row.comparisons[primary].p_corrected)
    return f"{MARKS[row.outcome]} {row.outcome} p{p.replace(' ', '') if p.startswith('<') else f'={p}'}"


def run_name(variant: Variant, variants: Sequence[Variant]) -> str:
    """`top_k=50 partial` for `preset=partial top_k=50`: what has most values first, the data last, for a narrow column.

    A word stands without its key where every variant assigns that key. A name that was given by hand stays.
    """
    keys = list(dict.fromkeys(key for other in variants for key in other.assignments))
    named = {key: f"{short_key(key, keys)}={short_value(value)}" for key, value in variant.assignments.items()}
    if not named or " ".join(named.values()) != variant.name:
        return variant.name
    assigned = {key: [other.assignments[key] for other in variants if key in other.assignments] for key in named}
    numbers = {key: len({short_value(value) for value in values}) for key, values in assigned.items()}
    first, *others = sorted(named, key=lambda key: (split_key(key)[:2] == ["data", "dataset"], -numbers[key]))
    for key in others:
        value = variant.assignments[key]
        if isinstance(value, str) and len(assigned[key]) == len(variants):
            named[key] = value
    return " ".join(named[key] for key in (first, *others))


def param_keys(result: Result) -> dict[str, str]:
    """{dotted key: shortest name} of what varies among the variants, and the seed."""
    keys = keys_of(result)
    return {key: allowed(short_key(key, [*keys, "seed"])) for key in keys} | {"": "seed"}


def allowed(name: str) -> str:
    """A name with what MLflow refuses in names replaced: signs, and what is no plain path (`a//b`, `../a`)."""
    kept = re.sub(r"[^\w\-. :/]", "_", name)[:LONGEST_NAME]
    if kept == posixpath.normpath(kept) and not kept.startswith(("/", ".")):
        return kept
    return kept.replace("/", "_").lstrip(".") or "_"


def param_value(variant: Variant, key: str) -> str:
    """A variant's value of a key that varies: as assigned, else what its file says there."""
    value = variant.assignments[key] if key in variant.assignments else in_brief(variant.value(key))
    return short_value(value) or NOT_APPLICABLE


def in_brief(value: Any) -> Any:
    """A resolved value as one would write it: a component by its name, a mixture of one by that one."""
    if value is None:
        return NOT_APPLICABLE
    if isinstance(value, Mapping) and "name" in value:
        return value["name"]
    if isinstance(value, Mapping) and list(value.values()) == [1.0]:
        return next(iter(value))
    return value


def as_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def per_query(trial: Trial, direction: str) -> str:
    """CSV, one line a query: its id, its cluster (queries of one are not independent), its rank and other values."""
    clusters = trial.tensors[f"{direction}/clusters"].tolist()
    columns = {"query": trial.items["texts" if direction == "t2v" else "videos"], "cluster": clusters}
    for name in trial.metrics:
        side, _, short = name.partition("/")
        if side == direction:
            column = "rank" if metric(short).family == "rank" else short
            columns[column] = [f"{value:.6g}" for value in trial.tensors[name].tolist()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()
