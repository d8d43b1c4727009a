"""What MLflow is to hold of one trial: name, params, metrics, tags, data, files. Knows no MLflow."""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from core.components import Split
from core.failures import Failure
from core.findings import Result
from core.hypotheses import configuration
from core.metrics import metric
from core.plan import Plan
from core.recognition import split_scored
from core.references import Variant, short_key, short_value
from core.results import FailedTrial, Row, TrialResult
from core.steps.step import Step
from core.store import Entry, digest

from .. import report
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
    found: TrialResult | FailedTrial
    version: str

    @property
    def failure(self) -> Failure | None:
        return self.found.failure if isinstance(self.found, FailedTrial) else None

    @property
    def status(self) -> str:
        return "FAILED" if self.failure else "FINISHED"

    @property
    def variant(self) -> Variant:
        return self.found.trial.variant

    @property
    def identity(self) -> tuple[str, str]:
        return self.found.trial.last.key, self.variant.name

    @property
    def seed(self) -> str:
        return NOT_APPLICABLE if self.found.trial.seed is None else str(self.found.trial.seed)

    @property
    def name(self) -> str:
        """What differs: `top_k=50 · seed 0`."""
        return self.variant.name + ("" if self.seed == NOT_APPLICABLE else f" · seed {self.seed}")

    @cached_property
    def _fit_steps(self) -> dict[str, Step]:
        """Steps that trained, by the prefix of their curve: the model under `train`, a reranker under `rerank`."""
        prefixes = {"fit": "train", "fit_reranker": "rerank"}
        ranks = [step for name, step in self.found.trial.last.inputs.items() if name != "efficiency"]  # of one seed
        walked = (step for rank in ranks for step in rank.walk())
        return {prefixes[step.name]: step for step in walked if step.name in prefixes}

    @cached_property
    def fits(self) -> dict[str, Entry]:
        """None of a trial that failed: they may be what did."""
        if self.failure:
            return {}
        return {prefix: self.result.plan.workspace.read(step) for prefix, step in self._fit_steps.items()}

    @property
    def ended(self) -> int:
        """When its result was stored, or it failed, in milliseconds."""
        if isinstance(self.found, FailedTrial):
            return int(1000 * self.found.failure.time)
        return int(1000 * self.found.entry.meta["created"])

    @property
    def started(self) -> int:
        """So long before `ended` as its training took."""
        return self.ended - int(1000 * sum(fit.meta["seconds"] for fit in self.fits.values()))

    @property
    def current_tags(self) -> dict[str, str]:
        """Tags that may change: how it fared depends on the other variants."""
        tested = self.row.comparisons.get(self.result.primary)
        difference = f"{tested.difference:+.2f} ({report.interval(tested)})" if tested else NOT_APPLICABLE
        if self.failure:
            told = {"outcome": "failed", "difference": NOT_APPLICABLE, FAILURE: str(self.failure)[:LONGEST_TAG]}
            return {"role": "trial", **told}
        return {"role": "trial", "outcome": outcome(self.row, self.result.primary), "difference": difference}

    @property
    def tags(self) -> dict[str, str]:
        return {
            "file_version": self.version,
            "trial_key": self.found.trial.last.key,
            "variant": self.variant.name,
            "seed": self.seed,
            "data": split_scored(self.result.plan, self.variant.name),
        }

    @property
    def params(self) -> dict[str, str]:
        """Only what varies."""
        keys = param_keys(self.result.plan)
        return {name: shown(self.variant, key) if key else self.seed for key, name in keys.items()}

    @property
    def data(self) -> list[DataInput]:
        """The split that was scored and, where something was trained, the one that it was trained on."""
        settings = self.variant.experiment
        dataset = settings.data.dataset
        source = short_value(dataset.resolved())
        scored = settings.evaluate.split
        splits = {scored: self.found.trial.last.payload.split}
        if "train" in self._fit_steps:
            splits["train"] = self._fit_steps["train"].payload.train
        return [_data_input(f"{dataset.name} {name}", split, name, source) for name, split in splits.items()]

    @property
    def points(self) -> list[tuple[str, float, int]]:
        """(name, value, step): the metrics at step 0, the training curve by epoch. What is not finite is left out."""
        if isinstance(self.found, FailedTrial):
            return []
        found = [(name, value, 0) for name, value in (self.found.metrics | self.found.costs).items()]
        found += [(f"{direction}/ceiling", value, 0) for direction, value in self.found.ceilings.items()]
        found += [(f"{direction}/index_recall", value, 0) for direction, value in self.found.index_recalls.items()]
        for prefix, fit in self.fits.items():
            for record in fit.json("history.json"):
                curve = {name: value for name, value in record.items() if name != "epoch"}
                found += [(self._curve(prefix, name), value, record["epoch"]) for name, value in curve.items()]
        if "rerank" in self.fits:
            found.append(("rerank/alpha", self.fits["rerank"].json("chosen.json")["alpha"], 0))
        return [(allowed(name), rounded(value), step) for name, value, step in found if math.isfinite(value)]

    def _curve(self, prefix: str, name: str) -> str:
        if name != "validation":
            return f"{prefix}/{name}"
        return f"{'' if prefix == 'train' else f'{prefix}/'}validation/{self.result.primary}"

    @property
    def files(self) -> dict[str, str]:
        """Artifacts by path: a file that repeats the trial, values query by query, videos that were left out; of a
        trial that failed the traceback."""
        config = runnable(self.result.name, self.variant, self.found.trial.seed)
        files = {"config.yaml": as_yaml(config)}
        if isinstance(self.found, FailedTrial):
            return files | {"failure.txt": f"{self.found.failure}\n\n{self.found.failure.traceback}\n"}
        for direction in self.variant.experiment.evaluate.directions:
            files[f"per_query/{direction}.csv"] = per_query(self.found, direction)
        skipped = self.found.items["skipped"]
        return files | ({"skipped.json": json.dumps(skipped, indent=1)} if skipped else {})


