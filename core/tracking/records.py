"""What MLflow is to hold of an experiment and of each trial: names, params, metrics, tags, files. Knows no MLflow."""

from __future__ import annotations

import csv
import getpass
import io
import json
import math
import os
import re
import shlex
import socket
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import report
from ..findings import Result, Row, TrialResult
from ..hypotheses import configuration
from ..keys import lookup, split_key
from ..metrics import metric
from ..plan import Plan
from ..plugins import registry
from ..references import Variant, short_key, short_value
from ..registration import split_scored
from ..settings import plain
from ..store import Entry, digest

NOT_APPLICABLE = "-"
LONGEST_NOTE = 8000
MARKS = {"better": "▲", "worse": "▼", "n.s.": "—"}
VERDICTS = ("supported", "refuted", "not decided")


def file_version(plan: Plan) -> str:
    """Digest of what an experiment file resolves to, wherever it is tracked or exported."""
    left_out = {"tracking", "export", "references", "claim"}
    return digest(
        [
            [variant.name, {key: value for key, value in plain(variant.experiment).items() if key not in left_out}]
            for variant in plan.variants
        ]
    )


def param_keys(plan: Plan) -> dict[str, str]:
    """{dotted key: shortest name} of what varies among the variants, and the seed."""
    keys = list(dict.fromkeys(key for variant in plan.variants for key in variant.assignments))
    return {key: allowed(short_key(key, [*keys, "seed"])) for key in keys} | {"": "seed"}


def allowed(name: str) -> str:
    """A name with what MLflow refuses in names replaced."""
    return re.sub(r"[^\w\-. :/]", "_", name)


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


# ------------------------------------------------------------------------------------------------ one trial


@dataclass(frozen=True)
class TrialRecord:
    """Everything that MLflow holds of one trial."""

    result: Result
    row: Row
    found: TrialResult
    version: str

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
    def fits(self) -> dict[str, Entry]:
        """What was trained, by the prefix of its curve: the model under `train`, a reranker under `rerank`."""
        prefixes = {"fit": "train", "fit_reranker": "rerank"}
        ranks = [step for name, step in self.found.trial.last.inputs.items() if name != "efficiency"]  # of one seed
        walked = (step for rank in ranks for step in rank.walk())
        steps = {prefixes[step.name]: step for step in walked if step.name in prefixes}
        return {prefix: self.result.plan.workspace.read(step) for prefix, step in steps.items()}

    @property
    def ended(self) -> int:
        """When its result was stored, in milliseconds."""
        return int(1000 * self.found.entry.meta["created"])

    @property
    def started(self) -> int:
        """So long before `ended` as its training took."""
        return self.ended - int(1000 * sum(fit.meta["seconds"] for fit in self.fits.values()))

    @property
    def current_tags(self) -> dict[str, str]:
        """Tags that may change: the outcome depends on the other variants."""
        return {"role": "trial", "outcome": outcome(self.row, self.result.primary)}

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
    def points(self) -> list[tuple[str, float, int]]:
        """(name, value, step): the metrics at step 0, the training curve by epoch. What is not finite is left out."""
        found = [(name, value, 0) for name, value in (self.found.metrics | self.found.costs).items()]
        found += [(f"{direction}/ceiling", value, 0) for direction, value in self.found.ceilings.items()]
        found += [(f"{direction}/index_recall", value, 0) for direction, value in self.found.index_recalls.items()]
        for prefix, fit in self.fits.items():
            for record in fit.json("history.json"):
                curve = {name: value for name, value in record.items() if name != "epoch"}
                found += [(self._curve(prefix, name), value, record["epoch"]) for name, value in curve.items()]
        if "rerank" in self.fits:
            found.append(("rerank/alpha", self.fits["rerank"].json("chosen.json")["alpha"], 0))
        return [(allowed(name), round(value, 4), step) for name, value, step in found if math.isfinite(value)]

    def _curve(self, prefix: str, name: str) -> str:
        if name != "validation":
            return f"{prefix}/{name}"
        return f"{'' if prefix == 'train' else f'{prefix}/'}validation/{self.result.primary}"

    @property
    def files(self) -> dict[str, str]:
        config = runnable(self.result.name, self.variant, self.found.trial.seed)
        files = {"config.yaml": as_yaml(config)}
        for direction in self.variant.experiment.evaluate.directions:
            files[f"per_query_{direction}.csv"] = per_query(self.found, direction)
        skipped = self.found.items["skipped"]
        return files | ({"skipped.json": json.dumps(skipped, indent=1)} if skipped else {})


def outcome(row: Row, primary: str) -> str:
    """`▲ better p=0.030`; p is corrected for the family."""
    if row.outcome not in MARKS:
        return row.outcome
    p = report.p_value(row.comparisons[primary].p_corrected)
    return f"{MARKS[row.outcome]} {row.outcome} p{p.replace(' ', '') if p.startswith('<') else f'={p}'}"


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


# ------------------------------------------------------------------------------------------------ the experiment


