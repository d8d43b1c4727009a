import gc
import os
from collections.abc import Iterator

import pytest

from tests.engine import undrawn

__all__ = ["undrawn"]


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
