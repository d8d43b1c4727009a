"""What it takes to write an experiment's trials to MLflow: into a file, a database, by way of a server.

    python -m benchmarks.tracking --out benchmarks/results/tracking.json

A trial is what the output `mlflow` writes of one: metrics, training curves, params, tags, data, small artifacts. All
places take turns, each time with a new experiment; making MLflow's tables is not counted. PostgreSQL is left out where
it or its driver is not installed. The server has one worker, as the command that core prints has it; requests to it are
compared with those to one with four, MLflow's default.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.measuring import Ratio, alternate, described, machine, publish, read_options, table
from benchmarks.servers import mlflow_page, postgres, postgres_programs
from plugins.outputs.mlflow.server import DataInput, Server

FILE, PLAIN, POSTGRES, HTTP = "SQLite", "SQLite as MLflow has it", "PostgreSQL", "server before SQLite"


@dataclass(frozen=True)
class Size:
    trials: int = 100
    metrics: int = 30
    epochs: int = 20
    values_an_epoch: int = 3
    files: int = 4
    bytes_a_file: int = 8000
    rounds: int = 2


SMALL = Size(trials=3, metrics=3, epochs=2, files=2, rounds=1)


def write(server: Server, experiment: str, size: Size) -> None:
    """Write the trials of one experiment, as the output `mlflow` does."""
    experiment_id = server.experiment(experiment)
    tags = {f"tag {number}": "as long as a commit's digest, or a bit more" for number in range(16)}
    metrics = [(f"t2v/metric {number}", number / 3, 0) for number in range(size.metrics)]
    steps = range(1, size.epochs + 1)
    curves = [(f"train/loss {part}", 1 / step, step) for part in range(size.values_an_epoch) for step in steps]
    data = DataInput("made up", "0123456789abcdef", "test", "/videos", json.dumps({"videos": 1000, "texts": 1000}))
    files = {f"per_query_{number}.csv": "a line" * (size.bytes_a_file // 6) for number in range(size.files)}
    for trial in range(size.trials):
        run = server.create(experiment_id, f"trial {trial}", tags, 1_700_000_000_000 + trial)
        server.fill(run.id, {"number": str(trial), "seed": "0"}, [*metrics, *curves], 1_700_000_100_000)
        server.inputs(run.id, [data])
        server.upload(run.id, files)
        server.end(run.id, "FINISHED", 1_700_000_100_000)


# ------------------------------------------------------- places


@contextmanager
def places(folder: Path) -> Iterator[dict[str, Server]]:
    """Where to write to, by name."""
    with ExitStack() as stack:
        found = {name: Server(f"sqlite:///{folder / name}/mlflow.db") for name in (FILE, PLAIN) if made(folder / name)}
        restore_defaults(found[PLAIN])
        if postgres_programs():
            found[POSTGRES] = Server(stack.enter_context(postgres(durable=True)))
            found[POSTGRES].artifacts = folder / "mlartifacts"
        found[HTTP] = stack.enter_context(served(folder / HTTP, workers=1))
        yield found


@contextmanager
def served(folder: Path, workers: int) -> Iterator[Server]:
    """MLflow's server before a database file that core made."""
    made(folder)
    Server(f"sqlite:///{folder}/mlflow.db")
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db"]
    settings = "MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"
    with mlflow_page(f"{settings} {shlex.join([*words, '--workers', str(workers)])}", folder) as address:
        yield Server(address)


def made(folder: Path) -> bool:
    folder.mkdir()
    return True


