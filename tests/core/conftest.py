import sqlite3
from pathlib import Path

import pytest

from core.tracking.server import Server
from tests.core.experiments import toy_components
from tests.core.reported import copied, reported, reported_folder, result
from tests.engine import done, done_folder, lab, toys

__all__ = [
    "copied",
    "done",
    "done_folder",
    "lab",
    "reported",
    "reported_folder",
    "result",
    "toy_components",
    "toys",
]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making one takes seconds, copying it does not."""
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    Server(f"sqlite:///{database}").runs("0", "none")
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return database
