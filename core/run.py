"""`python -m core.run FILE`: read, plan, execute, hand the findings to the outputs."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .contract.command import add_allow_env, command
from .contract.completion import add_completion
from .contract.escaping import plain_line
from .contract.terminal import logging, phase
from .engine.machine import Machine, workspace_on
from .errors import ConfigError, Problem, ReadingError, RunError, UserError

if TYPE_CHECKING:
    from .engine.failures import Failure, Tally
    from .engine.plan import Plan, PlannedTrial
    from .evidence.results import Result
    from .experiment.variants import Described
    from .outputs import Outputs

Item = TypeVar("Item")
Value = TypeVar("Value")


def run_experiment(
    file: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    store: str = "store",
    runs: str = "runs",
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    memory: str | None = None,
    allow_env: Sequence[str] = (),
) -> Result:
    """Run an experiment: what the store holds is not computed again. Returns the findings.

    file: an experiment file, or what would stand in one, with paths from the working directory; that is written to
    `runs`/<experiment>/experiment.yaml first, so that a command can repeat it.
    workers: processes that decode videos; threads: of torch. None: one a processor that this process may use.
    memory: what scoring may take, as `512MiB` or `4GB`; None: a quarter of what is free.
    allow_env: environment variables that `${oc.env:NAME}` in the file may read.
    The outputs write: by default the report, under `runs`/<experiment>, and MLflow's runs; what they tell a person is
    not printed.
    Trials that failed are in `Result.failed`; an output that fails is warned of.
    Raises ConfigError (nothing was run) or another UserError (what was computed is kept): what every trial failed of,
    or a store that cannot be written.

    >>> import core
    >>> try:
    ...     core.run_experiment("/no/such/lab.yaml")
    ... except core.ConfigError as fault:
    ...     print(fault)
    /no/such/lab.yaml: no such file: looked for /no/such/lab.yaml.
    """
    import warnings

    from .contract.processors import wait_passively
    from .experiment.config import allow_environment

    wait_passively()
    from .engine.scoring import limit_memory

    allow_environment(allow_env)
    limit_memory(memory)
    file = _written(file, Path(runs)) if isinstance(file, Mapping) else str(file)
    plan, outputs = _prepared(_described(file, overrides), Machine(store, device, workers, threads), runs)
    result = _run(plan, outputs, _tally(plan))
    for fault in outputs.faults:
        warnings.warn(fault, RuntimeWarning, stacklevel=2)
    return result


def _written(values: Mapping[str, Any], runs: Path) -> str:
    """The file that an experiment given as a mapping is written to, in the folder of its reports."""
    from yaml import YAMLError, safe_dump

    from .contract.escaping import slug
    from .contract.store import write_atomically
    from .experiment.config.paths import from_folder

    folder = runs / slug(str(values.get("name", "experiment")))
    try:
        text = safe_dump(from_folder(values, folder), sort_keys=False, allow_unicode=True)
    except YAMLError as fault:
        reason = (
            f"holds what no file can: numbers, texts, true, false, null, lists and mappings can be written ({fault})"
        )
        raise ConfigError(Problem("", reason, "experiment")) from None
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "experiment.yaml", text)
    return str(folder / "experiment.yaml")


def _prepared(
    described: Described, machine: Machine, runs: str, say: Callable[[str], None] = lambda line: None
) -> tuple[Plan, Outputs]:
    """The checked plan with every step laid out, and its outputs; makes the data set where it is generated."""
    plan = _checked_plan(described, machine)
    from .engine.plan import add_trials
    from .outputs import Outputs

    outputs = Outputs(plan, Path(runs), say)
    with phase("prepare the data and plan the steps"):
        add_trials(plan)
    return plan, outputs


def _checked_plan(described: Described, machine: Machine) -> Plan:
    """The plan before any data is touched."""
    from .engine.plan import plan_of
    from .plugins import registry

    for plugin, reason in registry().failed.items():
        print(plain_line(f"warning: plugin {plugin} failed to load and is left out: {reason}"), file=sys.stderr)
    return plan_of(described, workspace_on(machine))


def _described(file: str, overrides: Sequence[str]) -> Described:
    """Raises ConfigError for faults of file, section and schema, which come before torch is imported."""
    from .experiment.config import read_document
    from .experiment.variants import check_core

    return check_core(read_document(file, overrides))


def _tally(plan: Plan) -> Tally:
    from .engine.failures import Tally

    return Tally(plan.workspace.store, len(plan.trials))


def _run(plan: Plan, outputs: Outputs, tally: Tally) -> Result:
    """Register, execute, compare, and have the outputs write. `tally` is kept up to date as trials are done or fail."""
    from .engine.execute import execute
    from .engine.failures import store_faults_told
    from .evidence.findings import findings
    from .evidence.ledger import enter
    from .evidence.registration import register
    from .evidence.trials import trial_of

    with store_faults_told(plan.workspace.store.root):
        register(plan)
    outputs.started()

    def finished(trial: PlannedTrial) -> None:
        enter(plan, trial)
        tally.done += 1
        outputs.trial_finished(trial_of(plan, trial))

    def failed(trial: PlannedTrial, failure: Failure) -> None:
        tally.failed[trial] = failure

    execute(plan, finished, failed)
    with phase("compare the variants"):
        result = findings(plan)
    outputs.finished(result)
    return result


# ------------------------------------------------------------------------------------------------ command line


def _output_names() -> list[str]:
    from .plugins import registry

    return sorted(name for kind, name in registry().found if kind == "output")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core.run",
        description="Run an experiment file: train, score, re-rank and test every variant that it describes.",
        epilog="Example: python -m core.run experiments/ablate_topk.yaml 'ablate[retrieve.rerank.top_k]=[1,5]'",
    )
    parser.add_argument("file", help="experiment file (YAML), or package:file.yaml inside an installed package")
    parser.add_argument(
        "more",
        nargs="*",
        metavar="more.yaml or key=value",
        help="more experiment files to run in turn, or key=value overrides",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be computed, and compute nothing")
    parser.add_argument("--stored", action="store_true", help="compute nothing; rewrite the outputs from the store")
    parser.add_argument(
        "--only", metavar="NAME,…", type=lambda names: names.split(","), help="with --stored: only these outputs"
    )
    parser.add_argument("--check-videos", action="store_true", help="list every video that cannot be used, and stop")
    parser.add_argument("--device", default="auto", help="auto (cuda, mps, cpu), or a torch device")
    parser.add_argument("--store", default="store", help="folder of the results store (default: store)")
    parser.add_argument("--runs", default="runs", help="folder of the reports (default: runs)")
    parser.add_argument(
        "--memory", help="memory limit for scoring, e.g. 512MiB or 4GB (default: a quarter of free memory)"
    )
    parser.add_argument(
        "--registered", metavar="FILE", help="refuse to run if the experiment differs from this registration.json"
    )
    parser.add_argument(
        "--anonymous", action="store_true", help="remove user, host, folders and repository from all outputs"
    )
    parser.add_argument("--workers", type=int, help="number of video decoding processes (default: one per usable CPU)")
    parser.add_argument("--threads", type=int, help="number of computing threads (default: one per usable CPU)")
    add_allow_env(parser)
    add_completion(parser, _output_names)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time, of a trial too."""
    chosen = _parser().parse_intermixed_args(arguments)
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        _check_distribution()
        return _command(chosen)
    except SystemExit as fault:  # none of ours: those are over
        from .engine.failures import failure_of

        raise RunError(str(failure_of(fault))) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _check_distribution() -> None:
    """The `core` that runs must be the installed one: its entry points name the plugins."""
    from importlib.metadata import PackageNotFoundError, distribution
    from importlib.util import find_spec

    here = Path(__file__).resolve().parents[1]
    try:
        distribution("retrieval-ablations")
    except PackageNotFoundError:
        raise UserError(f"this program is not installed; run: pip install -c constraints.txt -e {here}") from None
    spec = find_spec("plugins")
    home = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
    if home != here:
        raise UserError(
            f"`core` is read from {here}, but `plugins` from {home}: another package or folder has one of these names. "
            f"Run from another folder, or install this one: pip install -c constraints.txt -e {here}"
        )