def origin(result: Result) -> dict[str, str]:
    """Where and by what a run was written: code, plugins, data, machine."""
    document = result.plan.document
    given = [text for text in overrides(result.plan) if not text.startswith("tracking.")]
    plugins = sorted({f"{item.package} {item.version}".strip() for item in registry().found.values()})
    return {
        "plugins": ", ".join(plugins),
        "data": split_scored(result.plan, result.baseline.name),
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "overrides": " ".join(given) or NOT_APPLICABLE,
        "mlflow.user": _user(),
        "mlflow.source.name": document.file,
        "mlflow.source.type": "LOCAL",
        **git_state(Path.cwd()),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def git_state(folder: Path) -> dict[str, str]:
    """Commit of the folder's repository, and whether tracked files differ from it; nothing outside a repository."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        dirty = "yes" if git("status", "--porcelain", "--untracked-files=no") else "no"
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"git.commit": commit, "git.dirty": dirty, "mlflow.source.git.commit": commit}


def overrides(plan: Plan) -> list[str]:
    """What the command line set: `train.epochs=3`."""
    document = plan.document
    keys = [key for key, writer in document.origins.items() if writer == "command line"]
    values = [lookup(document.values, split_key(key)) for key in keys]
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in zip(keys, values, strict=True)]


def sync_command(plan: Plan) -> str:
    """The command that writes a finished experiment to MLflow again."""
    words = [plan.document.file, *overrides(plan), "--store", str(plan.workspace.store.root)]
    return f"python -m core.tracking sync {shlex.join(words)}"


def question(result: Result) -> list[str]:
    """The comment that an experiment file begins with: its question, command, what to expect."""
    path = Path(result.plan.document.file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    until = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.lstrip("# ").rstrip() + "  " for line in lines[:until]]


def headline(result: Result) -> str:
    """Verdicts and outcomes counted, in one line."""
    verdicts: Counter[str] = Counter(claim.verdict.verdict for claim in result.claims)
    outcomes: Counter[str] = Counter(row.outcome for row in result.rows if not row.is_baseline)
    parts = [f"hypotheses: {_counted(verdicts)}"] if verdicts else []
    if outcomes:
        parts.append(f"variants against `{result.baseline.name}` on {result.primary}: {_counted(outcomes)}")
    return "; ".join(parts) or f"{result.primary} {report.with_spread(result.baseline, result.primary)}"


def _counted(counts: Counter[str]) -> str:
    order = [*VERDICTS, *MARKS, *counts]
    return ", ".join(f"{counts[name]} {name}" for name in dict.fromkeys(order) if counts[name])


def experiment_tags(result: Result, files: Mapping[str, str], table: str) -> dict[str, str]:
    """Tags of the parent that follow from the results. `table`: link to the saved view."""
    verdicts = {
        f"verdict/{allowed(claim.hypothesis.name)}": claim.verdict.verdict + (" (post hoc)" if claim.post_hoc else "")
        for claim in result.claims
    }
    return verdicts | {
        "outcome": headline(result),
        "registration": result.registration,
        "mlflow.note.content": note(result, table),
        "mlflow.loggedArtifacts": json.dumps([{"path": "ablation_table.json", "type": "table"}]),
        "content": digest(dict(files)),
    }


def note(result: Result, table: str) -> str:
    """Markdown on top of the parent's page, which shows its first lines: what was found, then the report."""
    _, _, body = report.markdown(result).partition("\n")
    text = f"**{headline(result)}** ([table of the trials]({table}))\n{body}"
    if len(text) <= LONGEST_NOTE:
        return text
    whole_lines = text[: LONGEST_NOTE - 100].rpartition("\n")[0]
    return f"{whole_lines}\n\nThe rest is in the artifact report.md."


def experiment_files(result: Result) -> dict[str, str]:
    """Artifacts of the parent by path."""
    rows = {"columns": report.header(result), "data": report.table(result)}
    baseline = runnable(result.name, result.plan.baseline, None) | {"seeds": list(result.plan.experiment.seeds)}
    return {
        "report.md": report.markdown(result),
        "table.csv": report.csv(result),
        "ablation_table.json": json.dumps(rows),
        "hypotheses.json": json.dumps(_hypotheses(result), indent=1),
        "baseline.yaml": as_yaml(baseline),
        **_as_written(result.plan),
    }


def _as_written(plan: Plan) -> dict[str, str]:
    """The experiment file and those that it extends."""
    paths = [Path(file) for file in dict.fromkeys([plan.document.file, *plan.document.origins.values()])]
    return {f"experiment/{path.name}": path.read_text(encoding="utf-8") for path in paths if path.is_file()}


def _hypotheses(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "name": claim.hypothesis.name,
            "claim": str(claim.hypothesis),
            "verdict": claim.verdict.verdict,
            "reason": claim.verdict.reason,
            "post_hoc": claim.post_hoc,
            "times_scored": claim.times_scored,
            "registration": result.registration,
        }
        for claim in result.claims
    ]