def rounded(value: float) -> float:
    """Two decimals, or as many as show four digits: MLflow's page prints all that it is given."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return round(value, max(2, 3 - size))


def _data_input(name: str, split: Split, context: str, source: str) -> DataInput:
    """A split with the digest of its ids and texts."""
    texts = [[text.id, text.text, text.video] for text in split.texts]
    content = digest([[video.id for video in split.videos], texts, split.pairs])
    sizes = {"videos": len(split.videos), "texts": len(split.texts)}
    return DataInput(name=name, digest=content, context=context, source=source, profile=json.dumps(sizes))


def outcome(row: Row, primary: str) -> str:
    """`▲ better p=0.030`; p is corrected for the family."""
    if row.outcome not in MARKS:
        return row.outcome
    p = report.p_value(row.comparisons[primary].p_corrected)
    return f"{MARKS[row.outcome]} {row.outcome} p{p.replace(' ', '') if p.startswith('<') else f'={p}'}"


def param_keys(plan: Plan) -> dict[str, str]:
    """{dotted key: shortest name} of what varies among the variants, and the seed."""
    keys = list(dict.fromkeys(key for variant in plan.variants for key in variant.assignments))
    return {key: allowed(short_key(key, [*keys, "seed"])) for key in keys} | {"": "seed"}


def allowed(name: str) -> str:
    """A name with what MLflow refuses in names replaced: signs, and what is no plain path (`a//b`, `../a`)."""
    kept = re.sub(r"[^\w\-. :/]", "_", name)[:LONGEST_NAME]
    if kept == posixpath.normpath(kept) and not kept.startswith(("/", ".")):
        return kept
    return kept.replace("/", "_").lstrip(".") or "_"


def shown(variant: Variant, key: str) -> str:
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


def runnable(name: str, variant: Variant, seed: int | None) -> dict[str, Any]:
    """A resolved configuration as an experiment file that repeats this one trial."""
    values = configuration(variant)
    encoder = values["encoder"]
    return {"name": name, **values, "encoder": encoder.get("", encoder), "seeds": [seed or 0]}


def as_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def per_query(found: TrialResult, direction: str) -> str:
    """CSV, one line a query: its id, its cluster (queries of one are not independent), its rank and other values."""
    clusters = found.tensors[f"{direction}/clusters"].tolist()
    columns = {"query": found.items["texts" if direction == "t2v" else "videos"], "cluster": clusters}
    for name in found.metrics:
        side, _, short = name.partition("/")
        if side == direction:
            column = "rank" if metric(short).family == "rank" else short
            columns[column] = [f"{value:.6g}" for value in found.tensors[name].tolist()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()