def engine_of(server: Server) -> Any:
    """The engine by which a database is written to."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    return SqlAlchemyStore(server.uri, "mlflow-artifacts:/").engine


def restore_defaults(server: Server) -> None:
    """Undo what core sets of a database file."""
    from sqlalchemy import event

    def as_mlflow_has_it(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA synchronous=FULL")

    engine = engine_of(server)
    event.listen(engine, "connect", as_mlflow_has_it)
    engine.dispose()


# ------------------------------------------------------- counting


@contextmanager
def commits(server: Server) -> Iterator[Counter[str]]:
    """Counts transactions that wrote something, while they go on. Of a server's database nothing is seen."""
    from sqlalchemy import event

    found: Counter[str] = Counter()

    def wrote(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            connection.info["wrote"] = True

    def committed(connection: Any) -> None:
        found["commits"] += connection.info.pop("wrote", False)

    if server.artifacts is None:
        yield found
        return
    engine = engine_of(server)
    event.listen(engine, "before_cursor_execute", wrote)
    event.listen(engine, "commit", committed)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", wrote)
        event.remove(engine, "commit", committed)


@contextmanager
def requests(server: Server) -> Iterator[dict[str, list[float]]]:
    """Seconds of every request to a server, by kind, while they go on."""
    from requests import Session

    found: dict[str, list[float]] = {}
    send = Session.request

    def timed(self: Session, method: str, url: str, *rest: Any, **named: Any) -> Any:
        start = time.perf_counter()
        answer = send(self, method, url, *rest, **named)
        kind = "artifact" if "/mlflow-artifacts/" in url else url.rpartition("/mlflow/")[2]
        found.setdefault(kind, []).append(time.perf_counter() - start)
        return answer

    with mock.patch.object(Session, "request", timed):
        yield found


# ------------------------------------------------------- measuring


def measure(size: Size) -> dict[str, Any]:
    """Everything that is written as JSON."""
    with tempfile.TemporaryDirectory() as folder, places(Path(folder)) as found:
        flush = flush_ms(Path(folder))
        counted = {name: count(server, size) for name, server in found.items()}
        calls = {name: writer(server, size) for name, server in found.items()}
        times = alternate(calls, size.rounds, at_least=0.0)
        few = replace(size, trials=min(10, size.trials))
        by_request = {1: waits(found[HTTP], few)}
        with served(Path(folder) / "four workers", workers=4) as server:
            by_request[4] = waits(server, few)
    rows = [
        {
            "place": name,
            "seconds": statistics.median(one.wall for one in times[name]),
            "fastest": min(one.wall for one in times[name]),
            "slowest": max(one.wall for one in times[name]),
            "processor": statistics.median(one.cpu for one in times[name]),
            "ratio": Ratio.of(times[name], times[FILE]),
            **counted[name],
        }
        for name in found
    ]
    versions = {name: version(name) for name in ("mlflow", "sqlalchemy")}
    waited = [{"request": kind, **{f"ms_{n}": by_request[n][kind] for n in (1, 4)}} for kind in by_request[1]]
    return {
        "benchmark": "tracking",
        "machine": machine() | versions,
        "size": asdict(size),
        "flush_ms": flush,
        "places": rows,
        "requests": waited,
    }


def flush_ms(folder: Path) -> float:
    """Median milliseconds until the disk has a page."""
    found = []
    with (folder / "page").open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fsync(file.fileno())
            found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found)


def waits(server: Server, size: Size) -> dict[str, float]:
    """Median milliseconds of each kind of request that writing a trial takes."""
    write(server, "waiting", replace(size, trials=1))
    with requests(server) as sent:
        write(server, "waiting", size)
    return {kind: 1e3 * statistics.median(seconds) for kind, seconds in sent.items() if "experiment" not in kind}


def writer(server: Server, size: Size) -> Callable[[], None]:
    """Writes a new experiment at each call."""
    names = iter(range(1000))
    return lambda: write(server, f"experiment {next(names)}", size)


def count(server: Server, size: Size) -> dict[str, float | None]:
    """Commits and requests that one further trial takes; None for what cannot be seen from here."""
    found = []
    for trials in (1, 2):
        with commits(server) as committed, requests(server) as sent:
            write(server, f"counted {trials}", replace(size, trials=trials))
        found.append((committed["commits"], sum(map(len, sent.values()))))
    per_trial = [after - before for before, after in zip(*found, strict=True)]
    return {"commits": per_trial[0] or None, "requests": per_trial[1] or None}


# ------------------------------------------------------- tables


def report(result: dict[str, Any]) -> str:
    size = result["size"]
    cells = [
        [
            row["place"],
            f"{row['seconds']:.1f} ({row['fastest']:.1f}–{row['slowest']:.1f})",
            f"{row['processor']:.1f}",
            row["ratio"].cells()[0],
            *(row[name] or "–" for name in ("commits", "requests")),
        ]
        for row in result["places"]
    ]
    waited = [[row["request"], *(f"{row[name]:.0f}" for name in ("ms_1", "ms_4"))] for row in result["requests"]]
    headings = ["place", "seconds", "processor", f"times {FILE}", "commits a trial", "requests a trial"]
    points = size["metrics"] + size["epochs"] * size["values_an_epoch"]
    return f"""# Writing trials to MLflow

{size["trials"]} trials of {size["metrics"]} metrics and {size["values_an_epoch"]} curves of {size["epochs"]} epochs \
({points} points), one data set, {size["files"]} artifacts of {size["bytes_a_file"] // 1000} kB.
Rounds in alternation: {size["rounds"]}; {described(result)}, MLflow {result["machine"]["mlflow"]}.

Seconds on the clock: median, fastest and slowest; of this process' processor. How many times those of {FILE} in the
same round. Commits are transactions that write; what a server commits is not seen from here. Until this disk has a page
it takes {result["flush_ms"]:.1f} ms; MLflow's own settings wait for that several times a commit, core's do not.

{table(headings, cells)}

Milliseconds of one request to a server with one worker and with four, medians.

{table(["request", "one worker", "four workers"], waited)}"""


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_options("tracking", arguments)
    result = measure(SMALL if options.small else Size())
    publish(result, report(result), options.out)


if __name__ == "__main__":
    main()
