"""`python -m core.run FILE`: read, plan, execute, hand the findings to the outputs."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .completion import add_completion
from .contract.command import add_allow_env, command
from .contract.escaping import plain_line
from .errors import ConfigError, Problem, ReadingError, RunError, UserError

if TYPE_CHECKING:
    from .engine.failures import Failure, Tally
    from .engine.plan import Plan, PlannedTrial
    from .engine.steps.step import Workspace
    from .evidence.results import Result
    from .experiment.variants import Described
    from .outputs import Outputs


@dataclass(frozen=True)
class Machine:
    """What a run may use of the machine: the folder of the store, a torch device, processes that decode, threads."""

    store: str = "store"
    device: str = "auto"
    workers: int | None = None
    threads: int | None = None


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

    file: an experiment file, or what would stand in one; that is written to `runs`/<experiment>/experiment.yaml first,
    so that a command can repeat it.
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
    plan, outputs = _prepared(file, overrides, Machine(store, device, workers, threads), runs)
    result = _run(plan, outputs, _tally(plan))
    for fault in outputs.faults:
        warnings.warn(fault, RuntimeWarning, stacklevel=2)
    return result


def _written(values: Mapping[str, Any], runs: Path) -> str:
    """The file that an experiment given as a mapping is written to, in the folder of its reports."""
    from yaml import YAMLError, safe_dump

    from .contract.escaping import slug
    from .contract.store import write_atomically

    try:
        text = safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    except YAMLError as fault:
        reason = (
            f"holds what no file can: numbers, texts, true, false, null, lists and mappings can be written ({fault})"
        )
        raise ConfigError(Problem("", reason, "experiment")) from None
    folder = runs / slug(str(values.get("name", "experiment")))
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "experiment.yaml", text)
    return str(folder / "experiment.yaml")


def _prepared(
    file: str,
    overrides: Sequence[str],
    machine: Machine,
    runs: str,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Plan, Outputs]:
    """The checked plan with every step laid out, and its outputs; makes the data set where it is generated."""
    plan = _checked_plan(file, overrides, machine)
    from .engine.plan import add_trials
    from .outputs import Outputs

    outputs = Outputs(plan, Path(runs), say)
    add_trials(plan)
    return plan, outputs


def _checked_plan(file: str, overrides: Sequence[str], machine: Machine) -> Plan:
    """The plan before any data is touched. Faults of file, section and schema come before torch is imported."""
    described = _described(file, overrides)
    from .engine.plan import plan_of
    from .plugins import registry

    for plugin, reason in registry().failed.items():
        print(plain_line(f"warning: plugin {plugin} failed to load and is left out: {reason}"), file=sys.stderr)
    return plan_of(described, _workspace(machine))


def _described(file: str, overrides: Sequence[str]) -> Described:
    """Raises ConfigError for faults of file, section and schema, which come before torch is imported."""
    from .experiment.config import read_document
    from .experiment.variants import check_core

    return check_core(read_document(file, overrides))


def _workspace(machine: Machine) -> Workspace:
    """The store and the device that steps run with. Raises ConfigError for what cannot be had of this machine."""
    problems = [
        Problem(f"--{name}", f"must be {least} or more, got {number}", "command line")
        for name, number, least in (("workers", machine.workers, 0), ("threads", machine.threads, 1))
        if number is not None and number < least
    ]
    if problems:
        raise ConfigError(problems)
    import torch

    from .contract.processors import processors, use_threads
    from .contract.store import Store
    from .engine.steps.step import Workspace

    use_threads(machine.threads)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [name for name, available in there.items() if available]
    device = usable[0] if machine.device == "auto" else machine.device
    if device.partition(":")[0] not in usable:
        reason = f"`{device}` is not available here; there is: {', '.join(usable)}"
        raise ConfigError(Problem("--device", reason, "command line"))
    workers = processors() if machine.workers is None else machine.workers
    return Workspace(Store(machine.store), torch.device(device), workers)


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
    result = findings(plan)
    outputs.finished(result)
    return result


# ------------------------------------------------------------------------------------------------ command line


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
    add_completion(parser)
    return parser


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 2 for a fault of the configuration, 1 for one at run time, of a trial too."""
    chosen = _parser().parse_intermixed_args(arguments)
    signal.signal(signal.SIGTERM, _stopped)
    _check_distribution()
    try:
        return _command(chosen)
    except SystemExit as fault:  # none of ours: those are over
        from .engine.failures import failure_of

        raise RunError(str(failure_of(fault))) from None


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
    problems: list[Problem] = []
    for file in files if further else ():
        try:
            plan = _checked_plan(file, chosen.overrides, chosen.machine)
            from .outputs import Outputs

            Outputs(plan, Path(chosen.runs), only=chosen.only)
        except ConfigError as fault:
            problems += fault.problems
    if problems:
        raise ConfigError(problems)
    return max(_one(argparse.Namespace(**{**vars(chosen), "file": file})) for file in files)


def _one(chosen: argparse.Namespace) -> int:
    """One file. Exit status 1 where a trial or an output failed."""
    if chosen.check_videos:
        return _check_videos(chosen)
    if chosen.dry_run:
        return _dry_run(chosen)
    if chosen.stored:
        return _write_again(chosen)
    started = time.monotonic()
    plan, outputs = _prepared(chosen.file, chosen.overrides, chosen.machine, chosen.runs, print)
    from .engine.overlap import shared_files
    from .evidence.receipt import check_registered

    if chosen.registered is not None:
        print(plain_line(check_registered(plan, chosen.registered)))
    for sentence in shared_files(plan):
        print(plain_line(f"warning: {sentence}"), file=sys.stderr)
    new, tally = len(plan.new_steps()), _tally(plan)
    try:
        _run(plan, outputs, tally)
        print(f"{new} of {len(plan.steps)} steps were new, {time.monotonic() - started:.0f} s in all.")
    finally:
        _print_faults(outputs)
        for line in tally.lines:
            print(line)
    return 1 if tally.failed or outputs.faults else 0


def _write_again(chosen: argparse.Namespace) -> int:
    """Have the outputs write from the store; nothing is computed."""
    _described(chosen.file, chosen.overrides)
    from .evidence.stored import stored_result
    from .outputs import Outputs

    plan, result = stored_result(chosen.file, chosen.overrides, chosen.store)
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


def _dry_run(chosen: argparse.Namespace) -> int:
    plan = _checked_plan(chosen.file, chosen.overrides, chosen.machine)
    from .engine.dryrun import show_plan
    from .engine.plan import add_trials
    from .outputs import Outputs

    Outputs(plan, Path(chosen.runs))
    if all(plan.workspace.is_prepared(variant.experiment.data.dataset) for variant in plan.variants):
        add_trials(plan)
    show_plan(plan)
    if chosen.registered is not None and plan.trials:
        from .evidence.receipt import check_registered

        print(plain_line(check_registered(plan, chosen.registered)))
    return 0


def _check_videos(chosen: argparse.Namespace) -> int:
    plan = _checked_plan(chosen.file, chosen.overrides, chosen.machine)
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