def _command(chosen: argparse.Namespace) -> int:
    """Every file in turn, checked before the first is run. Exit status of the worst."""
    from .experiment.config import allow_environment

    allow_environment(chosen.allow_env)
    if chosen.only and not chosen.stored:
        raise ConfigError(Problem("--only", "chooses among the outputs that write again: add --stored", "command line"))
    if chosen.memory is not None:
        from .engine.scoring import limit_memory

        limit_memory(chosen.memory)
    further = [word for word in chosen.more if word.endswith((".yaml", ".yml")) and "=" not in word]
    chosen.overrides = [word for word in chosen.more if word not in further]
    if chosen.anonymous:
        chosen.overrides.append("anonymous=true")
    chosen.machine = Machine(chosen.store, chosen.device, chosen.workers, chosen.threads)
    files = [chosen.file, *further]
    experiments = _all_of(files, lambda file: _described(file, chosen.overrides))
    if further:
        _all_of(experiments, lambda described: _check(described, chosen))
    with logging():
        return max(_one(described, chosen) for described in experiments)


def _all_of(items: Iterable[Item], read: Callable[[Item], Value]) -> list[Value]:
    """What `read` makes of each. Raises ConfigError with the faults of all."""
    values, problems = [], list[Problem]()
    for item in items:
        try:
            values.append(read(item))
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    return values


