import gc
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from core.contract.processors import processors
from plugins.outputs.mlflow.server import Server
from tests.engine import undrawn

__all__ = ["undrawn"]


settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process for each processor where all tests run; none but this one for those of some files."""
    return processors() if config.args == config.getini("testpaths") else 0


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the processors compute in one thread each, and so do the commands that they start."""
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every later search for garbage, of which each takes a second otherwise."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _waits_for_no_disk() -> Iterator[None]:
    """No power is cut here: what was written need not be on the disk before the next step."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making one takes seconds, copying it does not."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Server(f"sqlite:///{database}").runs("0", "none")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database
