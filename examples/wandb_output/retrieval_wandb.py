"""What an experiment found, in Weights & Biases: a run a trial, and a run that sums them up, in one group.

Written from stored results once all are there, so it can be written again at any time: a run's id follows from what it
holds, and one that is there already is not added again.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from core import ConfigError, Output, Problem, hookimpl, progress, setting
from core.outputs import Result, Row, Trial, digest, locked

LONGEST = 128
"""Characters of a group or name."""
QUIET = {"silent": True, "console": "off", "save_code": False, "x_disable_stats": True, "x_save_requirements": False}
NOBODY = {"x_disable_meta": True, "x_disable_machine_info": True, "disable_git": True, "host": "-"}
"""Settings that keep person, machine, folders and repository out of a run."""


@dataclass(frozen=True)
class Record:
    """What one run holds. curves: {epoch: {name: value}}; page: in HTML."""

    id: str
    name: str
    kind: str
    config: dict[str, Any]
    summary: dict[str, Any]
    curves: dict[int, dict[str, float]] = field(default_factory=dict)
    page: str | None = None


class WandB(Output):
    """A run a trial, and one that sums them up: verdicts and the table."""

    name = "wandb"

    @dataclass(frozen=True)
    class Config:
        project: str = setting(doc="of Weights & Biases")
        entity: str | None = setting(None, "team or user; null: your default one")
        mode: str = setting("online", "offline: runs are folders, for `wandb sync`", choices=("online", "offline"))
        folder: str | None = setting(None, "that offline runs go to, below wandb/; null: that of the report")

    def __init__(self, config: Config):
        """Raises ConfigError for a project's name that wandb refuses; what wandb raises where nobody is logged in."""
        import wandb  # takes seconds: only for an experiment that names it

        super().__init__(config)
        try:
            wandb.Settings(project=config.project)
        except wandb.UsageError as fault:
            raise ConfigError(Problem("project", str(fault))) from None
        if config.mode == "online":
            wandb.login()

    def finished(self, result: Result, folder: Path) -> list[str]:
        home = Path(self.config.folder or folder) / "wandb"
        home.mkdir(parents=True, exist_ok=True)
        records = [*trials(result), overview(result)]
        with locked(home / ".lock"):
            new = sum(self._write(record, result, home) for record in progress(records, "write to W&B"))
        offline = f"; to send all: wandb sync {shlex.quote(str(home))}/*" if self.config.mode == "offline" else ""
        return [f"{new} new runs in Weights & Biases, project {self.config.project}{offline}"]

    def _write(self, record: Record, result: Result, home: Path) -> bool:
        """Whether the run is new. An offline run comes into `home` when it is whole."""
        import wandb

        offline = self.config.mode == "offline"
        if offline and any(home.glob(f"*-{record.id}")):
            return False
        with tempfile.TemporaryDirectory(dir=home, prefix=".") as draft:
            with (
                wandb.init(
                    project=self.config.project,
                    entity=self.config.entity,
                    mode=self.config.mode,
                    dir=draft,
                    id=record.id,
                    resume="allow",
                    reinit="create_new",  # a run of the caller's stays open
                    group=result.name[:LONGEST],
                    name=record.name[:LONGEST],
                    job_type=record.kind,
                    settings=wandb.Settings(**QUIET, **NOBODY if result.experiment.anonymous else {}),
                ) as run
            ):
                run.config.update(record.config, allow_val_change=True)
                for epoch, values in record.curves.items():
                    if epoch >= run.starting_step:  # 0, but for a run that is there already
                        run.log(values, step=epoch)
                run.summary.update(record.summary)
                if record.page is not None:
                    run.summary["page"] = wandb.Html(record.page, data_is_not_path=True)
                new = not run.resumed
            for made in Path(draft).glob("*/offline-run-*"):
                shutil.rmtree(made / "logs")
                made.rename(home / made.name)
        return new


def trials(result: Result) -> Iterator[Record]:
    """A record of every trial that has a result. Its config: what varies among the variants, and the seed."""
    keys = dict.fromkeys(key for variant in result.variants for key in variant.assignments)
    for row in result.rows:
        for trial in row.results:
            varied = {key: trial.assignments.get(key, row.variant.value(key)) for key in keys}
            config = {"variant": trial.variant, "seed": trial.seed, "trial_key": trial.key, **varied}
            run = digest([result.name, trial.variant, trial.key])  # variants, and experiments, may share a trial
            yield Record(run, trial.name, "trial", config, trial.metrics | trial.costs, curves(trial))


def curves(trial: Trial) -> dict[int, dict[str, float]]:
    """{epoch: {`train/loss`: value, …}}; `train/validation` is the primary metric."""
    found: dict[int, dict[str, float]] = {}
    for step, fit in trial.fits.items():
        for record in fit.history if fit else ():
            values = {f"{step}/{name}": value for name, value in record.items() if name != "epoch"}
            found.setdefault(int(record["epoch"]), {}).update(values)
    return dict(sorted(found.items()))


def overview(result: Result) -> Record:
    """What was found. Its id follows from that: where a verdict changes, another run says so."""
    config = {"version": result.version, "registration": result.registration, "command": result.command}
    summary = {"in_short": result.in_short}
    for decision in result.decisions:
        late = f" [{decision.lateness}]" if decision.lateness else ""
        summary[f"verdict/{decision.hypothesis.name}"] = decision.verdict.verdict + late
    summary |= {f"verdict/{claim.name}": f"no verdict: {reason}" for claim, reason in result.incomparable}
    summary |= {f"failed/{trial.name}": str(trial.failure) for trial in result.failed}
    decisions, variants = [str(decision) for decision in result.decisions], table(result)
    page = "".join(f"<p>{escape(line)}</p>" for line in [result.in_short, *decisions, *result.notes]) + variants
    run = digest([result.name, result.version, summary, decisions, variants])  # notes tell of other experiments too
    return Record(run, result.name, "summary", config, summary, page=page)


def table(result: Result) -> str:
    """In HTML, a line a variant. No wandb.Table: it is staged in your home, and so told where that is."""
    head = ["variant", *result.metrics, "difference", "p, corrected", "outcome"]
    lines = [head, *(_cells(result, row) for row in result.rows)]
    return "<table>" + "".join(f"<tr><td>{'<td>'.join(map(escape, cells))}" for cells in lines) + "</table>"


def _cells(result: Result, row: Row) -> list[str]:
    measured = [f"{row.mean(name):.2f}" if row.results else "" for name in result.metrics]
    if len(row.results) > 1:
        measured[0] += f" ± {row.spread(result.primary):.2f}"
    tested = row.comparisons.get(result.primary)
    if tested is None:
        return [row.name, *measured, "", "", row.outcome]
    difference = f"{tested.difference:+.2f} ({tested.low:+.2f} to {tested.high:+.2f})"
    return [row.name, *measured, difference, f"{tested.p_corrected:.3g}", row.outcome]


@hookimpl
def register_outputs(register: Callable[[type[Output]], None]) -> None:
    register(WandB)
