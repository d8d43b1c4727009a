"""Sessions: `nox -l` lists them. Each makes its own environment from the pinned set."""

import nox

nox.options.sessions = ["tests", "lint"]
nox.options.default_venv_backend = "venv"


def install(session: nox.Session) -> None:
    session.install("-c", "constraints.txt", "-e", ".[test]")


@nox.session(python=["3.11", "3.12"])
def tests(session: nox.Session) -> None:
    """The default tests."""
    install(session)
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python="3.11")
def slow(session: nox.Session) -> None:
    """The long tests too."""
    install(session)
    session.run("python", "-m", "pytest", "-m", "slow or not slow", *session.posargs)


@nox.session(python="3.11")
def example(session: nox.Session) -> None:
    """The example plugin package: installed beside the framework, found, and tested by its own tests."""
    install(session)
    session.install("-c", "constraints.txt", "-e", "examples/plugin_package")
    session.run("python", "-m", "core.plugins")
    session.run("python", "-m", "pytest", "examples/plugin_package", *session.posargs)


@nox.session(python="3.11")
def wandb(session: nox.Session) -> None:
    """The example output: installed with wandb, and tested against wandb's own offline runs."""
    install(session)
    session.install("-c", "constraints.txt", "-e", "examples/wandb_output")
    session.run("python", "-m", "pytest", "examples/wandb_output", *session.posargs)


@nox.session(python="3.11")
def triton(session: nox.Session) -> None:
    """The GPU kernel without a GPU: in Triton's interpreter, and compiled."""
    install(session)
    session.install("-c", "constraints.txt", "triton")
    session.run("python", "-m", "pytest", "tests/plugins/test_fused_gate.py", *session.posargs)


@nox.session(python="3.11")
def torture(session: nox.Session) -> None:
    """Kills, damaged stores, full disks, crowds and mutated files, all of them: hours. Or kinds after `--`."""
    install(session)
    session.run("python", "-m", "tests.torture", "--out", "benchmarks/results/reliability.json", *session.posargs)


BENCHMARKS = (
    "scoring",
    "sweep",
    "scale",
    "decode_encode",
    "startup",
    "tracking",
    "matching_cost",
    "training_cost",
    "error_rates",
    "gpu_tib",
)


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Every benchmark, or those named after `--`: tables and JSON go to benchmarks/results."""
    install(session)
    for name in session.posargs or BENCHMARKS:
        session.run("python", "-m", f"benchmarks.{name}", "--out", f"benchmarks/results/{name}.json")


@nox.session(python="3.11")
def lint(session: nox.Session) -> None:
    """ruff and mypy."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