def _check(described: Described, chosen: argparse.Namespace) -> None:
    """Raises ConfigError with every fault that can be told before any data is touched."""
    plan = _checked_plan(described, chosen.machine)
    from .outputs import Outputs

    Outputs(plan, Path(chosen.runs), only=chosen.only)


def _one(described: Described, chosen: argparse.Namespace) -> int:
    """One experiment. Exit status 1 where a trial or an output failed."""
    if chosen.check_videos:
        return _check_videos(described, chosen)
    if chosen.dry_run:
        return _dry_run(described, chosen)
    if chosen.stored:
        return _write_again(described, chosen)
    started = time.monotonic()
    plan, outputs = _prepared(described, chosen.machine, chosen.runs, print)
    from .engine.overlap import shared_files
    from .evidence.receipt import check_registered

    if chosen.registered is not None:
        print(plain_line(check_registered(plan, chosen.registered)))
    for sentence in shared_files(plan):
        print(plain_line(f"warning: {sentence}"), file=sys.stderr)
    tally = _tally(plan)
    try:
        _run(plan, outputs, tally)
        print(f"{plan.meter.new} of {len(plan.steps)} steps were new, {time.monotonic() - started:.0f} s in all.")
        if (summary := plan.meter.summary(Counter(step.name for step in plan.steps.values()))) is not None:
            print(summary)
    finally:
        _print_faults(outputs)
        for line in tally.lines:
            print(line)
    return 1 if tally.failed or outputs.faults else 0


def _write_again(described: Described, chosen: argparse.Namespace) -> int:
    """Have the outputs write from the store; nothing is computed."""
    from .evidence.stored import stored_result
    from .outputs import Outputs

    with phase("read the store and compare the variants"):
        plan, result = stored_result(described, chosen.store)
    if chosen.registered is not None:
        from .evidence.receipt import check_registered

        print(plain_line(check_registered(plan, chosen.registered)))
    outputs = Outputs(plan, Path(chosen.runs), print, chosen.only)
    outputs.replay(result)
    _print_faults(outputs)
    return 1 if outputs.faults else 0


def _print_faults(outputs: Outputs) -> None:
    for fault in outputs.faults:
        print("\n".join(map(plain_line, f"error: {fault}".split("\n"))), file=sys.stderr)


def _dry_run(described: Described, chosen: argparse.Namespace) -> int:
    plan = _checked_plan(described, chosen.machine)
    from .engine.dryrun import show_plan
    from .engine.plan import add_trials
    from .outputs import Outputs

    Outputs(plan, Path(chosen.runs))
    if all(plan.workspace.is_prepared(variant.experiment.data.dataset) for variant in plan.variants):
        with phase("plan the steps"):
            add_trials(plan)
    show_plan(plan)
    if chosen.registered is not None:
        from .evidence.receipt import check_registered

        print(plain_line(check_registered(plan, chosen.registered)))
    return 0


def _check_videos(described: Described, chosen: argparse.Namespace) -> int:
    plan = _checked_plan(described, chosen.machine)
    from .engine.dryrun import videos_of
    from .engine.video import check_videos

    bad = 0
    for paths, sampling in videos_of(plan):
        faults = check_videos(paths, sampling, plan.workspace.workers)
        bad += len(faults)
        for fault in faults:
            print(plain_line(str(fault)))
        unknown = sum(isinstance(fault, ReadingError) for fault in faults)
        print(f"{len(faults) - unknown} of {len(paths)} videos cannot be used")
        if unknown:
            print(f"{unknown} of {len(paths)} videos could not be read as things are, which says nothing of the files")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
